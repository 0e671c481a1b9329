// Proposing a grant. The form writes the text of a grant file; the text is what is checked, shown again, and signed.

import { call, Refusal, SignedOut, textOf } from "./api.js";
import { $, make, said, shown } from "./dom.js";
import { terms } from "./terms.js";

const MOST_BYTES = 1 << 20;
const WINDOWS = ["minute", "hour", "day", "total"];
const quoted = (text) => JSON.stringify(text);
const list = (values, word = quoted) => `[${values.map(word).join(", ")}]`;
const same = (word) => word;
let byHand = false;
let persons = 0;

const value = (name) => $(`propose-${name}`).value.trim();
const parts = (name) => value(name).split(/[,\n]/).map((p) => p.trim()).filter(Boolean);
const checked = (name) => [...document.querySelectorAll(`#propose-form [name=${name}]:checked`)].map((box) => box.value);
const inRow = (row, name) => row.querySelector(`[data-part=${name}]`).value.trim();

function yaml(overview) {
  const model = value("model");
  const digest = overview.releases.find((r) => r.model === model)?.digest ?? "";
  const people = [...$("propose-persons").children].map((row) => [inRow(row, "name"), inRow(row, "key")]).filter(([name, key]) => name || key);
  const quotas = WINDOWS.map((window) => [window, ...["requests", "tokens", "money"].map((part) => value(`${window}-${part}`))]).filter(([, ...amounts]) => amounts.some(Boolean));
  const days = checked("day");
  const amount = (name, text, factor = 1) => (text ? [`${name}: ${Math.round(Number(text) * factor)}`] : []);
  const line = (name, text, write = quoted) => (text ? [`${name}: ${write(text)}`] : []);
  return [
    "assay: grant/1",
    ...line("id", value("id")), ...line("organisation", value("organisation")), ...line("sector", value("sector"), same), ...line("jurisdiction", value("jurisdiction")), ...line("purpose", value("purpose")),
    ...(people.length ? ["persons:", ...people.map(([name, key]) => `  - {name: ${quoted(name)}, key: ${quoted(key)}}`)] : []),
    ...line("model", model), ...line("digest", digest), ...line("tier", value("tier"), same), ...line("level", value("level"), same),
    ...(checked("route").length ? [`routes: ${list(checked("route"), same)}`] : []),
    ...(parts("networks").length ? [`networks: ${list(parts("networks"))}`] : []),
    ...(quotas.length ? ["quotas:"] : []),
    ...quotas.map(([window, requests, tokens, money]) => `  - {${[`window: ${window}`, ...amount("requests", requests), ...amount("tokens", tokens), ...amount("money", money, 1e6)].join(", ")}}`),
    ...line("starts", value("starts"), same), ...line("expires", value("expires"), same),
    ...(parts("tools").length ? [`tools: ${list(parts("tools"))}`] : []), ...(parts("systems").length ? [`systems: ${list(parts("systems"))}`] : []),
    ...(days.length ? ["hours:", `  - {days: ${list(days, same)}, start: ${quoted(value("from"))}, end: ${quoted(value("to"))}, zone: ${quoted(value("zone"))}}`] : []),
    ...line("per_person_a_minute", value("rate"), same),
    ...(checked("canary").length ? [`canaries: ${list(checked("canary"), same)}`] : []),
  ].join("\n") + "\n";
}

function addPerson() {
  const n = ++persons;
  const input = (part, word, attributes) => make("p", {}, make("label", { for: `propose-${part}-${n}` }, word), make("input", { type: "text", id: `propose-${part}-${n}`, "data-part": part, "data-field": "persons", ...attributes }));
  const row = make("div", { class: "fields person" }, input("name", "Name", { maxlength: 300 }), input("key", "Key's thumbprint", { maxlength: 43, spellcheck: "false" }));
  const remove = () => {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (next?.querySelector("input") ?? $("propose-add")).focus();
    $("propose-form").dispatchEvent(new Event("input"));
  };
  row.append(make("p", {}, make("button", { type: "button", class: "plain", onclick: remove, "aria-label": `Remove person ${n}` }, "Remove")));
  $("propose-persons").append(row);
  return row;
}

