"""How often the items of a sealed bank were shown to a target: an append-only ledger beside the bank. Pure, but for reading it.

    ledger = read_exposures(Path("hard.sealed.json"), file)
    ledger.counts()["0007"]           # runs that asked it, or may have
    ledger.live(file)                 # the items that a new plan may draw from

`hard.exposures.jsonl` has a canonical JSON value a line: a public key and a DSSE statement signed with it, which holds the digest of the
line before. A run *reserves* every live item before its first trial and *settles* when it has ended, with what it really asked. Until then,
and for ever if it never ends, every item that it reserved counts as exposed to it. An exposure is a run, however often it asked the item.
The first line is made with the bank, so a ledger that is missing is noticed. `runs.exposures` appends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.catalog.sealed import Digest, Ordinal, Retire, SealedFile
from assay.errors import AssayError, SealedBankError
from assay.ledger import PublicKey, canonical, digest_bytes, open_envelope

OPENED = "sealed bank opened"
CLOSED = "sealed bank closed"
"""What a run notes among its incidents."""
EXPOSURE = "urn:assay:predicate:bank-exposure:v1"
MAX_LEDGER_BYTES = 1 << 30
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Short = Annotated[str, Meta(max_length=200)]


class Made(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="made"):
    """The bank was sealed. `at` is Unix time in milliseconds, here and below."""

    bank: Digest
    at: Count
    items: Count
    retire_after: Retire


class Reserved(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="reserved"):
    """A run (the digest of its registration), or another reading of one by judges, is about to show these items to somebody. `labels`
    counts how often the run had taken in labels: from there on its schedule may be another.
    """

    bank: Digest
    run: Digest
    purpose: Literal["run", "judge"]
    at: Count
    items: tuple[Ordinal, ...]
    labels: Count
    previous: Digest


class Settled(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="settled"):
    """A run has ended: how often it asked which items. `covers` are the reservations (digests of their lines) that it stands for."""

    bank: Digest
    run: Digest
    at: Count
    covers: tuple[Digest, ...]
    asked: dict[Ordinal, Count]
    ended: Short
    previous: Digest


Entry = Made | Reserved | Settled


@dataclass(slots=True)
class _Held:
    """One reservation: what counts as shown, and the key that may settle it."""

    key: str
    entry: Reserved
    settled: bool = False
    shown: frozenset[str] = frozenset()


@dataclass(slots=True)
class Exposures:
    """A ledger, read. `head` is the digest of its last line."""

    bank: str
    retire_after: int = 0
    lines: int = 0
    head: str = ""
    _held: dict[str, _Held] = field(default_factory=dict)

    def counts(self, apart: str = "") -> Counter[str]:
        """How many runs have shown each item, or may have; the run `apart` left out."""
        runs: dict[str, set[str]] = {}
        for held in self._held.values():
            if held.entry.run != apart:
                runs.setdefault(held.entry.run, set()).update(held.shown)
        counted: Counter[str] = Counter()
        for shown in runs.values():
            counted.update(shown)
        return counted

    def live(self, file: SealedFile, apart: str = "") -> tuple[str, ...]:
        """The bank's items that are not retired, in order."""
        if not self.retire_after:
            return tuple(file.items)
        counted = self.counts(apart)
        return tuple(i for i in file.items if counted[i] < self.retire_after)

    def unsettled(self, run: str = "") -> dict[str, Reserved]:
        """Reservations that nobody settled, by the digests of their lines: of one run, or of all."""
        return {d: h.entry for d, h in self._held.items() if not h.settled and run in ("", h.entry.run)}

    @property
    def runs(self) -> int:
        """How many runs have reserved."""
        return len({h.entry.run for h in self._held.values()})

    def take(self, line: bytes) -> None:
        """The next line. Raises `SealedBankError` for one that does not belong there."""
        try:
            value = msgspec.json.decode(line)
            if not isinstance(value, dict) or set(value) != {"key", "statement"} or canonical(value) != line:
                raise SealedBankError("not in canonical form")
            key = PublicKey.from_json(value["key"])
            statement = open_envelope(value["statement"], key)
            if statement.get("predicateType") != EXPOSURE or statement.get("subject") != subject(self.bank):
                raise SealedBankError("the statement is of another kind or bank")
            entry: Entry = msgspec.convert(statement.get("predicate"), Entry)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
            raise SealedBankError(f"not an exposure ({type(e).__name__})") from None
        if entry.bank != self.bank:
            raise SealedBankError("it is of another bank")
        mine = digest_bytes(line)
        self._fold(entry, mine, key.keyid)
        self.lines, self.head = self.lines + 1, mine

    def _fold(self, entry: Entry, mine: str, keyid: str) -> None:
        if isinstance(entry, Made):
            if self.lines:
                raise SealedBankError("a ledger is made once")
            self.retire_after = entry.retire_after
            return
        if not self.lines or entry.previous != self.head:
            raise SealedBankError("it does not follow from the line before: a line was changed, dropped or put in")
        if isinstance(entry, Reserved):
            self._held[mine] = _Held(keyid, entry, shown=frozenset(entry.items))
            return
        for covered in entry.covers:
            held = self._held.get(covered)
            if held is None or held.settled or held.entry.run != entry.run or held.key != keyid:
                raise SealedBankError("it settles what it may not: another's reservation, or one that is settled or not there")
            if not set(entry.asked) <= set(held.entry.items):
                raise SealedBankError("it settles items that were never reserved")
        for covered in entry.covers:
            self._held[covered].settled = True
            self._held[covered].shown = frozenset(i for i, n in entry.asked.items() if n)


def subject(root: str) -> list[dict[str, Any]]:
    """A bank as an in-toto subject."""
    return [{"name": "sealed bank", "digest": {"sha256": root.removeprefix("sha256:")}}]


def exposures_path(sealed: Path) -> Path:
    """Where a sealed bank's ledger is: beside it."""
    return sealed.with_name(f"{sealed.name.removesuffix('.json').removesuffix('.sealed')}.exposures.jsonl")


def fold(lines: Iterable[bytes], file: SealedFile, where: str) -> Exposures:
    """A ledger from its whole lines. Raises `SealedBankError` naming the line."""
    ledger = Exposures(file.root)
    for number, line in enumerate(lines, 1):
        try:
            ledger.take(line)
        except AssayError as e:
            raise SealedBankError(f"this ledger of exposures does not hold: {e.what}", where=f"{where}:{number}") from None
    if not ledger.lines:
        raise SealedBankError("this ledger of exposures is empty", where=where)
    if ledger.retire_after != file.retire_after:
        raise SealedBankError("the bank and its ledger of exposures differ in when an item is retired", where=where)
    return ledger


def whole_lines(data: bytes) -> list[bytes]:
    """The lines that were acknowledged: one that lacks its newline was not."""
    return data.split(b"\n")[:-1]


def read_exposures(sealed: Path, file: SealedFile) -> Exposures:
    """The ledger beside the sealed bank at `sealed`. Raises `SealedBankError`, also where it is missing: then nothing is known."""
    path = exposures_path(sealed)
    try:
        if path.stat().st_size > MAX_LEDGER_BYTES:
            raise SealedBankError(f"larger than {MAX_LEDGER_BYTES:,} bytes", where=str(path))
        data = path.read_bytes()
    except OSError as e:
        fix = "It is made with the bank and belongs beside it: ask whoever ran it last for theirs."
        raise SealedBankError(f"cannot read the bank's ledger of exposures: {e.strerror}", where=str(path), fix=fix) from None
    return fold(whole_lines(data), file, str(path))
