// What the reader looks at, as the address after # keeps it; and which trials that are.
//
//   hashOf({ l: "ta", o: "violation" })        // "#l=ta&o=violation": the address of a list, whatever is shown now
//   changed({ open: 812 })                     // the address of what is shown now, with a transcript open

const FILTERS = ["h", "l", "a", "arm", "o", "why", "k", "u", "req", "claim", "pair", "q"];
const VIEW = ["tab", "sort", "desc", "in"];
const PLACE = ["open", "row"];
let state = {};

function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  const found = {};
  for (const key of [...FILTERS, ...VIEW, ...PLACE]) if (given.get(key)) found[key] = given.get(key);
  for (const key of ["claim", "open", "row"]) if (!/^\d{1,9}$/.test(found[key] || "")) delete found[key];
  if (!Object.hasOwn(page.words, found.in || "")) delete found.in;
  if (!Object.hasOwn(SORTS, found.sort || "")) delete found.sort;
  return found;
}

function hashOf(values) {
  const out = new URLSearchParams();
  for (const key of [...FILTERS, ...VIEW, ...PLACE]) {
    const value = values[key];
    if (value !== undefined && value !== "" && value !== null) out.set(key, value);
  }
  return "#" + out.toString();
}

function listOf(filter) {
  const kept = {};
  for (const key of VIEW) kept[key] = state[key];
  return hashOf({ ...kept, ...filter });
}

const changed = (values) => hashOf({ ...state, ...values });
const filtered = () => FILTERS.some((key) => state[key]);

function go(values, { replace = false } = {}) {
  const hash = changed(values);
  if (hash === (location.hash || "#")) return;
  if (replace) {
    history.replaceState(null, "", hash);
    show(readHash());
  } else location.hash = hash;
}

const armFits = (wanted, arm) => !wanted || (wanted[0] === "!" ? arm !== wanted.slice(1) : arm === wanted);

// How many of each stream's first trials are meant: 0 for none, Infinity for all.
function streamCaps() {
  const caps = new Float64Array(facts.streams.length);
  const claim = facts.claims[state.claim];
  const required = state.req === undefined ? null : facts.requirements.findIndex((r) => r.id === state.req);
  const covered = required === null ? null : new Set(facts.claims.filter((c) => c.requirement === required).flatMap((c) => c.streams));
  facts.streams.forEach((stream, s) => {
    const fits =
      (!state.h || facts.hazards[stream.hazard].id === state.h) &&
      (!state.l || facts.languages[stream.language].id === state.l) &&
      (!state.a || facts.attacks[stream.attack].id === state.a) &&
      armFits(state.arm, stream.arm) &&
      (!covered || covered.has(s)) &&
      (!claim || claim.streams.includes(s));
    caps[s] = !fits ? 0 : claim && !claim.trials.length ? claim.n : Infinity;
  });
  return caps;
}

// The pairs of a claim that were worse, better or unscorable, as the numbers of their items.
function pairItems(claim, which) {
  const [own, other] = claim.streams.map((s) => table.first[s]);
  const out = new Set();
  for (let i = 0; i < claim.n; i++) {
    const [a, b] = [table.outcome[own + i], table.outcome[other + i]];
    if (which === "worse" ? a === VIOLATION && b !== VIOLATION : which === "better" ? b === VIOLATION && a !== VIOLATION : a === UNSCORABLE || b === UNSCORABLE) out.add(i);
  }
  return out;
}

const SORTS = {
  slot: (i) => table.slot[i],
  h: (i) => facts.streams[table.stream[i]].hazard,
  l: (i) => facts.streams[table.stream[i]].language,
  a: (i) => facts.streams[table.stream[i]].attack,
  o: (i) => [2, 0, 1][table.outcome[i]],
  k: (i) => table.kind[i],
  why: (i) => table.reason[i],
  size: (i) => table.characters[i],
};

// All trials in an order: by its key, and by slot among equals. Sorted natively as numbers, once for each order.
function orderOf(sort) {
  const key = sort || "slot";
  if (!table.orders.has(key)) {
    const of = SORTS[key];
    const step = 2 ** Math.ceil(Math.log2(table.n + 1));
    const keys = new Float64Array(table.n);
    for (let i = 0; i < table.n; i++) keys[i] = of(i) * step + table.slot[i];
    if (key !== "slot") keys.sort();
    else for (let i = 0; i < table.n; i++) keys[table.slot[i]] = table.slot[i];
    const order = new Uint32Array(table.n);
    for (let i = 0; i < table.n; i++) order[i] = table.bySlot[key === "slot" ? i : keys[i] % step];
    table.orders.set(key, order);
  }
  return table.orders.get(key);
}

// One pass: the trials that fit, in order, and how many of them each stream has.
function matching(hits) {
  const caps = streamCaps();
  const claim = facts.claims[state.claim];
  const outcome = state.o ? OUTCOMES.indexOf(state.o) : -1;
  const kind = state.k ? facts.kinds.indexOf(state.k) : -1;
  const reason = state.why === undefined ? -1 : facts.reasons.indexOf(state.why);
  const useful = state.u === undefined ? -1 : Number(state.u);
  const pairs = claim && claim.pairs && state.pair ? pairItems(claim, state.pair) : null;
  const drawn = claim && claim.trials.length ? new Set(claim.trials) : null;
  const order = orderOf(state.sort);
  const out = new Uint32Array(table.n);
  const listed = new Uint32Array(facts.streams.length);
  const { stream, first } = table;
  let count = 0;
  for (let k = 0; k < order.length; k++) {
    const i = state.desc ? order[order.length - 1 - k] : order[k];
    const s = stream[i];
    if (i - first[s] >= caps[s]) continue;
    if (outcome >= 0 && table.outcome[i] !== outcome) continue;
    if (kind >= 0 && table.kind[i] !== kind) continue;
    if (state.why !== undefined && table.reason[i] !== reason) continue;
    if (useful >= 0 && table.useful[i] !== useful) continue;
    if (pairs && !pairs.has(i - first[s])) continue;
    if (drawn && !drawn.has(i)) continue;
    if (hits && !hits[i]) continue;
    out[count++] = i;
    listed[s]++;
  }
  return { trials: out.subarray(0, count), listed, caps };
}
