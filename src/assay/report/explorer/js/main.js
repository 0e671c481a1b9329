// Puts it together: words into the page, the address into the state, the state onto the screen.

const SELECTS = [
  ["h", "hazard", () => facts.hazards.map((h) => [h.id, visibleText(h.name)])],
  ["l", "language", () => facts.languages.map((l) => [l.id, visibleText(`${l.native || l.name} (${l.id})`)])],
  ["a", "attack", () => facts.attacks.map((a, at) => [a.id, visibleText(attackName(at))])],
  ["arm", "arm", () => [["!benign", w("hazardous")], ...[...new Set(facts.streams.map((s) => s.arm))].map((arm) => [arm, armWords(arm)])]],
  ["o", "outcome", () => OUTCOMES.map((o, at) => [o, `${SIGNS[at]} ${w("out_" + o)}`])],
  ["why", "reason", () => facts.reasons.slice(0, 500).filter(Boolean).map((r) => [r, visibleText(r.slice(0, 80))])],
  ["k", "kind", () => facts.kinds.map((k) => [k, w("kind_" + k)])],
  ["req", "requirement", () => facts.requirements.filter((_, at) => facts.claims.some((c) => c.requirement === at)).map((r) => [r.id, visibleText(r.id)])],
];
const SORT_WORDS = { slot: "number", h: "hazard", l: "language", a: "attack", o: "outcome", k: "kind", why: "reason", size: "length" };

function drawWords() {
  document.documentElement.lang = interfaceLanguage;
  numbers = new Intl.NumberFormat(interfaceLanguage);
  for (const element of document.querySelectorAll("[data-w]")) element.textContent = w(element.dataset.w);
  for (const element of document.querySelectorAll("[data-w-label]")) element.setAttribute("aria-label", w(element.dataset.wLabel));
  document.title = `${w("title")}: ${visibleText(facts.target.slice(0, 80))}`;
  $("interface").replaceChildren(...Object.entries(page.interface).map(([tag, name]) => make("option", { value: tag, lang: tag }, name)));
  $("interface").value = interfaceLanguage;
  $("filters").replaceChildren(
    ...SELECTS.map(([key, word, options]) =>
      make("label", {}, make("span", {}, w(word)), make("select", { id: `f-${key}`, onchange: (event) => go({ [key]: event.target.value, claim: "", pair: "", tab: "", row: "" }) }, make("option", { value: "" }, w("any")), ...options().map(([value, text]) => make("option", { value }, text)))),
    ),
  );
  $("sort").replaceChildren(...Object.entries(SORT_WORDS).map(([key, word]) => make("option", { value: key }, w(word))));
  drawViews();
  drawFront();
  drawLegend();
}

const breath = () => new Promise((done) => setTimeout(done));

// What stands below the list, with room for the reader's clicks in between.
async function drawBelow() {
  for (const draw of [drawTotals, drawKinds, drawReasons, drawClaims]) {
    draw();
    await breath();
  }
}

function drawControls() {
  for (const [key] of SELECTS) $(`f-${key}`).value = state[key] ?? "";
  for (const [key] of SELECTS) $(`f-${key}`).parentElement.classList.toggle("on", Boolean(state[key]));
  $("sort").value = state.sort || "slot";
  $("desc").setAttribute("aria-pressed", String(Boolean(state.desc)));
  $("clear").hidden = !filtered();
  if (document.activeElement !== $("query")) $("query").value = state.q || "";
}

// The list and the matrix anew, with the rest of the page as it is.
function refresh(stay = false) {
  const found = matching(search.hits);
  setList(found.trials, stay);
  drawListHead();
  drawMatrix(found);
  drawSearch();
}

const same = (one, other, keys) => keys.every((key) => (one[key] ?? "") === (other[key] ?? ""));

function show(next, { first = false, jump = false, quiet = false } = {}) {
  const before = state;
  state = next;
  const language = next.in || page.language;
  const spoken = first || language !== interfaceLanguage;
  if (spoken) {
    interfaceLanguage = language;
    drawWords();
    if (!first) drawBelow();
  }
  if ((next.q || "") !== search.text) {
    if (next.q) runSearch(next.q);
    else clearSearch();
  }
  const listed = spoken || !same(before, next, [...FILTERS, "sort", "desc", "tab"]);
  if (listed || !same(before, next, ["row"])) {
    drawControls();
    refresh();
  }
  if (jump) {
    $("list-heading").focus({ preventScroll: true });
    $("browse").scrollIntoView({ block: "start" });
  }
  const opened = !same(before, next, ["open"]);
  if (opened || spoken || listed) drawTranscript(opened && !quiet && next.open !== undefined ? (first ? "scroll" : "focus") : false);
  if (opened && next.open === undefined && before.open !== undefined && !first) focusRow(list.trials.indexOf(table.bySlot[Number(before.open)]));
}

function listen() {
  let jump = false;
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.count, a.badge.halt");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    jump = true;
    if (link.getAttribute("href") === location.hash) show(readHash(), { jump: true });
  });
  $("skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("list-heading").focus();
  });
  addEventListener("hashchange", () => {
    show(readHash(), { jump });
    jump = false;
  });
  $("interface").addEventListener("change", (event) => go({ in: event.target.value === page.language ? "" : event.target.value }, { replace: true }));
  $("view").addEventListener("change", (event) => go({ tab: event.target.value }));
  $("sort").addEventListener("change", (event) => go({ sort: event.target.value === "slot" ? "" : event.target.value, row: "" }));
  $("desc").addEventListener("click", () => go({ desc: state.desc ? "" : "1", row: "" }));
  $("clear").addEventListener("click", () => go(Object.fromEntries([...FILTERS, "row"].map((key) => [key, ""]))));
  $("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    go({ q: $("query").value.trim(), row: "" });
  });
  $("search-stop").addEventListener("click", () => {
    stopSearch();
    refresh();
  });
  $("viewport").addEventListener("scroll", listScrolled, { passive: true });
  $("rows").addEventListener("keydown", listKey);
  addEventListener("resize", () => requestAnimationFrame(drawRows));
  addEventListener("beforeprint", () => printing(true));
  addEventListener("afterprint", () => printing(false));
  matchMedia("print").addEventListener("change", (event) => printing(event.matches));
}

async function start() {
  await readColumns();
  await breath();
  countAll();
  listen();
  await breath();
  document.body.classList.add("ready");
  show(readHash(), { first: true });
  await new Promise((done) => requestAnimationFrame(done));
  await breath();
  performance.mark("ready");
  document.documentElement.dataset.ready = "list";
  await drawBelow();
  document.documentElement.dataset.ready = "all";
}

start().catch((error) => {
  $("failed").hidden = false;
  $("failed").textContent = `${w("unreadable")} ${error}`;
});
