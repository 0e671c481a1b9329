// What each part of the page shows of the overview.

import { $, badge, clock, count, facts, fill, make, said, shown } from "./dom.js";

const VERDICTS = { approve: "approve", delay: "delay", halt: "halt", none: "halt" };
const STATES = { active: "approve", pending: "delay", "not begun": "delay" };
const SEVERITIES = { low: "", medium: "delay", high: "halt", critical: "halt" };
const SERVED = {
  approve: "Everybody with a grant is served.",
  delay: "Operators with a grant are served, and assessors.",
  halt: "Assessors only.",
  none: "No release that holds: assessors only.",
};
const none = (text) => [make("li", { class: "nothing soft" }, text)];
const number = (place, n) => ($(place).textContent = n ? count(n) : "");

export function scopeWords(scope) {
  const parts = Object.entries(scope).filter(([, v]) => v).map(([k, v]) => `${k} ${shown(v)}`);
  return parts.length ? parts.join(", ") : "everything";
}

function row(title, detail, ...actions) {
  const kept = actions.filter(Boolean);
  return make("li", {}, make("div", { class: "about" }, title, ...[detail].flat().filter(Boolean)), kept.length ? make("div", { class: "acts" }, ...kept) : null);
}

const heading = (...parts) => make("h3", {}, ...parts);
const button = (key, word, act, attributes = {}) => make("button", { type: "button", "data-key": key, onclick: act, ...attributes }, word);

export function showModels(overview) {
  fill($("models"), [overview.releases, overview.problem], () => [
    ...(overview.problem ? [make("p", { class: "problem" }, said(overview.problem))] : []),
    ...overview.releases.map((r) =>
      make(
        "article",
        { class: `card ${VERDICTS[r.verdict]}` },
        heading(said(r.model), " ", badge(r.verdict === "none" ? "no decision" : r.verdict, VERDICTS[r.verdict])),
        make("p", {}, SERVED[r.verdict], r.why ? make("span", { class: "soft" }, " ", said(r.why)) : ""),
        facts(
          r.expires ? ["Expiry", clock(r.expires, "left")] : null,
          r.epoch ? ["Epoch", count(r.epoch)] : null,
          ["Digest", make("code", { title: r.digest }, `${r.digest.slice(r.digest.indexOf(":") + 1).slice(0, 16)}…`)],
        ),
      ),
    ),
  ]);
}

export function showWaiting(overview, acts) {
  const grants = overview.grants.filter((g) => g.state === "pending");
  const glasses = overview.glasses.filter((g) => ["unreviewed", "overdue"].includes(g.state));
  const findings = overview.findings.filter((f) => f.waits_for_signature);
  const me = overview.me;
  number("waiting-count", grants.length + glasses.length + findings.length);
  fill($("waiting"), [grants, glasses, findings, me.role], () => {
    const rows = [
      ...grants.map((g) => {
        const mine = g.approved_by.includes(me.name);
        const missing = g.needs - g.approved_by.length;
        return row(
          heading("Grant ", said(g.grant.id), " for ", said(g.grant.organisation)),
          [make("p", {}, said(g.grant.purpose)), make("p", { class: "soft small" }, `Signed by ${g.approved_by.map(shown).join(", ") || "nobody"}; ${missing} more ${missing === 1 ? "signature" : "signatures"} to come${mine ? ", from others at their own consoles" : ""}.`)],
          me.role === "admin" && !mine ? button(`approve:${g.grant.id}`, "Look and approve…", () => acts.approve(g), { class: "main" }) : null,
        );
      }),
      ...glasses.map((g) =>
        row(
          heading("Exception for ", said(g.grant), " ", badge(g.state, "halt")),
          [make("p", {}, said(g.reason)), make("p", { class: "soft small" }, said(g.by), ` lifted ${g.lifts.join(" and ")}, `, clock(g.at, "since"), " ago")],
          me.role === "admin" && g.by !== me.name ? button(`review:${g.id}`, "Review…", () => acts.review(g), { class: "main" }) : null,
        ),
      ),
      ...findings.map((f) => row(heading("Finding ", said(f.title)), make("p", { class: "soft small" }, "A step waits for another administrator: assay access finding update"))),
    ];
    return rows.length ? rows : none("Nothing waits.");
  });
}

