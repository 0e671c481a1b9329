// The console: signs in by the link, asks for the overview every two seconds while it is looked at, and asks people before it acts.

import { call, Refusal, SignedOut, textOf, watchUse } from "./api.js";
import { $, count, fill, make, said, shown, tell, turnClocks } from "./dom.js";
import { wirePropose } from "./propose.js";
import { terms } from "./terms.js";
import { auditRow, scopeWords, showGrants, showHalts, showModels, showSessions, showWaiting, showWatch } from "./views.js";

const POLL_MS = 2000;
const RELEASE_BYTES = 16 << 20;
const RELEASE_MS = 130_000;
const VIEWS = ["now", "grants", "propose", "watch", "audit"];
let overview = null;
let offset = 0;
let heard = 0;
let timer;
let showDraft = () => undefined;

async function start() {
  watchUse();
  wire();
  try {
    const token = /^#t=([\w-]{20,200})$/.exec(location.hash)?.[1];
    if (token) {
      history.replaceState(null, "", location.pathname);
      await call("/api/sign-in", { token });
    }
    await poll();
  } catch (error) {
    leave(error instanceof Refusal ? error.message : "");
  }
  addEventListener("hashchange", route);
  addEventListener("visibilitychange", () => document.hidden || poll());
  setInterval(tick, 1000);
}

async function poll() {
  clearTimeout(timer);
  try {
    const found = await call("/api/overview");
    offset = found.me.now - Date.now();
    heard = Date.now();
    const first = overview === null;
    overview = found;
    if (first) enter();
    show();
  } catch (error) {
    if (error instanceof SignedOut) return leave("");
    if (overview === null) message("The gate's administration cannot be reached", error instanceof Refusal ? error.message : "This console's process has ended, or does not answer.");
    $("state").textContent = error instanceof Refusal ? shown(error.message) : "No answer; trying again";
  }
  tick();
  if (!document.hidden) timer = setTimeout(poll, POLL_MS);
}

function message(title, text) {
  for (const id of VIEWS) $(id).hidden = true;
  for (const id of ["tabs", "open-stop", "sign-out"]) $(id).hidden = true;
  $("message").hidden = false;
  $("message-title").textContent = title;
  $("message-text").textContent = text;
}

function leave(why) {
  clearTimeout(timer);
  overview = null;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  $("who").textContent = "";
  $("state").textContent = "";
  document.documentElement.dataset.signedOut = "1";
  message("You are not signed in", why || "Start the console again and open the link that it prints: assay access console. A link opens once.");
}

function enter() {
  delete document.documentElement.dataset.signedOut;
  $("message").hidden = true;
  $("tabs").hidden = false;
  $("sign-out").hidden = false;
  for (const id of ["open-stop", "open-propose", "open-release"]) $(id).hidden = overview.me.role !== "admin";
  $("who").textContent = `${shown(overview.me.name)}, ${overview.me.role}`;
  for (const link of $("tabs").children) if (link.hash === "#audit") link.hidden = overview.me.role === "viewer";
  route();
}

