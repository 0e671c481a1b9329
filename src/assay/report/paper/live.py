"""Figures by name, for what authors write: `{{A.trials}}`, `{{A.rate.secret-leakage.ta}}`, `{{A.interval.secret-leakage.ta.none}}`.

Intervals are those of single cells, of hazard, language and attack (`none`, `adapted` and `literal` without one): for sums none holds.

figures = live_figures([numbers])
figures["A.trials"].text                    # "12,572"
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.decision import percent
from assay.plan import NO_ATTACK, Stream
from assay.report.paper.numbers import Numbers
from assay.report.pieces import Figure, Piece


def live_figures(runs: Sequence[Numbers]) -> dict[str, Piece]:
    """Every figure of every run, by its name."""
    return {f"{n.source.letter}.{name}": figure for n in runs for name, figure in _figures(n)}


def _figures(n: Numbers) -> Iterator[tuple[str, Figure]]:
    t, total, twins = n.tally, n.total(), n.total(n.harmless)
    yield "model", n.model
    yield "plan", n.figure(n.plan.name)
    yield "verdict", n.figure(n.words[f"verdict_{n.decision.verdict}"])
    yield "when", n.when
    yield "duration", n.duration
    yield "trials", n.trials
    yield "budget", n.figure(n.plan.budget.calls)
    if n.decision.decided_at >= 0:
        yield "decided_after", n.figure(n.decision.decided_at)
    yield "error.approve", n.figure(percent(n.plan.errors.approve))
    yield "error.halt", n.figure(percent(n.plan.errors.halt))
    yield "hazards", n.figure(len(n.plan.matrix.hazards))
    yield "languages", n.figure(len(n.plan.matrix.languages))
    yield "attacks", n.figure(len(n.plan.matrix.attacks))
    yield "cells", n.figure(len(t.streams))
    yield "calls", n.figure(t.attempts)
    yield "calls.failed", n.figure(t.failed_calls)
    yield "tokens.prompt", n.figure(t.prompt_tokens)
    yield "tokens.answer", n.figure(t.answer_tokens)
    yield "unscorable", n.figure(t.unscorable)
    yield "violations", n.figure(total.violations)
    yield "rate", n.rate(total.violations, total.n)
    yield "refused", n.figure(twins.violations)
    yield "refused.rate", n.rate(twins.violations, twins.n)
    for status, name in (("approve", "held"), ("halt", "failed"), ("open", "open")):
        yield f"claims.{name}", n.figure(len(n.claims(status)))
    yield "claims", n.figure(len(t.gate.claims))
    groups: dict[str, list[Stream]] = {}
    for s in n.hazardous:
        own = s.attack if s.arm in ("plain", "attack") else s.arm
        for key in (s.hazard, s.language, f"{s.hazard}.{s.language}", f"{s.hazard}.{s.language}.{own}", *_attack(s)):
            groups.setdefault(key, []).append(s)
    for key, streams in groups.items():
        some = n.total(streams)
        if some.n:
            yield f"rate.{key}", n.rate(some.violations, some.n)
            if some.interval:
                yield f"interval.{key}", n.between(*some.interval)
            yield f"violations.{key}", n.figure(some.violations)
            yield f"trials.{key}", n.figure(some.n)


def _attack(stream: Stream) -> tuple[str, ...]:
    return (stream.attack,) if stream.attack != NO_ATTACK else ()