export function showHalts(overview, acts) {
  const halts = overview.halts.filter((h) => !h.lifted);
  number("halts-count", halts.length);
  fill($("halts"), [halts, overview.me.role], () =>
    halts.length
      ? halts.map((h) =>
          row(
            heading(badge("halt", "halt"), " ", said(scopeWords(h.scope))),
            [
              make("p", {}, said(h.reason)),
              make("p", { class: "soft small" }, "By ", said(h.by), ", ", clock(h.at, "since"), " ago", h.spares.length ? `; except ${h.spares.map(shown).join(", ")}` : "", h.signed_by ? "" : "; no administrator's signature holds, it counts all the same", h.lost ? "; the store has lost it, the gate has seen it, so it counts until it is lifted" : ""),
            ],
            overview.me.role === "admin" ? button(`lift:${h.id}`, "Lift…", () => acts.lift(h)) : null,
          ),
        )
      : none("Nothing is halted."),
  );
}

export function showSessions(overview, acts) {
  const { sessions, at } = overview.sessions;
  number("sessions-count", sessions.length);
  const most = 200;
  $("sessions-note").textContent = !at ? "No worker has said what it does in the last seconds." : sessions.length > most ? `The ${most} longest are shown.` : "";
  const longest = sessions.slice(0, most);
  fill($("sessions"), [longest, overview.me.role], () =>
    longest.length
      ? longest.map((s) =>
          row(
            heading(said(s.model), " for ", said(s.organisation)),
            make("p", { class: "soft small" }, said(s.person), " under ", said(s.grant), `, ${shown(s.route)}, `, clock(s.since, "since"), `, ${count(s.tokens)} tokens`),
            s.cut
              ? badge(`cut by ${shown(s.cut)}`, "halt")
              : overview.me.role === "admin"
                ? button(`cut:${s.id}`, "Cut…", () => acts.cut(s), { "aria-label": `Cut ${shown(s.model)} of ${shown(s.person)}` })
                : null,
          ),
        )
      : none("Nothing is under way."),
  );
}

const WINDOWS = { minute: "this minute", hour: "this hour", day: "today", total: "in all" };

function quota(used) {
  const bars = [["requests", used.requests, used.requests_limit], ["tokens", used.tokens, used.tokens_limit]].filter(([, , limit]) => limit);
  return bars.map(([name, n, limit]) => {
    const share = Math.min(100, (100 * n) / limit);
    const text = `${count(n)} of ${count(limit)} ${name} ${WINDOWS[used.window]}`;
    return make("div", { class: "quota" }, make("span", {}, text), make("meter", { min: 0, max: 100, high: 90, value: share, "aria-label": text }));
  });
}

export function showGrants(overview, acts, all) {
  const grants = overview.grants.filter((g) => all || ["active", "pending", "not begun"].includes(g.state));
  number("grants-count", grants.length);
  fill($("grant-list"), [grants, overview.me.role], () =>
    grants.length
      ? grants.map((g) =>
          row(
            heading(said(g.grant.id), " ", badge(g.state, STATES[g.state] ?? "halt")),
            [
              make("p", {}, said(g.grant.organisation), ": ", said(g.grant.purpose)),
              g.why ? make("p", { class: "problem" }, said(g.why)) : null,
              facts(
                ["Model", said(g.grant.model)],
                ["Persons", said(g.grant.persons.map((p) => shown(p.name)).join(", "))],
                ["Where", `${g.grant.sector}, ${g.grant.jurisdiction}`],
                ["Tier, level", `${g.grant.tier}, ${g.grant.level}`],
                g.grant.parent ? ["Under", said(g.grant.parent)] : ["Signed by", said(g.approved_by.map(shown).join(", ") || "nobody")],
                g.state === "active" ? ["Ends", clock(g.grant.expires, "left")] : null,
              ),
              ...g.used.flatMap(quota),
            ],
            overview.me.role === "admin" && ["active", "pending", "not begun"].includes(g.state)
              ? button(`revoke:${g.grant.id}:${g.grant.version}`, "Revoke…", () => acts.revoke(g), { "aria-label": `Revoke ${g.grant.id}` })
              : null,
          ),
        )
      : none("There are none."),
  );
}

