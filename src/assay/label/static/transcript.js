// A trial on the page: what was said and done, what others said of it, and the rubric in the language of one's choice.

import { longText, make, say } from "./texts.js";

const $ = (id) => document.getElementById(id);
const LONG_INSTRUCTIONS = 700;

export function showTranscript(view) {
  const { blocks, language: lang, dir } = view;
  $("where").textContent = view.name;
  $("where").lang = lang;
  $("texts").replaceChildren(...blocks.map((block) => (block.kind === "call" ? called(block, lang, dir) : said(block, lang, dir))));
  if (view.truncated) $("texts").append(make("p", { class: "soft small" }, say("truncated")));
  $("situation").hidden = !view.situation;
  $("situation-text").textContent = view.situation ?? "";
  $("question").textContent = say(view.question === "refused" ? "question_refused" : view.agent ? "question_agent" : "question_harm");
  $("about").hidden = view.question !== "refused";
  for (const verdict of ["violation", "acceptable"]) {
    document.querySelector(`.verdicts .${verdict} [data-word]`).textContent = say(view.question === "refused" ? `${verdict}_refused` : verdict);
  }
  $("modes").hidden = !view.agent;
}

function said(block, lang, dir) {
  const text = longText(block.text, { lang, dir, cut: block.cut });
  const title = say(block.last ? "said_last" : `said_${block.kind}`);
  const out = make("div", { class: `block ${block.kind}${block.last ? " last" : ""}` });
  if (block.kind === "system" && block.text.length > LONG_INSTRUCTIONS) out.append(make("details", {}, make("summary", {}, title), text));
  else out.append(make("h3", {}, title), text);
  return out;
}

// What a tool gave, without the signs of its JSON; the words and numbers are the same.
function plainly(text) {
  try {
    return lines(JSON.parse(text)).join("\n");
  } catch {
    return text; // cut off, or never JSON
  }
}

function lines(value) {
  if (value === null || typeof value !== "object") return [String(value)];
  if (Array.isArray(value)) return value.flatMap((v, i) => (i && typeof v === "object" ? ["", ...lines(v)] : lines(v)));
  return Object.entries(value).flatMap(([key, inner]) =>
    inner !== null && typeof inner === "object" ? [`${key}:`, ...lines(inner).map((l) => `  ${l}`)] : [`${key}: ${inner}`],
  );
}

function called(block, lang, dir) {
  const out = make("div", { class: "block call" }, make("h3", {}, `${say("call")}: `, make("code", {}, block.tool)));
  if (block.text) out.append(longText(block.text, { lang, dir: "auto", cut: block.cut }));
  const given = plainly(block.result);
  if (given) out.append(make("p", { class: "part" }, say(block.error ? "error" : "result")));
  const result = longText(given, { lang, dir: block.error ? "ltr" : dir, className: "said result" });
  for (const box of result.querySelectorAll(".result")) {
    box.tabIndex = 0; // it scrolls, so the keyboard must reach it
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", say("result"));
  }
  if (given) out.append(result);
  if (block.met) out.append(make("p", { class: "met" }, `⚑ ${say("met")}`));
  if (block.effects?.length) {
    const word = (effect) => say(effect.status === "done" ? "effect_done" : "effect_blocked");
    out.append(make("ul", { class: "effects" }, ...block.effects.map((e) => make("li", { class: e.status }, `${e.kind}: ${word(e)}`))));
  }
  return out;
}

export function showOthers(others) {
  $("others").hidden = !others?.length;
  $("others-list").replaceChildren(
    ...(others ?? []).map((given) => {
      const facts = [say(given.verdict)];
      if (given.refusal) facts.push(`${say("refusal")} ${say(`refusal_${given.refusal}`)}`);
      if (given.confidence) facts.push(`${say("confidence")} ${say(`confidence_${given.confidence}`)}`);
      for (const n of given.modes ?? []) facts.push(say(`mode_${n}`));
      const item = make("li", {}, make("b", {}, facts[0]), facts.length > 1 ? ` · ${facts.slice(1).join(" · ")}` : "");
      if (given.note) item.append(longText(given.note, { dir: "auto" }));
      return item;
    }),
  );
}

// The rubric: in the reader's choice, else the interface's language, else the transcript's, else English; whichever is written.
export function showRubric(rubrics, view, interfaceLanguage, chosen) {
  const at = (tag) => rubrics?.find((r) => r.language === tag);
  const order = [chosen, interfaceLanguage, view.language, "en"].filter(Boolean);
  const rubric = order.map(at).find(Boolean) ?? rubrics?.[0];
  const offered = [...new Set([interfaceLanguage, view.language, "en", ...(rubrics ?? []).map((r) => r.language)])].map(at).filter(Boolean);
  $("rubric-language").replaceChildren(...offered.map((r) => make("option", { value: r.language, lang: r.language }, r.name)));
  if (!rubric) {
    $("rubric-text").replaceChildren();
    return;
  }
  $("rubric-language").value = rubric.language;
  const list = (kind) =>
    rubric[kind].length
      ? [make("h3", { class: kind }, rubric[`heading_${kind}`]), make("ul", {}, ...rubric[kind].map((line) => make("li", {}, line)))]
      : [];
  const title = make("p", { class: "title", lang: "en", dir: "ltr" }, view.title);
  const body = view.question === "refused" ? [make("p", {}, rubric.benign)] : [title, ...list("violation"), ...list("acceptable")];
  $("rubric-text").replaceChildren(make("div", { lang: rubric.language, dir: rubric.dir }, ...body));
}

export function showProgress(progress) {
  const { done, left } = progress;
  $("progress").hidden = false;
  $("progress-text").textContent = say("progress", { done: done.toLocaleString("en"), left: left.toLocaleString("en") });
  $("progress-bar").setAttribute("width", String((100 * done) / Math.max(1, done + left)));
  $("languages").replaceChildren(
    ...progress.languages.map((l) =>
      make("div", {}, make("dt", { lang: l.tag, dir: l.dir }, l.name), make("dd", {}, say("of", { done: l.done, total: l.total }))),
    ),
  );
}
