"""The words of the charts in one interface language, and numbers and names as charts say them.

words = Words.of("ms")
words.say("matrix_title", run="…")
words.rate(0.034), words.span(0.01, 0.07)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

from assay.catalog import Catalog
from assay.report.matrix import language_name
from assay.report.text import visible
from assay.report.words import rate_text, shortened
from assay.web.languages import read_words

WORDS = Path(__file__).parent / "words"
MAX_NAME = 60


class Words(Struct, frozen=True):
    """`language` is the interface's; `table` its words by key."""

    language: str
    table: Mapping[str, str]

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, language: str) -> Words:
        """The words of an interface language. Raises `CatalogError` where words are missing, `KeyError` for an unknown language."""
        return cls(language, read_words(WORDS)[language])

    def say(self, key: str, **values: str | int) -> str:
        """A text with its places filled in; numbers get their thousands set apart."""
        return self.table[key].format_map({k: f"{v:,}" if isinstance(v, int) else v for k, v in values.items()})

    def rate(self, rate: float) -> str:
        """`4.5%`."""
        return rate_text(rate)

    def gap(self, difference: float) -> str:
        """A difference of rates with its sign: `+4.5`, in percentage points."""
        return f"{100 * difference:+.1f}".replace("-", "−") if abs(difference) >= 0.0005 else "0.0"

    def span(self, low: float, high: float) -> str:
        """An interval of rates."""
        return self.say("span", low=rate_text(low), high=rate_text(high))

    def gap_span(self, low: float, high: float) -> str:
        """An interval of differences."""
        return self.say("span", low=self.gap(low), high=self.gap(high))


def name(text: str, most: int = MAX_NAME) -> str:
    """A name that others chose, fit to be shown: hidden characters named, cut to `most` characters."""
    return shortened(visible(text.replace("\n", " ").replace("\t", " ")), most)


def tongue(catalog: Catalog, tag: str) -> str:
    """A language as charts label it: its own name and its tag."""
    return f"{name(language_name(catalog, tag).native, 24)} ({tag})"


def attack_name(attack: str) -> str:
    """An attack's name for people."""
    return name(attack.replace("-", " "), 32)


def hazard_name(catalog: Catalog, hazard: str) -> str:
    """A hazard's title."""
    return name(catalog.hazards[hazard].title)


def wrapped(text: str, most: int) -> list[str]:
    """Words on lines of at most `most` characters; a longer word is broken at its hyphens, or else in halves."""
    lines = [""]
    for word in text.split():
        for part in _parts(word, most):
            if lines[-1] and (len(lines[-1]) + 1 + len(part) > most or lines[-1].endswith("-")):
                lines.append(part)
            else:
                lines[-1] = f"{lines[-1]} {part}".strip()
    return lines


def _parts(word: str, most: int) -> list[str]:
    if len(word) <= most:
        return [word]
    if "-" in word[:-1]:
        first, _, rest = word.partition("-")
        return [*_parts(f"{first}-", max(most, len(first) + 1)), *_parts(rest, most)]
    half = (len(word) + 1) // 2
    return [f"{word[:half]}-", word[half:]]