// The message, beside the text, with the place that it names marked.
function wrong(text) {
  right();
  if (!text) return;
  $("propose-problem").replaceChildren(make("p", { class: "problem", role: "alert" }, said(text)));
  const at = /^grant\.yaml:(\d+)(?: ([a-z_]+))?/.exec(text);
  const field = (/missing key `(\w+)`/.exec(text) ?? at?.slice(1))?.[1];
  const place = byHand ? null : document.querySelector(`#propose-form [data-field="${field ?? ""}"]`);
  const marked = place ?? $("propose-text");
  marked.setAttribute("aria-invalid", "true");
  marked.setAttribute("aria-describedby", "propose-problem");
  if (place === null && at) select(Number(at[1]));
  if (matchMedia("(min-width: 64rem)").matches) marked.focus();
  else $("propose-problem").scrollIntoView({ block: "center" }); // the field may be far from the text: then the message is what is shown
}

function select(line) {
  const before = $("propose-text").value.split("\n").slice(0, line);
  const end = before.join("\n").length;
  $("propose-text").setSelectionRange(end - (before.at(-1)?.length ?? 0), end);
}

function right() {
  $("propose-problem").replaceChildren();
  for (const marked of document.querySelectorAll("#propose [aria-invalid]")) {
    marked.removeAttribute("aria-invalid");
    marked.removeAttribute("aria-describedby");
  }
}

// `look()` gives the overview; `ask` asks before it acts.
export function wirePropose(look, ask, leave) {
  const write = () => {
    if (byHand || !look()) return;
    const text = yaml(look());
    if ($("propose-text").value !== text) $("propose-text").value = text;
  };
  const takeOver = (hand) => {
    byHand = hand;
    $("propose-hand").hidden = !hand;
    write();
  };
  const begin = () => {
    $("propose-form").reset();
    $("propose-file").value = "";
    $("propose-persons").replaceChildren();
    addPerson();
    right();
    takeOver(false);
  };
  const offer = ({ grant, digest, before }) =>
    ask({
      title: "Sign and propose this grant?",
      about: [
        make("p", { class: "soft" }, before ? `The gate has version ${before}. It holds until this one is approved.` : "A new grant. It opens nothing until it is approved."),
        terms(grant, digest),
      ],
      doing: "Sign and propose",
      act: async () => {
        const done = await call("/api/propose", { grant, digest });
        begin();
        location.hash = "#now";
        const missing = look().me.approvals - 1;
        return { ...done, next: missing > 0 ? ` It waits for ${missing} other ${missing === 1 ? "administrator" : "administrators"}.` : "" };
      },
    });
  $("propose-add").addEventListener("click", () => {
    addPerson().querySelector("input").focus();
    write();
  });
  $("propose-form").addEventListener("input", write);
  $("propose-text").addEventListener("input", () => takeOver(true));
  $("propose-again").addEventListener("click", () => {
    takeOver(false);
    right();
    $("propose-text").focus();
  });
  $("propose-file").addEventListener("change", async () => {
    const [file] = $("propose-file").files;
    if (!file) return;
    try {
      const text = await textOf(file, MOST_BYTES);
      takeOver(true);
      $("propose-text").value = text;
      right();
    } catch (error) {
      wrong(error instanceof Refusal ? error.message : "This file cannot be read.");
    }
  });
  for (const form of [$("propose-form"), $("propose-text-form")])
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      $("propose-check").disabled = true;
      try {
        const found = await call("/api/check-grant", { text: $("propose-text").value });
        right();
        offer(found);
      } catch (error) {
        if (error instanceof SignedOut) leave("");
        else wrong(error instanceof Refusal ? shown(error.message) : "No answer. Nothing was sent to the gate.");
      } finally {
        $("propose-check").disabled = false;
      }
    });
  begin();
  return write;
}
