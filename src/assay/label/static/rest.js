// The break reminder: after so many minutes at work, or so many upsetting texts, an unobtrusive word; and a pause with the text out of sight.

import { say } from "./texts.js";

const $ = (id) => document.getElementById(id);
const TEXTS = 20;
const TICK_S = 15;
const IDLE_MS = 120_000;

export class Rest {
  constructor(minutes, pause) {
    this.minutes = minutes; // () => number
    this.reset();
    this.touched = Date.now();
    for (const kind of ["keydown", "pointerdown", "scroll"]) addEventListener(kind, () => (this.touched = Date.now()), { passive: true, capture: true });
    setInterval(() => this.tick(), TICK_S * 1000);
    $("break-later").addEventListener("click", () => this.reset());
    $("break-take").addEventListener("click", () => {
      this.reset();
      pause();
      $("rest").showModal();
    });
    $("rest-over").addEventListener("click", () => $("rest").close());
    $("rest").addEventListener("close", () => this.reset());
  }

  reset() {
    this.seconds = 0;
    this.texts = 0;
    $("break").hidden = true;
  }

  tick() {
    if (document.visibilityState === "visible" && Date.now() - this.touched < IDLE_MS && !$("rest").open) this.seconds += TICK_S;
    this.look();
  }

  sawText() {
    this.texts += 1;
    this.look();
  }

  look() {
    if (!$("break").hidden || (this.seconds < this.minutes() * 60 && this.texts < TEXTS)) return;
    $("break-text").textContent = say("break_text", { minutes: Math.round(this.seconds / 60), texts: this.texts });
    $("break").hidden = false;
    $("said").textContent = `${say("break_title")} ${$("break-text").textContent}`;
  }
}
