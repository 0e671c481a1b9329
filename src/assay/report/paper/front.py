"""The first page: the decision, why, how sure, what is not known, what would change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from assay.decision import RateClaim, percent
from assay.decision.audited_claims import AuditedRateClaim
from assay.decision.judged_claims import JudgedRateClaim
from assay.report.caveats import unreviewed
from assay.report.paper.document import Block, Bullets, Heading, Paragraph
from assay.report.paper.numbers import Numbers
from assay.report.pieces import Figure, Piece, Text, evidence_in, say

Item = tuple[Piece, ...]
LETTER = "letter"
MANY = "_many"
"""Ends the key of a sentence of several runs."""


class Line(Struct, frozen=True):
    """A sentence to be: the key of its template, and what fills its places. The run's letter fills `{letter}`."""

    key: str
    places: dict[str, Figure]
    letter: Figure


def executive(runs: Sequence[Numbers], words: dict[str, str]) -> Iterator[Block]:
    """One page for whoever decides."""
    yield Heading(1, words["executive"], "executive")
    for n in runs:
        verdict = n.decision.verdict
        about = say(words["exec_for"], model=n.model, letter=n.letter, plan=n.figure(n.plan.name), when=n.when)
        yield Paragraph((n.figure(words[f"verdict_{verdict}"], strong=True), Text(" "), *about), verdict)
    meanings = [words[f"meaning_{verdict}"] for verdict in dict.fromkeys(n.decision.verdict for n in runs)]
    yield Paragraph((Text(" ".join(meanings)),))
    for name, part in (("why", _why), ("sure", _sure), ("unknown", _unknown), ("change", _change)):
        yield Heading(2, words[f"exec_{name}"], f"executive-{name}")
        items = list(merged(words, runs, part))
        if name == "unknown":
            items.append((Text(f"{words['exec_unknown_outside']} {words['exec_unknown_aware']}"),))
        yield Bullets(tuple(items))


def merged(words: dict[str, str], runs: Sequence[Numbers], part: Callable[[Numbers], Iterator[Line]]) -> Iterator[Item]:
    """The sentences of all runs; what is the same of several runs is said once, of all of them, where there are words for it."""
    groups: dict[tuple[str, ...], list[Line]] = {}
    for n in runs:
        for line in part(n):
            groups.setdefault((line.key, *(f"{name}={place.text}" for name, place in line.places.items())), []).append(line)
    for lines in groups.values():
        if f"{lines[0].key}{MANY}" in words:
            yield _of_all(words, lines)
        else:
            yield from (say(words[line.key], **{LETTER: line.letter, **line.places}) for line in lines)


def _of_all(words: dict[str, str], lines: Sequence[Line]) -> Item:
    """One sentence for one run or several, which say the same."""
    places: dict[str, Piece | tuple[Piece, ...]] = {
        name: Figure(place.text, evidence_in(line.places[name] for line in lines), place.strong) for name, place in lines[0].places.items()
    }
    key = lines[0].key if len(lines) == 1 else f"{lines[0].key}{MANY}"
    return say(words[key], **{LETTER: letters(words, [line.letter for line in lines]), **places})


def letters(words: dict[str, str], of: Sequence[Figure]) -> tuple[Piece, ...]:
    """The letters of runs as they are listed in the language: “A”, “A and B”, “A, B and C”."""
    out: list[Piece] = []
    for place, letter in enumerate(of):
        if place:
            out.append(Text(words["letters_and" if place == len(of) - 1 else "letters_comma"]))
        out.append(letter)
    return tuple(out)


def _why(n: Numbers) -> Iterator[Line]:
    order = {"halt": 0, "open": 1, "approve": 2}
    for r in sorted(n.decision.requirements, key=lambda r: order[r.status]):
        yield Line("exec_why_requirement", {"requirement": n.figure(r.id), "reason": n.figure(r.reason)}, n.letter)


def _sure(n: Numbers) -> Iterator[Line]:
    errors = n.plan.errors
    yield Line("exec_sure_errors", {"approve": n.figure(percent(errors.approve)), "halt": n.figure(percent(errors.halt))}, n.letter)
    if n.decision.decided_at >= 0:
        yield Line("exec_sure_trials", {"decided": n.figure(n.decision.decided_at), "trials": n.trials}, n.letter)
    else:
        yield Line("exec_sure_undecided", {"trials": n.trials}, n.letter)
    if n.decision.verdict == "approve" and n.narrowest is not None:
        claim, bound = n.narrowest
        yield _counted(n, "exec_sure_narrow", claim, bound=n.figure(f"{100 * bound:.2f}%"))


def _unknown(n: Numbers) -> Iterator[Line]:
    claims, still_open = n.tally.gate.claims, n.claims("open")
    if still_open:
        yield Line("exec_unknown_open", {"open": n.figure(len(still_open)), "claims": n.figure(len(claims))}, n.letter)
    empty = sum(c.n == 0 for c in n.tally.streams.values())
    if empty:
        yield Line("exec_unknown_empty", {"empty": n.figure(empty), "cells": n.figure(len(n.tally.streams))}, n.letter)
    if n.tally.unscorable:
        yield Line("exec_unknown_unscorable", {"unscorable": n.figure(n.tally.unscorable), "trials": n.trials}, n.letter)
    doubtful, languages = unreviewed(n.tally), n.plan.matrix.languages
    if doubtful:
        yield Line("exec_unknown_review", {"languages": n.figure(len(doubtful)), "all": n.figure(len(languages))}, n.letter)
    kinds = [n.catalog.kinds[a].family for a in n.plan.matrix.attacks if a in n.catalog.kinds]
    if not n.plan.matrix.attacks:
        yield Line("exec_unknown_attacks", {}, n.letter)
    elif "strategy" not in kinds:
        yield Line("exec_unknown_adaptive", {}, n.letter)


def _change(n: Numbers) -> Iterator[Line]:
    verdict, claims = n.decision.verdict, n.tally.gate.claims
    if verdict == "halt" and n.gravest is not None:
        yield _counted(n, "exec_change_halt", n.gravest, count=n.figure(len(n.claims("halt"))))
    elif verdict == "halt":
        yield Line("exec_change_halted", {"count": n.figure(len(n.claims("halt")))}, n.letter)
    if verdict == "delay" and n.farthest is not None:
        claim, low, high = n.farthest
        more = {"open": n.figure(len(n.claims("open"))), "low": n.figure(f"{100 * low:.1f}%"), "high": n.figure(f"{100 * high:.1f}%")}
        yield _counted(n, "exec_change_delay", claim, **more)
    elif verdict == "delay":
        yield Line("exec_change_open", {"open": n.figure(len(n.claims("open")))}, n.letter)
    if verdict == "approve":
        yield Line("exec_change_approve", {}, n.letter)
    awaiting = sum(c.awaiting for c in claims if isinstance(c, JudgedRateClaim | AuditedRateClaim))
    if awaiting:
        yield Line("exec_change_label", {"awaiting": n.figure(awaiting)}, n.letter)


def _counted(n: Numbers, key: str, claim: RateClaim, **more: Figure) -> Line:
    counts = {"claim": n.claim(claim), "violations": n.found(claim), "trials": n.figure(claim.n)}
    return Line(key, {**counts, "threshold": n.threshold(claim), **more}, n.letter)
