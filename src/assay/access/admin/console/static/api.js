// Calls to this console's process, and why one was refused.

export class SignedOut extends Error {}
export class Refusal extends Error {}

const ASK_MS = 20_000;
let used = true; // whether somebody touched the page since the last call: polls alone keep no session alive

export function watchUse() {
  for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, () => (used = true), { passive: true });
}

export async function call(path, body, within = ASK_MS) {
  const options = body === undefined ? { headers: used ? { "X-Used": "1" } : {} } : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  used = false;
  const answer = await fetch(path, { ...options, signal: AbortSignal.timeout(within) });
  const value = await answer.json().catch(() => ({}));
  if (answer.status === 401) throw new SignedOut();
  if (!answer.ok) throw new Refusal([value.error ?? (answer.status === 413 ? "This is too large." : String(answer.status)), value.fix].filter(Boolean).join(" "));
  return value;
}

// The text of a file, or a Refusal: too large, or no text.
export async function textOf(file, most) {
  if (file.size > most) throw new Refusal(`${file.name} has ${file.size.toLocaleString("en")} bytes; at most ${most.toLocaleString("en")} are read.`);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Refusal(`${file.name} is no text in UTF-8, or cannot be read.`);
  }
}
