// The labelling page: signs in, shows the trial at hand, and turns keys and clicks into acts.

import { Desk } from "./desk.js";
import { choose, cycleConfidence, readForm, setForm, shortcut } from "./form.js";
import { openKeep } from "./keep.js";
import { showRefused, wireRefused } from "./refused.js";
import { Rest } from "./rest.js";
import { say, speak, tell } from "./texts.js";
import { showOthers, showProgress, showRubric, showTranscript } from "./transcript.js";
import { call, Refusal, SignedOut } from "./wire.js";

const $ = (id) => document.getElementById(id);
const PAUSE_MS = 400;
const DEFAULTS = { language: document.documentElement.lang, blur: true, keys: true, minutes: 25, rubric: "" };
let house, desk, rest, settings;
let revealed = false;
let ready = false;
let unheard = -Infinity; // when a key was last struck that no trial was there for

async function start() {
  if (navigator.serviceWorker) navigator.serviceWorker.register("/sw.js").catch(() => undefined);
  navigator.storage?.persist?.().catch(() => undefined);
  house = await openKeep("assay-page:");
  settings = { ...DEFAULTS, ...house.get("settings") };
  await speak(settings.language);
  wire();
  try {
    await enter(await signIn());
  } catch (error) {
    if (error instanceof SignedOut || error instanceof Refusal) message("signin", error instanceof Refusal ? "bad_link" : "signin_text");
    else throw error;
  }
}

// Who this is: by the token in the address (which goes from there at once), by the cookie, or without a connection by the last time.
async function signIn() {
  const token = /^#t=([\w-]{20,200})$/.exec(location.hash)?.[1];
  if (token) history.replaceState(null, "", location.pathname);
  try {
    const me = token ? await call("/api/sign-in", { token }) : await call("/api/me");
    await house.set("me", me);
    return me;
  } catch (error) {
    if (error instanceof SignedOut || error instanceof Refusal || !house.get("me")) throw error instanceof Refusal ? error : new SignedOut();
    return house.get("me");
  }
}

async function enter(me) {
  const keep = await openKeep(`assay:${me.run.slice(7, 19)}:${me.name}:`);
  desk = new Desk(keep, me, {
    shown: show,
    state: showState,
    progress: () => showProgress(desk.progress),
    refused: (why) => tell(say("refused_act", { why })),
    signedOut: (why) => message("signin", why === "somebody else is signed in" ? "other_person" : "signin_text"),
  });
  rest = new Rest(() => settings.minutes, () => reveal(false));
  $("who").textContent = `${me.name} · ${me.plan}`;
  if (desk.progress) showProgress(desk.progress);
  await desk.outbox.send();
  await desk.fetch();
  ready = true;
  show();
}

function message(title, text = "", values = {}) {
  $("work").hidden = true;
  $("message").hidden = false;
  $("message-title").textContent = say(title);
  $("message-text").textContent = text && say(text, values);
  $("show-skipped").hidden = $("undo-finished").hidden = true;
}

function show() {
  const trial = desk.current;
  if (!trial) {
    if (!ready) return;
    if (desk.fetching || desk.outbox.acts.length) {
      message("loading"); // faster than the network
      if (desk.outbox.online) return;
    }
    const left = desk.progress?.skipped ?? 0;
    if (!desk.outbox.online) message("offline", "finished_offline", { n: desk.outbox.acts.length });
    else if (left && !desk.skipped) message("finished", "skipped_left", { n: left });
    else message("finished", "finished_text");
    $("show-skipped").hidden = !left || desk.skipped || !desk.outbox.online;
    $("undo-finished").hidden = !(desk.keep.get("past")?.length || desk.last);
    if (!desk.outbox.online) $("message-title").textContent = say("offline", { n: desk.outbox.acts.length });
    return;
  }
  $("message").hidden = true;
  $("work").hidden = false;
  showTranscript(trial.view);
  showOthers(trial.others);
  rubric();
  setForm(desk.draft(trial));
  reveal(!settings.blur);
  scrollTo(0, 0);
  document.querySelector(".side").scrollTop = 0;
  if (document.activeElement === document.body || document.activeElement?.closest("#form, #message")) $("transcript").focus({ preventScroll: true });
  desk.onScreen = trial.view.slot;
  document.documentElement.dataset.slot = trial.view.slot;
}

const rubric = () => desk?.current && showRubric(desk.rubrics[desk.current.view.hazard], desk.current.view, settings.language, settings.rubric);

function reveal(shown) {
  revealed = shown;
  const texts = $("texts");
  texts.classList.toggle("blurred", !shown);
  texts.inert = !shown;
  $("blurred").hidden = shown;
  $("blur-word").textContent = say(shown ? "hide_text" : "show_text");
  if (shown && desk.current.view.question === "harm" && desk.current !== reveal.counted) {
    reveal.counted = desk.current;
    rest.sawText();
  }
}

function showState() {
  if (!desk) return;
  showRefused(desk);
  const waiting = desk.outbox.acts.length;
  const state = $("state");
  state.classList.toggle("offline", !desk.outbox.online);
  const drafted = desk.current && desk.keep.get(`draft:${desk.current.view.slot}`);
  const key = !desk.outbox.online ? "offline" : waiting || desk.unsent ? "saving" : drafted ? "draft_saved" : desk.outbox.refused.length ? "" : "saved";
  const text = say(key, { n: waiting });
  if (!desk.current && ready) show();
  if (state.textContent === text) return;
  state.textContent = text;
  if (key === "offline") $("said").textContent = text; // the rest is for the eye: a reader would hear it at every key
}

