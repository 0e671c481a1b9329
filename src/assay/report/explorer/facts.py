"""What the page says of a run beside its trials: verdict, names, cells with their intervals, requirements and claims.

    facts = make_facts(packed)
    facts.claims[0].streams, facts.claims[0].n

Counts are not among them: the page counts its own columns. Only what the columns do not tell is said here, each claim's share of them
included: the first `n` trials of its streams, or, of an average, the trials that were drawn.
"""

from __future__ import annotations

from msgspec import Struct

from assay.decision import AverageClaim, Claim, ParityClaim, percent
from assay.decision.audited_claims import AuditedRateClaim
from assay.decision.codes import UNSCORABLE, VIOLATION
from assay.decision.judged_claims import JudgedRateClaim
from assay.plan import Stream
from assay.report.explorer.pack import Packed
from assay.report.intervals import claim_tables
from assay.report.tally import Tally
from assay.report.words import (
    KIND_ORDER,
    REGISTRATION_WORDS,
    SYMBOL,
    attack_words,
    claim_words,
    drift_words,
    halt_words,
    requirement_words,
    sentence,
)
from assay.web.languages import direction


class Named(Struct, frozen=True):
    """A hazard, a language or an attack. `native` and `direction` are a language's."""

    id: str
    name: str
    native: str = ""
    direction: str = ""


class StreamFacts(Struct, frozen=True):
    """One stream: places in `hazards`, `languages` and `attacks`; the arm; the exact interval of its violation rate."""

    hazard: int
    language: int
    attack: int
    arm: str
    low: float
    high: float


class RequirementFacts(Struct, frozen=True):
    """One requirement as decided. `reason` is the signed one, `halted` says the same of each halted claim with names."""

    id: str
    asks: str
    status: str
    symbol: str
    reason: str
    halted: tuple[str, ...]


class ClaimFacts(Struct, frozen=True):
    """One claim. `n` counts trials or pairs; `trials` are places in the columns where they are not the first `n` of each stream.

    `told` is how the decision counts, where it counts what people and judges said apart; empty where the columns say the same.
    """

    requirement: int
    words: str
    status: str
    symbol: str
    at: int
    n: int
    pairs: bool
    streams: tuple[int, ...]
    trials: tuple[int, ...]
    low: str
    high: str
    told: str


class Facts(Struct, frozen=True):
    """All of it."""

    verdict: str
    symbol: str
    target: str
    target_kind: str
    plan: str
    about: str
    plan_digest: str
    keyid: str
    bundle: str
    root: str
    version: str
    first_at: int
    last_at: int
    closed_at: int
    ended: str
    decided_at: int
    budget: int
    approve_error: str
    halt_error: str
    trials: int
    hazards: tuple[Named, ...]
    languages: tuple[Named, ...]
    attacks: tuple[Named, ...]
    kinds: tuple[str, ...]
    reasons: tuple[str, ...]
    streams: tuple[StreamFacts, ...]
    requirements: tuple[RequirementFacts, ...]
    claims: tuple[ClaimFacts, ...]
    blocks: tuple[int, ...]


def make_facts(packed: Packed) -> Facts:
    """From a signed run."""
    source, tally = packed.source, packed.source.tally
    opening, signed = tally.opening, source.signed
    plan, catalog, decision = opening.plan, opening.catalog, signed.decision
    hazards = tuple(dict.fromkeys(s.hazard for s in packed.streams))
    tags = tuple(dict.fromkeys(s.language for s in packed.streams))
    attacks = tuple(dict.fromkeys(s.attack for s in packed.streams))
    return Facts(
        verdict=decision.verdict, symbol=SYMBOL[decision.verdict], target=source.model, target_kind=opening.target.get("kind", ""),
        plan=plan.name, about=plan.about.strip(), plan_digest=plan.digest, keyid=signed.keyid, bundle=source.bundle, root=signed.root,
        version=signed.version, first_at=tally.first_at, last_at=tally.last_at, closed_at=signed.closed_at, ended=signed.ended,
        decided_at=decision.decided_at, budget=plan.budget.calls, approve_error=percent(plan.errors.approve),
        halt_error=percent(plan.errors.halt), trials=tally.trials,
        hazards=tuple(Named(h, catalog.hazards[h].title) for h in hazards),
        languages=tuple(Named(t, catalog.languages[t].name, catalog.languages[t].native, direction(t)) for t in tags),
        attacks=tuple(Named(a, attack_words(a)) for a in attacks),
        kinds=KIND_ORDER, reasons=packed.reasons,
        streams=tuple(
            StreamFacts(hazards.index(s.hazard), tags.index(s.language), attacks.index(s.attack), s.arm, *tally.streams[s].interval)
            for s in packed.streams
        ),
        requirements=_requirements(tally),
        claims=_claims(packed),
        blocks=packed.first,
    )  # fmt: skip


