"""Verifying the audit log: that every line follows on the one before, and that nothing is gone that was ever signed.

    found = verify(Path("audit"), log_key=key, witnesses=[other], need=1, kept=[note])
    found.ok, found.findings

What is found, and by what name, is in docs/access-audit.md. Works while workers write.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from assay.access.audit.content import Contents, frames
from assay.access.audit.ends import MAX_BATCH, End, contents_hash, lines_of, read_end
from assay.access.audit.records import (
    FIRST,
    MAX_LINE,
    AuditError,
    AuditTamperedError,
    Decided,
    Denied,
    Ended,
    Line,
    Previous,
    Repaired,
    Segment,
    hash_of,
    read_line,
    signed_part,
)
from assay.access.audit.segment import alive, content_path, segments
from assay.errors import AssayError
from assay.evidence.log import View, checked, read_log
from assay.evidence.logbook import LogError, LogTamperedError
from assay.evidence.verify import MAX_FINDINGS, Finding
from assay.ledger import MerkleTree
from assay.ledger.notes import SIGNATURE, Checkpoint, Note, NoteKey, distinct, verify_note

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

ENDS = "ends"


@dataclass(slots=True)
class Verified:
    """What was found. `signed` and `cosigned` are how many records lie under a checkpoint, and under one with enough cosignatures;
    `unfinished` requests went upstream and have no end, since their worker was killed; `torn` are tails that were never acknowledged.
    """

    findings: list[Finding] = field(default_factory=list)
    segments: int = 0
    living: int = 0
    records: int = 0
    signed: int = 0
    cosigned: int = 0
    entries: int = 0
    contents: int = 0
    opened: int = 0
    unfinished: int = 0
    torn: dict[str, int] = field(default_factory=dict)
    key: NoteKey | None = None

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.findings

    def failed(self, check: str, where: str, what: str) -> None:
        """Note what does not hold; the list is bounded."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(check, where, what))


@dataclass(slots=True)
class _Walked:
    """One segment, read to its end."""

    header: Segment | None = None
    records: int = 0
    last: str = FIRST
    whole: bool = True


def verify(
    folder: Path, *, log_key: NoteKey | None = None, witnesses: Sequence[NoteKey] = (), need: int = 0, kept: Sequence[Note] = (),
    identities: Sequence[Identity] = (),
) -> Verified:  # fmt: skip
    """Check a folder. `kept` are checkpoints that somebody else has kept; `identities` are an auditor's, who opens every content.

    Raises `AuditError` if there is no audit log at all.
    """
    found = Verified()
    if not (folder / ENDS).exists() and not segments(folder):
        raise AuditError("there is no audit log here", where=str(folder))
    paths = segments(folder)  # before the ends: what is signed afterwards only adds to them
    view = _ends(folder, found, log_key)
    ends, prefix = _entries(view, found) if view else ({}, {})
    cosigned: dict[str, int] = {}
    if view:
        cosigned = _kept(view, found, witnesses, need, kept)
    walked: dict[str, _Walked] = {}
    unfinished: dict[str, set[str]] = {}
    for path in paths:
        walked[path.stem] = _walk(path, ends.get(path.stem, []), found, cosigned.get(path.stem, 0), identities, unfinished)
    found.unfinished = sum(len(ids) for ids in unfinished.values())
    found.segments = len(paths)
    _cross(folder, walked, ends, prefix, found)
    return found


def _ends(folder: Path, found: Verified, log_key: NoteKey | None) -> View | None:
    try:
        view = read_log(folder / ENDS)
    except LogTamperedError as e:
        found.failed("checkpoints", e.where, e.what)
        return None
    except (LogError, AssayError) as e:
        found.failed("checkpoints", e.where or ENDS, e.what)
        return None
    found.key = view.key
    found.entries = len(view.lines)
    if log_key is not None and log_key != view.key:
        found.failed("log key", ENDS, f"the log has the key {view.key.text}, not the one that you gave")
    try:
        checked(view, ENDS)
    except AssayError as e:
        found.failed("checkpoints", ENDS, e.what)
    if not view.checkpoints:
        found.failed("checkpoints", ENDS, "nothing was ever signed, or all of it was removed")
    elif view.checkpoints[-1].head.size + 64 < len(view.lines):
        found.failed("checkpoints", ENDS, f"{len(view.lines) - view.checkpoints[-1].head.size} entries after the last checkpoint")
    return view


def _entries(view: View, found: Verified) -> tuple[dict[str, list[End]], dict[int, bytes]]:
    """The entries by segment, and the root at every size."""
    ends: dict[str, list[End]] = {}
    tree, roots = MerkleTree(), {0: MerkleTree().root()}
    for index, line in enumerate(view.lines):
        tree.append(line)
        roots[index + 1] = tree.root()
        try:
            end = read_end(line)
        except AuditTamperedError as e:
            found.failed("entry", f"{ENDS}, entry {index}", e.what)
            continue
        before = ends.setdefault(end.segment, [])
        if before and (before[-1].records > end.records or (before[-1].final and before[-1].records != end.records)):
            found.failed("entry", f"{ENDS}, entry {index}", f"the segment {end.segment} had {before[-1].records} records before")
        before.append(end)
    return ends, roots


