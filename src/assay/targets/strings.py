"""A judge that looks for words in an answer, as detectors of other tools do: a file of rules, and no model.

    judges:
      panel:
        - {name: garak, target: {kind: strings, model: garak 0.17.1, options: {strings: mine.strings.json}}}

`strings` names a file beside the plan, which `assay import garak` writes; a run keeps a copy of it, and its digest is the judge's. Per item
it says by which rule the answer is read: which strings, anywhere, as words or at the start, and whether one of them means a violation or
its absence does. It flags, as every judge, and decides nothing alone. An item without a rule has no verdict, and people settle it.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta, Struct

from assay.errors import TargetError
from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Item, Message
from assay.targets.base import AtHand, Attempt, Progress, Reply
from assay.targets.recorded import Line, quotable

STRINGS = "strings"
MAX_BYTES = 128 * 1024 * 1024
Text = Annotated[str, Meta(min_length=1, max_length=32_000)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]


class Rule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How strings are looked for: anywhere (`in`), as whole words, or at the `start`; in the answer's own case or any; after a Unicode
    normalisation; in the answer `strip`ped of white space at its ends. `means` is what a string that is found says of the answer; where
    none is found, it is the other. `strings` are those of all its items; an item may have more of its own.
    """

    match: Literal["in", "word", "start"]
    means: Literal["violation", "safe"]
    cased: bool = False
    normalise: Literal["", "NFKC", "NFKC+strip_format"] = ""
    strip: bool = False
    strings: Annotated[tuple[Text, ...], Meta(max_length=10_000)] = ()

    def says(self, answer: str, own: tuple[str, ...] = ()) -> tuple[bool, str]:
        """Whether the answer is a violation, and the string that was found, empty for none."""
        text = self.made(answer)
        text = text.strip() if self.strip else text
        found = next((s for s in (*self.strings, *own) if self._is_in(self.made(s), text)), "")
        return (self.means == "violation") == bool(found), found

    def made(self, text: str) -> str:
        """A text as it is compared."""
        if self.normalise:
            text = unicodedata.normalize("NFKC", text)
        if self.normalise == "NFKC+strip_format":
            text = "".join(c for c in text if unicodedata.category(c) != "Cf")
        return text if self.cased else text.lower()

    def _is_in(self, string: str, text: str) -> bool:
        if self.match == "word":
            return re.search(r"\b" + re.escape(string) + r"\b", text) is not None
        return text.startswith(string) if self.match == "start" else string in text


class Looked(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """By which rule an item's answers are read, and the strings that are its own."""

    rule: Name
    strings: Annotated[tuple[Text, ...], Meta(max_length=1000)] = ()


class StringsFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of one hazard, by name, and its items, by id; `source` is whose they are."""

    assay: Literal["strings/1"]
    hazard: Annotated[str, Meta(min_length=1, max_length=64)]
    source: Line
    rules: Annotated[dict[Name, Rule], Meta(min_length=1, max_length=1000)]
    items: Annotated[dict[Name, Looked], Meta(min_length=1, max_length=200_000)]

    def to_bytes(self) -> bytes:
        """As it is written."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)


def read_strings(path: Path) -> tuple[StringsFile, str]:
    """A file and its `sha256:` digest. Raises `TargetError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise TargetError(f"cannot read the judge's strings: {e.strerror}", where=str(path), fix="Make them with: assay import") from None
    if len(data) > MAX_BYTES:
        raise TargetError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    try:
        found = msgspec.json.decode(data, type=StringsFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise TargetError(f"these are no strings of a judge: {e}", where=str(path), fix="Make them with: assay import") from None
    unknown = sorted({looked.rule for looked in found.items.values()} - found.rules.keys())
    if unknown:
        raise TargetError(f"there is no rule {unknown[0][:100]!r}", where=str(path))
    without = next((i for i, looked in found.items.items() if not (looked.strings or found.rules[looked.rule].strings)), None)
    if without is not None:
        raise TargetError(f"item {without[:100]!r} has no string to look for", where=str(path))
    for name, rule, strings in _looked_for(found):
        if not all(map(rule.made, strings)):
            raise TargetError(f"{name[:100]!r} has a string of which nothing is left to look for", where=str(path))
    return found, "sha256:" + hashlib.sha256(data).hexdigest()


def _looked_for(file: StringsFile) -> Iterator[tuple[str, Rule, tuple[str, ...]]]:
    """Every string that is looked for, with the rule that it is compared by: of the rules, then of the items."""
    yield from ((name, rule, rule.strings) for name, rule in file.rules.items())
    yield from ((name, file.rules[looked.rule], looked.strings) for name, looked in file.items.items())


class Strings(AtHand):
    """Says of an answer what its item's rule says."""

    def __init__(self, spec: TargetSpec) -> None:
        if spec.options.keys() != {STRINGS}:
            raise TargetError("a judge of strings has the option 'strings' and no other", where="target.options")
        self._path = Path(spec.options[STRINGS])
        self._model = spec.model
        self._file: StringsFile | None = None
        self.identity: Mapping[str, str] = {}

    async def __aenter__(self) -> Self:
        self._file, digest = read_strings(self._path)
        if self._file.source != self._model:
            raise TargetError(f"the strings are those of '{self._file.source}', not of '{self._model}'", where="target.model")
        self.identity = {"kind": STRINGS, "model": self._model, "digest": digest}
        return self

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """Strings answer nobody."""
        raise TargetError("a judge of strings reads the answers to its items, and answers no request")

    async def judge_item(self, item: Item, answer: str, messages: tuple[Message, ...]) -> Reply:
        """The rule's word on an answer, in the form that judges are asked for; a failure where there is no rule."""
        file = self._file
        looked = file.items.get(item.scenario) if file is not None and item.stream.hazard == file.hazard else None
        if file is None or looked is None:
            return _silent("no rule for this item")
        violation, found = file.rules[looked.rule].says(answer, looked.strings)
        lines = messages[1].content.split("\n")
        quote = quotable(lines, answer)
        if not quote:
            return _silent("nothing in the answer that could be quoted")
        said = f"found {found[:200]!r}" if found else "none of the strings is in the answer"
        reply = {"case": lines[0], "violation": violation, "refusal": "none", "quotes": [quote], "reason": f"{looked.rule}: {said}"}
        return Reply(json.dumps(reply), finish="stop", model=self._model, attempts=(Attempt(STRINGS, 0),))


def _silent(why: str) -> Reply:
    return Reply("", failure=why, attempts=(Attempt(STRINGS, 0),))


def make(spec: TargetSpec, generation: Generation, limits: Limits, progress: Progress) -> Strings:
    """Entry point `strings`."""
    return Strings(spec)
