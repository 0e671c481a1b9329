// One transcript: who said what, what was looked for and found, what judges said, and the trial's record.

let openTicket = 0;

async function drawTranscript(focus) {
  const ticket = ++openTicket;
  const box = $("transcript");
  const slot = state.open === undefined ? -1 : Number(state.open);
  const trial = slot >= 0 && slot < table.n ? table.bySlot[slot] : -1;
  $("browse").classList.toggle("open", trial >= 0);
  for (const [at, element] of list.rows) {
    if (table.slot[list.trials[at]] === slot) element.firstChild.setAttribute("aria-current", "true");
    else element.firstChild.removeAttribute("aria-current");
  }
  if (trial < 0) {
    box.hidden = true;
    box.replaceChildren();
    return;
  }
  box.hidden = false;
  let read;
  try {
    read = await readTrial(trial);
  } catch (error) {
    read = null;
  }
  if (ticket !== openTicket) return;
  box.replaceChildren(...(read ? transcriptParts(trial, slot, read) : [make("p", { class: "notice", role: "alert" }, w("unreadable"))]));
  if (focus) {
    const heading = box.querySelector("h3");
    heading?.focus({ preventScroll: true });
    box.scrollTop = 0;
    if (focus === "scroll" || box.getBoundingClientRect().top > innerHeight || box.getBoundingClientRect().bottom < 0) box.scrollIntoView({ block: "start" });
  }
}

function transcriptParts(trial, slot, { row: kept, texts }) {
  const stream = facts.streams[table.stream[trial]];
  const language = facts.languages[stream.language];
  const needles = [];
  if (search.needle) needles.push({ folded: search.needle, kind: "hit" });
  for (const value of kept.v || []) if (value.length > 1) needles.push({ folded: fold(value), kind: "value" });
  const index = trial - table.first[table.stream[trial]];
  const place = list.trials.indexOf(trial);
  const neighbour = (at, words, symbol) =>
    place >= 0 && at >= 0 && at < list.trials.length ? make("a", { class: "button", href: changed({ open: table.slot[list.trials[at]] }) }, `${symbol} ${w(words)}`) : make("span", { class: "button off", "aria-disabled": "true" }, `${symbol} ${w(words)}`);
  const all = make("button", { type: "button", "aria-pressed": String(allUncovered.get()), onclick: toggleAll }, w("uncover_all"));
  const copy = make("button", { type: "button", onclick: () => copyLink(copy) }, w("copy_link"));
  const name = visibleText(`${facts.hazards[stream.hazard].name}`);
  const bar = make("nav", { class: "bar", "aria-label": w("transcript") }, neighbour(place - 1, "previous", "←"), neighbour(place + 1, "next", "→"), all, copy, make("a", { class: "button", href: changed({ open: "" }), "data-close": true }, `✕ ${w("close")}`));
  const head = make(
    "h3", { tabindex: "-1" }, `${w("trial")} #${slot}: `, make("span", { lang: "en" }, name), ", ", make("span", { lang: language.id }, visibleText(languageName(stream.language))),
  );
  const about = make("p", { class: "about-line" }, outcomeBadge(table.outcome[trial]), " ", visibleText(viewWords(`${stream.arm}:${facts.attacks[stream.attack].id}`)), table.reason[trial] ? make("span", { lang: "en" }, ` · ${visibleText(facts.reasons[table.reason[trial]])}`) : null);
  const parts = [bar, head, about];
  if (kept.x) parts.push(make("p", { class: "notice" }, w("withheld")));
  if (kept.c) parts.push(make("p", { class: "notice" }, w("not_rebuilt")));
  (kept.p || []).forEach((at, n) => parts.push(message(w("planted"), "planted", texts[at], { cover: stream.arm === "benign" ? 0 : 1, key: `${slot}/p${n}`, needles, language: language.id, open: true })));
  kept.m.forEach(([role, at, cover], n) => {
    const last = n === kept.m.length - 1 && role === "a";
    const kind = role === "a" ? (last ? `answer ${OUTCOMES[table.outcome[trial]]}` : "assistant") : role === "s" ? "system" : "user";
    const system = role === "s" && texts[at].length > 400 && !(search.needle && fold(texts[at]).includes(search.needle));
    parts.push(message(w(last ? "answer" : `role_${role}`), kind, texts[at], { cover, key: `${slot}/${n}`, needles, language: language.id, open: !system }));
  });
  for (const [n, [judge, verdict, refusal, reason, quotes]] of (kept.q || []).entries()) parts.push(opinion(`${slot}/q${n}`, judge, verdict, refusal, reason, quotes, needles));
  parts.push(record(trial, slot, index, kept));
  return parts;
}

function message(title, kind, text, { cover, key, needles, language, open }) {
  return make("details", { class: `message ${kind}`, open }, make("summary", {}, make("span", { class: "what" }, title), " ", make("span", { class: "small" }, w("characters", { n: num(text.length) }))), saidBox(text, { language, cover, key, needles, kind }));
}

function opinion(key, judge, verdict, refusal, reason, quotes, needles) {
  const words = verdict < 0 ? w("judge_unusable") : verdict ? w("judge_violation") : w("judge_safe");
  const title = `${w("judge")} ${visibleText(judge)}: ${words}${refusal === "full" ? `, ${w("declined")}` : refusal === "partial" ? `, ${w("declined_part")}` : ""}`;
  const text = [reason, ...quotes.map((quote) => `“${quote}”`)].filter(Boolean).join("\n");
  return message(title, "opinion", text, { cover: verdict === 1 ? 2 : 0, key, needles, language: "en", open: true });
}

function record(trial, slot, index, kept) {
  const code = (text) => make("code", { class: "digest" }, visibleText(text));
  const rows = [
    row(w("number"), w("number_text", { slot: num(slot), index: num(index) })),
    row(w("scenario"), code(kept.s)),
    row(w("kind"), w("kind_" + facts.kinds[table.kind[trial]])),
    table.useful[trial] < 2 ? row(w("useful_label"), w(table.useful[trial] ? "useful" : "not_useful")) : null,
    kept.h ? row(w("how"), make("span", { lang: "en" }, visibleText(kept.h))) : null,
    kept.e ? row(w("failure"), make("span", { lang: "en" }, visibleText(kept.e))) : null,
    kept.o ? row(w("before_people"), w("out_" + kept.o)) : null,
    kept.d ? row(w("modes"), kept.d.join(", ")) : null,
    row(w("item"), code(kept.i)),
    row(w("judged_by"), code(kept.j)),
    row(w("finish"), make("span", {}, code(kept.f || "–"), kept.k ? ` ${w("truncated")}` : "")),
    kept.mo ? row(w("model"), visibleText(kept.mo)) : null,
    row(w("tokens"), `${num(kept.n[0])} + ${num(kept.n[1])}`),
    row(w("attempts"), kept.a.map(([status, ms]) => `${visibleText(status)} (${num(ms)} ms)`).join(", ") || "–"),
    row(w("date"), dateText(kept.t)),
  ];
  return make("details", { class: "record" }, make("summary", {}, make("span", { class: "what" }, w("record"))), make("dl", { class: "evidence" }, ...rows.filter(Boolean)));
}

function toggleAll() {
  allUncovered.set(!allUncovered.get());
  uncovered.clear();
  drawTranscript().then(() => $("transcript").querySelector("[aria-pressed]")?.focus());
}

async function copyLink(button) {
  const text = location.href;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = w("copied");
  } catch {
    const field = make("input", { type: "text", readonly: true, "aria-label": w("copy_link") });
    field.value = text;
    button.replaceWith(field);
    field.select();
  }
}