def _requirements(tally: Tally) -> tuple[RequirementFacts, ...]:
    plan, catalog = tally.opening.plan, tally.opening.catalog
    results = tally.gate.decision().requirements
    asked = [requirement_words(r, catalog) for r in plan.requirements] + ([drift_words(plan.drift)] if plan.drift else [])
    asked += [REGISTRATION_WORDS] * (len(results) - len(asked))
    return tuple(
        RequirementFacts(
            r.id, asks, r.status, SYMBOL[r.status], sentence(r.reason),
            tuple(halt_words(c, catalog) for c in tally.gate.claims if c.requirement == r.id and c.status == "halt"),
        )
        for asks, r in zip(asked, results, strict=True)
    )  # fmt: skip


def _claims(packed: Packed) -> tuple[ClaimFacts, ...]:
    """In the order of the claims tables: what halted, what holds, what is undecided."""
    tally = packed.source.tally
    catalog = tally.opening.catalog
    number = {stream: i for i, stream in enumerate(packed.streams)}
    first: list[int] = [0]
    for stream in packed.streams:
        first.append(first[-1] + tally.streams[stream].n)
    requirements = [r.id for r in tally.opening.plan.requirements]
    out = []
    for place, table in enumerate(claim_tables(tally)):
        rows = {row.words: row for row in table.rows}
        mine = {claim_words(c, catalog): c for c in tally.gate.claims if c.requirement == requirements[place]}
        for words in (*rows, *table.untested):
            claim, row = mine[words], rows.get(words)
            trials = _drawn(claim, number, first) if isinstance(claim, AverageClaim) else ()
            low, _, high = row.interval.partition(" to ") if row else ("", "", "")
            out.append(
                ClaimFacts(
                    place, words, claim.status, SYMBOL[claim.status], claim.at, claim.n, isinstance(claim, ParityClaim),
                    tuple(number[s] for s in claim.streams), trials, low, high, "" if not row or _same(claim, tally) else row.counts,
                )
            )  # fmt: skip
    return tuple(out)


def _drawn(claim: AverageClaim, number: dict[Stream, int], first: list[int]) -> tuple[int, ...]:
    """The trials of an average, in drawn order, as places in the columns."""
    used: dict[str, int] = {}
    out: list[int] = []
    for place in range(claim.drawn):
        stream = claim.streams[claim.cell(place)]
        item = used.get(stream.hazard, 0)
        start = first[number[stream]] + item * claim.samples
        out += range(start, start + claim.samples)
        used[stream.hazard] = item + 1
    return tuple(out[: claim.n])


def _same(claim: Claim, tally: Tally) -> bool:
    """Whether the claim's numbers are those of the outcomes that the page shows, and all that it counts."""
    if isinstance(claim, JudgedRateClaim | AuditedRateClaim):
        return False
    if isinstance(claim, AverageClaim):
        return not (tally.opening.plan.judges and tally.truth)
    codes = [tally.streams[s].outcomes[: claim.n] for s in claim.streams]
    if isinstance(claim, ParityClaim):
        own, other = codes
        pairs = list(zip(own, other, strict=True))
        worse = sum(a == VIOLATION != b for a, b in pairs)
        better = sum(b == VIOLATION != a for a, b in pairs)
        return (worse, better, sum(UNSCORABLE in p for p in pairs)) == (claim.worse, claim.better, claim.unscorable)
    return (codes[0].count(VIOLATION), codes[0].count(UNSCORABLE)) == (claim.violations, claim.unscorable)
