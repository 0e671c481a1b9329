"""A model's fingerprint: what it answered to the fixed probes, how it was asked, and what its endpoint says of itself. One JSON file.

    write_fingerprint(Path("now.json"), fingerprint)
    fingerprint = read_fingerprint(Path("now.json"))
    fingerprint.digest

`assay.engine.fingerprint` takes one, `assay.evidence.identity` compares two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from assay.catalog.probes import MAX_PROBES, Probe
from assay.errors import AssayError, IdentityError
from assay.ledger import canonical, digest
from assay.plan import Generation
from assay.runs.file import whole_file

MAX_BYTES = 16 << 20
MAX_SAMPLES = 64
MAX_TEXT = 400
"""Characters of an answer that are kept."""
MAX_NAMES = 8
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Name = Annotated[str, Meta(max_length=200)]


class Told(Struct, frozen=True, forbid_unknown_fields=True):
    """One answer, cut to `MAX_TEXT` characters, or why there is none."""

    text: Text
    failure: Annotated[str, Meta(max_length=200)] = ""

    @property
    def compared(self) -> str:
        """What is compared: the text; a failure is unlike every text."""
        return f"\x00{self.failure}" if self.failure else self.text


class Answered(Struct, frozen=True, forbid_unknown_fields=True):
    """A probe and its answers, in the order of their decoding seeds."""

    probe: Probe
    answers: Annotated[tuple[Told, ...], Meta(min_length=1, max_length=MAX_SAMPLES)]


class Fingerprint(Struct, frozen=True, forbid_unknown_fields=True):
    """All of it. `target` is the target's identity record. `models` and `systems` are the names and system fingerprints that the endpoint
    gave with its answers, up to `MAX_NAMES` different ones each. Answer k of probe i was asked for with the decoding seed
    `decoding.seed` + i * samples + k. `began` and `ended` are Unix times in milliseconds.
    """

    assay: Literal["fingerprint/1"]
    target: dict[Name, Annotated[str, Meta(max_length=2000)]]
    decoding: Generation
    asked: Annotated[tuple[Answered, ...], Meta(min_length=1, max_length=MAX_PROBES)]
    models: Annotated[tuple[Name, ...], Meta(max_length=MAX_NAMES)]
    systems: Annotated[tuple[Name, ...], Meta(max_length=MAX_NAMES)]
    began: Annotated[int, Meta(ge=0, lt=2**53)]
    ended: Annotated[int, Meta(ge=0, lt=2**53)]
    version: Annotated[str, Meta(max_length=40)]

    @property
    def digest(self) -> str:
        """Of the canonical JSON."""
        return digest(msgspec.to_builtins(self))

    @property
    def calls(self) -> int:
        """How many answers there are."""
        return sum(len(a.answers) for a in self.asked)

    @property
    def settled(self) -> bool:
        """Whether decoding was at temperature 0 and every probe got the same answer each time, twice or more."""
        each = [[t.compared for t in a.answers] for a in self.asked]
        return self.decoding.temperature == 0 and all(len(told) > 1 and len(set(told)) == 1 for told in each)

    def texts(self) -> list[list[str]]:
        """What is compared, probe by probe."""
        return [[t.compared for t in a.answers] for a in self.asked]


def write_fingerprint(path: Path, fingerprint: Fingerprint) -> None:
    """Keep it as canonical JSON, whole or not at all. Raises `IdentityError`."""
    try:
        with whole_file(path) as out:
            out.write(canonical(msgspec.to_builtins(fingerprint)) + b"\n")
    except OSError as e:
        raise IdentityError(f"cannot write the fingerprint: {e.strerror}", where=str(path)) from None


def read_fingerprint(path: Path) -> Fingerprint:
    """Read one, validated. Raises `IdentityError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise IdentityError(f"cannot read the fingerprint: {e.strerror}", where=str(path)) from None
    return parse_fingerprint(data, where=str(path))


def parse_fingerprint(data: bytes, *, where: str) -> Fingerprint:
    """As `read_fingerprint`, from the file's bytes."""
    if len(data) > MAX_BYTES:
        raise IdentityError(f"a fingerprint has at most {MAX_BYTES:,} bytes", where=where)
    try:
        found = msgspec.json.decode(data, type=Fingerprint)
        whole = canonical(msgspec.to_builtins(found)) == data.rstrip(b"\n")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, AssayError) as e:
        raise IdentityError(f"this is no fingerprint: {e}", where=where, fix="Take one: assay model fingerprint") from None
    if not whole:
        raise IdentityError("this fingerprint is not in canonical form", where=where)
    if len({a.probe.id for a in found.asked}) < len(found.asked):
        raise IdentityError("a probe stands in it twice", where=where)
    return found
