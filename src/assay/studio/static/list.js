// The list of runs.

import { $, badge, command, count, draw, english, make, say, shown, their, when } from "./dom.js";

const SHOWN = 300;
let limit = SHOWN;

export const address = (name) => `#run/${encodeURIComponent(name)}`;

// Whether a document is missing, or tells an earlier decision.
export const lacks = (run, which) => !run.documents.includes(which) || run.earlier.includes(which);

export function documents(listed, acts) {
  const { run, reporting } = listed;
  const links = run.documents.flatMap((which) => [
    make("a", { class: "open", href: `/open/${encodeURIComponent(run.name)}/${which}`, target: "_blank", rel: "noopener", "data-key": `${which}-${run.name}` },
      say(`document_${which}`), make("span", { class: "sr" }, ` (${shown(run.name)}, ${say("new_tab")})`)),
    run.earlier.includes(which) && make("span", { class: "small wrong" }, "! ", say("of_earlier")),
  ].filter(Boolean));
  if (reporting === "busy") return [...links, make("span", { class: "soft" }, say("report_busy"))];
  const writable = run.has_run_file && lacks(run, "report") && ["finished", "stopped"].includes(run.state);
  const explorable = run.signed === "yes" && run.state === "finished" && lacks(run, "explorer");
  const offer = (which, act) =>
    links.push(make("button", { type: "button", class: "small", "data-key": `${which}-${run.name}`, onclick: () => act(run.name) }, say(which)));
  if (writable) offer("make_report", acts.report);
  if (explorable) offer("make_explorer", acts.explore);
  if ((writable || explorable) && reporting === "failed") links.push(make("span", { class: "wrong" }, say("report_failed")));
  return links;
}

export function verdict(run) {
  const parts = [run.verdict ? badge(run.verdict, say(`verdict_${run.verdict}`)) : make("span", { class: "soft" }, say("verdict_none"))];
  if (run.has_run_file || run.signed !== "no") {
    const doubtful = run.signed === "bad" || run.signed === "older";
    parts.push(make("span", { class: `small ${doubtful ? "wrong" : "soft"}` }, doubtful ? "! " : "", say(`signed_${run.signed}`)));
  }
  return parts;
}

export function trials(run) {
  if (!run.budget) return [];
  const text = say("at_most", { n: count(run.trials), of: count(run.budget) });
  const bar = run.state === "running" ? make("progress", { max: run.budget, value: Math.min(run.trials, run.budget), "aria-label": say("col_trials") }) : null;
  return [make("span", {}, text), bar];
}

export function showList(answer, acts) {
  $("runs-title").replaceChildren(...titled(answer.folder));
  const minute = Math.floor(Date.now() / 20_000); // so that "a minute ago" does not stay true
  draw($("run-list"), [answer.runs, limit, minute], () => (answer.runs.length ? [table(answer.runs, acts), more(answer, acts)] : empty(answer.example)));
}

function titled(folder) {
  const [before, after] = say("folder", { folder: "\0" }).split("\0");
  return [before, make("bdi", { class: "folder" }, shown(folder)), after];
}

function empty(example) {
  return [make("div", { class: "card" }, make("h2", {}, say("no_runs")), make("p", {}, say("no_runs_text")),
    make("p", {}, make("a", { class: "button main", href: "#start" }, say("nav_start"))), command(example))];
}

function table(runs, acts) {
  const columns = ["name", "state", "verdict", "plan", "target", "trials", "when", "documents"];
  const head = make("thead", {}, make("tr", {}, ...columns.map((c) => make("th", { scope: "col" }, say(`col_${c}`)))));
  return make("table", { class: "list stack" }, head, make("tbody", {}, ...runs.slice(0, limit).map((listed) => row(listed, acts))));
}

function row(listed, acts) {
  const { run } = listed;
  const title = run.name ? make("a", { href: address(run.name), "data-key": `run-${run.name}` }, their(run.shown)) : their(run.shown);
  const state = [badge(run.state, say(`state_${run.state}`)), run.wrong ? english(run.wrong, "span", { class: "small wrong clamp" }) : run.name ? null : make("span", { class: "small wrong clamp" }, say("bad_folder"))];
  const cells = { state, verdict: run.state === "broken" ? [] : verdict(run), plan: [their(run.plan)], target: [their(run.target)], trials: trials(run), when: [when(run.at)], documents: documents(listed, acts) };
  return make("tr", {}, make("th", { scope: "row" }, title),
    ...Object.entries(cells).map(([name, parts]) => make("td", { "data-label": say(`col_${name}`), class: parts.some((p) => p?.textContent) ? name : `${name} nothing` }, make("div", { class: "parts" }, ...parts))));
}

function more(answer, acts) {
  if (answer.runs.length <= limit) return null;
  return make("p", {}, make("button", { type: "button", "data-key": "more", onclick: () => ((limit += SHOWN), showList(answer, acts)) }, say("of", { n: count(limit), of: count(answer.runs.length) }), " ↓"));
}
