// The work at hand: trials in stock, drafts, acts and their undoing. Knows nothing of the page; label.js shows what it holds.
//
//   const desk = new Desk(keep, me, heard);
//   await desk.fetch();  desk.current;  await desk.submit(label);  await desk.undo();

import { call, Outbox, Refusal, SignedOut } from "./wire.js";

const PAST = 6;
const DRAFT_PAUSE_MS = 120;

export class Desk {
  constructor(keep, me, heard) {
    this.keep = keep;
    this.me = me;
    this.heard = heard; // {shown(), state(), progress(), refused(why), signedOut(why)}
    this.skipped = false;
    this.passed = new Set(); // skipped once more, among those skipped
    this.onScreen = null;
    this.acts = 0;
    this.acted = new Map(); // the number of the latest act on a trial
    this.fetching = null;
    this.drafting = false;
    this.progress = keep.get("progress");
    this.rubrics = keep.get("rubrics") ?? {};
    this.stock = keep.get("stock") ?? [];
    this.outbox = new Outbox(keep, me.name, {
      sent: (act, progress) => this.sent(act, progress),
      refused: (act, why) => heard.refused(why),
      signedOut: (why) => heard.signedOut(why),
      changed: () => heard.state(),
      retry: () => this.retry(),
    });
    const pending = new Set(this.outbox.acts.filter((a) => a.act !== "undo").map((a) => a.slot));
    this.stock = this.stock.filter((t) => !pending.has(t.view.slot));
  }

  get current() {
    return this.stock[0];
  }

  // What this browser does not have yet. One request at a time, since an answer knows nothing of what was asked after it.
  async fetch() {
    while (this.fetching) await this.fetching;
    this.fetching = this.ask();
    await this.fetching;
    this.fetching = null;
    if (!this.current) this.heard.shown();
  }

  async ask() {
    const begun = this.acts;
    const have = this.stock.map((t) => t.view.slot);
    const undone = new Set(this.outbox.acts.filter((a) => a.act === "undo").map((a) => a.slot));
    const sent = [...new Set([...this.outbox.acts.map((a) => a.slot), ...this.passed])];
    let work;
    try {
      work = await call("/api/work", { who: this.me.name, have, sent, skipped: this.skipped });
    } catch (error) {
      if (error instanceof SignedOut) this.heard.signedOut(error.message);
      else if (!(error instanceof Refusal)) this.outbox.reached(false);
      return;
    }
    const first = this.current;
    const known = new Set(this.stock.map((t) => t.view.slot));
    const stays = (slot) => !work.drop.includes(slot) || undone.has(slot) || slot === this.onScreen; // nothing vanishes under one's hands
    this.stock = this.stock.filter((t) => stays(t.view.slot));
    const isNew = ({ view: { slot } }) => !known.has(slot) && !((this.acted.get(slot) ?? 0) > begun); // not labelled since it was asked
    this.stock.push(...work.trials.filter(isNew));
    for (const { slot, at, value } of work.drafts) {
      // typed before this browser was killed, or in another one; never under one's hands
      if (slot !== this.onScreen && at > this.keep.at(`draft:${slot}`)) await this.keep.set(`draft:${slot}`, value);
    }
    Object.assign(this.rubrics, work.rubrics);
    this.last = work.last;
    this.took(work.progress);
    this.outbox.reached(true);
    await this.keepStock();
    if (this.current !== first) this.heard.shown();
  }

  async keepStock() {
    const needed = new Set(this.stock.map((t) => t.view.hazard));
    for (const t of this.keep.get("past") ?? []) needed.add(t.view.hazard);
    for (const hazard of Object.keys(this.rubrics)) if (!needed.has(hazard)) delete this.rubrics[hazard];
    await this.keep.set("rubrics", this.rubrics);
    await this.keep.set("stock", this.stock);
  }

  took(progress) {
    this.progress = progress;
    this.keep.set("progress", progress);
    this.heard.progress();
  }

  // The label as it was left: the later of what this browser and what the server has.
  draft(trial) {
    const key = `draft:${trial.view.slot}`;
    const mine = this.keep.get(key);
    return mine && this.keep.at(key) >= (trial.draft_at ?? 0) ? mine : (trial.draft ?? mine ?? {});
  }