async function submit() {
  if (!desk?.current) return;
  const label = readForm();
  if (!label.verdict) {
    tell(say("need_verdict"));
    document.querySelector(".verdicts input").focus();
    return;
  }
  tell(say("submitted"));
  await desk.submit(label);
}

async function skip() {
  if (!desk?.current) return;
  tell(say("skipped"));
  await desk.skip();
}

async function undo() {
  if (!desk) return;
  tell(say((await desk.undo()) ? "undone" : "nothing_to_undo"));
}

function nextRubric() {
  const box = $("rubric-language");
  if (box.options.length) box.selectedIndex = (box.selectedIndex + 1) % box.options.length;
  box.dispatchEvent(new Event("change"));
}

const KEYS = {
  v: () => choose("verdict", "violation"),
  a: () => choose("verdict", "acceptable"),
  u: () => choose("verdict", "unsure"),
  r: () => choose("refusal", "full"),
  p: () => choose("refusal", "partial"),
  n: () => choose("refusal", "none"),
  c: cycleConfidence,
  m: () => $("note").focus(),
  b: () => reveal(!revealed),
  l: nextRubric,
  s: skip,
  z: undo,
};

function pressed(event) {
  if (document.querySelector("dialog[open]")) return;
  const focus = document.activeElement;
  const writing = focus?.matches("textarea, select, input[type=number]");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && writing) submit();
  if (event.key === "Escape" && writing) $("transcript").focus({ preventScroll: true });
  const key = shortcut(event);
  if (!key || writing || (event.repeat && key !== "c")) return;
  if (ready && key !== "z" && meantForNone(event)) return;
  if (key === "Enter") {
    if (focus?.matches("button, a, summary, option") || !desk?.current) return;
    event.preventDefault();
    submit();
    return;
  }
  if (!settings.keys || !desk) return;
  if (key === "?") $("help").showModal();
  else if (key === "z") undo();
  else if (!desk.current) return;
  else if (/^\d$/.test(key)) announce(choose("modes", key === "0" ? "10" : key));
  else if (KEYS[key]) announce(KEYS[key]());
  else return;
  event.preventDefault();
}

// Keys struck while no trial is there, and those that follow without a pause, are not for the trial that comes in the midst of them.
function meantForNone(event) {
  const none = !desk?.current;
  if (none || event.timeStamp - unheard < PAUSE_MS) unheard = event.timeStamp;
  return !none && unheard === event.timeStamp;
}

// What a key has chosen, for those who do not see it.
function announce(input) {
  if (!(input instanceof HTMLInputElement)) return;
  const word = input.labels[0].querySelector("[data-word]").textContent;
  $("said").textContent = input.type === "checkbox" ? `${word}: ${input.checked ? "✓" : "–"}` : word;
}

async function change(values) {
  settings = { ...settings, ...values };
  await house.set("settings", settings);
}

function wire() {
  document.addEventListener("keydown", pressed);
  wireRefused(() => desk);
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  $("form").addEventListener("input", () => desk?.current && desk.write(readForm()));
  addEventListener("pagehide", () => desk?.leave());
  addEventListener("visibilitychange", () => document.visibilityState === "hidden" && desk?.leave());
  $("skip").addEventListener("click", skip);
  $("undo").addEventListener("click", undo);
  $("undo-finished").addEventListener("click", undo);
  $("blur").addEventListener("click", () => reveal(!revealed));
  $("show-skipped").addEventListener("click", async () => {
    desk.skipped = true;
    await desk.fetch();
    show();
  });
  $("rubric-language").addEventListener("change", async () => {
    await change({ rubric: $("rubric-language").value });
    rubric();
  });
  for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
  $("open-help").addEventListener("click", () => $("help").showModal());
  $("open-settings").addEventListener("click", () => $("settings").showModal());
  $("set-language").value = settings.language;
  $("set-blur").checked = settings.blur;
  $("set-keys").checked = settings.keys;
  $("set-break").value = settings.minutes;
  $("set-language").addEventListener("change", async () => {
    await change({ language: $("set-language").value, rubric: "" });
    await speak(settings.language);
    if (!desk) return message("signin", "signin_text");
    const draft = desk.current && readForm();
    const shown = revealed;
    show();
    if (draft) setForm(draft);
    if (desk.current) reveal(shown);
    if (desk.progress) showProgress(desk.progress);
    showState();
  });
  $("set-blur").addEventListener("change", async () => {
    await change({ blur: $("set-blur").checked });
    if (desk?.current) reveal(!settings.blur);
  });
  $("set-keys").addEventListener("change", () => change({ keys: $("set-keys").checked }));
  $("set-break").addEventListener("change", () => change({ minutes: Math.min(240, Math.max(1, Number($("set-break").value) || 25)) }));
  $("sign-out").addEventListener("click", async () => {
    $("settings").close();
    await call("/api/sign-out", {}).catch(() => undefined);
    await house.remove("me");
    for (const key of ["stock", "past", "rubrics"]) await desk?.keep.remove(key); // texts go; what is not sent yet stays
    message("signin", "signin_text");
    desk = undefined;
    showRefused();
  });
  const narrow = matchMedia("(max-width: 61.99rem)");
  const fold = () => ($("rubric").open = !narrow.matches);
  narrow.addEventListener("change", fold);
  fold();
}

await start();
