// What the server would not file: counted on the page for as long as this browser keeps it, to be given again or taken away as a file.

import { make, say } from "./texts.js";

const $ = (id) => document.getElementById(id);
const taken = new Set(); // by whose file nothing is lost when they are removed here

export function showRefused(desk) {
  const acts = desk?.outbox.refused ?? [];
  $("refused").hidden = !acts.length;
  $("refused-text").textContent = say("refused_kept", { n: acts.length });
  $("refused-forget").hidden = !acts.every((a) => taken.has(a.id));
}

// As `assay label --import` reads them.
function download({ me, outbox }) {
  const lines = outbox.refused.map((act) => `${JSON.stringify({ ...act, labeller: me.name })}\n`);
  const href = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
  make("a", { href, download: `not-filed-${me.name}.jsonl` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
  for (const { id } of outbox.refused) taken.add(id);
}

export function wireRefused(desk) {
  $("refused-again").addEventListener("click", () => desk().outbox.again());
  $("refused-forget").addEventListener("click", () => desk().outbox.forget());
  $("refused-download").addEventListener("click", () => {
    download(desk());
    showRefused(desk());
  });
}
