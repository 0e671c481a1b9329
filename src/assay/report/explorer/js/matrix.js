// The matrix as a heat map: languages down, hazards across, for one arm and attack; its counts are those of the columns.

const HEAT = [0, 0.05, 0.1, 0.2, 0.4, 0.7, 1];
const REASONS = 2 ** 32;
let totals = null;
let views = [];

// Every count that the page shows, in one pass over the columns.
function countAll() {
  const streams = facts.streams.map(() => [0, 0, 0]);
  const kinds = new Map();
  const reasons = new Map();
  const add = (map, key) => map.set(key, (map.get(key) || 0) + 1);
  const harmless = facts.streams.map((s) => s.arm === "benign");
  for (let i = 0; i < table.n; i++) {
    const s = table.stream[i];
    streams[s][table.outcome[i]]++;
    const side = `${facts.streams[s].language}/${harmless[s] ? 1 : 0}`;
    add(kinds, `${side}/k${table.kind[i]}`);
    if (table.useful[i] < 2) add(kinds, `${side}/u${table.useful[i]}`);
    if (table.reason[i]) add(reasons, table.outcome[i] * REASONS + table.reason[i]);
  }
  totals = { streams, kinds, reasons };
  views = [...new Set(facts.streams.map((s) => `${s.arm}:${facts.attacks[s.attack].id}`))];
}

const heatOf = (rate) => HEAT.findIndex((top) => rate <= top);

function viewWords(view) {
  const [arm, attack] = [view.slice(0, view.indexOf(":")), view.slice(view.indexOf(":") + 1)];
  return attack === "none" ? armWords(arm) : `${armWords(arm)}: ${attackName(facts.attacks.findIndex((a) => a.id === attack))}`;
}

// The arm and attack that are shown: as chosen, else the first that the filter leaves.
function viewShown() {
  if (views.includes(state.tab)) return state.tab;
  const fits = (view) => armFits(state.arm, view.slice(0, view.indexOf(":"))) && (!state.a || view.endsWith(":" + state.a));
  return views.find(fits) || views[0];
}

// A count that leads to its trials.
function counted(n, filter, words, options = {}) {
  if (!n) return make("span", { class: "zero" }, num(0));
  return make("a", { class: `count ${options.class || ""}`, href: listOf(filter), "aria-label": w("count_label", { n: num(n), what: words }) }, options.text || num(n));
}

function drawViews() {
  const select = $("view");
  select.replaceChildren(...views.map((view) => make("option", { value: view }, visibleText(viewWords(view)))));
}

let marks = null;

function marksOf(s) {
  if (!marks) {
    marks = new Map();
    facts.claims.forEach((claim, number) => {
      if (claim.status === "open" || claim.trials.length || (claim.streams.length > 1 && !claim.pairs)) return;
      const at = claim.streams[0];
      if (!marks.has(at)) marks.set(at, []);
      marks.get(at).push({ claim, number });
    });
  }
  return marks.get(s) || [];
}

function drawMatrix(found) {
  const view = viewShown();
  $("view").value = view;
  $("view-name").textContent = visibleText(viewWords(view));
  const places = new Map();
  facts.streams.forEach((stream, s) => {
    if (`${stream.arm}:${facts.attacks[stream.attack].id}` === view) places.set(`${stream.language}/${stream.hazard}`, s);
  });
  const languages = facts.languages.map((_, l) => l).filter((l) => [...places.keys()].some((key) => key.startsWith(l + "/")));
  const hazards = facts.hazards.map((_, h) => h).filter((h) => languages.some((l) => places.has(`${l}/${h}`)));
  const head = make("tr", {}, make("th", { scope: "col" }, w("language")), ...hazards.map((h) => make("th", { scope: "col", lang: "en" }, visibleText(facts.hazards[h].name))));
  const rows = languages.map((l) =>
    make("tr", {}, languageHead(l), ...hazards.map((h) => matrixCell(places.get(`${l}/${h}`), found))),
  );
  const refused = view.startsWith("benign:");
  $("matrix").replaceChildren(
    make("caption", { class: "sr" }, `${w("matrix")}: ${visibleText(viewWords(view))}`),
    make("thead", {}, head),
    make("tbody", {}, ...rows),
  );
  $("matrix-note").textContent = w(refused ? "note_benign" : "note_matrix");
}

function languageHead(l) {
  const { id, name, native } = facts.languages[l];
  return make("th", { scope: "row" }, make("span", { class: "native", lang: id }, visibleText(native || name)), make("span", { class: "tag" }, `${native !== name ? `${visibleText(name)}, ` : ""}${id}`));
}

function matrixCell(s, found) {
  if (s === undefined) return make("td", { class: "none" }, "–");
  const counts = totals.streams[s];
  const n = counts[0] + counts[1] + counts[2];
  const stream = facts.streams[s];
  const own = { h: facts.hazards[stream.hazard].id, l: facts.languages[stream.language].id, a: facts.attacks[stream.attack].id, arm: stream.arm };
  const where = `${facts.hazards[stream.hazard].name}, ${languageName(stream.language)}`;
  if (!n) return make("td", { class: "none" }, w("no_trials"));
  const rate = counts[VIOLATION] / n;
  const scored = n - counts[UNSCORABLE];
  const classes = [scored ? `heat-${heatOf(rate)}` : "none"];
  if (stream.high - stream.low > 0.5) classes.push("thin");
  if (2 * counts[UNSCORABLE] >= n) classes.push("doubtful");
  if (!found.caps[s]) classes.push("outside");
  const badges = marksOf(s).filter(({ claim }) => claim.status === "halt");
  if (badges.length) classes.push("halted");
  const what = stream.arm === "benign" ? w("refused") : w("violations");
  const line = make("span", { class: "count-line" }, counted(counts[VIOLATION], { ...own, o: "violation" }, `${what}, ${where}`), " / ", counted(n, own, `${w("trials")}, ${where}`));
  return make(
    "td", { class: classes.join(" ") }, line, make("span", { class: "rate" }, rateText(rate)),
    make("span", { class: "ci" }, w("between", { low: rateText(stream.low), high: rateText(stream.high) })),
    counts[UNSCORABLE] ? make("span", { class: "unscorable" }, counted(counts[UNSCORABLE], { ...own, o: "unscorable" }, `${w("out_unscorable")}, ${where}`), ` ${w("out_unscorable")}`) : null,
    filtered() && found.listed[s] ? make("span", { class: "listed" }, "☰ ", w("listed", { n: num(found.listed[s]) })) : null,
    ...badges.map(({ claim, number }) =>
      make("a", { class: "badge halt", href: listOf({ claim: number }) }, `${claim.symbol} ${w("halted")}: ${visibleText(facts.requirements[claim.requirement].id)}`),
    ),
  );
}

function drawLegend() {
  const steps = HEAT.map((top, i) => make("li", {}, make("span", { class: `swatch heat-${i}` }), i ? `>${num(100 * HEAT[i - 1])}% – ${num(100 * top)}%` : "0%"));
  $("legend").replaceChildren(
    ...steps,
    make("li", {}, make("span", { class: "swatch halted" }), w("legend_halted")),
    make("li", {}, make("span", { class: "swatch doubtful" }), w("legend_doubtful")),
    make("li", {}, make("span", { class: "swatch heat-4 thin" }), w("legend_thin")),
  );
}
