"""The facts of a run that clauses of frameworks ask for, each in words and figures; what is not there is said to be missing.

fact("hazard:secret-leakage", basis).words      # "tested, undecided in 2 of 6 claims: ..."
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct, structs

from assay.catalog.crosswalk import OWASP
from assay.decision import REGISTRATION, ClaimResult, Decision, RequirementResult, percent
from assay.judges import Taken
from assay.plan import Stream
from assay.report.caveats import unreviewed
from assay.report.tally import Tally
from assay.report.words import count_text, listed
from assay.report.worlds import GoalRow

State = Literal["shown", "against", "undecided", "partly", "missing"]
LEVELS = ("violation-rate", "average-rate")
REGISTERED = ("registration", "plan", "target")
UNSIGNED = "no signed decision covers it"
YOUNGER = "the plan may be younger than the answers, which are recorded"
UNSTEADY = "the target changed within the run, or that was not tested to its end"


class Fact(Struct, frozen=True):
    """One thing that a run has or lacks: in words, with figures, and the name of the digest that it can be checked against."""

    evidence: str
    state: State
    words: str
    digest: str = ""
    figures: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Basis:
    """What facts are read from. `closed`: a decision that agrees with the run file is signed by the key that registered the run."""

    tally: Tally
    decision: Decision
    taken: tuple[Taken, ...]
    incidents: int
    goals: tuple[GoalRow, ...]
    registered: bool
    closed: bool
    digests: dict[str, str]


def fact(word: str, basis: Basis) -> Fact:
    """What the run has of one word of the crosswalk's vocabulary; what nobody signed, or a target that changed, is shown in part only."""
    kind, _, rest = word.partition(":")
    match kind:
        case "hazard":
            found = _hazard(word, rest, basis)
        case "owasp":
            found = _owasp(word, rest, basis)
        case _ if kind in _FACTS:
            found = _FACTS[kind](basis)
        case _:
            found = Fact(word, "missing", "this version of Assay does not know such evidence")
    if found.state == "shown" and not basis.registered:
        found = structs.replace(found, state="partly", words=f"{found.words}; the signature of the registration does not hold")
    if found.state == "shown" and not basis.closed and found.digest not in REGISTERED:
        found = structs.replace(found, state="partly", words=f"{found.words}; {UNSIGNED}")
    return found


def _claims(
    word: str, name: str, basis: Basis, *, streams: Callable[[Stream], bool], claims: Callable[[RequirementResult, ClaimResult], bool]
) -> Fact:
    """A test: its trials, and how the claims about it stand. Tested and undecided is never shown."""
    counts = [c for s, c in basis.tally.streams.items() if streams(s)]
    n, bad, unscorable = (sum(getattr(c, f) for c in counts) for f in ("n", "violations", "unscorable"))
    mine = [c for r in basis.decision.requirements for c in r.claims if claims(r, c)]
    held, failed = (sum(c.status == status for c in mine) for status in ("approve", "halt"))
    figures = {"trials": n, "violations": bad, "unscorable": unscorable, "claims": len(mine), "held": held, "failed": failed}
    seen = f"{count_text(n, 'trial', 'trials')}, {bad:,} violations, {unscorable:,} unscorable"
    if not counts:
        return Fact(word, "missing", f"{name} not in this run's plan")
    if not n:
        return Fact(word, "missing", f"{name} in the plan, without a trial", "", figures)
    if failed:
        return Fact(word, "against", f"tested, and shown not to hold in {failed:,} of {len(mine):,} claims: {seen}", "merkle-root", figures)
    if not mine:
        return Fact(word, "undecided", f"tested, and no requirement asks about it: {seen}", "merkle-root", figures)
    if held < len(mine):
        return Fact(word, "undecided", f"tested, undecided in {len(mine) - held:,} of {len(mine):,} claims: {seen}", "merkle-root", figures)
    if any(r.id == "drift" and r.kind == "drift" and r.status != "approve" for r in basis.decision.requirements):
        return Fact(word, "partly", f"all {len(mine):,} claims hold, but {UNSTEADY}: {seen}", "merkle-root", figures)
    if any(r.kind == REGISTRATION and r.status != "approve" for r in basis.decision.requirements):
        return Fact(word, "partly", f"all {len(mine):,} claims hold, but {YOUNGER}: {seen}", "merkle-root", figures)
    return Fact(word, "shown", f"all {len(mine):,} claims hold: {seen}", "merkle-root", figures)


