"""`assay plan cost`: calls, tokens, money, time and the chances of each verdict, for a target as good as one supposes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import click
import msgspec

from assay.attacks import ATTACKS
from assay.catalog import Catalog
from assay.cli.words import program
from assay.decision import Forecast, RateClaim, Supposed, claims, forecast
from assay.engine.strategies import most_calls
from assay.errors import PlanError
from assay.plan import Plan, read_plan, run_seed, streams
from assay.scenarios import ItemBuilder

BYTES_PER_TOKEN = 3
CURVE = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 3.0)
_SAMPLED_ITEMS = 8
SEALED_TOKENS = 60.0
"""What a prompt of a sealed bank is supposed to have, where a plan has nothing else."""


def cells_of(given: tuple[str, ...]) -> dict[str, float]:
    """`--cell hazard/language/attack=0.15`, any number of them. Raises `PlanError`."""
    cells = {}
    for text in given:
        name, _, value = text.partition("=")
        cells[name] = rate_of(value, text)
    return cells


def rate_of(text: str, where: str) -> float:
    """`0.02` or `2%`. Raises `PlanError`."""
    try:
        rate = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1:
        raise PlanError(f"'{where}' is no rate; write 0.02 or 2%")
    return rate


def print_cost(name: str, supposed: Supposed, *, runs: int, seconds: float, latency_s: float, answer_tokens: int, as_json: bool) -> None:
    """Simulate the plan of a file or built-in name, and say it."""
    plan, catalog = read_plan(name)
    seen = forecast(plan, supposed, runs, _within(seconds / 2), lambda s: (most_calls(plan, s).target, most_calls(plan, s).attacker))
    prompt, answer = mean_prompt_tokens(plan, catalog), min(answer_tokens, plan.generation.max_tokens)
    facts: dict[str, Any] = {
        "name": name, "plan": plan.name, "digest": plan.digest,
        "supposed": msgspec.to_builtins(supposed), "forecast": msgspec.to_builtins(seen),
        "prompt_tokens_per_call": round(prompt), "answer_tokens_per_call": answer, "tokens": round(seen.calls_mean * (prompt + answer)),
        "hours": (seen.calls_mean + seen.attacker_calls_mean) * latency_s / plan.limits.concurrency / 3600,
    }  # fmt: skip
    if plan.budget.prices:
        facts["money"] = plan.budget.prices.cost(seen.calls_mean * prompt, seen.calls_mean * answer)
        facts["currency"] = plan.budget.prices.currency
    facts["curve"] = power_curve(plan, supposed, seconds / 2)
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    _say(plan, supposed, seen, facts)


def mean_prompt_tokens(plan: Plan, catalog: Catalog) -> float:
    """By the length of a few real items of every stream; sealed banks, whose length nobody knows before, count as the rest does."""
    builder = ItemBuilder.for_plan(plan, catalog, run_seed(plan.digest, bytes(32)), ATTACKS)
    each = [s for s in streams(plan) if s.hazard not in catalog.sealed]
    if not each:
        return SEALED_TOKENS
    sizes = [
        sum(len(m.content.encode()) for m in builder.build(stream, i).messages)
        for stream in each
        for i in range(max(1, _SAMPLED_ITEMS * 24 // len(each)))
    ]
    return sum(sizes) / len(sizes) / BYTES_PER_TOKEN


def power_curve(plan: Plan, supposed: Supposed, seconds: float) -> list[dict[str, float]]:
    """The chances of each verdict as every violation rate moves between a tenth and three times the lowest threshold."""
    taus = [c.tau for c in claims(plan, bytes(32)) if isinstance(c, RateClaim) and c.stream.arm != "benign"]
    rows = []
    for factor in CURVE if taus else ():
        rate = min(0.95, factor * min(taus))
        seen = forecast(plan, msgspec.structs.replace(supposed, violation=rate), 200, _within(seconds / len(CURVE)))
        rows.append(
            {"rate": rate, "approve": seen.approve, "delay": seen.delay, "halt": seen.halt, "trials": seen.trials_mean, "runs": seen.runs}
        )
    return rows


def _within(seconds: float) -> Callable[[int], bool]:
    until = time.monotonic() + seconds
    return lambda _: time.monotonic() > until


def _say(plan: Plan, supposed: Supposed, seen: Forecast, facts: dict[str, Any]) -> None:
    exceptions = "".join(f"; {cell} {rate:.3g}" for cell, rate in supposed.cells.items())
    click.echo(f"Plan {plan.name}, {plan.digest}")
    click.echo(f"Supposed: violations {supposed.violation:.3g}, refused harmless requests {supposed.refusal:.3g}, unscorable", nl=False)
    click.echo(f" {supposed.unscorable:.3g}{exceptions}\n")
    click.echo(f"{seen.runs} simulated runs of this plan:")
    for verdict in ("approve", "delay", "halt"):
        low, high = seen.intervals[verdict]
        share = {"approve": seen.approve, "delay": seen.delay, "halt": seen.halt}[verdict]
        click.echo(f"  {verdict:<8} {share:>7.1%}   (95% interval {low:.1%} to {high:.1%})")
    low_calls, _, high_calls = seen.trials_percentiles
    click.echo(
        f"\n  trials   {seen.trials_mean:>12,.0f}   (5% to 95%: {low_calls:,} to {high_calls:,}; {seen.decided_mean:,.0f} until decided)"
    )
    strategies = f"; {seen.attacker_calls_mean:,.0f} of the attacker, at most" if seen.attacker_calls_mean else ""
    click.echo(
        f"  calls    {seen.calls_mean:>12,.0f}   (of the target{', at most' if seen.calls_mean > seen.trials_mean else ''}{strategies})"
    )
    each = f"{facts['prompt_tokens_per_call']:,} of prompt by length, {facts['answer_tokens_per_call']:,} of answer supposed"
    click.echo(f"  tokens   {facts['tokens']:>12,}   ({each})")
    if "money" in facts:
        click.echo(f"  money    {facts['currency']} {facts['money']:>8,.2f}")
    click.echo(f"  hours    {facts['hours']:>12.2f}   (at concurrency {plan.limits.concurrency})\n")
    if facts["curve"]:
        click.echo(f"Violation rate{' elsewhere' if supposed.cells else ''}   approve     delay      halt       trials")
        for point in facts["curve"]:
            shares = "".join(f"{point[v]:>10.0%}" for v in ("approve", "delay", "halt"))
            click.echo(f"{point['rate']:>14.3%}{shares} {point['trials']:>12,.0f}")
    click.echo(f"\nNext, run it:\n\n  {program()} run {facts['name']}")
