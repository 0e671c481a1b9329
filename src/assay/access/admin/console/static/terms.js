// All terms of a grant, as somebody who signs them sees them.

import { count, facts, make, said, shown } from "./dom.js";

const minute = (m) => `${String(Math.floor(m / 60)).padStart(2, "0")}:${String(m % 60).padStart(2, "0")}`;
const words = (value) => said(typeof value === "object" ? value.length === 0 ? "none" : JSON.stringify(value) : value === "" ? "none" : value);
const SHOWN = [
  "assay", "id", "version", "organisation", "purpose", "persons", "model", "digest", "tier", "level", "sector", "jurisdiction", "routes", "tools", "systems",
  "networks", "quotas", "hours", "per_person_a_minute", "starts", "expires",
];

export function terms(grant, digest, ...more) {
  return facts(
    ["Grant", said(`${grant.id}, version ${grant.version}`)], ["Organisation", said(grant.organisation)], ["Purpose", said(grant.purpose)],
    ["Persons", make("span", {}, ...grant.persons.flatMap((p, i) => [i ? ", " : "", said(p.name), " ", make("code", { class: "small" }, p.key)]))],
    ["Model", said(grant.model)], ["Digest", said(grant.digest)],
    ["Tier, level", `${grant.tier}, ${grant.level}`], ["Where", `${grant.sector}, ${grant.jurisdiction}`], ["Routes", grant.routes.join(", ")],
    ["Tools", said(grant.tools.map(shown).join(", ") || "none")], ["Systems", said(grant.systems.map(shown).join(", ") || "none named")], ["Networks", said(grant.networks.map(shown).join(", "))],
    ["Quotas", grant.quotas.map((q) => `${count(q.requests)} requests, ${count(q.tokens)} tokens, ${count(q.money / 1e6)} in money ${q.window === "total" ? "in all" : `a ${q.window}`}`).join("; ")],
    ["Hours", grant.hours.length ? said(grant.hours.map((h) => `days ${h.days.join(", ")}, ${minute(h.start)} to ${minute(h.end)}, ${shown(h.zone)}`).join("; ")) : "any"],
    ["A person", `${count(grant.per_person_a_minute)} requests a minute`],
    ...Object.entries(grant).filter(([k]) => !SHOWN.includes(k)).map(([k, v]) => [k.replaceAll("_", " "), words(v)]),
    ["From", new Date(grant.starts).toLocaleString("en-GB")], ["Until", new Date(grant.expires).toLocaleString("en-GB")],
    ...more, ["Terms", said(digest)],
  );
}
