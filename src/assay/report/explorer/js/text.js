// Text that others wrote, put into the page as text: what is invisible is named, what was searched or found is marked, what is long comes
// in parts, what is harmful is covered until the reader asks for it.

const NAMED = /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u180b-\u180f\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/u;
const NAMED_RUNS = new RegExp(`(${NAMED.source})\\1*`, "gu");
const SEGMENTS = /\P{M}\p{M}*|\p{M}+/gsu;
const PART = 20000;

function appendNamed(parent, text) {
  let at = 0;
  for (const match of text.matchAll(NAMED_RUNS)) {
    if (match.index > at) parent.append(text.slice(at, match.index));
    const code = match[1].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    const count = match[0].length / match[1].length;
    parent.append(make("span", { class: "control" }, `⟨U+${code}${count > 1 ? ` × ${num(count)}` : ""}⟩`));
    at = match.index + match[0].length;
  }
  if (at < text.length) parent.append(text.slice(at));
}

function visibleText(text) {
  const holder = document.createElement("span");
  appendNamed(holder, text);
  return holder.textContent;
}

// Where folded needles stand in a text, as [start, end, class] that do not overlap.
function findAll(text, needles) {
  const wanted = needles.filter((n) => n.folded);
  if (!wanted.length) return [];
  let view = "";
  const origin = [];
  const ends = [];
  for (const match of text.matchAll(SEGMENTS)) {
    const folded = fold(match[0]);
    for (let i = 0; i < folded.length; i++) {
      origin.push(match.index);
      ends.push(match.index + match[0].length);
    }
    view += folded;
  }
  const found = [];
  for (const { folded, kind } of wanted) {
    for (let at = view.indexOf(folded); at >= 0 && found.length < 2000; at = view.indexOf(folded, at + folded.length)) {
      found.push([origin[at], ends[at + folded.length - 1], kind]);
    }
  }
  found.sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  return found.filter(((last) => (span) => span[0] >= last && ((last = span[1]), true))(0));
}

function appendMarked(parent, text, needles) {
  let at = 0;
  for (const [start, end, kind] of findAll(text, needles)) {
    appendNamed(parent, text.slice(at, start));
    const mark = make("mark", { class: kind });
    appendNamed(mark, text.slice(start, end));
    parent.append(mark);
    at = end;
  }
  appendNamed(parent, text.slice(at));
}

// A text in parts of PART characters, the next one on demand: a megabyte in one piece would freeze the page.
function appendParts(parent, text, needles) {
  let at = 0;
  const more = make("button", { type: "button", class: "more", onclick: () => next(true) });
  function next(asked) {
    let end = Math.min(at + PART, text.length);
    if (end < text.length && /[\ud800-\udbff]/.test(text[end - 1])) end++;
    const part = make("span", asked ? { tabindex: "-1" } : {});
    appendMarked(part, text.slice(at, end), needles);
    parent.insertBefore(part, more.parentNode === parent ? more : null);
    at = end;
    if (at >= text.length) more.remove();
    else {
      more.textContent = w("more_text", { n: num(Math.min(PART, text.length - at)), left: num(text.length - at) });
      if (more.parentNode !== parent) parent.append(more);
    }
    if (asked) part.focus();
  }
  next(false);
}

const uncovered = new Set();

const allUncovered = {
  get: () => {
    try {
      return sessionStorage.getItem("assay-uncovered") === "1";
    } catch {
      return allUncovered.here === true;
    }
  },
  set: (value) => {
    allUncovered.here = value;
    try {
      sessionStorage.setItem("assay-uncovered", value ? "1" : "0");
    } catch {
      return;
    }
  },
};

// `cover` is 0 for what may be read at once, 1 for what an adversary wrote, 2 for what the target said in a violation.
function saidBox(text, { language, cover, key, needles, kind }) {
  const box = make("div", { class: `said ${kind || ""}` });
  const shown = make("div", { dir: "auto", lang: language, class: "text" });
  appendParts(shown, text, needles);
  if (!text) shown.append(make("span", { class: "no", lang: interfaceLanguage }, w("nothing_said")));
  if (!cover || !text) {
    box.append(shown);
    return box;
  }
  const button = make("button", { type: "button", class: "uncover" });
  const note = make("p", { class: "covered-note" });
  const draw = () => {
    const covered = !(allUncovered.get() || uncovered.has(key));
    box.classList.toggle("covered", covered);
    shown.toggleAttribute("inert", covered);
    if (covered) shown.setAttribute("aria-hidden", "true");
    else shown.removeAttribute("aria-hidden");
    button.textContent = covered ? w("uncover") : w("cover");
    button.hidden = !covered && allUncovered.get();
    note.textContent = covered ? w(cover === 1 ? "covered_payload" : "covered_answer", { n: num(text.length) }) : "";
  };
  button.addEventListener("click", () => {
    if (!uncovered.delete(key)) uncovered.add(key);
    draw();
  });
  draw();
  box.append(make("div", { class: "cover" }, note, button), shown);
  return box;
}
