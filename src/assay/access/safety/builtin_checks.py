"""The content checks in the box: size and shape, secrets, personal data, the grant's own canary, phrases of a reviewed file.

BUILT_IN["secrets"]({"answer": "deny"}, folder, canaries)

All look for forms, and none knows a subject. Cheap tests for a literal come first, so that ordinary text costs about a microsecond.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

from assay.access.config import GateError
from assay.access.model import Asked, Id, Plain
from assay.access.safety.checks import Action, Check, Found, Reader, Side, convert
from assay.access.safety.personal import Kind, kinds_in
from assay.catalog import Located
from assay.judges.normalise import MAX_TEXT, fold

if TYPE_CHECKING:
    from assay.access.safety.canaries import Canaries

Wanted = Literal["flag", "deny", "off"]
MAX_PHRASES = 500
SHORTEST_PHRASE = 8


def folded_pieces(text: str, overlap: int) -> Iterator[str]:
    """A text of any length folded, piece by piece, neighbours sharing `overlap` characters: `fold` reads no more than a piece."""
    if len(text) <= MAX_TEXT:
        yield fold(text)
        return
    for start in range(0, len(text), MAX_TEXT - overlap):
        yield fold(text[start : start + MAX_TEXT])


class _Scan(ABC):
    """A check that is one function of a text, on both sides."""

    span = 512

    def __init__(self, name: str, reasons: Mapping[str, str], request: Wanted, answer: Wanted) -> None:
        self.name, self.reasons = name, reasons
        self._request, self._answer = request, answer

    @abstractmethod
    def find(self, text: str, side: Side, asked: Asked) -> Iterator[str]:
        """Reasons."""

    async def request(self, asked: Asked, texts: Sequence[str]) -> Sequence[Found]:
        """What is in a request."""
        if self._request == "off":
            return ()
        action: Action = self._request
        reasons = {reason for text in texts for reason in self.find(text, "request", asked)}
        return [Found(reason, action) for reason in sorted(reasons)] if reasons else ()

    def reader(self, asked: Asked) -> Reader | None:
        """What looks at the answer."""
        return None if self._answer == "off" else _ScanReader(self, self._answer, asked)


class _ScanReader:
    def __init__(self, scan: _Scan, action: Action, asked: Asked) -> None:
        self._scan, self._action, self._asked = scan, action, asked

    async def read(self, lane: str, window: str, fresh: int, *, last: bool) -> Sequence[Found]:
        """What is in the window."""
        return [Found(reason, self._action) for reason in dict.fromkeys(self._scan.find(window, "answer", self._asked))]


# Size and shape


class BoundsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Most texts of a request and characters of all, of an answer; the longest run of one character; whether hidden characters deny."""

    texts: Annotated[int, Meta(ge=1, le=10**6)] = 4000
    characters: Annotated[int, Meta(ge=1, le=10**9)] = 2_000_000
    answer_characters: Annotated[int, Meta(ge=1, le=10**9)] = 2_000_000
    run: Annotated[int, Meta(ge=16, le=10**6)] = 20_000
    hidden: Wanted = "flag"


_HIDDEN = re.compile("[\U000e0000-\U000e007f\u202a-\u202e\u2066-\u2069]")


class Bounds:
    """Size and shape of what goes in and comes out. Hidden characters are tags and overrides of direction, by which text is smuggled."""

    name = "bounds"
    span = 0
    reasons: Mapping[str, str] = {
        "texts": "more texts than the gate takes", "characters": "longer than the gate takes", "run": "one character over and over",
        "hidden": "hidden characters", "answer": "the answer is longer than the gate gives",
    }  # fmt: skip

    def __init__(self, settings: BoundsSettings) -> None:
        self._settings = settings
        self._run = re.compile(rf"(\S)\1{{{settings.run - 1}}}")

    async def request(self, asked: Asked, texts: Sequence[str]) -> Sequence[Found]:
        """What is in a request."""
        bounds = self._settings
        found = []
        if len(texts) > bounds.texts:
            found.append(Found("texts", "deny"))
        if sum(map(len, texts)) > bounds.characters:
            found.append(Found("characters", "deny"))
            return found
        if any(len(t) >= bounds.run and self._run.search(t) for t in texts):
            found.append(Found("run", "deny"))
        if bounds.hidden != "off" and any(not t.isascii() and _HIDDEN.search(t) for t in texts):
            found.append(Found("hidden", bounds.hidden))
        return found

    def reader(self, asked: Asked) -> Reader | None:
        """What looks at the answer."""
        return _Counter(self._settings)


class _Counter:
    def __init__(self, settings: BoundsSettings) -> None:
        self._settings, self._count = settings, 0

    async def read(self, lane: str, window: str, fresh: int, *, last: bool) -> Sequence[Found]:
        """What is in the window."""
        self._count += len(window) - fresh
        if self._count > self._settings.answer_characters:
            return (Found("answer", "deny"),)
        if self._settings.hidden != "off" and not window.isascii() and _HIDDEN.search(window):
            return (Found("hidden", self._settings.hidden),)
        return ()