def _kept(view: View, found: Verified, witnesses: Sequence[NoteKey], need: int, kept: Sequence[Note]) -> dict[str, int]:
    """Hold the ends against checkpoints that others kept; how many records of each segment are cosigned by enough."""
    hashes = view.hashes
    tree, at, largest = MerkleTree(), 0, 0
    notes: list[tuple[Checkpoint, Note, bool]] = [(c.head, c.note, False) for c in view.checkpoints]
    for note in kept:
        try:
            notes.append((Checkpoint.parse(note.text), note, True))
        except AssayError as e:
            found.failed("checkpoint kept", e.where, e.what)
    if any(w.public == view.key.public for w in witnesses):
        found.failed("cosignatures", ENDS, "the log's own key is no witness")
        return {}
    for head, note, given in sorted(notes, key=lambda x: x[0].size):
        try:
            signed = verify_note(note, [view.key])
            count = len(distinct(verify_note(note, witnesses)))
        except AssayError as e:
            found.failed("checkpoint kept" if given else "cosignatures", f"size {head.size}", e.what)
            continue
        if given and (not signed or head.origin != view.key.name):
            found.failed("checkpoint kept", f"size {head.size}", f"it is not signed by this log's key {view.key.text}")
            continue
        if head.size > len(hashes):
            if given:
                what = f"rolled back: the log has {len(hashes)} entries, where a checkpoint that was kept has {head.size}"
                found.failed("rolled back", ENDS, what)
            continue
        for line in view.lines[at : head.size]:
            tree.append(line)
        at = head.size
        if tree.root() != head.root:
            if given:
                found.failed("rewritten", ENDS, f"the first {head.size} entries are not those of a checkpoint that was kept")
            continue
        if need and count >= need:
            largest = head.size
    if need and not largest:
        found.failed("cosignatures", ENDS, f"no checkpoint has the cosignatures of {need} witnesses")
    out: dict[str, int] = {}
    for line in view.lines[:largest]:
        try:
            end = read_end(line)
        except AuditTamperedError:
            continue
        out[end.segment] = end.records
    return out


def _walk(
    path: Path, ends: list[End], found: Verified, cosigned: int, identities: Sequence[Identity], unfinished: dict[str, set[str]]
) -> _Walked:  # fmt: skip
    """Every line of a segment against the one before, its header's signature, and what was signed of it. `unfinished` has, by the last
    segment of a chain, the requests that have no end yet.
    """
    out, tree, size = _Walked(), MerkleTree(), 0
    name = path.stem
    expected: dict[int, list[End]] = {}
    for end in ends:
        expected.setdefault(end.records, []).append(end)
    open_requests: set[str] = set()
    named: set[bytes] = set()
    try:
        living = alive(path)
        with path.open("rb") as file:
            for data in lines_of(file):
                if not data.endswith(b"\n"):
                    if not living:
                        _tail(name, len(data), os.fstat(file.fileno()).st_size - size, ends, found)
                    break
                line = _check(data[:-1], name, out, found)
                if line is None:
                    out.whole = False
                    break
                tree.append(data[:-1])
                size += len(data)
                out.records, out.last = out.records + 1, hash_of(data[:-1])
                if isinstance(line.record, Segment):
                    open_requests |= unfinished.pop(line.record.follows, set())
                _note(line, out, open_requests, named)
                for end in expected.pop(out.records, ()):
                    if (end.last, end.root, end.length) != (out.last, tree.root().hex(), size):
                        what = "what was signed of it is other than what is there: lines up to here were changed"
                        found.failed("checkpoint", f"{name}, {out.records} lines", what)
    except OSError as e:
        found.failed("segment", name, f"cannot be read: {e.strerror}")
        out.whole = False
    if out.whole and expected:
        what = f"{out.records} lines are there, where {max(expected)} were signed"
        found.failed("truncated", name, what)
    if out.whole and ends and ends[-1].final and out.records > ends[-1].records:
        found.failed("added", name, f"{out.records - ends[-1].records} lines after the end that was signed")
    most = max((e.records for e in ends), default=0)
    found.records += out.records
    found.signed += min(most, out.records)
    found.cosigned += min(cosigned, out.records)
    found.living += living
    if not living:
        unfinished[name] = open_requests
    if out.header is not None:
        _contents(path, out.header, ends, named if out.whole else set(), found, identities, living=living)
    return out


def _tail(name: str, length: int, rest: int, ends: list[End], found: Verified) -> None:
    """A last line without its end was never acknowledged. Nothing else is one: no batch is longer, and nothing comes after a signed end."""
    if rest > min(length, MAX_BATCH + MAX_LINE):
        found.failed("line", name, f"{rest:,} bytes without a line's end: nothing that is written at once is so long")
    elif ends and ends[-1].final:
        found.failed("added", name, f"{rest:,} bytes after the end that was signed")
    else:
        found.torn[name] = rest


