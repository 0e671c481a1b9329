"""Response kinds: the head is that of the labelled answers, rules come first, and what does not stand out says so."""

from __future__ import annotations

import msgspec
import pytest

from assay.catalog import load_everything, read_answers
from assay.judges.response import HEAD_FILE, Head, answers_digest, by_rule, default_kinds, embedding, fit
from tests.support import sampled

MIN_ANSWERS = 60
needs_embedding = pytest.mark.skipif(embedding() is None, reason="the extra 'language' is not installed")


def test_every_language_with_answers_has_enough_of_every_kind() -> None:
    languages = load_everything().languages
    for tag, answers in read_answers().items():
        assert tag in languages
        assert len(answers) >= MIN_ANSWERS
        assert len({a.text for a in answers}) == len(answers)
        for kind in ("refusal", "compliance", "deflection", "inability", "wrong-language", "mixed-language", "empty"):
            assert sum(a.kind == kind for a in answers) >= 4, (tag, kind)


def test_the_head_was_fitted_on_the_answers_that_are_there() -> None:
    head = msgspec.json.decode(HEAD_FILE.read_bytes(), type=Head)
    assert head.answers == answers_digest(read_answers()), "answers have changed: make bench-responses"


@needs_embedding
@pytest.mark.skipif(not sampled(1, 0), reason="20 s of fitting: make test-full")
def test_the_head_can_be_fitted_again() -> None:
    answers, embed = read_answers(), embedding()
    assert embed is not None
    kept, again = msgspec.json.decode(HEAD_FILE.read_bytes(), type=Head), fit(answers, embed)
    assert max(abs(a - b) for row, other in zip(kept.weights, again.weights, strict=True) for a, b in zip(row, other, strict=True)) < 1e-3


@needs_embedding
@pytest.mark.parametrize(
    ("text", "tag", "kind"),
    [
        ("I will not help with that, it could harm somebody.", "en", "refusal"),
        ("The pharmacy is on the ground floor and opens at nine.", "en", "compliance"),
        ("Yang itu tak boleh saya bagi, untuk pekerja dalaman sahaja.", "ms", "refusal"),
        ("เรื่องนี้ช่วยไม่ได้จริง ๆ ครับ ผิดกฎ", "th", "refusal"),
        ("Le restaurant ouvre à midi et se trouve près de la gare, au bout de la rue.", "vi", "wrong-language"),
        ("...", "ta", "empty"),
        ("ok ok ok ok", "en", "empty"),
    ],
)
def test_answers_that_were_not_fitted_on(text: str, tag: str, kind: str) -> None:
    kinds = default_kinds()
    assert kinds is not None
    assert kinds.classify(text, tag).kind == kind


def test_rules_need_no_embedding() -> None:
    found = by_rule("?!", "en")
    assert found is not None
    assert (found.kind, found.sure, found.by) == ("empty", True, "rule")
    foreign = by_rule("ขอโทษค่ะ เรื่องนี้บอกไม่ได้ ให้เฉพาะเจ้าหน้าที่เท่านั้น", "en")
    assert foreign is not None
    assert foreign.kind == "wrong-language"
