// Start a plan: choose, look at the forecast, start what was looked at.

import { Refusal, call } from "./api.js";
import { $, command, count, draw, english, make, say, shown, tell, their } from "./dom.js";
import { address } from "./list.js";

const FORECAST_MS = 320_000;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
let plans = [];
let asked = 0;
let showCommand = () => undefined;

export async function offer() {
  ({ plans } = await call("/api/plans"));
  draw($("plan"), plans, () =>
    plans.map((p) => make("option", { value: p.name, disabled: Boolean(p.wrong), selected: p.name === ($("plan").value || "quick") }, `${shown(p.name)} (${p.wrong ? say("not_valid") : say(p.builtin ? "built_in" : "plan_file")})`)));
  about();
}

function about() {
  const plan = plans.find((p) => p.name === $("plan").value);
  const wrong = plans.filter((p) => p.wrong);
  draw($("plan-about"), [plan, wrong], () => [
    plan?.about && english(plan.about, "p"),
    ...wrong.map((p) => make("details", {}, make("summary", {}, their(p.name), `: ${say("not_valid")}`), make("pre", { class: "log", lang: "en", tabindex: "0" }, shown(p.wrong)))),
  ]);
  $("target-own").replaceChildren(...(plan ? [say("target_own", { target: "" }), their(plan.target, "code")] : []));
}

export function wireStart(ended) {
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    forecast().catch(ended);
  });
  for (const id of ["plan", "target"]) $(id).addEventListener("input", () => (about(), changed()));
  $("name").addEventListener("input", () => showCommand());
  start.ended = ended;
}

function changed() {
  asked += 1;
  $("show-forecast").disabled = false;
  if ($("forecast").childElementCount) {
    draw($("forecast"), "", () => []);
    told([say("changed_since")]);
  } else told([]);
}

function told(parts, kind = "") {
  $("start-said").className = parts.length ? `notice ${kind}` : "";
  $("start-said").replaceChildren(...parts);
}

async function forecast() {
  const choice = { plan: $("plan").value, target: $("target").value.trim() };
  const mine = (asked += 1);
  $("show-forecast").disabled = true;
  draw($("forecast"), "", () => []);
  told([say("forecasting")]);
  try {
    const found = await call("/api/forecast", choice, FORECAST_MS);
    if (mine !== asked) return;
    told([]);
    draw($("forecast"), [found, mine], () => shownForecast(found, choice));
    showCommand = () => $("forecast-command")?.replaceChildren(command(commandFor(found)));
    showCommand();
    $("forecast-title").focus();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (mine === asked) refused(error);
  } finally {
    if (mine === asked) $("show-forecast").disabled = false;
  }
}

function refused(error) {
  told([make("p", {}, "! ", error.message), ...(error.text ? [english(error.text, "pre", { class: "log", tabindex: "0" })] : [])], "halt");
}

// The name that is typed, or the one that was found for it.
const named = (found) => $("name").value.trim() || found.name;

function commandFor({ command: text, name }) {
  const typed = $("name").value.trim();
  const at = text.lastIndexOf(name);
  return NAME.test(typed) ? text.slice(0, at) + typed + text.slice(at + name.length) : text; // another name is refused, and needs quotes
}

function shownForecast(found, choice) {
  const facts = [
    [say("cells"), `${count(found.cells)}: ${say("cells_are", { hazards: count(found.hazards), languages: count(found.languages), attacks: count(found.attacks) })}`],
    [say("claims_all"), count(found.claims)],
    [say("floor"), count(found.floor_trials)],
    [say("fewest"), count(found.fewest_trials_to_approve)],
    [say("most"), say("most_are", { trials: count(found.most_trials), requests: count(found.most_requests) })],
  ];
  const rows = found.expected.map((e) => make("tr", {}, make("th", { scope: "row" }, say(`model_${e.model}`) || shown(e.model)), make("td", { class: "number", "data-label": say("expected") }, count(e.trials)), make("td", { "data-label": say("col_verdict") }, e.verdicts.split("/").map((v) => say(`verdict_${v}`) || v).join(" / "))));
  const begin = make("button", { type: "button", class: "main", "data-key": "begin", onclick: () => start(found, choice).catch(start.ended) }, say("start"));
  return [
    make("h2", { id: "forecast-title", tabindex: "-1" }, say("forecast_title"), ": ", their(found.plan), " · ", their(found.target)),
    make("dl", { class: "facts" }, ...facts.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value)))),
    make("table", { class: "plain-table stack" }, make("thead", {}, make("tr", {}, ...["model", "expected", "col_verdict"].map((k) => make("th", { scope: "col" }, say(k))))), make("tbody", {}, ...rows)),
    found.fewest_trials_to_approve > found.most_trials && make("p", { class: "notice delay" }, "! ", say("cannot_approve")),
    make("p", { class: "buttons" }, begin),
    make("div", { id: "forecast-command" }),
  ];
}

async function start(found, choice) {
  try {
    const { name } = await call("/api/start", { ...choice, digest: found.digest, name: named(found) });
    tell(say("started"));
    $("name").value = "";
    draw($("forecast"), "", () => []);
    location.hash = address(name);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    refused(error);
    $("start-said").scrollIntoView({ block: "center" });
  }
}
