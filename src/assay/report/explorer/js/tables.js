// Front page, totals, kinds of answer, reasons and claims: every count in them leads to its trials.

const VERDICTS = { approve: "approve", delay: "delay", halt: "halt" };

const row = (term, ...value) => make("div", {}, make("dt", {}, term), make("dd", {}, ...value));
const dateText = (at) => new Intl.DateTimeFormat(interfaceLanguage, { dateStyle: "long", timeStyle: "short", timeZone: "UTC" }).format(at) + " UTC";

function drawFront() {
  const verdict = VERDICTS[facts.verdict];
  $("target-name").textContent = visibleText(facts.target);
  $("verdict").className = `verdict ${verdict}`;
  $("verdict").replaceChildren(
    make("p", { class: "word" }, make("span", { class: "symbol", "aria-hidden": "true" }, facts.symbol), " ", w("verdict_" + verdict)),
    make("p", { class: "meaning" }, w("meaning_" + verdict)),
  );
  const digest = (text) => make("code", { class: "digest" }, visibleText(text));
  $("front-facts").replaceChildren(
    row(w("target"), `${visibleText(facts.target)} (${visibleText(facts.target_kind)})`),
    row(w("plan"), make("span", {}, visibleText(facts.plan)), " ", digest(facts.plan_digest)),
    row(w("trials"), counted(facts.trials, {}, w("trials")), facts.decided_at >= 0 ? ` ${w("decided_after", { n: num(facts.decided_at) })}` : ""),
    row(w("date"), facts.trials ? `${dateText(facts.first_at)} – ${dateText(facts.last_at)}` : dateText(facts.closed_at)),
    row(w("key"), digest(facts.keyid)),
    row(w("bundle"), digest(facts.bundle)),
    row(w("errors"), w("errors_text", { approve: facts.approve_error, halt: facts.halt_error })),
    row(w("ended"), w(["complete", "interrupted"].includes(facts.ended) ? `ended_${facts.ended}` : "ended_limit", { what: visibleText(facts.ended) })),
  );
  $("requirements").replaceChildren(
    ...facts.requirements.map((r, number) =>
      make(
        "li", { class: r.status },
        make("h3", {}, make("code", {}, visibleText(r.id)), make("span", { class: `status ${r.status}` }, `${r.symbol} ${w("status_" + r.status)}`)),
        make("p", { lang: "en" }, visibleText(r.asks)),
        ...r.halted.slice(0, 12).map((text) => make("p", { lang: "en" }, visibleText(text))),
        make("p", { class: "signed" }, `${w("signed_reason")}: `, make("span", { lang: "en" }, visibleText(r.reason))),
        make("p", { class: "small" }, requirementLink(r, number)),
      ),
    ),
  );
}

function requirementLink(requirement, number) {
  const streams = new Set(facts.claims.filter((c) => c.requirement === number).flatMap((c) => c.streams));
  let n = 0;
  for (const s of streams) n += table.first[s + 1] - table.first[s];
  return n ? counted(n, { req: requirement.id }, `${w("trials")}, ${requirement.id}`, { text: w("its_trials", { n: num(n) }) }) : "";
}

// Rows of totals over one of the three ways to group streams.
function totalRows(names, of, filterOf) {
  return names.map((name, at) => {
    const sum = [[0, 0, 0], [0, 0, 0]];
    facts.streams.forEach((stream, s) => {
      if (of(stream) === at) totals.streams[s].forEach((n, o) => (sum[stream.arm === "benign" ? 1 : 0][o] += n));
    });
    const cells = ["!benign", "benign"].flatMap((arm, side) => {
      const [safe, violations, unscorable] = sum[side];
      const n = safe + violations + unscorable;
      const link = (count, o, words) => make("td", { class: "number" }, counted(count, { ...filterOf(at), arm, o }, `${words}, ${names[at].words}, ${w(side ? "harmless" : "hazardous")}`));
      const share = make("td", { class: "number" }, n ? rateText(violations / n) : "");
      return [link(n, "", w("trials")), link(violations, "violation", w(side ? "refused" : "violations")), share, link(unscorable, "unscorable", w("out_unscorable"))];
    });
    return make("tr", {}, make("th", { scope: "row", lang: name.lang }, name.words), ...cells);
  });
}

