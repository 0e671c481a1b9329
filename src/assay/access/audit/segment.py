"""Beginning a segment of the audit log: what other segments there are, what the dead have left, and the signed header.

begun = begin(folder, "w0", key, ends, auditors=(), config="sha256:...", now=now_ms)
os.write(begun.file, ...)
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from assay.access.audit.content import Sealer, frames, new_secret, salts_of
from assay.access.audit.ends import MAX_BATCH, End, Ends, Scanned, contents_hash, scan
from assay.access.audit.records import (
    FIRST,
    MAX_HEADER,
    MAX_LINE,
    AuditError,
    AuditTamperedError,
    Previous,
    Repaired,
    Segment,
    encode,
    line_of,
    quick_line,
    signed_part,
)
from assay.errors import AssayError
from assay.evidence.log import lock_file
from assay.ledger import PrivateKey
from assay.ledger.notes import SIGNATURE, NoteKey
from assay.runs import sync_folder

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}-[0-9]{13}")
MAX_SEGMENTS = 100_000


class Begun(Struct, frozen=True):
    """A segment that this process may write to: its descriptors hold its lock; every write to `file` is on disk when it returns.

    `ends` are what is to be signed of the dead; `damaged` are segments that do not hold.
    """

    name: str
    line: bytes
    file: int
    content: int
    sealer: Sealer
    ends: tuple[End, ...]
    damaged: tuple[str, ...]


def segments(folder: Path) -> list[Path]:
    """The segments of a folder, by name. Raises `AuditError`."""
    try:
        found = sorted(p for p in folder.glob("*.jsonl") if NAME.fullmatch(p.stem))
    except OSError as e:
        raise AuditError(f"cannot read: {e.strerror}", where=str(folder)) from None
    if len(found) > MAX_SEGMENTS:
        raise AuditError(f"{len(found):,} segments", where=str(folder))
    return found


def chains(folder: Path) -> list[list[Path]]:
    """The segments, each with those that follow on it. Raises `AuditError`; a segment whose header cannot be read stands alone."""
    found: dict[str, list[Path]] = {}
    for path in segments(folder):
        try:
            chain = found.get(header_of(path).follows, [])
        except AssayError:
            chain = []
        chain.append(path)
        found[path.stem] = chain
    return [chain for name, chain in found.items() if chain[0].stem == name]


def content_path(segment: Path) -> Path:
    """Where a segment's contents lie."""
    return segment.with_suffix(".content")


def header_of(path: Path) -> Segment:
    """A segment's header, its signature unchecked. Raises `AuditTamperedError`, `AuditError`."""
    try:
        with path.open("rb") as file:
            data = file.readline(MAX_HEADER)
    except OSError as e:
        raise AuditError(f"cannot read: {e.strerror}", where=str(path)) from None
    try:
        line = quick_line(data.removesuffix(b"\n"))
    except AuditTamperedError as e:
        raise AuditTamperedError(f"no header: {e.what}", where=str(path)) from None
    if not isinstance(line.record, Segment) or line.n or line.record.segment != path.stem:
        raise AuditTamperedError("the first line is not the header of this segment", where=str(path))
    return line.record


