// What the file holds: facts, words, columns and blocks; and how elements are made. Nothing here writes markup.

const $ = (id) => document.getElementById(id);
const page = JSON.parse($("facts").textContent);
const facts = page.facts;
const [SAFE, VIOLATION, UNSCORABLE] = [0, 1, 2];
const OUTCOMES = ["safe", "violation", "unscorable"];
const SIGNS = ["○", "✕", "?"];
let interfaceLanguage = page.language;

const w = (key, values = {}) => page.words[interfaceLanguage][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
let numbers = new Intl.NumberFormat(interfaceLanguage);
const num = (n) => numbers.format(n);

function rateText(rate) {
  const percent = (value, digits) => new Intl.NumberFormat(interfaceLanguage, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value) + "%";
  if (rate === 0 || rate === 1) return percent(100 * rate, 0);
  if (rate < 0.0005) return "<" + percent(0.1, 1);
  if (rate > 0.9995) return ">" + percent(99.9, 1);
  return percent(100 * rate, 1);
}

// make("td", { class: "number", lang: "en" }, "text", node): attributes, then children; text is text.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const table = { n: 0 };

async function readColumns() {
  const bytes = await unpack($("columns").textContent);
  const n = facts.trials;
  let at = 0;
  const take = (kind) => {
    const column = new kind(bytes, at, n);
    at += n * kind.BYTES_PER_ELEMENT;
    return column;
  };
  Object.assign(table, {
    n, slot: take(Uint32Array), characters: take(Uint32Array), stream: take(Uint32Array), reason: take(Uint32Array),
    outcome: take(Uint8Array), kind: take(Uint8Array), useful: take(Uint8Array),
  });
  table.first = new Uint32Array(facts.streams.length + 1);
  for (let i = 0; i < n; i++) table.first[table.stream[i] + 1]++;
  for (let s = 0; s < facts.streams.length; s++) table.first[s + 1] += table.first[s];
  table.bySlot = new Int32Array(n).fill(-1);
  for (let i = 0; i < n; i++) if (table.slot[i] < n) table.bySlot[table.slot[i]] = i;
  table.orders = new Map();
}

// The text of a block; those at the end of a long file may still be on their way.
async function packedBlock(number) {
  let found = $("block-" + number);
  if ((!found || !found.nextElementSibling) && document.readyState === "loading") {
    await new Promise((done) => document.addEventListener("DOMContentLoaded", done, { once: true }));
    found = $("block-" + number);
  }
  return found.textContent;
}

function blockOf(trial) {
  let low = 0;
  let high = facts.blocks.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (facts.blocks[middle] <= trial) low = middle;
    else high = middle - 1;
  }
  return low;
}

const openedBlocks = new Map();

async function readTrial(trial) {
  const number = blockOf(trial);
  if (!openedBlocks.has(number)) {
    if (openedBlocks.size >= 4) openedBlocks.delete(openedBlocks.keys().next().value);
    openedBlocks.set(number, packedBlock(number).then(unpackBlock));
  }
  const block = await openedBlocks.get(number);
  return { row: block.t[trial - facts.blocks[number]], texts: block.s };
}

const armWords = (arm) => w("arm_" + arm);
const attackName = (a) => (facts.attacks[a].id === "none" ? w("no_attack") : facts.attacks[a].name);
const languageName = (l) => facts.languages[l].native || facts.languages[l].name;