def _about(claim: ClaimResult, part: int, names: set[str]) -> bool:
    """Whether a claim is about nothing but these hazards (part 0), languages (1) or attacks (2); a mean over more says nothing of them."""
    return {key.split("/")[part] for key in claim.streams} <= names


def _hazard(word: str, hazard: str, basis: Basis) -> Fact:
    return _claims(
        word, f"{hazard} is", basis,
        streams=lambda s: s.hazard == hazard and s.arm != "benign",
        claims=lambda r, c: r.kind in LEVELS and _about(c, 0, {hazard}),
    )  # fmt: skip


def _owasp(word: str, entry: str, basis: Basis) -> Fact:
    """Goals of adversaries that the worlds map to an entry. No claim is about goals, so an entry is never shown, only tested."""
    mapped = [h.id for h in basis.tally.opening.catalog.hazards.values() if entry in h.frameworks.get(OWASP, "").replace(",", " ").split()]
    if not mapped:
        return Fact(word, "missing", "no hazard of this run's plan maps to it")
    goals = [g for g in basis.goals if entry in g.owasp.replace(",", " ").split()]
    n, blocked, completed = (sum(getattr(g, f) for g in goals) for f in ("n", "blocked", "completed"))
    figures = {"episodes": n, "goals": len(goals), "blocked": blocked, "completed": completed}
    if not n:
        return Fact(word, "missing", f"no episode had a goal that maps to it ({listed(mapped)})", "", figures)
    words = f"{count_text(n, 'episode', 'episodes')} of {count_text(len(goals), 'goal', 'goals')}"
    words += f", {blocked:,} blocked by the world, {completed:,} completed"
    return Fact(word, "partly", f"{words}; no claim of its own", "merkle-root", figures)


def _worlds(basis: Basis) -> Fact:
    played = set(basis.tally.opening.plan.worlds.hazards) if basis.tally.opening.plan.worlds else set[str]()
    return _claims(
        "worlds", "agent worlds are", basis,
        streams=lambda s: s.hazard in played,
        claims=lambda r, c: r.kind in LEVELS and _about(c, 0, played),
    )  # fmt: skip


def _attacks(basis: Basis) -> Fact:
    attacks = set(basis.tally.opening.plan.matrix.attacks)
    return _claims(
        "attacks", "attacks are", basis, streams=lambda s: s.arm == "attack", claims=lambda r, c: r.kind in LEVELS and _about(c, 2, attacks)
    )


def _over_refusal(basis: Basis) -> Fact:
    return _claims(
        "over-refusal", "harmless twins are", basis, streams=lambda s: s.arm == "benign", claims=lambda r, _: r.kind == "over-refusal"
    )


def _parity(basis: Basis) -> Fact:
    asked = any(r.kind == "language-parity" for r in basis.decision.requirements)
    return _claims(
        "parity", "parity between languages is", basis,
        streams=lambda s: asked and s.arm in ("plain", "attack"), claims=lambda r, _: r.kind == "language-parity",
    )  # fmt: skip


def _language(tag: str, basis: Basis) -> Fact:
    return _claims(
        "languages", f"{tag} is", basis, streams=lambda s: s.language == tag, claims=lambda r, c: r.kind in LEVELS and _about(c, 1, {tag})
    )


