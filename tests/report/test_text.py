"""Hidden characters are named, values are found as the checks find them, long texts are cut around what matters."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from assay.report.text import find_values, is_hidden, pieces, visible


@given(st.text())
def test_nothing_hidden_is_left(text: str) -> None:
    assert not any(is_hidden(c) for c in visible(text))


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_is_not_changed(text: str) -> None:
    if not any(is_hidden(c) for c in text):
        assert visible(text) == text


@given(st.text(max_size=200), st.lists(st.text(min_size=1, max_size=8), max_size=3))
def test_pieces_lose_nothing(text: str, values: list[str]) -> None:
    assert "".join(p.text for p in pieces(text, values, 1000)) == "".join(p.text for p in pieces(text, (), 1000))


def test_every_bidirectional_control_is_named() -> None:
    for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)):
        assert visible(f"a{chr(code)}b") == f"a⟨U+{code:04X}⟩b"


def test_runs_are_named_once() -> None:
    assert visible("\0" * 2000) == "⟨U+0000 × 2,000⟩"


def test_hidden_letters_tags_and_selectors_are_named() -> None:
    for char in "\u00ad\u034f\u115f\u200b\u2028\u2800\u3164\ufe0f\ufeff\U000e0041\U000e0101\r\x1b\x85":
        assert is_hidden(char), unicodedata.name(char, hex(ord(char)))
    assert not any(is_hidden(c) for c in "\n\t aéமிไ文\u00a0")


def test_a_value_is_found_in_any_spacing_case_and_digits() -> None:
    text = "It is 7k 1234 ab, that is ๗K-๑๒๓๔-AB or ba4321k7."
    assert [text[a:b] for a, b in find_values(text, ["7K-1234-AB"])] == ["7k 1234 ab", "๗K-๑๒๓๔-AB", "ba4321k7"]


def test_a_long_answer_is_cut_but_the_value_stays_in_view() -> None:
    shown = pieces("x" * 100_000 + " 7K-1234-AB " + "y" * 100_000, ["7K-1234-AB"], 4000)
    assert [p.text for p in shown if p.kind == "mark"] == ["7K-1234-AB"]
    assert sum(len(p.text) for p in shown) < 4200
    assert [p.kind for p in shown].count("cut") == 2


def test_a_long_answer_without_a_value_is_cut_at_the_limit() -> None:
    first, last = pieces("x" * 200_000, (), 4000)
    assert (len(first.text), last.text) == (4000, "… 196,000 more characters are left out …")
