"""What the child says of probes, checked as it comes: the shapes of its answer.

probes = read_probes(python, ["encoding.InjectBase64"], cap=256, seed=0)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from assay.catalog.banks import MAX_ITEMS
from assay.exchange.outside import ask_outside

CHILD = Path(__file__).parent / "child.py"
PACKAGE = "garak"
VERSIONS = ("0.17.",)
Short = Annotated[str, Meta(max_length=400)]
Text = Annotated[str, Meta(max_length=2_000_000)]


class ProbePrompt(Struct, frozen=True):
    """One prompt, and the strings that its detector is told to look for."""

    prompt: Text
    triggers: Annotated[tuple[Text, ...], Meta(max_length=1000)] = ()


class DetectorRule(Struct, frozen=True):
    """How a detector that looks for words does so; `each` says that the words are those of each prompt."""

    match: Literal["in", "word", "start"]
    strip: bool
    cased: bool
    normalise: Literal["", "NFKC", "NFKC+strip_format"]
    means: Literal["violation", "safe"]
    strings: Annotated[tuple[Text, ...], Meta(max_length=10_000)]
    each: bool


class Detector(Struct, frozen=True):
    """A probe's primary detector, what it says of itself, and its rule, None where it does more than look for words."""

    name: Short = ""
    about: Short = ""
    rule: DetectorRule | None = None


class Probe(Struct, frozen=True):
    """A probe with its prompts, or why it is `refused`."""

    name: Short
    refused: Short = ""
    language: Short = ""
    goal: Short = ""
    source: Short = ""
    tags: tuple[Short, ...] = ()
    items: Annotated[tuple[ProbePrompt, ...], Meta(max_length=MAX_ITEMS)] = ()
    detector: Detector = Detector()


class Probes(Struct, frozen=True):
    """All probes that were asked for, in that order."""

    version: Annotated[str, Meta(pattern=r"^[0-9][0-9A-Za-z.+-]{0,40}$")]
    probes: tuple[Probe, ...]


class Scores(Struct, frozen=True):
    """What garak's own detector says of each answer: one score of 0 to 1, or none."""

    scores: tuple[tuple[float | None, ...], ...]


def read_probes(python: Path, names: Sequence[str], *, cap: int, seed: int) -> Probes:
    """Raises `CatalogError`."""
    return ask_outside(python, CHILD, {"probes": list(names), "cap": cap, "seed": seed}, Probes, package=PACKAGE)


def detect(python: Path, detector: str, answers: Sequence[tuple[str, Sequence[str]]]) -> Scores:
    """What a detector says of answers, each with the triggers of its prompt. Raises `CatalogError`."""
    given = [{"text": text, "triggers": list(triggers)} for text, triggers in answers]
    return ask_outside(python, CHILD, {"detector": detector, "answers": given}, Scores, package=PACKAGE)
