// One run: its matrix as it fills, requirements, pace, and what can be done with it. Only what changed since the last look comes over.

import { $, badge, command, count, draw, english, make, say, shown, span, their, when } from "./dom.js";
import { documents, lacks, verdict } from "./list.js";

const HEAT = [0, 0.05, 0.1, 0.2, 0.4, 0.7, 1];
const MARKS = ["", "·", "✓", "✕"];
let name = "";
let shape = null;
let cells = [];
let version = "";
let chosen = 0;
let laid = "";

export function forget(other) {
  if (other === name) return;
  name = other;
  shape = null;
  cells = [];
  version = laid = "";
  chosen = 0;
}

export const seenVersion = () => version;

export function showRun(looked, acts) {
  const { listed, seen } = looked;
  const { run } = listed;
  $("run-title").replaceChildren(their(run.shown));
  draw($("run-facts"), [run.state, run.verdict, run.signed, run.plan, run.target], () => [
    badge(run.state, say(`state_${run.state}`)), ...(run.state === "broken" ? [] : verdict(run)),
    run.plan && make("span", {}, `${say("col_plan")}: `, their(run.plan)), run.target && make("span", {}, `${say("col_target")}: `, their(run.target)),
  ]);
  if (seen) take(seen);
  draw($("run-notices"), [looked.wrong, listed.failed, run.state, seen?.quiet_s, listed.reporting, looked.report_log], () => notices(looked));
  draw($("run-acts"), [run, listed.stoppable, listed.reporting, looked.commands], () => actsOf(looked, acts));
  draw($("run-progress"), seen && [{ ...seen, cells: 0, shape: 0, version: 0, requirements: 0, happenings: 0 }, run.signed, run.verdict, run.state], () => (seen ? progress(run, seen) : []));
  draw($("run-requirements"), seen?.requirements, () => (seen?.requirements.length ? requirements(seen) : []));
  if (shape) matrix();
  else draw($("run-matrix"), "", () => []);
  draw($("run-happenings"), seen?.happenings, () => (seen?.happenings.length ? happenings(seen) : []));
  draw($("run-next"), [run.state, run.signed, run.has_run_file, run.documents, run.earlier, looked.commands], () => next(looked));
  draw($("run-log"), looked.log, () => (looked.log ? [make("details", { open: listed.failed || run.state === "failed" || run.state === "starting" }, make("summary", {}, say("log")), pre(looked.log))] : []));
}

const pre = (text) => make("pre", { dir: "ltr", lang: "en", tabindex: "0", class: "log" }, shown(text));

function take(seen) {
  if (seen.whole) {
    shape = seen.shape;
    cells = [];
    laid = "";
  }
  for (const [place, ...values] of seen.cells) cells[place] = values;
  version = seen.version;
}

function notices({ listed, seen, wrong, report_log: log }) {
  const { run } = listed;
  const out = [];
  if (run.state === "broken" || wrong) out.push(make("div", { class: "notice halt" }, make("p", {}, make("b", {}, "! ", say("broken_text"))), english(wrong || run.wrong, "p")));
  else if (listed.failed || run.state === "failed") out.push(make("p", { class: "notice halt" }, "! ", say("failed_text")));
  if (seen?.quiet_s) out.push(make("p", { class: "notice delay" }, "! ", say("quiet", { time: span(seen.quiet_s) })));
  if (listed.reporting === "failed") out.push(make("div", { class: "notice halt" }, make("p", {}, "! ", say("report_failed")), log && pre(log)));
  return out;
}

function actsOf(looked, acts) {
  const { listed, commands } = looked;
  const { run } = listed;
  const out = documents(listed, acts);
  const live = run.state === "running" || run.state === "starting";
  if (listed.stoppable) out.push(make("button", { type: "button", "data-key": "stop", onclick: () => acts.stop(run.name) }, say("stop")));
  if (run.state === "stopped" && run.has_run_file) out.unshift(make("button", { type: "button", class: "main", "data-key": "resume", onclick: () => acts.resume(run.name) }, say("resume")));
  const row = make("div", { class: "row" }, ...out);
  if (live && !listed.stoppable) return [row, make("p", { class: "soft" }, say("not_ours")), commands.stop && command(commands.stop)];
  return [out.length && row, live && commands.stop && command(commands.stop)];
}

function progress(run, seen) {
  const most = Math.max(seen.budget, seen.trials, 1);
  const counting = seen.counted < seen.trials && seen.trials - seen.counted > 200;
  const facts = [
    [say("col_trials"), say("at_most", { n: count(seen.trials), of: count(seen.budget) })],
    [say("requests"), count(seen.requests)],
    [say("tokens"), seen.most_tokens ? say("at_most", { n: count(seen.tokens), of: count(seen.most_tokens) }) : count(seen.tokens)],
  ];
  if (run.state === "running" && !counting) {
    if (seen.rate) facts.push([say("pace"), say("per_second", { n: count(seen.rate) })]);
    if (seen.rate && seen.left) facts.push([say("left"), say("left_at_most", { time: span(seen.left / seen.rate) })]);
  }
  const settled = seen.verdict && seen.verdict !== "delay";
  const values = { n: count(seen.decided_at), verdict: settled ? say(`verdict_${seen.verdict}`) : "" };
  const word = counting ? say("counting", { n: count(seen.counted), of: count(seen.trials) })
    : settled ? say(run.signed === "yes" && run.verdict === seen.verdict ? "decided_signed" : "decided", values) + (run.state === "running" && seen.left ? ` ${say("completing")}` : "") : run.verdict ? "" : say("undecided");
  return [
    make("h2", {}, say("progress")),
    make("progress", { max: most, value: seen.trials, "aria-label": say("progress") }),
    word && make("p", { class: `standing ${settled && !counting ? seen.verdict : ""}` }, settled && !counting ? badge(seen.verdict, say(`verdict_${seen.verdict}`)) : "", " ", word),
    make("dl", { class: "facts" }, ...facts.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value)))),
  ];
}

