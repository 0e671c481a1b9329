// Calls to the server, and the outbox: acts are kept until the server has acknowledged them, sent in order, as often as it takes.
//
//   const outbox = new Outbox(keep, who, heard);
//   await outbox.put({act: "label", slot: 41, ...});      // on the disk of this machine when resolved
//
// An act has an id of its own, by which the server files it once.

export class Unreachable extends Error {}
export class SignedOut extends Error {}
export class Refusal extends Error {}

export async function call(path, body, keepalive = false) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, { ...options, keepalive, signal: keepalive ? undefined : AbortSignal.timeout(20_000) });
  } catch {
    throw new Unreachable();
  }
  if (answer.status >= 500 || answer.status === 429) throw new Unreachable();
  const value = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (answer.status === 401) throw new SignedOut(value?.error ?? "");
  if (!answer.ok) throw new Refusal(value?.error ?? String(answer.status));
  return value;
}

const PAUSES_MS = [1000, 2000, 5000, 10_000, 15_000];

export class Outbox {
  constructor(keep, who, heard) {
    this.keep = keep;
    this.who = who;
    this.heard = heard; // {sent(act, progress), refused(act, why), changed(), signedOut()}
    this.online = true;
    this.busy = false;
    this.failures = 0;
    this.next = 1 + Math.max(0, ...this.keep.keys("act:").map((k) => Number(k.split(":")[1])));
    addEventListener("online", () => this.send());
  }

  get acts() {
    return this.keep.keys("act:").map((k) => this.keep.get(k));
  }

  // What the server would not file, each with why.
  get refused() {
    return this.keep.keys("refused:").map((k) => this.keep.get(k));
  }

  async put(act) {
    const kept = this.line({ ...act, id: identifier() });
    this.heard.changed(); // at once: while the disk writes, the page must not say that everything is saved
    await kept;
    this.send();
  }

  // Into the keys in order, and the id too, since another tab may count alike.
  line(act) {
    return this.keep.set(`act:${String(this.next++).padStart(12, "0")}:${act.id}`, act);
  }

  async again() {
    if (this.busy) return;
    this.busy = true; // nothing is sent, and refused once more, while it changes places
    try {
      const acts = this.refused;
      const kept = acts.map(({ why, ...act }) => this.line(act));
      this.heard.changed();
      await Promise.all(kept);
      for (const { id } of acts) await this.keep.remove(`refused:${id}`);
    } finally {
      this.busy = false;
    }
    await this.send();
  }

  async forget() {
    for (const { id } of this.refused) await this.keep.remove(`refused:${id}`);
    this.heard.changed();
  }

  async send() {
    if (this.busy) return;
    this.busy = true;
    clearTimeout(this.timer);
    try {
      for (let key; (key = this.keep.keys("act:")[0]); ) {
        const act = this.keep.get(key);
        try {
          const progress = await call("/api/act", { who: this.who, act });
          await this.keep.remove(key);
          this.reached(true);
          this.heard.sent(act, progress);
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          await this.keep.set(`refused:${act.id}`, { ...act, why: error.message }); // kept apart, not thrown away
          await this.keep.remove(key);
          this.heard.refused(act, error.message);
        }
      }
    } catch (error) {
      if (error instanceof SignedOut) this.heard.signedOut(error.message);
      else this.reached(false);
    } finally {
      this.busy = false;
      this.heard.changed();
    }
  }

  reached(online) {
    this.failures = online ? 0 : this.failures + 1;
    this.online = online;
    clearTimeout(this.timer);
    if (!online) this.timer = setTimeout(() => this.heard.retry(), PAUSES_MS[Math.min(this.failures - 1, PAUSES_MS.length - 1)]);
    this.heard.changed();
  }
}

export function identifier() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
}