  async write(draft) {
    const slot = this.current?.view.slot;
    if (slot === undefined) return;
    this.unsent = { slot, draft };
    const kept = this.keep.set(`draft:${slot}`, draft);
    this.unsent.at = this.keep.at(`draft:${slot}`);
    this.heard.state();
    await kept;
    this.sendDraft();
  }

  async sendDraft() {
    if (this.drafting) return;
    this.drafting = true;
    try {
      while (this.unsent) {
        const given = this.unsent;
        await call("/api/draft", { who: this.me.name, ...given });
        if (this.unsent === given) this.unsent = null;
        else await new Promise((resolve) => setTimeout(resolve, DRAFT_PAUSE_MS));
      }
    } catch (error) {
      if (error instanceof SignedOut) this.heard.signedOut(error.message);
      else if (error instanceof Refusal) this.unsent = null;
      else this.outbox.reached(false); // this browser has it; it is sent with the next change, or when the server is back
    } finally {
      this.drafting = false;
      this.heard.state();
    }
  }

  leave() {
    if (this.unsent) call("/api/draft", { who: this.me.name, ...this.unsent }, true).catch(() => undefined);
  }

  async submit(label) {
    await this.finish({ act: "label", ...label });
  }

  async skip() {
    if (this.skipped && this.current) this.passed.add(this.current.view.slot);
    await this.finish({ act: "skip" });
  }

  async finish(values) {
    const trial = this.stock.shift();
    if (!trial) return;
    const { slot, transcript } = trial.view;
    this.acted.set(slot, ++this.acts);
    if (this.unsent?.slot === slot && values.act === "label") this.unsent = null;
    const done = values.act === "label" ? { ...trial, draft: values, draft_at: Date.now() } : { ...trial, draft: this.draft(trial) };
    const kept = this.outbox.put({ ...values, slot, transcript });
    const past = [...(this.keep.get("past") ?? []).filter((t) => t.view.slot !== slot), done].slice(-PAST);
    const remembered = this.keep.set("past", past); // before anything is waited for: the next key may be undo
    this.heard.shown();
    await kept; // the act is on this machine's disk before the draft goes
    await remembered;
    if (values.act === "label") await this.keep.remove(`draft:${slot}`);
    await this.keepStock();
    if (this.stock.length < this.me.stock - 1) await this.fetch();
  }

  // Brings back the trial of the last act, with what was said of it in the form. Resolves to whether there was one.
  async undo() {
    const past = this.keep.get("past") ?? [];
    let trial = past.at(-1);
    if (!trial && this.last !== undefined && this.last !== null) {
      const found = await call(`/api/trial/${this.last}`).catch(() => null);
      if (found) {
        trial = found.trial;
        Object.assign(this.rubrics, found.rubrics);
      }
    }
    if (!trial) return false;
    const { slot, transcript } = trial.view;
    const { act, ...label } = trial.draft ?? {};
    const kept = [this.outbox.put({ act: "undo", slot, transcript }), this.keep.set("past", past.slice(0, -1))];
    if (Object.keys(label).length) kept.push(this.keep.set(`draft:${slot}`, label));
    this.last = null;
    this.stock = [{ ...trial, draft: label }, ...this.stock.filter((t) => t.view.slot !== slot)];
    this.heard.shown();
    await Promise.all(kept);
    await this.keepStock();
    return true;
  }

  async sent(act, progress) {
    this.took(progress);
    if (act.act !== "undo" || this.current?.view.slot !== act.slot || this.keep.get(`draft:${act.slot}`)) return;
    const found = await call(`/api/trial/${act.slot}`).catch(() => null); // labelled in another browser: what was said then
    if (found?.trial.draft && this.current?.view.slot === act.slot && !this.keep.get(`draft:${act.slot}`)) {
      this.stock[0] = found.trial;
      this.heard.shown();
    }
  }

  async retry() {
    if (this.outbox.acts.length) await this.outbox.send();
    if (this.outbox.acts.length) return;
    if (this.unsent) await this.sendDraft();
    await this.fetch();
  }
}
