// Calls to the studio's process, and why one was refused.

import { say } from "./dom.js";

export class SignedOut extends Error {}
export class Unreachable extends Error {}
// `text` is what the process said in English, if the page has a word of its own for it only.
export class Refusal extends Error {
  constructor(word, text) {
    super(word);
    this.text = text;
  }
}

const ASK_MS = 30_000;

export async function call(path, body, within = ASK_MS) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, { ...options, signal: AbortSignal.timeout(within) });
  } catch {
    throw new Unreachable();
  }
  const value = await answer.json().catch(() => ({}));
  if (answer.status === 401) throw new SignedOut();
  if (!answer.ok) {
    const known = say(`error_${value.code}`);
    throw new Refusal(known || say("error_failed"), !known || ["said", "failed", "bad_target"].includes(value.code) ? value.error ?? String(answer.status) : "");
  }
  return value;
}