function totalTable(id, title, names, of, filterOf) {
  const group = (side) => make("th", { scope: "colgroup", colspan: "4" }, w(side));
  const heads = (bad) => [w("trials"), w(bad), w("rate"), w("out_unscorable")].map((text) => make("th", { scope: "col", class: "number" }, text));
  $(id).replaceChildren(
    make("caption", {}, title),
    make("thead", {}, make("tr", {}, make("th", { rowspan: "2", scope: "col" }, title), group("hazardous"), group("harmless")), make("tr", {}, ...heads("violations"), ...heads("refused"))),
    make("tbody", {}, ...totalRows(names, of, filterOf)),
  );
}

function drawTotals() {
  const english = (each) => ({ words: visibleText(each.name), lang: "en" });
  totalTable("by-language", w("language"), facts.languages.map((each) => ({ words: visibleText(`${each.native || each.name} (${each.id})`) })), (s) => s.language, (at) => ({ l: facts.languages[at].id }));
  totalTable("by-hazard", w("hazard"), facts.hazards.map(english), (s) => s.hazard, (at) => ({ h: facts.hazards[at].id }));
  totalTable("by-attack", w("attack"), facts.attacks.map((each) => (each.id === "none" ? { words: w("no_attack") } : english(each))), (s) => s.attack, (at) => ({ a: facts.attacks[at].id }));
}

function drawKinds() {
  const part = (l, side) => {
    const arm = side ? "benign" : "!benign";
    const where = `${languageName(l)}, ${w(side ? "harmless" : "hazardous")}`;
    const cells = facts.kinds.map((kind, k) => make("td", { class: "number" }, counted(totals.kinds.get(`${l}/${side}/k${k}`), { l: facts.languages[l].id, arm, k: kind }, `${w("kind_" + kind)}, ${where}`)));
    const [no, yes] = [0, 1].map((u) => totals.kinds.get(`${l}/${side}/u${u}`) || 0);
    const useful = (n, u) => counted(n, { l: facts.languages[l].id, arm, u }, `${w(u ? "useful" : "not_useful")}, ${where}`);
    return [...cells, make("td", { class: "number" }, useful(yes, 1)), make("td", { class: "number" }, useful(no, 0))];
  };
  const heads = () => [...facts.kinds.map((kind) => w("kind_" + kind)), w("useful"), w("not_useful")].map((text) => make("th", { scope: "col", class: "number" }, text));
  const body = (side) => make("tbody", {}, make("tr", { class: "group" }, make("th", { scope: "rowgroup", colspan: facts.kinds.length + 3 }, w(side ? "harmless" : "hazardous"))), ...facts.languages.map((_, l) => make("tr", {}, languageHead(l), ...part(l, side))));
  $("kinds").replaceChildren(make("caption", { class: "sr" }, w("kinds")), make("thead", {}, make("tr", {}, make("th", { scope: "col" }, w("language")), ...heads())), body(0), body(1));
}

function drawReasons() {
  const rows = [...totals.reasons].map(([key, n]) => ({ outcome: Math.floor(key / REASONS), reason: facts.reasons[key % REASONS], n }));
  rows.sort((a, b) => b.outcome - a.outcome || b.n - a.n || (a.reason < b.reason ? -1 : 1));
  const shown = rows.slice(0, 200);
  $("reasons").replaceChildren(
    make("caption", { class: "sr" }, w("reasons")),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, w("reason")), make("th", { scope: "col" }, w("outcome")), make("th", { scope: "col", class: "number" }, w("trials")))),
    make("tbody", {}, ...shown.map(({ outcome, reason, n }) => make("tr", {}, make("th", { scope: "row", lang: "en" }, visibleText(reason.slice(0, 300))), make("td", {}, outcomeBadge(outcome)), make("td", { class: "number" }, counted(n, { o: OUTCOMES[outcome], why: reason }, reason.slice(0, 100)))))),
  );
  $("reasons-none").hidden = rows.length > 0;
  $("reasons-none").textContent = w("no_reasons");
}

