// Elements, words, numbers and times. What runs, plans and models say goes into text nodes only, never into markup.

export const $ = (id) => document.getElementById(id);
const words = {};
export let tag = "en";

export async function speak(wanted) {
  if (!words.app) {
    Object.assign(words, JSON.parse($("words").textContent)); // those of the shell, where no others can be had
    tag = document.documentElement.lang;
  }
  if (wanted === tag) return;
  const answer = await fetch(`/words/${wanted}.json`).catch(() => null);
  if (!answer?.ok) return;
  Object.assign(words, await answer.json());
  tag = document.documentElement.lang = wanted;
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = words[node.dataset.word];
  document.title = `${words.app} · Assay`;
  drawn.clear();
}

export const say = (key, values = {}) => (words[key] ?? "").replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") element.addEventListener("click", value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return element;
}

// Characters that are not seen and could make one text look like another are shown by their numbers.
export const shown = (text) => String(text).replace(/(?!\n)[\p{Cc}\p{Cf}\u2028\u2029]/gu, (c) => `⟨${c.codePointAt(0).toString(16)}⟩`);
export const their = (text, name = "bdi", attributes = {}) => make(name, { dir: "auto", ...attributes }, shown(text));
export const english = (text, name = "span", attributes = {}) => make(name, { lang: "en", dir: "ltr", ...attributes }, shown(text));

// What is in a place is replaced only if it is other than before, and the focus stays where it was.
const drawn = new Map();
export function draw(place, key, build) {
  const text = JSON.stringify([tag, key]);
  if (drawn.get(place.id) === text) return;
  drawn.set(place.id, text);
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.key : "";
  place.replaceChildren(...build().filter(Boolean));
  if (focused) [...place.querySelectorAll("[data-key]")].find((e) => e.dataset.key === focused)?.focus();
}

export const count = (n) => new Intl.NumberFormat(tag, { maximumFractionDigits: n < 10 ? 1 : 0 }).format(n);

export function span(seconds) {
  const unit = (n, name) => new Intl.NumberFormat(tag, { style: "unit", unit: name, unitDisplay: "long" }).format(n);
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return unit(s, "second");
  if (s < 5400) return unit(Math.round(s / 60), "minute");
  const hours = Math.floor(s / 3600);
  return hours < 48 ? `${unit(hours, "hour")} ${unit(Math.round((s % 3600) / 60), "minute")}` : unit(Math.round(hours / 24), "day");
}

const STEPS = [["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]];
export function when(ms) {
  if (!ms) return document.createTextNode("");
  const ago = (ms - Date.now()) / 1000;
  const [unit, size] = STEPS.find(([, s]) => Math.abs(ago) >= s) ?? STEPS[3];
  const text = new Intl.RelativeTimeFormat(tag, { numeric: "auto" }).format(Math.trunc(ago / size), unit);
  return make("time", { datetime: new Date(ms).toISOString(), title: new Date(ms).toLocaleString(tag) }, text);
}

const SIGNS = { approve: "✓", delay: "…", halt: "✕", open: "·", starting: "◔", running: "▶", finished: "■", stopped: "❚❚", broken: "!", failed: "!" };
export const badge = (kind, word) => make("span", { class: `badge ${kind}` }, make("span", { "aria-hidden": "true" }, SIGNS[kind] ?? ""), " ", word);

// The command line that does the same, with a button that copies it.
export function command(text, label = say("in_terminal")) {
  const copy = make("button", { type: "button", class: "small", "data-key": `copy-${text}`, onclick: () => navigator.clipboard.writeText(text).then(() => tell(say("copied"))) }, say("copy"));
  return make("div", { class: "command" }, make("span", { class: "soft small" }, label), make("code", { dir: "ltr" }, shown(text)), copy);
}

let fading;
export function tell(text) {
  $("said").textContent = "";
  $("said").textContent = text;
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => $("toast").classList.remove("shown"), 4000);
}