def _check(data: bytes, name: str, out: _Walked, found: Verified) -> Line | None:
    """One line. What does not hold becomes a finding, and the walk ends."""
    where = f"{name}, line {out.records}"
    try:
        line = read_line(data)
    except AuditTamperedError as e:
        found.failed("line", where, e.what)
        return None
    if line.n != out.records:
        gone = f"lines {out.records} to {line.n - 1} are gone" if line.n > out.records else f"line {line.n} stands again, or out of order"
        found.failed("order", where, gone)
        return None
    if line.after != out.last:
        found.failed("chain", where, f"it does not follow on line {out.records - 1}: one of the two was changed")
        return None
    if isinstance(line.record, Segment) == bool(out.records):
        found.failed("header", where, "a header in the middle" if out.records else "the segment has no header")
        return None
    if isinstance(line.record, Segment):
        return line if _header(line.record, name, where, out, found) else None
    return line


def _header(header: Segment, name: str, where: str, out: _Walked, found: Verified) -> bool:
    if header.segment != name or not name.startswith(f"{header.worker}-"):
        found.failed("header", where, f"it is the header of {header.segment}")
        return False
    try:
        key = NoteKey.parse(header.key, kind=SIGNATURE)
    except AssayError as e:
        found.failed("header", where, e.what)
        return False
    if header.follows and (header.follows not in header.previous or header.follows >= name or not header.follows.startswith(header.worker)):
        found.failed("header", where, f"it cannot follow on {header.follows}")
        return False
    if found.key is not None and key != found.key:
        found.failed("header", where, f"it is by another key: {header.key}")
        return False
    if not _holds(key, bytes.fromhex(header.signature), signed_part(header)):
        found.failed("header", where, "its signature does not hold")
        return False
    out.header = header
    return True


def _holds(key: NoteKey, signature: bytes, data: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key.public.raw).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def _note(line: Line, out: _Walked, open_requests: set[str], named: set[bytes]) -> None:
    record = line.record
    if isinstance(record, Decided):
        if record.route != "models":
            open_requests.add(record.id)
    elif isinstance(record, Ended):
        open_requests.discard(record.id)
    if out.header is not None and out.header.auditors:
        digests: Iterable[str] = ()
        if isinstance(record, Decided | Denied):
            digests = (record.request_digest,)
        elif isinstance(record, Ended):
            digests = (record.answer_digest,)
        for digest in digests:
            if digest:
                named.add(bytes.fromhex(digest[7:39]))


def _contents(
    path: Path, header: Segment, ends: list[End], named: set[bytes], found: Verified, identities: Sequence[Identity], *, living: bool
) -> None:
    at, name = content_path(path), path.stem
    if not header.auditors:
        return
    try:
        if ends and ends[-1].content and contents_hash(at, ends[-1].content) != ends[-1].contents:
            found.failed("contents", name, "the contents are not those that were signed: changed, or shorter")
        there = {bytes.fromhex(f.digest[7:39]): f.digest for f in frames(at)}
        found.contents += len(there)
        missing = named - there.keys()
        if missing and not living:
            found.failed("contents", name, f"{len(missing)} contents that the log names are not there")
        if identities:
            opened = Contents.open(at, header, identities)
            for one in named & there.keys():  # others are of records that were never acknowledged
                opened[there[one]]
                found.opened += 1
    except AssayError as e:
        found.failed("contents", e.where or name, e.what)
    except OSError as e:
        found.failed("contents", name, f"cannot be read: {e.strerror}")


def _cross(folder: Path, walked: dict[str, _Walked], ends: dict[str, list[End]], prefix: dict[int, bytes], found: Verified) -> None:
    """What segments and ends say of one another: a segment that is gone shows here."""
    named: dict[str, str] = dict.fromkeys(ends, "the ends")
    for name, one in walked.items():
        if one.header is None:
            continue
        for other in one.header.previous:
            named.setdefault(other, name)
        if prefix and prefix.get(one.header.size, b"").hex() != one.header.root:
            what = f"when it began, {one.header.size} entries were signed; they are not there now, or others"
            found.failed("rolled back", name, what)
    for name, by in sorted(named.items()):
        if name not in walked and not (folder / f"{name}.jsonl").exists():
            found.failed("segment missing", name, f"{by} names it" if by != "the ends" else "a checkpoint has it")
    for name, one in walked.items():
        if one.header is None:
            continue
        for other, said in one.header.previous.items():
            _previous(name, other, said, walked.get(other), found)
        for other, tail in one.header.repaired.items():
            _repaired(folder, name, other, tail, found)


def _previous(name: str, other: str, said: Previous, is_now: _Walked | None, found: Verified) -> None:
    if is_now is None or not said.settled or not is_now.whole:
        return
    if (is_now.records, is_now.last) != (said.records, said.last):
        found.failed("previous", other, f"{name} found {said.records} lines in it; now there are {is_now.records}, or others")


def _repaired(folder: Path, name: str, other: str, tail: Repaired, found: Verified) -> None:
    found.torn[other] = tail.length
    path = folder / f"{other}.torn"
    if contents_hash(path, tail.length) != tail.sha256:
        found.failed("torn tail", other, f"{name} set {tail.length} bytes aside in {path.name}; they are not there, or others")