def alive(path: Path) -> bool:
    """Whether some process writes to this segment. Raises `OSError`."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
    return False


def end_of(path: Path, scanned: Scanned, now: int, *, final: bool) -> End:
    """The last entry for a segment whose writer is gone. Raises `OSError`, `AssayError`."""
    content = max((f.offset + f.size for f in frames(content_path(path))), default=0)
    return End(
        at=now, segment=path.stem, records=scanned.records, length=scanned.length, last=scanned.last, root=scanned.root.hex(),
        content=content, contents=contents_hash(content_path(path), content) or FIRST, final=final,
    )  # fmt: skip


def seal(folder: Path, key: PrivateKey, now: int) -> list[str]:
    """Sign the ends of segments whose workers are gone, without beginning one; their names. Raises `AuditError`, `LogError`."""
    ends = Ends.open(folder / "ends", key)
    try:
        with lock_file(folder / ".lock"):
            ends.refresh()
            _, _, dead, _ = _others(folder, ends, now, {}, repair=False)
    except OSError as e:
        raise AuditError(f"cannot read: {e.strerror}", where=str(folder)) from None
    known = {(name, e.records, e.final) for name, e in ends.latest.items()}
    dead = [e for e in dead if (e.segment, e.records, e.final) not in known]
    if dead:
        ends.add(*dead)
    return [e.segment for e in dead]


def begin(
    folder: Path, worker: str, key: PrivateKey, ends: Ends, auditors: Sequence[str], config: str, now: int, follows: str = ""
) -> Begun:  # fmt: skip
    """Make the segment and its header, durably, after repairing what the dead have left torn. Raises `AuditError`, `LogError`."""
    secret, sealed = new_secret(auditors) if auditors else (b"", "")
    try:
        ends.refresh()
        known = _scanned(folder, ends)  # long segments of the dead are read before anybody else is kept waiting
        with lock_file(folder / ".lock"):
            ends.refresh()
            previous, repaired, dead, damaged = _others(folder, ends, now, known, repair=True)
            name = f"{worker}-{now:013d}"
            while (folder / f"{name}.jsonl").exists() or name in ends.latest:
                now += 1
                name = f"{worker}-{now:013d}"
            size, root = ends.head
            header = {
                "kind": "segment", "at": now, "segment": name, "worker": worker, "config": config,
                "key": NoteKey(f"assay-audit/{key.public.keyid[:16]}", key.public, SIGNATURE).text,
                "previous": {k: {"records": p.records, "last": p.last, "settled": p.settled} for k, p in previous.items()},
                "repaired": {k: {"length": r.length, "sha256": r.sha256} for k, r in repaired.items()},
                "size": size, "root": root.hex(), "auditors": list(auditors), "secret": sealed, **({"follows": follows} if follows else {}),
            }  # fmt: skip
            header["signature"] = key.sign(signed_part(header)).hex()
            line = line_of(encode(header, MAX_HEADER), 0, FIRST)
            file, content = _create(folder, name, line, keeps=bool(auditors))
    except OSError as e:
        raise AuditError(f"cannot begin a segment: {e.strerror}", where=str(folder)) from None
    return Begun(name, line, file, content, Sealer(name, salts_of(key, name), secret), tuple(dead), tuple(damaged))


def _create(folder: Path, name: str, line: bytes, *, keeps: bool) -> tuple[int, int]:
    """The segment appears with its header or not at all."""
    content = -1
    if keeps:
        content = os.open(folder / f"{name}.content", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        os.fsync(content)
    partial = folder / f".{name}.partial"
    file = os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND | os.O_DSYNC, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    write_all(file, line + b"\n")
    os.fsync(file)
    partial.rename(folder / f"{name}.jsonl")
    sync_folder(folder)
    return file, content


def write_all(file: int, data: bytes) -> None:
    """Every byte. Raises `OSError`, also where the disk takes none."""
    done = os.write(file, data)
    while done < len(data):
        more = os.write(file, memoryview(data)[done:])
        if more <= 0:
            raise OSError(28, "the disk takes no more")
        done += more


def _others(
    folder: Path, ends: Ends, now: int, known: Mapping[Path, Scanned], *, repair: bool
) -> tuple[dict[str, Previous], dict[str, Repaired], list[End], list[str]]:
    """The segments that no header has settled; those of the dead are read to their ends, and torn tails set aside."""
    paths = segments(folder)
    settled = _settled(paths)
    previous: dict[str, Previous] = {}
    repaired: dict[str, Repaired] = {}
    dead: list[End] = []
    damaged: list[str] = []
    for path in paths:
        if path.stem in settled:
            continue
        if alive(path):
            previous[path.stem] = Previous(0, "", settled=False)
            continue
        latest = ends.latest.get(path.stem)
        if latest is not None and latest.final and latest.length == path.stat().st_size:
            previous[path.stem] = Previous(latest.records, latest.last, settled=True)
            continue
        found = known.get(path)
        if found is None or found.length + found.rest != path.stat().st_size:
            found = scan(path)
        torn = 0 < found.rest <= MAX_BATCH + MAX_LINE
        short = latest is not None and (found.length < latest.length or (latest.final and found.length > latest.length))
        if not found.records or short or (found.rest and not torn):
            damaged.append(path.stem)
            continue
        if torn and repair:
            repaired[path.stem] = _set_aside(path, found.length)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        if content_path(path).exists():
            with content_path(path).open("rb") as file:
                os.fsync(file.fileno())
        previous[path.stem] = Previous(found.records, found.last, settled=True)
        dead.append(end_of(path, found, now, final=repair or not torn))
    return previous, repaired, dead, damaged


def _settled(paths: Sequence[Path]) -> set[str]:
    """The segments that some header has found at their ends."""
    settled: set[str] = set()
    for path in paths:
        try:
            settled |= {name for name, p in header_of(path).previous.items() if p.settled}
        except AssayError:
            continue  # a segment without a header is found damaged where it is read
    return settled


def _scanned(folder: Path, ends: Ends) -> dict[Path, Scanned]:
    """What can be read without the folder's lock: the segments of the dead that nobody has settled."""
    paths = segments(folder)
    settled = _settled(paths)
    final = {name for name, end in ends.latest.items() if end.final}
    return {path: scan(path) for path in paths if path.stem not in settled | final and not alive(path)}


def _set_aside(path: Path, good: int) -> Repaired:
    """Cut a torn tail off, after a copy of it is on disk."""
    with path.open("rb+") as file:
        file.seek(good)
        tail = file.read()
        with path.with_suffix(".torn").open("ab") as aside:
            aside.write(tail)
            aside.flush()
            os.fsync(aside.fileno())
        file.truncate(good)
        os.fsync(file.fileno())
    return Repaired(len(tail), hashlib.sha256(tail).hexdigest())