function requirements(seen) {
  const rows = seen.requirements.map((r) =>
    make("tr", {},
      make("th", { scope: "row" }, their(r.id), make("div", { class: "small soft" }, say(`kind_${r.kind}`))),
      make("td", { "data-label": say("col_state") }, badge(r.status, say(`status_${r.status}`))),
      make("td", { "data-label": say("claims"), class: r.claims ? "number" : "nothing" }, r.claims ? say("of", { n: count(r.settled), of: count(r.claims) }) : ""),
      make("td", { "data-label": say("reason") }, english(r.reason))));
  const head = ["requirement", "col_state", "claims", "reason"].map((key) => make("th", { scope: "col" }, say(key)));
  return [make("h2", {}, say("requirements")), make("table", { class: "plain-table stack" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows))];
}

const scroller = (label, table) => make("div", { class: "scroller", role: "region", tabindex: "0", "aria-label": label }, table);

function title(table) {
  return say(`arm_${table.arm}`, { attack: table.attack.replaceAll("-", " ") });
}

function sums(table) {
  const sum = [0, 0];
  for (const place of table.cells.flat()) {
    sum[0] += cells[place]?.[0] ?? 0;
    sum[1] += cells[place]?.[1] ?? 0;
  }
  return `${title(table)}: ${count(sum[1])}/${count(sum[0])}`;
}

function matrix() {
  const key = `${name} ${chosen} ${document.documentElement.lang}`;
  if (laid !== key || !$("table-choice")) lay(key);
  const table = shape.tables[chosen];
  [...$("table-choice").options].forEach((option, i) => {
    const text = sums(shape.tables[i]);
    if (option.textContent !== text) option.textContent = text;
  });
  for (const cell of $("run-matrix").querySelectorAll("td[data-place]")) paint(cell, table);
}

function lay(key) {
  draw($("run-matrix"), [key, Math.random()], () => {
    const table = shape.tables[chosen];
    const choice = make("select", { id: "table-choice", "data-key": "table-choice" }, ...shape.tables.map((t, i) => make("option", { value: i, selected: i === chosen }, sums(t))));
    choice.addEventListener("change", () => ((chosen = Number(choice.value)), matrix()));
    const head = make("tr", {}, make("th", { scope: "col" }, say("language_column")), ...shape.hazards.map((h) => make("th", { scope: "col", lang: h.lang }, shown(h.name))));
    const rows = shape.languages.map((language, i) =>
      table.cells[i].every((place) => place < 0) ? null
        : make("tr", {}, make("th", { scope: "row" }, make("span", { lang: language.lang, dir: "auto" }, shown(language.name)), " ", make("code", { class: "small soft", lang: "en" }, language.id)),
          ...table.cells[i].map((place) => (place < 0 ? make("td", {}, "") : make("td", { "data-place": place })))));
    return [
      make("h2", {}, say("matrix")),
      make("p", { class: "field" }, make("label", { for: "table-choice" }, say("table")), " ", choice),
      make("p", { class: "soft small" }, say(table.arm === "benign" ? "counts_refusals" : "counts_violations"), " ", say("marks")),
      scroller(say("matrix"), make("table", { class: "matrix" }, make("thead", {}, head), make("tbody", {}, ...rows))),
    ];
  });
  laid = key;
}

function paint(cell) {
  const [n, violations, unscorable, mark] = cells[cell.dataset.place] ?? [0, 0, 0, 0];
  const text = `${n} ${violations} ${unscorable} ${mark}`;
  if (cell.dataset.now === text) return;
  cell.dataset.now = text;
  const rate = n ? violations / n : 0;
  cell.className = n ? `h${HEAT.findIndex((top) => rate <= top)}` : "none";
  if (!n) return cell.replaceChildren(make("span", { class: "sr" }, say("no_trial")), make("span", { "aria-hidden": "true" }, "–"));
  cell.replaceChildren(
    `${count(violations)}/${count(n)}`,
    unscorable ? make("span", { class: "small" }, make("span", { "aria-hidden": "true" }, ` ?${count(unscorable)}`), make("span", { class: "sr" }, `, ${say("not_scored", { n: count(unscorable) })}`)) : "",
    mark ? make("span", { class: `mark m${mark}` }, make("span", { "aria-hidden": "true" }, ` ${MARKS[mark]}`), make("span", { class: "sr" }, `, ${say(`mark_${mark}`)}`)) : "");
}

function happenings(seen) {
  const rows = seen.happenings.map((h) => make("li", {}, when(h.at), " ", say(`happened_${h.what.replaceAll(" ", "-")}`) || english(h.what), h.reason ? english(` (${h.reason})`) : ""));
  return [make("details", {}, make("summary", {}, say("happenings")), make("ul", { class: "happenings" }, ...rows))];
}

function next({ listed, commands }) {
  const { run } = listed;
  if (!["finished", "stopped"].includes(run.state)) return [];
  const steps = [];
  if (run.state === "stopped" && run.has_run_file) steps.push(command(commands.resume, say("next_resume")), command(commands.decide, say("next_decide")));
  if (run.signed === "yes") steps.push(command(commands.verify, say("next_verify")));
  if (run.has_run_file && lacks(run, "report")) steps.push(command(commands.report, say("next_report")));
  return steps.length ? [make("h2", {}, say("next")), ...steps] : [];
}