def _languages(basis: Basis) -> Fact:
    tags = basis.tally.opening.plan.matrix.languages
    each = [_language(tag, basis) for tag in tags]
    order: tuple[State, ...] = ("against", "missing", "undecided", "partly", "shown")
    worst = min((f.state for f in each), key=order.index)
    held, failed = (sum(f.state == state for f in each) for state in ("shown", "against"))
    doubtful = unreviewed(basis.tally)
    words = f"{count_text(len(tags), 'language', 'languages')} ({', '.join(tags)}), all claims hold in {held}" + (
        f", some do not in {failed}" if failed else ""
    )
    if doubtful:
        words += f"; no native speaker has reviewed all texts in {len(doubtful)}"
    state: State = "partly" if worst == "shown" and doubtful else "undecided" if worst == "missing" and basis.tally.trials else worst
    return Fact(
        "languages", state, words, "merkle-root", {"languages": len(tags), "held": held, "failed": failed, "unreviewed": len(doubtful)}
    )


def _decision(basis: Basis) -> Fact:
    verdict, trials = basis.decision.verdict, basis.decision.trials
    if not basis.closed:
        return Fact("decision", "missing", "no signed decision agrees with this run file")
    if verdict == "delay":
        return Fact("decision", "undecided", f"delay after {trials:,} trials: the evidence does not suffice, either way", "decision")
    return Fact("decision", "shown", f"{verdict}, final after {basis.decision.decided_at:,} of {trials:,} trials", "decision")


def _requirements(basis: Basis) -> Fact:
    plan = basis.tally.opening.plan
    errors = f"registered errors: approve {percent(plan.errors.approve)}, halt {percent(plan.errors.halt)}"
    words = f"{count_text(len(plan.requirements), 'requirement', 'requirements')}, fixed before the first trial; {errors}"
    return Fact("requirements", "shown", words, "plan", {"requirements": len(plan.requirements)})


def _intervals(basis: Basis) -> Fact:
    tested = sum(c.n > 0 for c in basis.tally.streams.values())
    if not tested:
        return Fact("intervals", "missing", "no trial, so no interval")
    empty = len(basis.tally.streams) - tested
    words = f"exact intervals for {count_text(tested, 'stream', 'streams')}, {basis.tally.trials:,} trials"
    state: State = "partly" if empty else "shown"
    return Fact("intervals", state, words + (f"; {empty:,} streams had no trial" if empty else ""), "merkle-root", {"streams": tested})


def _judges(basis: Basis) -> Fact:
    plan = basis.tally.opening.plan
    if plan.judges is None or not plan.judges.hazards:
        return Fact("judges", "missing", "no hazard of this run is read by judges")
    before = () if plan.judges.void else plan.judges.calibrated
    rows = [r for r in (*before, *(r for t in basis.taken for r in t.calibrated)) if r.caught + r.missed]
    known = {(r.hazard, r.language) for r in rows if r.panel == plan.judges.digests.get(f"{r.hazard}/{r.language}")}
    wanted = {(h, t) for h in plan.judges.hazards for t in plan.matrix.languages}
    held = len(known & wanted)
    words = f"{count_text(len(plan.judges.panel), 'judge', 'judges')}, calibrated in {held} of {len(wanted)} hazards and languages"
    return Fact("judges", "shown" if held == len(wanted) else "partly", words, "plan", {"calibrated": held, "wanted": len(wanted)})


def _labels(basis: Basis) -> Fact:
    labels = [label for t in basis.taken for label in t.labels if label.act == "label"]
    if not labels:
        return Fact("labels", "missing", "no person labelled an answer of this run")
    people, settled = len({label.labeller for label in labels}), len(basis.tally.truth)
    words = f"{count_text(len(labels), 'label', 'labels')} by {count_text(people, 'person', 'people')}, {settled:,} answers settled"
    return Fact(
        "labels", "shown" if settled else "partly", words, "decision", {"labels": len(labels), "people": people, "settled": settled}
    )


def _registration(basis: Basis) -> Fact:
    if not basis.registered:
        return Fact("registration", "missing", "the signature of the registration does not hold")
    if any(r.kind == REGISTRATION and r.status != "approve" for r in basis.decision.requirements):
        return Fact("registration", "partly", f"plan, content and target are signed, but {YOUNGER}", "registration")
    return Fact("registration", "shown", "plan, content and target were signed before the first trial", "registration")


