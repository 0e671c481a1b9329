// Full text over all transcripts: workers unpack and search block by block; the list grows as they find. A new search, or Stop, ends it.

const search = { text: "", needle: "", hits: null, found: 0, done: 0, running: false, ticket: 0, failed: 0 };
const AHEAD = 2; // blocks that each worker has in hand
let workers = null;

function startWorkers() {
  if (workers) return workers;
  const url = URL.createObjectURL(new Blob([$("worker").textContent], { type: "text/javascript" }));
  const many = Math.max(2, Math.min(4, (navigator.hardwareConcurrency || 2) - 1));
  try {
    workers = Array.from({ length: many }, () => new Worker(url));
  } catch {
    workers = [];
  }
  return workers;
}

function stopSearch() {
  search.ticket++;
  search.running = false;
}

function clearSearch() {
  stopSearch();
  Object.assign(search, { text: "", needle: "", hits: null, found: 0, done: 0, failed: 0 });
}

async function runSearch(text) {
  stopSearch();
  const ticket = search.ticket;
  const needle = fold(text).trim();
  Object.assign(search, { text, needle, hits: new Uint8Array(table.n), found: 0, done: 0, failed: 0, running: true });
  const blocks = facts.blocks.length;
  if (!needle || !blocks) {
    search.running = false;
    search.hits = blocks ? null : search.hits;
    return;
  }
  let next = 0;
  let redrawn = performance.now();
  const came = (number, hits, failed) => {
    for (const at of hits) search.hits[facts.blocks[number] + at] = 1;
    search.found += hits.length;
    search.failed += failed ? 1 : 0;
    search.done++;
    const finished = search.done === blocks;
    if (finished) search.running = false;
    if (finished) refresh(true);
    else if (performance.now() - redrawn > 500) {
      setList(matching(search.hits).trials, true);
      drawListHead();
      drawSearch();
      redrawn = performance.now();
    }
  };
  const lanes = startWorkers();
  const feed = async (worker) => {
    if (next >= blocks || ticket !== search.ticket) return;
    const number = next++;
    const packed = await packedBlock(number);
    if (ticket === search.ticket) worker.postMessage({ run: ticket, block: number, packed, needle });
  };
  for (const worker of lanes) {
    worker.onerror = () => withoutWorkers();
    worker.onmessage = (event) => {
      const { run, block, hits, failed } = event.data;
      if (run !== search.ticket) return;
      came(block, hits, failed);
      feed(worker);
    };
    for (let i = 0; i < AHEAD; i++) feed(worker);
  }
  if (!lanes.length) searchHere(ticket, needle, came);
  drawSearch();
}

// A worker that cannot run what it was given: the search begins again without any.
function withoutWorkers() {
  if (!workers.length) return;
  workers.forEach((worker) => worker.terminate());
  workers = [];
  if (search.running) runSearch(search.text);
}

// Where no worker may start: block by block, with room for the page between them.
async function searchHere(ticket, needle, came) {
  for (let number = 0; number < facts.blocks.length; number++) {
    const hits = await packedBlock(number).then((packed) => searched(packed, needle)).catch(() => null);
    if (ticket !== search.ticket) return;
    came(number, hits || [], hits === null);
    await new Promise((done) => setTimeout(done));
  }
}

function drawSearch() {
  const blocks = facts.blocks.length || 1;
  $("search-stop").hidden = !search.running;
  $("search-progress").hidden = !search.running;
  $("search-progress").value = search.done / blocks;
  const share = `${Math.floor((100 * search.done) / blocks)}%`;
  const words = !search.needle ? "" : search.running ? w("search_running", { share, n: num(search.found) }) : search.done < blocks ? w("search_stopped", { share, n: num(search.found) }) : w("search_done", { n: num(search.found) });
  const whole = search.failed ? `${words} ${w("unreadable")}` : words;
  if ($("search-status").textContent !== whole) $("search-status").textContent = whole;
}
