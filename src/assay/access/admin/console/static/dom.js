// Elements, words and times. Whatever comes from the gate goes into text nodes only, and into a direction of its own.

export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((c) => c !== null && c !== undefined));
  return element;
}

// Characters that are not seen and could make one text look like another are shown by their numbers.
export const shown = (text) => String(text).replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (c) => `⟨${c.codePointAt(0).toString(16)}⟩`);
export const said = (text, tag = "bdi") => make(tag, { dir: "auto" }, shown(text));
export const facts = (...pairs) =>
  make("dl", { class: "facts" }, ...pairs.filter(Boolean).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
export const badge = (word, kind) => make("span", { class: `badge ${kind}` }, word);
export const count = (n) => n.toLocaleString("en");

const UNITS = [["day", 86_400_000], ["hour", 3_600_000], ["minute", 60_000], ["second", 1000]];

export function span(ms) {
  const [unit, size] = UNITS.find(([, s]) => Math.abs(ms) >= s) ?? UNITS[3];
  const first = Math.trunc(Math.abs(ms) / size);
  const next = UNITS[UNITS.findIndex(([u]) => u === unit) + 1];
  const second = next && first < 10 ? Math.trunc((Math.abs(ms) % size) / next[1]) : 0;
  const word = (n, u) => `${n} ${u}${n === 1 ? "" : "s"}`;
  return second ? `${word(first, unit)} ${word(second, next[0])}` : word(first, unit);
}

// A time that goes on: `left` counts down to it, `since` counts up from it.
export function clock(at, way) {
  const element = make("time", { datetime: new Date(at).toISOString(), title: new Date(at).toLocaleString("en-GB"), "data-at": at, "data-way": way });
  turn(element, Date.now());
  return element;
}

function turn(element, now) {
  const ms = Number(element.dataset.at) - now;
  const text = element.dataset.way === "left" ? (ms > 0 ? `${span(ms)} left` : "over") : span(-ms);
  if (element.textContent !== text) element.textContent = text;
}

export function turnClocks(offset) {
  for (const element of document.querySelectorAll("time[data-at]")) turn(element, Date.now() + offset);
}

// Replace what is in a place only if it is other than before, and leave the focus where it was.
const before = new Map();
export function fill(place, key, build) {
  const text = JSON.stringify(key);
  if (before.get(place.id) === text) return;
  before.set(place.id, text);
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.key : "";
  place.replaceChildren(...build());
  if (focused) [...place.querySelectorAll("[data-key]")].find((e) => e.dataset.key === focused)?.focus();
}

let fading;
export function tell(text) {
  $("said").textContent = text;
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => $("toast").classList.remove("shown"), 5000);
}
