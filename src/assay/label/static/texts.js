// Words of the interface, and texts that others wrote: always set as text, never as markup, with what is invisible in them named.

const words = {};
const $ = (id) => document.getElementById(id);

export async function speak(tag) {
  if (!words.app) Object.assign(words, JSON.parse($("words").textContent)); // those of the shell, where no others can be had
  if (tag === document.documentElement.lang) return;
  const answer = await fetch(`/words/${tag}.json`).catch(() => null);
  if (!answer?.ok) return;
  Object.assign(words, await answer.json());
  document.documentElement.lang = tag;
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = words[node.dataset.word];
  $("note").placeholder = words.note_hint;
  document.title = `${words.app} · Assay`;
}

export function say(key, values = {}) {
  return (words[key] ?? "").replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
}

let fading;
export function tell(text) {
  $("said").textContent = "";
  $("said").textContent = text;
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => $("toast").classList.remove("shown"), 2500);
}

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined && value !== false) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Characters that print nothing or steer the text around them. Joiners stay where a script or an emoji is written with them.
const HIDDEN = new RegExp(
  "(?![\\n\\t])([\\p{Cc}\\p{Cf}\\p{Cs}\\p{Co}\\p{Cn}\\p{Zl}\\p{Zp}\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u2800\\u3164\\uffa0" +
    "\\u180b-\\u180f\\ufe00-\\ufe0f\\u{e0100}-\\u{e01ef}])\\1*",
  "gu",
);
const JOINED = /^[\p{Script=Arabic}\p{Script=Devanagari}\p{Script=Tamil}\p{Script=Telugu}\p{Script=Bengali}\p{Script=Sinhala}\p{Script=Malayalam}\p{Script=Kannada}]$/u;
const SPACED = /^[\p{Script=Khmer}\p{Script=Thai}\p{Script=Lao}\p{Script=Myanmar}]$/u;
const PICTURE = /^[\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f#*0-9]$/u;

function isOrdinary(run, before, after) {
  if (run === "\u200c" || run === "\u200d") return (JOINED.test(before) && (JOINED.test(after) || !/\p{L}/u.test(after))) || (run === "\u200d" && PICTURE.test(before) && PICTURE.test(after));
  if (run === "\u200b") return SPACED.test(before) && SPACED.test(after);
  return run === "\ufe0f" && PICTURE.test(before);
}

export function fill(node, text) {
  let at = 0;
  node.textContent = "";
  for (const found of text.matchAll(HIDDEN)) {
    const [run, char] = found;
    const end = found.index + run.length;
    const before = [...text.slice(Math.max(0, found.index - 2), found.index)].at(-1) ?? "";
    const after = [...text.slice(end, end + 2)][0] ?? "";
    if (isOrdinary(run, before, after)) continue;
    if (found.index > at) node.append(text.slice(at, found.index));
    const times = run.length / char.length;
    const code = char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    node.append(make("span", { class: "hidden-character" }, `⟨U+${code}${times > 1 ? ` × ${times.toLocaleString("en")}` : ""}⟩`));
    at = end;
  }
  node.append(text.slice(at));
}

const SHOWN = 6000;

// A text of any length: its beginning, and the rest when asked for.
export function longText(text, { lang, dir, cut = 0, className = "said" }) {
  const body = make("div", { class: className, lang, dir });
  const out = make("div", {}, body);
  if (!text) {
    body.append(make("em", { class: "soft" }, say("empty")));
    return out;
  }
  const whole = text.length <= SHOWN;
  fill(body, whole ? text : wellCut(text));
  const note = cut ? make("p", { class: "soft small" }, say("cut", { n: cut.toLocaleString("en") })) : "";
  if (whole) {
    out.append(note);
    return out;
  }
  const more = make("button", { type: "button", class: "more" }, say("show_all", { n: (text.length - SHOWN).toLocaleString("en") }));
  more.addEventListener("click", () => {
    fill(body, text);
    more.replaceWith(note);
    body.tabIndex = -1;
    body.focus({ preventScroll: true });
  });
  out.append(more);
  return out;
}

function wellCut(text) {
  return text.slice(0, SHOWN).replace(/[\ud800-\udbff]$/, ""); // not between the halves of a character
}
