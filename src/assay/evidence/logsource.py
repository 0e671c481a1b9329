"""What a run brings into a log: its registration, and its decision once it has ended, read from run folder, run file or bundle.

source = read_source(Path("runs/first"))
entries_of(source, book, where="runs/first")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from assay.errors import AssayError
from assay.evidence.bundle import HEAD, TAIL, BundleReader
from assay.evidence.logbook import Book, LogError, entry_of_closing, entry_of_opening
from assay.ledger import Envelope, canonical, digest, leaf_hash
from assay.runs import is_run, read_run, run_path

BUNDLE_NAME = "evidence.jsonl"


class Source(Struct, frozen=True):
    """What a run brings into the log. `leaves` are the leaf hashes of the run's own tree, for a run with a decision."""

    opened: dict[str, Any]
    key: dict[str, Any]
    decision: dict[str, Any] | None = None
    leaves: tuple[bytes, ...] = ()

    @property
    def digest(self) -> str:
        """The run's identity: the digest of its registration."""
        return digest(self.opened)


def read_source(path: Path) -> Source:
    """What a run folder, run file or bundle brings into a log. Raises `AssayError`."""
    folder_bundle = path / BUNDLE_NAME if path.is_dir() else path.with_name(BUNDLE_NAME)
    run = run_path(path)
    if is_run(path) and not (path.is_dir() and not run.exists() and folder_bundle.exists()):
        with read_run(run) as file:
            opening = file.opening()
        if not folder_bundle.is_file():
            return Source(opening.opened, opening.public_key)
        source = _read_bundle(folder_bundle)
        if source.opened != opening.opened:
            raise LogError("the bundle beside the run is another run's", where=str(folder_bundle))
        return source
    return _read_bundle(folder_bundle if path.is_dir() else path)


def _read_bundle(path: Path) -> Source:
    reader = BundleReader(path)
    try:
        head = {kind: reader.section(kind) for kind in HEAD[:-1]}
        count = reader.section("trials", field="count")
        if type(count) is not int or not 0 <= count <= reader.left:
            raise LogError(f"{count!r} trials cannot follow", where=f"line {reader.number}")
        leaves = [leaf_hash(canonical(head["opened"])), *(leaf_hash(reader.next_line()) for _ in range(count))]
        for kind in TAIL[:-1]:
            reader.section(kind)
        decision = reader.section(TAIL[-1])
        Envelope.from_json(head["opened"])
        Envelope.from_json(decision)
    except AssayError as e:
        raise LogError(f"not a whole bundle: {e.what}", where=f"{path} {e.where}".rstrip()) from None
    return Source(head["opened"], head["key"], decision, tuple(leaves))


def entries_of(source: Source, book: Book, where: str) -> list[bytes]:
    """The entries that a run still lacks in the log, as lines without newline; `book` takes them in, as it will elsewhere.

    Raises `LogTamperedError` for a decision that does not go on from the one logged before, `LogError` for what others would fault.
    """
    known, entries = book.runs.get(source.digest), []
    if known is None:
        entries.append(entry_of_opening(source.opened, source.key))
    closings = known.closings if known else ()
    if source.decision is not None and digest(source.decision) not in (c.digest for c in closings):
        entries.append(entry_of_closing(source.digest, source.decision, source.leaves, closings[-1] if closings else None))
    before = len(book.findings)
    for entry in entries:
        book.read(book.size, entry)
        if len(book.findings) > before:
            raise LogError(f"this cannot be logged: {book.findings[-1].check}: {book.findings[-1].what}", where=where)
    return entries
