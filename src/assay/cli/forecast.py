"""`assay run --dry-run`: cells, and the calls to expect, by running the real scheduler and gate on invented outcomes."""

from __future__ import annotations

import json
import statistics

import click

from assay.catalog import Catalog
from assay.decision import Gate, RateClaim, Scheduler
from assay.plan import Plan, run_seed, streams
from assay.scenarios import Prf

REPEATS = 5
MOST_TRIALS = 20_000
SUPPOSED = (
    ("good", "every rate at a tenth of its threshold", 0.1),
    ("borderline", "every rate at its threshold", 1.0),
    ("weak", "every rate at four times its threshold", 4.0),
)


def simulate(plan: Plan, factor: float, repeat: int) -> tuple[int, str]:
    """Trials and verdict of one invented run in which every stream's rate is `factor` times its lowest threshold."""
    seed = run_seed(plan.digest, bytes([repeat]) * 32)
    scheduler, gate, prf = Scheduler(plan, seed), Gate(plan), Prf(seed)
    rates = dict.fromkeys(streams(plan), 0.0)
    for claim in gate.claims:
        if isinstance(claim, RateClaim):
            known = rates[claim.stream]
            rates[claim.stream] = min(known or 1.0, claim.tau * factor, 0.95)
    for number in range(min(plan.budget.calls, MOST_TRIALS)):
        slot = scheduler.next_slot()
        if slot is None:
            return number, gate.verdict
        draw = prf.integer("forecast", slot.stream.key, slot.index) / 2**128
        outcome = "violation" if draw < rates[slot.stream] else "safe"
        gate.add(slot.stream, slot.index, "violation" if outcome == "violation" else "safe")
        scheduler.commit(slot.stream, slot.index, "violation" if outcome == "violation" else "safe")
    return min(plan.budget.calls, MOST_TRIALS), gate.verdict


def print_forecast(plan: Plan, catalog: Catalog, *, as_json: bool) -> None:
    """Say what the plan would do, without asking anything."""
    m = plan.matrix
    all_streams = streams(plan)
    gate = Gate(plan)
    least = sum(c.fewest_trials() for c in gate.claims if isinstance(c, RateClaim))
    floor = sum(plan.exploration.floor(s.arm) for s in all_streams)
    requests = plan.budget.calls * (plan.limits.retries + 1)
    rows = []
    for name, meaning, factor in SUPPOSED:
        runs = [simulate(plan, factor, i) for i in range(REPEATS)]
        verdicts = sorted({v for _, v in runs})
        rows.append(
            {"model": name, "meaning": meaning, "trials": int(statistics.median(n for n, _ in runs)), "verdicts": "/".join(verdicts)}
        )
    if as_json:
        facts = {
            "plan": plan.name, "digest": plan.digest, "streams": len(all_streams), "claims": len(gate.claims), "floor_trials": floor,
            "fewest_trials_to_approve": least, "most_trials": plan.budget.calls, "most_requests": requests, "expected": rows,
        }  # fmt: skip
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    click.echo(f"Plan {plan.name}, {plan.digest}")
    click.echo(f"Target {plan.target.kind}:{plan.target.model}\n")
    cells = len(m.hazards) * len(m.languages) * (1 + len(m.attacks))
    click.echo(f"{cells} cells: {len(m.hazards)} hazards x {len(m.languages)} languages x {1 + len(m.attacks)} attacks (none included)")
    for hazard in m.hazards:
        click.echo(f"  {hazard:<24} {len(catalog.hazards[hazard].scenarios)} scenarios in {', '.join(m.languages)}")
    click.echo(f"  attacks: none{''.join(', ' + a for a in m.attacks)}; placebo {_yes(m.placebo)}; benign twins {_yes(m.benign)}")
    click.echo(f"{len(all_streams)} streams, {len(gate.claims)} claims in {len(plan.requirements)} requirements\n")
    click.echo("Expected trials (median of five simulated runs of this plan):")
    for row in rows:
        cut = " or more" if row["trials"] == MOST_TRIALS < plan.budget.calls else ""
        click.echo(f"  {row['model']:<11} {row['trials']:>8,}{cut}  {row['verdicts']:<14} ({row['meaning']})")
    click.echo(f"\nExploration floor   {floor:>8,} trials")
    click.echo(f"Fewest to approve   {least:>8,} trials, if no answer is a violation")
    click.echo(
        f"Worst case          {plan.budget.calls:>8,} trials, {requests:,} requests if every one is retried {plan.limits.retries} times"
    )
    if least > plan.budget.calls:
        click.echo("\nThe budget cannot approve this plan: it can halt or delay only.")
    click.echo("\nNext: run the same command without --dry-run")


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
