// The studio: signs in by the link, asks for what is looked at, and asks people before it stops a run.

import { Refusal, SignedOut, Unreachable, call } from "./api.js";
import { $, make, say, speak, tag, tell } from "./dom.js";
import { showList } from "./list.js";
import { offer, wireStart } from "./start.js";
import { forget, seenVersion, showRun } from "./watch.js";

const LIST_MS = 2000;
const LIVE_MS = 1000;
const AFTER_MS = 150; // while a long run is being counted
const VIEWS = ["runs", "run", "start"];
const kept = { get: () => localStorage.getItem("assay-language"), set: (value) => localStorage.setItem("assay-language", value) };
let timer;
let inside = false;
let turn = 0;

async function begin() {
  await speak(kept.get() ?? document.documentElement.lang);
  $("set-language").value = tag;
  wire();
  try {
    const token = /^#t=([\w-]{20,200})$/.exec(location.hash)?.[1];
    if (token) {
      history.replaceState(null, "", location.pathname);
      await call("/api/sign-in", { token });
    }
    await route();
  } catch (error) {
    ended(error instanceof Refusal ? new SignedOut("bad_link") : error);
  }
  addEventListener("hashchange", () => route());
  addEventListener("visibilitychange", () => document.hidden || poll());
}

function wanted() {
  const [, view, name] = /^#(runs|start|run)(?:\/(.+))?$/.exec(location.hash) ?? [null, "runs", ""];
  try {
    return { view: view === "run" && !name ? "runs" : view, name: decodeURIComponent(name ?? "") };
  } catch {
    return { view: "runs", name: "" };
  }
}

let entered = "";
async function route() {
  if (location.hash === "#main") return;
  forget(wanted().view === "run" ? wanted().name : "");
  await poll();
}

function enter(view, name) {
  inside = true;
  $("tabs").hidden = $("sign-out").hidden = false;
  $("message").hidden = true;
  for (const id of VIEWS) $(id).hidden = id !== view;
  for (const link of $("tabs").children) {
    if (link.hash === `#${view === "run" ? "runs" : view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (entered && entered !== `${view}/${name}`) {
    scrollTo(0, 0);
    $(`${view}-title`).focus({ preventScroll: true });
  }
  entered = `${view}/${name}`;
}

async function poll() {
  clearTimeout(timer);
  const mine = (turn += 1);
  const { view, name } = wanted();
  let after = LIST_MS;
  try {
    if (view === "runs") {
      const found = await call("/api/runs");
      if (mine !== turn) return;
      showList(found, acts);
    } else if (view === "run") {
      const found = await call(`/api/run/${encodeURIComponent(name)}?since=${seenVersion()}`);
      if (mine !== turn) return;
      showRun(found, acts);
      const counting = found.seen && found.seen.counted < found.seen.trials && found.seen.whole === false && found.listed.run.state !== "running";
      after = counting || (found.seen && found.seen.trials - found.seen.counted > 1000) ? AFTER_MS : ["running", "starting"].includes(found.listed.run.state) ? LIVE_MS : LIST_MS;
    } else {
      after = 0;
      await offer();
      if (mine !== turn) return;
    }
    $("offline").hidden = true;
    enter(view, name);
  } catch (error) {
    if (mine !== turn) return;
    if (error instanceof Refusal && view === "run") {
      tell(error.message);
      location.hash = "#runs";
      return;
    }
    if (!ended(error)) return;
  }
  if (after && !document.hidden) timer = setTimeout(poll, after);
}

// What ends the page, or only hinders it; whether to go on asking.
function ended(error) {
  if (error instanceof SignedOut) {
    leave(error.message ? say(error.message) : "");
    return false;
  }
  if (!(error instanceof Unreachable) && !(error instanceof Refusal)) throw error;
  if (error instanceof Refusal) tell(error.text || error.message);
  else $("offline").hidden = false;
  return true;
}

function leave(why) {
  clearTimeout(timer);
  turn += 1;
  inside = false;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  for (const id of [...VIEWS, "tabs", "sign-out", "offline"]) $(id).hidden = true;
  $("message").hidden = false;
  delete $("message-title").firstElementChild?.dataset.word;
  $("message-title").textContent = say("signin");
  $("message-text").replaceChildren(...[why, say("signin_text")].filter(Boolean).flatMap((text) => [text, " "]), make("code", {}, "assay studio"));
  $("message-title").focus();
}

async function act(path, name, word) {
  try {
    await call(`/api/${path}`, { name });
    if (word) tell(say(word));
  } catch (error) {
    if (error instanceof Refusal) tell(error.message);
    else ended(error);
  }
  await poll();
}

const acts = {
  report: (name) => act("report", name, "report_busy"),
  explore: (name) => act("explore", name, "report_busy"),
  resume: (name) => act("resume", name, "resumed"),
  stop: (name) => {
    $("ask").dataset.name = name;
    $("ask").showModal();
  },
};

function wire() {
  wireStart(ended);
  $("ask-cancel").addEventListener("click", () => $("ask").close());
  $("ask-do").addEventListener("click", () => {
    $("ask").close();
    act("stop", $("ask").dataset.name, "stopping");
  });
  $("sign-out").addEventListener("click", () => call("/api/sign-out", {}).then(() => leave(""), ended));
  $("skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("main").focus();
  });
  $("set-language").addEventListener("change", async () => {
    await speak($("set-language").value);
    kept.set(tag);
    if (inside) poll();
    else leave("");
  });
}

begin();