# Secrets


class SecretsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What a secret on either side does, and how many bits a character of a token must have to be taken for random."""

    request: Wanted = "flag"
    answer: Wanted = "deny"
    entropy: Annotated[float, Meta(ge=1, le=6)] = 3.6


_KEYS: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    ("private-key", "-----BEGIN", re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")),
    ("private-key", "AGE-SECRET-KEY-1", re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]{50,70}")),
    ("cloud-key", "AKIA", re.compile(r"\bAKIA[0-9A-Z]{16}\b")),
    ("cloud-key", "ASIA", re.compile(r"\bASIA[0-9A-Z]{16}\b")),
    ("cloud-key", "AIza", re.compile(r"\bAIza[0-9A-Za-z_-]{35}")),
    ("service-token", "gh", re.compile(r"\b(?:gh[pousr]_[0-9A-Za-z]{36,80}|github_pat_[0-9A-Za-z_]{50,100})")),
    ("service-token", "glpat-", re.compile(r"\bglpat-[0-9A-Za-z_-]{20,60}")),
    ("service-token", "xox", re.compile(r"\bxox[abeprs]-[0-9A-Za-z-]{20,120}")),
    ("service-token", "sk-", re.compile(r"\bsk-[0-9A-Za-z_-]{32,200}")),
    ("service-token", "hf_", re.compile(r"\bhf_[0-9A-Za-z]{30,50}")),
    ("signed-token", "eyJ", re.compile(r"\beyJ[0-9A-Za-z_-]{10,340}\.eyJ[0-9A-Za-z_-]{16}")),
)
_NAMED_HINTS = ("key", "token", "secret", "passw", "bearer", "credential")
_NAMED = re.compile(
    r"(?:key|token|secret|passwd|password|bearer|credentials?)[\"']?\s{0,4}(?:[:=]|\bis\b|\s)\s{0,4}[\"'`]?([0-9A-Za-z+/_.~-]{20,200})",
    re.IGNORECASE,
)


def entropy(token: str) -> float:
    """Bits a character, by the token's own letters: at most log2 of its length."""
    return -sum(n / len(token) * math.log2(n / len(token)) for n in Counter(token).values())


class Secrets(_Scan):
    """Keys and tokens by their form, and random-looking values beside a word like `token`."""

    span = 400

    def __init__(self, settings: SecretsSettings) -> None:
        reasons = {
            "private-key": "a private key", "cloud-key": "a key of a cloud service", "service-token": "a token of a service",
            "signed-token": "a signed token", "named-secret": "a random value named as a secret",
        }  # fmt: skip
        super().__init__("secrets", reasons, settings.request, settings.answer)
        self._entropy = settings.entropy

    def find(self, text: str, side: Side, asked: Asked) -> Iterator[str]:
        """Reasons."""
        for reason, literal, pattern in _KEYS:
            if literal in text and pattern.search(text):
                yield reason
        low = text.lower()
        if any(hint in low for hint in _NAMED_HINTS):
            for match in _NAMED.finditer(text):
                value = match[1]
                mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
                if mixed and entropy(value) >= self._entropy:
                    yield "named-secret"
                    return


# Personal data


class PersonalSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What personal data does on either side, and which kinds are looked for."""

    request: Wanted = "flag"
    answer: Wanted = "flag"
    kinds: tuple[Kind, ...] = ("card", "iban", "id-sg", "id-my", "id-id", "id-th", "id-cn", "id-hk", "id-kr", "id-jp", "id-in", "id-fr")


class Personal(_Scan):
    """Numbers that name a person or an account, where a check digit, a date or their form tells them from other numbers."""

    span = 64

    def __init__(self, settings: PersonalSettings) -> None:
        super().__init__("personal", {kind: f"personal data ({kind})" for kind in settings.kinds}, settings.request, settings.answer)
        self._kinds = settings.kinds

    def find(self, text: str, side: Side, asked: Asked) -> Iterator[str]:
        """Reasons."""
        yield from kinds_in(text, self._kinds)


# The grant's own canary


class CanarySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What it does when an answer, or a request, holds the grant's own record."""

    request: Wanted = "flag"
    answer: Wanted = "flag"


class CanaryEcho(_Scan):
    """The record of the model's instructions in an answer (somebody drew it out), or in a request (somebody brings it back)."""

    span = 512

    def __init__(self, settings: CanarySettings, canaries: Canaries) -> None:
        super().__init__("canary", {"echo": "the grant's own record"}, settings.request, settings.answer)
        self._canaries = canaries

    def find(self, text: str, side: Side, asked: Asked) -> Iterator[str]:
        """Reasons."""
        if "note" in asked.grant.canaries:
            markers = self._canaries.recent(asked.grant.id, asked.grant.model, asked.at)
            if any(marker in folded for folded in folded_pieces(text, self.span) for marker in markers):
                yield "echo"


