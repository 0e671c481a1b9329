"""Judges and people in the report: who judged, what people say of it, and what is still to be labelled.

view = make_judges(run, tally)             # None for a plan without judges
view.rows[0].flagged, view.rows[0].confirmed, view.rows[0].sensitivity
"""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from assay.decision.judged_claims import JudgedRateClaim
from assay.errors import AssayError
from assay.judges import READER, Label, settle
from assay.judges.calibration import alpha, ratings
from assay.plan import JudgeSpec, Stream
from assay.report.tally import Tally
from assay.report.words import range_text, rate_text, shortened, stream_words
from assay.runs import ReadRun
from assay.stats.exact import clopper_pearson


class JudgeRow(Struct, frozen=True):
    """One judge of the panel, what it was asked in, and what it cost."""

    name: str
    model: str
    rubric: str
    decoding: str
    digest: str
    tokens: int
    retried: int


class ReadRow(Struct, frozen=True):
    """One judged stream: how many answers were read, flagged, not usable; what people say of them; what the judge catches."""

    title: str
    n: int
    flagged: int
    unusable: int
    confirmed: int
    refuted: int
    awaiting: int
    known: str
    sensitivity: str
    bound: str
    needed: str


class JudgesView(Struct, frozen=True):
    """All that the report says of judges and people."""

    combine: str
    tries: int
    share: str
    audit: str
    people: int
    judges: tuple[JudgeRow, ...]
    rows: tuple[ReadRow, ...]
    labels: int
    labellers: int
    disputed: int
    alpha: str
    calibrated: bool


def make_judges(run: ReadRun, tally: Tally) -> JudgesView | None:
    """Counts over all committed trials that judges read, and what the labels that were taken in say of them."""
    plan = tally.opening.plan
    if plan.judges is None:
        return None
    acts = [label for taken in run.taken() for label in taken.labels]
    truth = settle(acts, plan.labels.people)
    counts: dict[Stream, Counter[str]] = {}
    spent: list[Counter[str]] = [Counter() for _ in plan.judges.panel]
    for number, trial in enumerate(run.trials()):
        if number >= tally.trials:
            break
        if not trial.judge.startswith(READER):
            continue
        c = counts.setdefault(trial.stream, Counter())
        known = truth.truth.get(trial.slot)
        c.update(("n", "flagged" if trial.outcome == "violation" else "unusable" if trial.outcome == "unscorable" else "passed"))
        if trial.outcome != "safe":
            c["awaiting" if known is None else "confirmed" if known == "violation" else "refuted"] += 1
        elif known == "violation":
            c["missed"] += 1
        for judge, said in zip(spent, trial.said, strict=False):
            judge["tokens"] += sum(said.tokens)
            judge["retried"] += len(said.replies) > 1
    claims = {c.stream: c for c in tally.gate.claims if isinstance(c, JudgedRateClaim)}
    return JudgesView(
        combine="the most severe verdict" if plan.judges.combine == "most-severe" else "the majority's verdict, a tie being a violation",
        tries=plan.judges.tries,
        share=rate_text(plan.labels.share),
        audit=rate_text(plan.labels.audit),
        people=plan.labels.people,
        judges=tuple(_judge(spec, c) for spec, c in zip(plan.judges.panel, spent, strict=True)),
        rows=tuple(_row(stream, c, claims.get(stream), tally) for stream, c in counts.items()),
        labels=len(acts),
        labellers=len({label.labeller for label in acts}),
        disputed=len(truth.disputed),
        alpha=_alpha(acts),
        calibrated=any(c.sensitivity.lower > 0 for c in claims.values()),
    )


def _alpha(acts: list[Label]) -> str:
    """Agreement among people; empty where nothing was rated twice, or the package for it is not installed."""
    rated = ratings(acts)
    try:
        found = alpha(rated) if rated else None
    except AssayError:
        return ""
    return "" if found is None else f"{found:.2f}"


def _judge(spec: JudgeSpec, spent: Counter[str]) -> JudgeRow:
    target = spec.target
    return JudgeRow(
        name=spec.name, model=shortened(f"{target.kind}: {target.model}", 80),
        rubric="in English" if spec.rubric == "en" else "in the item's language",
        decoding=f"temperature {spec.temperature:g}, at most {spec.max_tokens:,} tokens{', held to a form' * spec.structured}",
        digest=target.digest, tokens=spent["tokens"], retried=spent["retried"],
    )  # fmt: skip


def _row(stream: Stream, c: Counter[str], claim: JudgedRateClaim | None, tally: Tally) -> ReadRow:
    caught, missed = (claim.sensitivity.caught, claim.sensitivity.missed) if claim else (0, 0)
    known = caught + missed
    more = claim.labels_to_settle() if claim else 0
    return ReadRow(
        title=stream_words(stream, tally.opening.catalog), n=c["n"], flagged=c["flagged"], unusable=c["unusable"],
        confirmed=c["confirmed"] + c["missed"], refuted=c["refuted"], awaiting=c["awaiting"],
        known=f"{caught:,} of {known:,}" if known else "",
        sensitivity=f"{rate_text(caught / known)} ({range_text(*clopper_pearson(caught, known))})" if known else "",
        bound=rate_text(claim.sensitivity.lower) if claim and claim.sensitivity.lower > 0 else "",
        needed="" if not more else "more trials first" if more < 0 else f"about {more:,}",
    )  # fmt: skip
