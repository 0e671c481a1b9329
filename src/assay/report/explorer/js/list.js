// The list of trials: only the rows in view exist. Arrow keys, Page Up and Down, Home and End go through it; Enter opens.

const ROW = 60;
const BEYOND = 6;
const PRINTED = 300;
const list = { trials: new Uint32Array(0), rows: new Map(), active: 0, printing: false };

// With `stay` the reader is amid a list that only grows: place and focus are kept.
function setList(trials, stay = false) {
  const focused = stay && $("rows").contains(document.activeElement);
  const top = stay ? $("viewport").scrollTop : (Number(state.row) || 0) * ROW;
  list.trials = trials;
  list.rows.forEach((element) => element.remove());
  list.rows.clear();
  list.active = Math.min(stay ? list.active : Number(state.row) || 0, Math.max(0, trials.length - 1));
  $("rows").style.height = `${trials.length * ROW}px`;
  $("list-empty").hidden = trials.length > 0;
  $("viewport").hidden = trials.length === 0;
  $("viewport").scrollTop = top;
  drawRows();
  if (focused) list.rows.get(list.active)?.firstChild.focus({ preventScroll: true });
}

function inView() {
  if (list.printing) return [0, Math.min(PRINTED, list.trials.length)];
  const box = $("viewport");
  const from = Math.max(0, Math.floor(box.scrollTop / ROW) - BEYOND);
  return [from, Math.min(list.trials.length, Math.ceil((box.scrollTop + (box.clientHeight || 600)) / ROW) + BEYOND)];
}

function drawRows() {
  const [from, to] = inView();
  for (const [at, element] of list.rows) {
    if ((at < from || at >= to) && (!element.contains(document.activeElement) || list.printing)) {
      element.remove();
      list.rows.delete(at);
    }
  }
  const fresh = document.createDocumentFragment();
  for (let at = from; at < to; at++) {
    if (!list.rows.has(at)) {
      const element = trialRow(at);
      list.rows.set(at, element);
      fresh.append(element);
    }
  }
  $("rows").append(fresh);
}

function trialRow(at) {
  const i = list.trials[at];
  const stream = facts.streams[table.stream[i]];
  const opened = Number(state.open) === table.slot[i] && state.open !== undefined;
  const link = make(
    "a", { href: changed({ open: table.slot[i] }), tabindex: at === list.active ? "0" : "-1", "aria-current": opened ? "true" : null, "data-at": at },
    make("span", { class: "rowline" }, make("span", { class: "slot" }, `#${table.slot[i]}`), " ", make("span", { class: "hazard", lang: "en" }, visibleText(facts.hazards[stream.hazard].name)), " ", outcomeBadge(table.outcome[i])),
    make(
      "span", { class: "rowline soft" }, make("span", { lang: facts.languages[stream.language].id }, visibleText(languageName(stream.language))), " · ", visibleText(viewWords(`${stream.arm}:${facts.attacks[stream.attack].id}`)), " · ", w("kind_" + facts.kinds[table.kind[i]]),
      table.reason[i] ? make("span", { lang: "en" }, ` · ${visibleText(facts.reasons[table.reason[i]].slice(0, 120))}`) : null,
      " · ", w("characters", { n: num(table.characters[i]) }),
    ),
  );
  const element = make("li", { "aria-setsize": list.trials.length, "aria-posinset": at + 1 }, link);
  element.style.top = `${at * ROW}px`;
  return element;
}

function focusRow(at) {
  if (!list.trials.length) return;
  const wanted = Math.max(0, Math.min(list.trials.length - 1, at));
  const box = $("viewport");
  list.rows.get(list.active)?.firstChild.setAttribute("tabindex", "-1");
  list.active = wanted;
  if (wanted * ROW < box.scrollTop) box.scrollTop = wanted * ROW;
  if ((wanted + 1) * ROW > box.scrollTop + box.clientHeight) box.scrollTop = (wanted + 1) * ROW - box.clientHeight;
  drawRows();
  const link = list.rows.get(wanted)?.firstChild;
  link?.setAttribute("tabindex", "0");
  link?.focus({ preventScroll: true });
  drawRows();
}

function listKey(event) {
  const step = Math.max(1, Math.floor($("viewport").clientHeight / ROW) - 1);
  const to = { ArrowDown: list.active + 1, ArrowUp: list.active - 1, PageDown: list.active + step, PageUp: list.active - step, Home: 0, End: list.trials.length - 1 }[event.key];
  if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  focusRow(to);
}

let scrolled = 0;

function listScrolled() {
  requestAnimationFrame(drawRows);
  clearTimeout(scrolled);
  scrolled = setTimeout(() => {
    const top = Math.round($("viewport").scrollTop / ROW);
    if (top === (Number(state.row) || 0) || list.printing) return;
    state.row = top ? String(top) : undefined;
    history.replaceState(null, "", hashOf(state));
    for (const [at, element] of list.rows) element.firstChild.setAttribute("href", changed({ open: table.slot[list.trials[at]] }));
  }, 300);
}

// Which trials there are, in words; and what of the list goes to paper.
function drawListHead() {
  const n = list.trials.length;
  const heading = filtered() ? w("list_some", { n: num(n), all: num(table.n) }) : w("list_all", { n: num(n) });
  $("list-count").textContent = heading;
  $("list-printed").textContent = n > PRINTED ? w("printed", { n: num(PRINTED), all: num(n) }) : "";
  const claim = facts.claims[state.claim];
  const pair = { worse: "worse", better: "better", unscorable: "out_unscorable" }[state.pair];
  const parts = SELECTS.filter(([key]) => state[key]).map(([key, word]) => {
    const select = $(`f-${key}`);
    return make("span", { class: "part" }, `${w(word)}: `, make("strong", {}, select.selectedOptions[0]?.textContent || visibleText(state[key].slice(0, 200))));
  });
  if (claim) parts.push(make("span", { class: "part" }, `${w("claim")}: `, make("strong", { lang: "en" }, visibleText(claim.words)), pair ? ` (${w(pair)})` : ""));
  if (state.u !== undefined) parts.push(make("span", { class: "part" }, w(state.u === "1" ? "useful" : "not_useful")));
  if (state.q) parts.push(make("span", { class: "part" }, `${w("search_go")}: `, make("strong", { dir: "auto" }, visibleText(state.q.slice(0, 200)))));
  $("list-filter").replaceChildren(...parts);
  $("list-filter").hidden = !parts.length;
}

function printing(now) {
  if (list.printing === now) return;
  list.printing = now;
  $("rows").style.height = now ? "" : `${list.trials.length * ROW}px`;
  drawRows();
}