# Phrases of a reviewed file


class Phrase(Struct, frozen=True, forbid_unknown_fields=True):
    """A phrase under a name that may be told: only the name reaches the log."""

    id: Id
    text: Plain
    action: Action = "flag"
    sides: tuple[Side, ...] = ("request", "answer")


class PhraseFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A list that somebody wrote and somebody else reviewed."""

    assay: Literal["phrases/1"]
    author: Plain
    reviewer: Plain
    phrases: Annotated[tuple[Phrase, ...], Meta(min_length=1, max_length=MAX_PHRASES)]


class PhraseSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the list is, seen from the settings' file."""

    file: Plain


class Phrases:
    """Phrases in any case, spacing, script of digits and look-alike letters."""

    name = "phrases"

    def __init__(self, read: PhraseFile) -> None:
        self.reasons: Mapping[str, str] = {p.id: f"phrase {p.id}" for p in read.phrases}
        self._by_side: dict[Side, list[tuple[str, Found]]] = {"request": [], "answer": []}
        longest = 0
        for phrase in read.phrases:
            folded = fold(phrase.text)
            longest = max(longest, len(folded))
            for side in phrase.sides:
                self._by_side[side].append((folded, Found(phrase.id, phrase.action)))
        self.span = min(4096, 4 * longest)

    def find(self, text: str, side: Side) -> list[Found]:
        """What is in a text."""
        pieces = list(folded_pieces(text, self.span))
        return [found for phrase, found in self._by_side[side] if any(phrase in folded for folded in pieces)]

    async def request(self, asked: Asked, texts: Sequence[str]) -> Sequence[Found]:
        """What is in a request."""
        return self.find("\n".join(texts), "request")[:100]

    def reader(self, asked: Asked) -> Reader | None:
        """What looks at the answer."""
        return _PhraseReader(self) if self._by_side["answer"] else None


class _PhraseReader:
    def __init__(self, phrases: Phrases) -> None:
        self._phrases = phrases

    async def read(self, lane: str, window: str, fresh: int, *, last: bool) -> Sequence[Found]:
        """What is in the window."""
        return self._phrases.find(window, "answer")[:100]


def read_phrases(path: Path) -> PhraseFile:
    """A reviewed list (YAML). Raises `GateError`: unreadable, not reviewed by another, or with a phrase too short to mean anything."""
    try:
        with path.open("rb") as file:
            data = file.read((1 << 20) + 1)
    except OSError as e:
        raise GateError(f"cannot read the phrases: {e.strerror}", where=str(path)) from None
    if len(data) > 1 << 20:
        raise GateError("larger than 1 MiB", where=str(path))
    located = Located(data.decode("utf-8", errors="replace"), where=str(path), error=GateError)
    read = located.convert(PhraseFile)
    if read.author.casefold().strip() == read.reviewer.casefold().strip():
        raise located.fail("the author has reviewed it; another must", ".reviewer")
    ids = [p.id for p in read.phrases]
    for i, phrase in enumerate(read.phrases):
        if ids.count(phrase.id) > 1:
            raise located.fail(f"the name '{phrase.id}' stands twice", f".phrases[{i}].id")
        folded = fold(phrase.text)
        if len(folded) < (SHORTEST_PHRASE if folded.isascii() else SHORTEST_PHRASE // 2):
            raise located.fail("too short: it would be found in words that have nothing to do with it", f".phrases[{i}].text")
    return read


def _bounds(given: Mapping[str, Any], folder: Path, context: Any) -> Check:
    return Bounds(convert(given, BoundsSettings, "bounds"))


def _secrets(given: Mapping[str, Any], folder: Path, context: Any) -> Check:
    return Secrets(convert(given, SecretsSettings, "secrets"))


def _personal(given: Mapping[str, Any], folder: Path, context: Any) -> Check:
    return Personal(convert(given, PersonalSettings, "personal"))


def _canary(given: Mapping[str, Any], folder: Path, context: Any) -> Check:
    from assay.access.safety.canaries import Canaries

    if not isinstance(context, Canaries):
        raise GateError("the check 'canary' needs the gate's secret")
    return CanaryEcho(convert(given, CanarySettings, "canary"), context)


def _phrases(given: Mapping[str, Any], folder: Path, context: Any) -> Check:
    return Phrases(read_phrases(folder / convert(given, PhraseSettings, "phrases").file))


BUILT_IN: dict[str, Callable[[Mapping[str, Any], Path, Any], Check]] = {
    "bounds": _bounds, "secrets": _secrets, "personal": _personal, "canary": _canary, "phrases": _phrases,
}  # fmt: skip
"""By name: (settings, the folder of the settings' file, the gate's canaries) -> check."""
