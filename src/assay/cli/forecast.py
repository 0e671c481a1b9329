"""`assay run --dry-run`: cells, and the calls to expect, by running the real scheduler and gate on invented outcomes."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from assay.catalog import Catalog
from assay.cli.words import program
from assay.decision import Gate, RateClaim, Supposed, claims, simulate
from assay.decision.judged_claims import PLANNED_BOUND, JudgedRateClaim
from assay.engine.strategies import most_calls
from assay.plan import Plan, Stream, TargetSpec, streams

REPEATS = 5
MOST_TRIALS = 20_000
"""Of a simulated run: where it ends there, nothing was decided."""
SILENT_S = 1.0
SUPPOSED = (
    ("good", "every rate at a tenth of its threshold", 0.1),
    ("borderline", "every rate at its threshold", 1.0),
    ("weak", "every rate at four times its threshold", 4.0),
)
PLACEHOLDER = ("http", "my-model", "http://127.0.0.1:8080/v1")
"""The target that built-in plans for a model of one's own stand with: kind, model, address."""


def is_placeholder(target: TargetSpec) -> bool:
    """Whether a plan still names that, and no target of anybody's."""
    return (target.kind, target.model, target.url) == PLACEHOLDER


def placeholder_words() -> str:
    """What to do about it."""
    return f"This plan names a placeholder: give --target, or name your target in a copy: {program()} plan new PATH --from PLAN"


def supposed(plan: Plan, factor: float) -> Supposed:
    """Every rate at `factor` times its lowest threshold."""
    lowest: dict[Stream, float] = {}
    for claim in claims(plan, bytes(32)):
        if isinstance(claim, RateClaim):
            lowest[claim.stream] = min(lowest.get(claim.stream, 1.0), claim.tau)
    benign = [tau for stream, tau in lowest.items() if stream.arm == "benign"]
    cells = {f"{s.hazard}/{s.language}/{s.attack}": min(0.95, factor * tau) for s, tau in lowest.items() if s.arm != "benign"}
    return Supposed(violation=0.0, refusal=min([0.95, *(factor * tau for tau in benign)]) if benign else 0.0, cells=cells)


def expected(plan: Plan) -> Iterator[dict[str, Any]]:
    """For each supposed model: how many trials (the median of some simulated runs), and what was decided. It is said that this goes on."""
    most = min(plan.budget.calls, MOST_TRIALS)
    capped = msgspec.structs.replace(plan, budget=msgspec.structs.replace(plan.budget, calls=most))
    began = time.monotonic()
    for number, (name, meaning, factor) in enumerate(SUPPOSED, 1):
        runs, said = [], False
        for repeat in range(REPEATS):
            if not said and time.monotonic() - began > SILENT_S:
                click.echo(f"Simulating a {name} model ({number} of {len(SUPPOSED)}) ...", err=True)
                said = True
            runs.append(simulate(capped, supposed(plan, factor), repeat))
        cut = [r.verdict == "delay" and r.trials >= most < plan.budget.calls for r in runs]
        verdicts = sorted({"not decided" if open_ else r.verdict for r, open_ in zip(runs, cut, strict=True)})
        trials = int(statistics.median(r.trials for r in runs))
        yield {"model": name, "meaning": meaning, "trials": trials, "verdicts": "/".join(verdicts), "simulated_trials": most}


def _row(row: dict[str, Any]) -> str:
    if row["verdicts"] == "not decided":
        return f"  {row['model']:<11} not decided within {row['simulated_trials']:,} ({row['meaning']})"
    return f"  {row['model']:<11} {row['trials']:>8,}  {row['verdicts']:<14} ({row['meaning']})"


def print_forecast(plan: Plan, catalog: Catalog, *, as_json: bool, named: bool = False) -> None:
    """Say what the plan would do, without asking anything. `named` says that its target was given beside it."""
    m = plan.matrix
    all_streams = streams(plan)
    gate = Gate(plan, bytes(32))
    least = sum(c.fewest_trials() for c in gate.claims if isinstance(c, RateClaim))
    floor = sum(plan.exploration.floor(s.arm) for s in all_streams)
    requests = plan.budget.calls * (plan.limits.retries + 1) * max(most_calls(plan, s).target for s in all_streams)
    rows = list(expected(plan))
    if as_json:
        facts = {
            "plan": plan.name, "digest": plan.digest, "streams": len(all_streams), "claims": len(gate.claims), "floor_trials": floor,
            "fewest_trials_to_approve": least, "most_trials": plan.budget.calls, "most_requests": requests, "expected": rows,
        }  # fmt: skip
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    click.echo(f"Plan {plan.name}, {plan.digest}")
    click.echo(f"Target {plan.target.kind}:{plan.target.model}{' (a placeholder)' if is_placeholder(plan.target) and not named else ''}\n")
    cells = len(m.hazards) * len(m.languages) * (1 + len(m.attacks))
    click.echo(f"{cells} cells: {len(m.hazards)} hazards x {len(m.languages)} languages x {1 + len(m.attacks)} attacks (none included)")
    for hazard in m.hazards:
        click.echo(f"  {hazard:<24} {len(catalog.hazards[hazard].scenarios)} scenarios in {', '.join(m.languages)}")
    click.echo(f"  attacks: none{''.join(', ' + a for a in m.attacks)}; placebo {_yes(m.placebo)}; benign twins {_yes(m.benign)}")
    click.echo(f"{len(all_streams)} streams, {len(gate.claims)} claims in {len(plan.requirements)} requirements\n")
    click.echo("Expected trials (median of five simulated runs of this plan):")
    for row in rows:
        click.echo(_row(row))
    click.echo(f"\nExploration floor   {floor:>8,} trials")
    click.echo(f"Fewest to approve   {least:>8,} trials, if no answer is a violation")
    click.echo(
        f"Worst case          {plan.budget.calls:>8,} trials, {requests:,} requests if every one is retried {plan.limits.retries} times"
    )
    if plan.judges:
        calls, people = (f"{n} {word}{'s' * (n > 1)}" for n, word in ((len(plan.judges.panel), "call"), (plan.labels.people, "label")))
        click.echo(f"Judges              {calls} a trial, {people} a flagged answer (supposed above: all rightly flagged, and calibrated)")
        click.echo(_calibration(plan, gate))
    if least > plan.budget.calls:
        click.echo("\nThe budget cannot approve this plan: it can halt or delay only.")
    click.echo(
        f"\n{placeholder_words()}" if is_placeholder(plan.target) and not named else "\nNext: run the same command without --dry-run"
    )


def _calibration(plan: Plan, gate: Gate) -> str:
    """How many known violations the judge's sensitivity takes, and which share of this run's answers an audit would draw for them."""
    judged = [c for c in gate.claims if isinstance(c, JudgedRateClaim)]
    if not judged:
        return f"Audit               {plan.labels.audit:.0%} of what the judges pass, whatever they miss: no calibration"
    known, wanted = judged[0].known_needed, plan.labels.expected * PLANNED_BOUND
    words = f"Calibration         {known:,} known violations in each hazard, language and arm bound the sensitivity at {wanted:.2f}"
    words += f" if it is {plan.labels.expected:.2f};"
    share = max(known / (c.tau * c.fewest_trials()) for c in judged)
    if share > 1:
        return f"{words}\n                    this run has too few, even at its thresholds: calibrate on a run of a weaker target"
    return f"{words}\n                    audit: {share:.2f} would find them here, were every rate at its threshold"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
