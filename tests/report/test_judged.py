"""What judges read, in papers and comparisons: people's word where there is one, and a flag alone is neither a violation nor safe."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay import api
from assay.cli.compare import observe
from assay.decision.audited_claims import AuditedRateClaim
from assay.decision.codes import SAFE, UNSCORABLE, VIOLATION
from assay.decision.judged_claims import JudgedRateClaim
from assay.decision.rate_claims import RateClaim
from assay.evidence import committed
from assay.plan import Stream
from assay.report.charts.checkpoints import checkpoints
from assay.report.charts.reading import read_all
from assay.report.comparison import comparison_view, observed_of, sentences, words_in
from assay.report.paper.compared import _blocks, compared
from assay.report.paper.document import Block, Document, Run, check, pieces_of
from assay.report.paper.front import executive
from assay.report.paper.making import WORDS
from assay.report.paper.numbers import Numbers
from assay.report.sources import Source, read_source, read_sources
from assay.web.languages import INTERFACE, read_words
from assay.web.signin import Person
from tests.label.test_judged import JUDGED, label_everything
from tests.support import plan_text, truth_of

ENGLISH = read_words(WORDS)["en"]
CELL = Stream("hate", "en", "none", "plain")


def run_of(folder: Path, panel: str, rate: str, **changes: Any) -> Path:
    """A run that a judge of this sensitivity and specificity read, labelled by one person to the end; its first bundle lies in `before`."""
    folder.mkdir()
    known = {"panel": [{"name": "known", "target": {"kind": "scripted-judge", "model": panel}}]}
    matrix = {"hazards": ["hate"], "languages": ["en"], "attacks": [], "benign": False}
    plan = JUDGED | {
        "matrix": matrix, "judges": known, "labels": {"people": 1, "audit": 1.0}, "target": {"kind": "scripted", "model": rate},
        "budget": {"calls": 30}, "exploration": {"plain": 30},
    } | changes  # fmt: skip
    (folder / "plan.yaml").write_text(plan_text(**plan))
    out, key = folder / "run", folder / "key.pem"
    api.evaluate(folder / "plan.yaml", out=out, key=key)
    (folder / "before").mkdir()
    shutil.copy(out / "evidence.jsonl", folder / "before" / "evidence.jsonl")
    label_everything(out, Person("Aisyah"))
    api.evaluate(out=out, resume=True, key=key)
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs of nearly the same rate; the second one's judge raises false alarms."""
    base = tmp_path_factory.mktemp("judged")
    return run_of(base / "a", "0.95/0.95", "0.05"), run_of(base / "b", "0.95/0.3", "0.05")


@pytest.fixture(scope="module")
def sources(runs: tuple[Path, Path]) -> tuple[Source, ...]:
    return read_sources(runs)


def test_refuted_flags_are_safe_and_unsettled_ones_could_not_be_scored(runs: tuple[Path, Path], sources: tuple[Source, ...]) -> None:
    for path, source in zip(runs, sources, strict=True):
        trials = [t for t, _ in committed(source.run)]
        truths = [VIOLATION if truth_of(t) == "violation" else SAFE for t in trials]
        assert observed_of(source).codes[CELL] == truths
        assert observe(path).codes[CELL] == truths
        assert observe(path / "evidence.jsonl").codes[CELL] == truths
        flagged = [UNSCORABLE if t.outcome == "violation" else SAFE for t in trials]
        before = read_source(path.parent / "before")
        assert observed_of(before).codes[CELL][: len(flagged)] == flagged
        assert UNSCORABLE in flagged


def test_the_sentences_agree_with_the_tables(sources: tuple[Source, ...]) -> None:
    view = comparison_view(sources, 0.05, 0.05, 0.01)
    counts = [(s.tally.streams[CELL].violations, s.tally.streams[CELL].n) for s in sources]
    assert list(view.cells[0].sides) == counts
    points = checkpoints(read_all(sources))
    assert points is not None
    assert [(p.violations, p.n) for p in points.points] == counts
    text = " ".join("".join(p.text for p in s) for s in sentences(view, words_in("en")))
    assert f"with {counts[0][0]} of {counts[0][1]} in run A and {counts[1][0]} of {counts[1][1]} in run B" in text


def text_of(blocks: Iterable[Block]) -> str:
    return "\n".join("".join(p.text for p in pieces_of(b)) for b in blocks)


@pytest.mark.parametrize("language", INTERFACE)
def test_the_chapter_on_change_says_what_its_sentences_rest_on(language: str, sources: tuple[Source, ...]) -> None:
    words, blocks = words_in(language), compared(sources, language)
    check(Document("t", "", (), "", language, blocks, tuple(Run(s.letter, s.bundle, s.model, s.name) for s in sources), {}))
    said = text_of(blocks)
    assert words["judged_note"] in said
    assert f"{words['plans_differ']}judgesB{words['effect_measure']}" in said
    assert text_of(compared([sources[0], dataclasses.replace(sources[0], letter="B")], language)).endswith(words["plans_same"])
    assert not compared(sources[:1], language)


def test_a_bank_is_said_to_be_one(sources: tuple[Source, ...]) -> None:
    view = msgspec.structs.replace(comparison_view(sources, 0.05, 0.05, 0.01), banked=True)
    words = words_in("en")
    assert words["bank_note"] in text_of(_blocks(view, words))


def test_the_first_page_counts_what_people_confirmed(tmp_path: Path) -> None:
    out = run_of(tmp_path / "c", "0.95/0.6", "0.6", budget={"calls": 60}, exploration={"plain": 20})
    source = read_source(out)
    numbers = Numbers(source, ENGLISH)
    claim = numbers.gravest
    assert isinstance(claim, JudgedRateClaim)
    assert 0 < claim.confirmed < claim.violations
    text = text_of(executive([numbers], ENGLISH))
    shown = f"{claim.confirmed} confirmed ({claim.violations} flagged, {claim.awaiting} awaiting a label) of {claim.n} answers"
    assert shown in text
    assert f"with {claim.violations} of" not in text


def claim_of(kind: type[RateClaim], **counts: int) -> RateClaim:
    if kind is JudgedRateClaim:
        claim: RateClaim = JudgedRateClaim("r", CELL, 0.1, 0.05, 0.05, known=(0, 0), share=0.5, expected=0.9)
    elif kind is AuditedRateClaim:
        claim = AuditedRateClaim("r", CELL, 0.1, 0.05, 0.05, 0.25)
    else:
        claim = RateClaim("r", CELL, 0.1, 0.05, 0.05)
    for name, value in counts.items():
        setattr(claim, name, value)
    return claim


def test_the_gravest_is_not_the_one_that_is_flagged_most(sources: tuple[Source, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = Numbers(sources[0], ENGLISH)
    loud = claim_of(JudgedRateClaim, n=100, violations=90, confirmed=15, awaiting=2)
    plain = claim_of(RateClaim, n=100, violations=30)
    drawn = claim_of(AuditedRateClaim, n=100, violations=20, flagged=11, audited=6, awaiting=1, awaiting_audited=2)
    monkeypatch.setattr(numbers, "claims", lambda _: [loud, plain, drawn])
    assert numbers.gravest is drawn, "each of the six stands for four"
    assert numbers.found(plain).text == "30"
    assert numbers.found(loud).text == "15 confirmed (90 flagged, 2 awaiting a label)"
    assert numbers.found(drawn).text == "11 confirmed and 6 found among the drawn (20 flagged, 3 awaiting a label)"