function route() {
  if (!overview) return;
  const asked = location.hash.slice(1);
  const wanted = !VIEWS.includes(asked) || (asked === "propose" && overview.me.role !== "admin") ? "now" : asked;
  const entered = $(wanted).hidden;
  const left = !$("propose").hidden;
  for (const id of VIEWS) $(id).hidden = id !== wanted;
  if (entered) {
    scrollTo(0, 0);
    if (wanted === "propose") $("propose-title").focus();
    else if (left) $("main").focus();
  }
  for (const link of $("tabs").children) {
    if (link.hash === `#${wanted === "propose" ? "grants" : wanted}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  show();
}

function show() {
  showModels(overview);
  showWaiting(overview, acts);
  showHalts(overview, acts);
  showSessions(overview, acts);
  showGrants(overview, acts, $("grants-filter").value === "all");
  showWatch(overview, acts);
  for (const id of ["audit-model", "propose-model"]) options($(id), overview.releases.map((r) => r.model));
  showDraft();
  if ($("stop").open) effect();
}

function tick() {
  turnClocks(offset);
  const late = heard && Date.now() - heard > 3 * POLL_MS;
  $("state").classList.toggle("offline", Boolean(late));
  if (heard && !late) $("state").textContent = `As of ${new Date(heard).toLocaleTimeString("en-GB")}`;
  else if (late) $("state").textContent = `Not heard of since ${new Date(heard).toLocaleTimeString("en-GB")}`;
}

// Asking before acting

let asked;
function ask({ title, about = [], label = "", doing, act, other, otherAct, danger = false }) {
  $("ask-title").textContent = title;
  $("ask-about").replaceChildren(...about);
  $("ask-reason-line").hidden = !label;
  $("ask-reason-label").textContent = label;
  $("ask-reason").value = "";
  $("ask-reason").required = Boolean(label);
  $("ask-do").textContent = doing;
  $("ask-do").className = danger ? "stop" : "main";
  $("ask-other").hidden = !other;
  $("ask-other").textContent = other ?? "";
  asked = { act, otherAct };
  $("ask").showModal();
  (label ? $("ask-reason") : $("ask").querySelector("[data-close]")).focus();
}

async function run(act, dialog) {
  const buttons = dialog.querySelectorAll("button");
  for (const b of buttons) b.disabled = true;
  try {
    const done = await act();
    dialog.close();
    tell(`Done: ${shown(done.what)}, record ${done.record}.${done.next ?? ""}`);
    await poll();
  } catch (error) {
    if (error instanceof SignedOut) leave("");
    else problem(dialog, error instanceof Refusal ? error.message : "No answer. Look whether it was done before you try again.");
  } finally {
    for (const b of buttons) b.disabled = false;
  }
}

function problem(dialog, text) {
  dialog.querySelector(".problem[role=alert]")?.remove();
  dialog.querySelector(".actions").before(make("p", { class: "problem", role: "alert" }, said(text)));
}

const acts = {
  // What is shown is read by this console from the signed statement, not from the list: what one sees is what one signs.
  approve: async (listed) => {
    let looked;
    try {
      looked = await call(`/api/grant/${listed.grant.id}`);
    } catch (error) {
      return error instanceof SignedOut ? leave("") : tell(error.message);
    }
    const { grant, digest, approved_by } = looked;
    ask({
      title: "Approve this grant?",
      about: [terms(grant, digest, ["Signed by", said(approved_by.map(shown).join(", "))])],
      doing: "Approve",
      act: () => call("/api/approve", { id: grant.id, digest }),
    });
  },
  revoke: ({ grant }) =>
    ask({
      title: "Revoke this grant?",
      about: [make("p", {}, said(grant.id), " of ", said(grant.organisation), " ends for ever, with its sub-grants and what is under way.")],
      label: "Why, for the log",
      doing: "Revoke for ever",
      danger: true,
      act: () => call("/api/revoke", { id: grant.id, reason: $("ask-reason").value }),
    }),
  lift: (h) =>
    ask({
      title: "Lift this halt?",
      about: [make("p", {}, said(scopeWords(h.scope)), " opens again, as far as grants and decisions let it.")],
      doing: "Lift",
      act: () => call("/api/lift", { id: h.id }),
    }),
  cut: (s) =>
    ask({
      title: "Cut this request?",
      about: [make("p", {}, said(s.model), " for ", said(s.person), " of ", said(s.organisation), ". They may ask again: a halt keeps them out.")],
      label: "Why, for the log",
      doing: "Cut",
      danger: true,
      act: () => call("/api/cut", { id: s.id, reason: $("ask-reason").value }),
    }),
  close: (a) =>
    ask({
      title: "Close this alert?",
      about: [make("p", {}, said(a.what))],
      label: "What was found",
      doing: "Close it",
      act: () => call("/api/close-alert", { id: a.id, reason: $("ask-reason").value }),
    }),
  review: (g) => {
    const said_ = (justified) => () => call("/api/review", { id: g.id, digest: g.digest, justified, note: $("ask-reason").value });
    ask({
      title: "Was this exception justified?",
      about: [make("p", {}, said(g.by), ` lifted ${g.lifts.join(" and ")} of `, said(g.grant), ":"), make("p", {}, said(g.reason))],
      label: "What you found (ten characters or more)",
      doing: "Justified",
      act: said_(true),
      other: "Not justified",
      otherAct: said_(false),
    });
  },
};

// The stop dialog

function options(select, values) {
  const wanted = [...new Set(values)].sort();
  const kept = select.value;
  const there = [...select.options].slice(1).map((o) => o.value);
  if (JSON.stringify(wanted) === JSON.stringify(there)) return;
  while (select.options.length > 1) select.remove(1);
  for (const value of wanted) select.append(make("option", { value }, shown(value)));
  select.value = wanted.includes(kept) ? kept : "";
}

const living = () => overview.grants.filter((g) => ["active", "not begun"].includes(g.state)).map((g) => g.grant);

function openStop() {
  const grants = living();
  $("stop-form").reset();
  options($("stop-model"), overview.releases.map((r) => r.model));
  options($("stop-grant"), grants.map((g) => g.id));
  options($("stop-organisation"), grants.map((g) => g.organisation));
  options($("stop-person"), grants.flatMap((g) => g.persons.map((p) => p.name)));
  options($("stop-sector"), grants.map((g) => g.sector));
  options($("stop-jurisdiction"), grants.map((g) => g.jurisdiction));
  $("stop-spares").replaceChildren(
    ...grants.map((g) => make("label", {}, make("input", { type: "checkbox", name: "spare", value: g.id }), " ", said(g.id), " ", make("span", { class: "soft" }, said(g.organisation)))),
  );
  $("stop-spare").hidden = !grants.length;
  $("stop-spare").open = false;
  $("stop").querySelector(".problem")?.remove();
  effect();
  $("stop").showModal();
  $("stop-reason").focus();
}

function stopScope() {
  const data = new FormData($("stop-form"));
  const scope = {};
  for (const name of ["model", "grant", "organisation", "person", "sector", "jurisdiction", "tier"]) if (data.get(name)) scope[name] = data.get(name);
  return { scope, spares: data.getAll("spare") };
}

const fits = (scope, spares, grant, person) =>
  !spares.includes(grant.id) && !spares.includes(grant.parent || "\n") &&
  ["model", "organisation", "sector", "jurisdiction", "tier"].every((n) => !scope[n] || scope[n] === grant[n]) &&
  (!scope.grant || [grant.id, grant.parent].includes(scope.grant)) && (!scope.person || scope.person === person);

function effect() {
  const { scope, spares } = stopScope();
  const grants = living();
  const hit = grants.filter((g) => g.persons.some((p) => fits(scope, spares, g, p.name)));
  const byId = new Map(grants.map((g) => [g.id, g]));
  const cut = overview.sessions.sessions.filter((s) => byId.has(s.grant) && fits(scope, spares, byId.get(s.grant), s.person));
  $("stop-spare-count").textContent = spares.length ? count(spares.length) : "";
  const text = `Stops ${scopeWords(scope)}: ${count(hit.length)} of ${count(grants.length)} grants, ${count(cut.length)} of ${count(overview.sessions.sessions.length)} requests under way. It holds until somebody lifts it.`;
  if ($("stop-effect").textContent !== text) $("stop-effect").textContent = text;
}

// A release

function openRelease() {
  $("release-form").reset();
  $("release").showModal();
  $("release-file").focus();
}

async function giveRelease() {
  const [file] = $("release-file").files;
  const release = await textOf(file, RELEASE_BYTES);
  const done = await call("/api/add-release", { release }, RELEASE_MS).catch((error) => {
    throw error instanceof Refusal ? new Refusal(`The gate has not kept it: ${error.message}`) : error;
  });
  return { ...done, what: "the gate keeps this release", next: " What holds now stands under “What may be served”." };
}

// The audit log

async function search() {
  const data = new FormData($("audit-form"));
  const query = new URLSearchParams();
  for (const [name, value] of data) if (value) query.set(name, value);
  const back = Number($("audit-since").value);
  if (back) query.set("since", String(Date.now() + offset - back));
  $("audit-note").textContent = "Searching…";
  try {
    const found = await call(`/api/audit?${query}`);
    const n = found.records.length;
    $("audit-note").textContent = n ? `${count(n)} ${n === 1 ? "record" : "records"}, newest first${found.more ? "; there are older ones" : ""}.` : "Nothing fits.";
    fill($("audit-list"), found.records, () => found.records.map(auditRow));
  } catch (error) {
    if (error instanceof SignedOut) leave("");
    else $("audit-note").textContent = error instanceof Refusal ? shown(error.message) : "No answer.";
  }
}

function wire() {
  $("open-stop").addEventListener("click", openStop);
  $("stop-form").addEventListener("input", effect);
  $("stop-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const { scope, spares } = stopScope();
    run(() => call("/api/halt", { scope, spares, reason: $("stop-reason").value }), $("stop"));
  });
  for (const input of document.querySelectorAll("input[type=file]")) input.addEventListener("click", () => (input.value = "")); // the same file again is read again
  $("open-release").addEventListener("click", openRelease);
  $("release-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run(giveRelease, $("release"));
  });
  showDraft = wirePropose(() => overview, ask, leave);
  $("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run(asked.act, $("ask"));
  });
  $("ask-other").addEventListener("click", () => $("ask-form").reportValidity() && run(asked.otherAct, $("ask")));
  for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("close", () => dialog.querySelector(".problem[role=alert]")?.remove());
  $("grants-filter").addEventListener("change", show);
  $("audit-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  $("sign-out").addEventListener("click", async () => {
    await call("/api/sign-out", {}).catch(() => undefined);
    leave("You have signed out. Start the console again for another link.");
  });
}

start();