export function showWatch(overview, acts) {
  const { alerts, glasses, findings, me } = overview;
  number("alerts-count", alerts.filter((a) => a.state === "open").length);
  fill($("alerts"), [alerts, me.role], () =>
    alerts.length
      ? alerts.map((a) =>
          row(
            heading(badge(a.severity, SEVERITIES[a.severity] ?? ""), " ", said(a.what)),
            [
              make("p", { class: "soft small" }, clock(a.at, "since"), " ago", ...[a.organisation, a.person, a.grant].filter(Boolean).flatMap((t) => [", ", said(t)])),
              a.state === "closed" ? make("p", { class: "soft small" }, "Closed by ", said(a.closed_by), ": ", said(a.why)) : null,
            ],
            me.role === "admin" && a.state === "open" ? button(`alert:${a.id}`, "Close…", () => acts.close(a)) : null,
          ),
        )
      : none("No alerts."),
  );
  number("glasses-count", glasses.length);
  fill($("glasses"), glasses, () =>
    glasses.length
      ? glasses.map((g) =>
          row(heading(said(g.grant || g.id), " ", badge(g.state, g.state === "reviewed" ? "approve" : "halt")), [
            make("p", {}, said(g.problem || g.reason)),
            g.problem ? null : make("p", { class: "soft small" }, said(g.by), ` lifted ${g.lifts.join(" and ")}, `, clock(g.at, "since"), " ago"),
            g.reviewed_by ? make("p", { class: "soft small" }, `${g.justified ? "Justified" : "Not justified"}, says `, said(g.reviewed_by), ": ", said(g.note)) : null,
          ]),
        )
      : none("None."),
  );
  number("findings-count", findings.length);
  fill($("findings"), findings, () =>
    findings.length
      ? findings.map((f) =>
          row(heading(said(f.title || f.id), " ", badge(f.state || "damaged", f.state ? "" : "halt")), [
            f.problem ? make("p", { class: "problem" }, said(f.problem)) : null,
            f.problem ? null : make("p", { class: "soft small" }, said(f.organisation), ", ", said(f.model), `, TLP:${f.tlp}, reported `, clock(f.at, "since"), " ago, embargo ", clock(f.embargo_until, "left")),
          ]),
        )
      : none("No findings."),
  );
}

const FIRST = ["kind", "at", "segment", "n", "did", "rule", "subject", "model", "organisation", "person"];

export function auditRow(record) {
  const title = [record.did, record.rule && `denied by ${record.rule}`, record.subject ?? record.model, record.how].filter((t) => typeof t === "string" && t);
  const who = [record.organisation, record.person, ...(record.by ?? [])].filter((t) => typeof t === "string" && t);
  const rest = Object.entries(record).filter(([k, v]) => !FIRST.includes(k) && v !== "" && v !== 0 && v !== false && !(Array.isArray(v) && !v.length));
  return row(
    heading(badge(record.kind, record.kind === "denied" ? "halt" : ""), " ", said(title.join(" · "))),
    [
      make("p", { class: "soft small" }, make("time", { datetime: new Date(record.at).toISOString() }, new Date(record.at).toLocaleString("en-GB")), ...who.flatMap((t) => [", ", said(t)])),
      rest.length ? make("details", {}, make("summary", {}, "More"), facts(...rest.map(([k, v]) => [k.replaceAll("_", " "), said(Array.isArray(v) ? v.join(", ") : v)]))) : null,
    ],
  );
}
