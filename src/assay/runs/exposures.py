"""Appends to the ledger of exposures beside a sealed bank. Every line is on disk before it is acknowledged; a lock keeps others out.

make_ledger(path, file, key, at)                                  # with the bank
held = reserve(path, file, key, Reservation(run, items), at)      # before the first trial; refuses what is retired by now
settle(path, file, key, Settlement(run, held.covers, asked, "complete"), at)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from assay.catalog.exposures import EXPOSURE, MAX_LEDGER_BYTES, Entry, Exposures, Made, Reserved, Settled, exposures_path, fold, subject
from assay.catalog.sealed import SealedFile
from assay.errors import SealedBankError
from assay.ledger import PrivateKey, canonical, digest_bytes, sign_statement
from assay.runs.file import lock_within, sync_folder, whole_file

LOCK_S = 30.0
PLACES_NAME = "sealed-banks.json"


def note_banks(folder: Path, banks: Mapping[str, Path]) -> None:
    """Note beside a run where its sealed banks are on this machine, so that later commands find them. Not part of the evidence."""
    with whole_file(folder / PLACES_NAME) as out:
        out.write(msgspec.json.encode({name: str(path.resolve()) for name, path in banks.items()}) + b"\n")


def noted_banks(folder: Path) -> tuple[Path, ...]:
    """Where the sealed banks of the run in this folder are; none where nothing readable was noted."""
    try:
        found = msgspec.json.decode((folder / PLACES_NAME).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return ()
    return tuple(path for given in found.values() if (path := Path(given)).is_file())


class Reservation(Struct, frozen=True):
    """What a run is about to show: its digest, the items, and how often it has taken in labels."""

    run: str
    items: tuple[str, ...]
    purpose: Literal["run", "judge"] = "run"
    labels: int = 0


class Settlement(Struct, frozen=True):
    """What a run did show: items with how often, and the reservations that this stands for."""

    run: str
    covers: tuple[str, ...]
    asked: Mapping[str, int]
    ended: str


class Held(Struct, frozen=True):
    """A reservation that is on disk: the digest of its line, and how many other runs the most exposed of its items had before."""

    line: str
    most: int


def make_ledger(sealed: Path, file: SealedFile, key: PrivateKey, at: int) -> None:
    """The ledger of a bank that was just sealed. Raises `SealedBankError` where there is one."""
    path = exposures_path(sealed)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise SealedBankError(f"cannot write here: {e.strerror}", where=str(path.parent)) from None
    with _locked(path):
        if path.exists():
            raise SealedBankError("there is a ledger of exposures already", where=str(path), fix="Choose another --out.")
        _append(path, _line(Made(file.root, at, len(file.leaves), file.retire_after), file.root, key))
        sync_folder(path.parent)


def reserve(sealed: Path, file: SealedFile, key: PrivateKey, wanted: Reservation, at: int) -> Held:
    """Count these items as exposed to the run until it settles. Raises `SealedBankError` if other runs have retired one of them meanwhile.

    A run that goes on reserves anew; what it reserved before stays in force until it settles that too.
    """
    path = exposures_path(sealed)
    with _locked(path):
        ledger = _repaired(path, file)
        counted = ledger.counts(apart=wanted.run)
        retired = [i for i in wanted.items if file.retire_after and counted[i] >= file.retire_after]
        if retired:
            raise SealedBankError(
                f"{len(retired)} of the {len(wanted.items)} items were retired meanwhile, by other runs (first {retired[0]})",
                where=file.name,
                fix="Read the plan again: a new run draws from the live items.",
            )
        most = max((counted[i] for i in wanted.items), default=0)
        entry = Reserved(file.root, wanted.run, wanted.purpose, at, wanted.items, wanted.labels, ledger.head)
        return Held(_append(path, _line(entry, file.root, key)), most)


def settle(sealed: Path, file: SealedFile, key: PrivateKey, done: Settlement, at: int) -> str:
    """Put what was asked in the place of what was reserved; the digest of the line. Raises `SealedBankError`."""
    path = exposures_path(sealed)
    with _locked(path):
        ledger = _repaired(path, file)
        entry = Settled(file.root, done.run, at, done.covers, dict(done.asked), done.ended, ledger.head)
        line = _line(entry, file.root, key)
        ledger.take(line)  # whatever the ledger would not read is not written
        return _append(path, line)


def unsettled(sealed: Path, file: SealedFile, run: str) -> dict[str, Reserved]:
    """The open reservations of a run, by the digests of their lines."""
    path = exposures_path(sealed)
    with _locked(path):
        return _repaired(path, file).unsettled(run)


def _line(entry: Entry, root: str, key: PrivateKey) -> bytes:
    predicate: dict[str, Any] = msgspec.to_builtins(entry)
    statement = sign_statement(key, subject(root), EXPOSURE, predicate)
    return canonical({"key": key.public.to_json(), "statement": statement.to_json()})


def _append(path: Path, line: bytes) -> str:
    """Returns when the line is on disk. Its newline follows only then: a line that has one was written whole, even if power fails."""
    try:
        with path.open("ab", buffering=0) as file:
            for part in (line, b"\n"):
                if file.write(part) != len(part):
                    raise SealedBankError("the disk is full", where=str(path))
                os.fsync(file.fileno())
    except OSError as e:
        raise SealedBankError(f"cannot count exposures here: {e.strerror}", where=str(path)) from None
    return digest_bytes(line)


def _repaired(path: Path, file: SealedFile) -> Exposures:
    """The ledger, without a torn last line that was never acknowledged."""
    try:
        with path.open("rb+") as lines:
            data = lines.read(MAX_LEDGER_BYTES + 1)
            if len(data) > MAX_LEDGER_BYTES:
                raise SealedBankError(f"larger than {MAX_LEDGER_BYTES:,} bytes", where=str(path))
            whole = data.rfind(b"\n") + 1
            ledger = fold(data[:whole].split(b"\n")[:-1], file, str(path))
            if whole < len(data):
                lines.truncate(whole)
                os.fsync(lines.fileno())
    except OSError as e:
        fix = "It is made with the bank and belongs beside it, where the runner may write."
        raise SealedBankError(f"cannot count exposures here: {e.strerror}", where=str(path), fix=fix) from None
    return ledger


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process at a time, waited for up to `LOCK_S` seconds."""
    try:
        lock = path.with_name(f".{path.name}.lock").open("ab")
    except OSError as e:
        raise SealedBankError(f"cannot count exposures here: {e.strerror}", where=str(path.parent)) from None
    with lock:
        if not lock_within(lock, LOCK_S):
            raise SealedBankError("another process holds the bank's ledger", where=str(path), fix="Wait for it.")
        yield