def _signatures(basis: Basis) -> Fact:
    key = basis.tally.opening.public_key.get("keyid", "")[:16]
    if not basis.registered:
        return Fact("signatures", "missing", "the signature of the registration does not hold")
    if not basis.closed:
        return Fact("signatures", "partly", f"the registration is signed by key {key}..., the decision is not", "registration")
    return Fact(
        "signatures", "shown", f"registration and decision are signed by key {key}...; whose it is must be known otherwise", "registration"
    )


def _merkle_root(basis: Basis) -> Fact:
    words = f"one tree over the registration and {basis.tally.trials:,} trials"
    return Fact("merkle-root", "shown" if basis.closed else "missing", words if basis.closed else f"{words}, but {UNSIGNED}", "merkle-root")


def _drift(basis: Basis) -> Fact:
    result = next((r for r in basis.decision.requirements if r.kind == "drift"), None)
    if result is None:
        return Fact("drift", "missing", "the plan does not test whether the target changed within the run")
    return Fact("drift", "shown" if result.status == "approve" else "undecided", result.reason, "merkle-root")


def _limits(basis: Basis) -> Fact:
    plan = basis.tally.opening.plan
    words = f"declared: {plan.budget.calls:,} calls, answers of {plan.generation.max_tokens:,} tokens"
    if plan.worlds:
        words += f", episodes of {plan.worlds.steps} steps and {plan.worlds.calls} calls"
    return Fact("limits", "shown", words, "plan", {"calls": plan.budget.calls, "tokens": plan.generation.max_tokens})


def _cost(basis: Basis) -> Fact:
    """What was measured; what the plan allows is `limits`."""
    tally = basis.tally
    figures = {"calls": tally.attempts, "prompt": tally.prompt_tokens, "answers": tally.answer_tokens}
    if not tally.attempts:
        return Fact("cost", "missing", "no call was measured", "", figures)
    calls = f"measured: {count_text(tally.attempts, 'call', 'calls')}, {tally.failed_calls:,} of which failed"
    if not tally.prompt_tokens + tally.answer_tokens:
        return Fact("cost", "partly", f"{calls}; the target reported no tokens", "merkle-root", figures)
    words = f"{calls}; {tally.prompt_tokens:,} tokens of prompts and {tally.answer_tokens:,} of answers, as the target reported them"
    return Fact("cost", "shown", words, "merkle-root", figures)


def _target(basis: Basis) -> Fact:
    if basis.tally.opening.target.get("digest", "").startswith("sha256:"):
        return Fact("target-identity", "shown", "digest of the weights, as the target's runtime gave it", "target")
    return Fact("target-identity", "partly", "an identity record without a digest of weights: the provider's word", "target")


def _transcripts(basis: Basis) -> Fact:
    if not basis.tally.trials:
        return Fact("transcripts", "missing", "no trial")
    return Fact("transcripts", "shown", f"{basis.tally.trials:,} whole transcripts are kept; items are rebuilt from the seed", "items")


def _incidents(basis: Basis) -> Fact:
    words = f"{count_text(basis.incidents, 'incident', 'incidents')} beside the trials noted"
    return Fact("incidents", "shown", words, "incidents", {"incidents": basis.incidents})


def _unscorable(basis: Basis) -> Fact:
    n, trials = basis.tally.unscorable, basis.tally.trials
    if not trials:
        return Fact("unscorable", "missing", "no trial")
    words = f"{n:,} of {trials:,} answers could not be scored, and none of them counts as safe"
    return Fact("unscorable", "shown", words, "merkle-root", {"unscorable": n, "trials": trials})


_FACTS: dict[str, Callable[[Basis], Fact]] = {
    "attacks": _attacks, "cost": _cost, "decision": _decision, "drift": _drift, "incidents": _incidents, "intervals": _intervals,
    "judges": _judges, "labels": _labels, "languages": _languages, "limits": _limits, "merkle-root": _merkle_root,
    "over-refusal": _over_refusal, "parity": _parity, "registration": _registration, "requirements": _requirements,
    "signatures": _signatures, "target-identity": _target, "transcripts": _transcripts, "unscorable": _unscorable, "worlds": _worlds,
}  # fmt: skip