const outcomeBadge = (outcome) => make("span", { class: `outcome ${OUTCOMES[outcome]}` }, `${SIGNS[outcome]} ${w("out_" + OUTCOMES[outcome])}`);

// What the columns say of a claim's trials: violations and unscorable, or worse, better and unscorable pairs.
function claimCounts(claim) {
  if (claim.pairs) return { worse: pairItems(claim, "worse").size, better: pairItems(claim, "better").size, unscorable: pairItems(claim, "unscorable").size };
  const trials = claim.trials.length ? claim.trials : Array.from({ length: claim.n }, (_, i) => table.first[claim.streams[0]] + i);
  let [violations, unscorable] = [0, 0];
  for (const i of trials) {
    violations += table.outcome[i] === VIOLATION;
    unscorable += table.outcome[i] === UNSCORABLE;
  }
  return { violations, unscorable };
}

const CLAIMS_AT_ONCE = 100;

function drawClaims() {
  const kept = new Set([...$("claims").querySelectorAll("details[open]")].map((d) => d.dataset.requirement));
  $("claims").replaceChildren(
    ...facts.requirements.map((requirement, number) => {
      const mine = facts.claims.map((claim, at) => [claim, at]).filter(([claim]) => claim.requirement === number);
      if (!mine.length) return null;
      const count = (status) => mine.filter(([claim]) => claim.status === status).length;
      const summary = ["halt", "approve", "open"].filter(count).map((s) => `${{ halt: "✕", approve: "✓", open: "…" }[s]} ${num(count(s))} ${w("status_" + s)}`).join(" · ");
      const box = make("details", { "data-requirement": requirement.id }, make("summary", {}, make("span", { class: "what" }, visibleText(requirement.id)), ` ${summary}`));
      box.addEventListener("toggle", () => box.open && box.childElementCount === 1 && box.append(claimTable(mine)));
      box.open = kept.has(requirement.id);
      return box;
    }).filter(Boolean),
  );
}

function claimTable(mine) {
  const pairs = mine[0][0].pairs;
  const names = pairs ? ["pairs", "worse", "better", "out_unscorable"] : ["trials", "violations", "out_unscorable"];
  const body = make("tbody", {});
  let at = 0;
  const more = make("button", { type: "button", class: "more", onclick: () => add() });
  const add = () => {
    body.append(...mine.slice(at, at + CLAIMS_AT_ONCE).map(([claim, number]) => claimRow(claim, number)));
    at += CLAIMS_AT_ONCE;
    more.hidden = at >= mine.length;
    more.textContent = w("more_rows", { left: num(Math.max(0, mine.length - at)) });
  };
  add();
  const head = [w("cell"), w("status"), ...names.map((name) => w(name)), w("interval"), w("decided_at")];
  return make("div", {}, pairs ? make("p", { class: "small" }, w("pairs_note")) : null, make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": w("claims") }, make("table", { class: "claims-list" }, make("caption", { class: "sr" }, w("claims")), make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))), body)), more);
}

function claimRow(claim, number) {
  const counts = claimCounts(claim);
  const link = (n, extra, words) => make("td", { class: "number" }, counted(n, { claim: number, ...extra }, `${words}, ${claim.words}`));
  const cells = claim.pairs
    ? [link(claim.n, {}, w("pairs")), ...["worse", "better", "unscorable"].map((which) => link(counts[which], { pair: which }, w(which === "unscorable" ? "out_unscorable" : which)))]
    : [link(claim.n, {}, w("trials")), link(counts.violations, { o: "violation" }, w("violations")), link(counts.unscorable, { o: "unscorable" }, w("out_unscorable"))];
  return make(
    "tr", { class: claim.status },
    make("th", { scope: "row", lang: "en" }, visibleText(claim.words), claim.told ? make("span", { class: "tag" }, visibleText(claim.told)) : null),
    make("td", {}, make("span", { class: `status ${claim.status}` }, `${claim.symbol} ${w("status_" + claim.status)}`)),
    ...cells,
    make("td", { class: "number" }, claim.low ? w("between", { low: claim.low, high: claim.high }) : ""),
    make("td", { class: "number" }, claim.at >= 0 ? num(claim.at) : ""),
  );
}
