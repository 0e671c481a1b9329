"""An outsider's check of a log, or of the proof that a run is in one: signatures, cosignatures, inclusion, and runs without an end.

checked = check_log(read_log(folder), log_key, [witness_key], need=1, now_ms=now)
checked.findings, checked.open
check_proof(proof_bytes, log_key, [witness_key], need=1, now_ms=now)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from assay.errors import AssayError
from assay.evidence.log import Signed, View, checked
from assay.evidence.logbook import Book, LogError, LoggedRun, LogTamperedError, check_times, read_book
from assay.evidence.logsource import Source
from assay.evidence.verify import MAX_FINDINGS, Finding
from assay.ledger import canonical, digest, leaf_hash
from assay.ledger.notes import MAX_NOTE_BYTES, Checkpoint, Held, Note, NoteKey, NoteSignatureError, distinct, verify_note
from assay.ledger.proofs import inclusion_path, is_included

PROOF_FORMAT = "assay-log-proof/1"
MAX_PROOF_BYTES = 64 << 20
WITHIN_MS = 7 * 24 * 3600 * 1000
"""How long a run may be without an end before that is a finding, unless told otherwise."""


class Proven(Struct, frozen=True, forbid_unknown_fields=True):
    """An entry, its index, and the path to the root (hex)."""

    index: int
    entry: dict[str, Any]
    path: list[str]


class Before(Struct, frozen=True, forbid_unknown_fields=True):
    """An earlier checkpoint that has the registration and no end yet, with the registration's path (hex) in it."""

    checkpoint: str
    path: list[str]


class Proof(Struct, frozen=True, forbid_unknown_fields=True):
    """That a run's registration and closings are in a log: the checkpoint as a note, and its entries in order; `before`, if there was a
    cosigned checkpoint between registration and end, shows which came first.
    """

    checkpoint: str
    entries: list[Proven]
    before: Before | None = None
    format: str = msgspec.field(default=PROOF_FORMAT, name="assay-log-proof")

    def to_bytes(self) -> bytes:
        """Canonical JSON and a newline."""
        return canonical(msgspec.to_builtins(self)) + b"\n"


@dataclass(slots=True)
class Checked:
    """What was found. Only entries under the checkpoint (`head`) count; `beyond` more are not vouched for by it. `registered` has, of runs
    whose registration witnesses cosigned before the log had their end, the time (Unix s): of these it is shown that they were not chosen
    from several after the fact.
    """

    head: Checkpoint | None = None
    cosigners: list[Held] = field(default_factory=list)
    book: Book = field(default_factory=Book)
    beyond: int = 0
    torn: int = 0
    registered: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def open(self) -> list[LoggedRun]:
        """Runs without an end: dropped, or still under way."""
        return self.book.open

    def failed(self, check: str, where: str, what: str) -> None:
        """Note what does not hold."""
        self.findings.append(Finding(check, where, what))


def check_log(
    view: View, where: str, log_key: NoteKey | None, witnesses: Sequence[NoteKey], *, need: int, now_ms: int, within_ms: int = WITHIN_MS
) -> Checked:
    """Check all of a log as it was read: its checkpoints over its entries, `need` cosignatures by different witnesses on one of them, what
    the entries under it say, and runs that have had no end for `within_ms`. Without `log_key` the folder's own word for its key is taken.
    """
    found = Checked(torn=view.torn)
    if log_key is not None and log_key != view.key:
        found.failed("log key", where, f"the folder's key is {view.key.text}, not {log_key.text}")
        return found
    try:
        checked(view, where)
        marks = [(c, _cosigners(c.note, view.key, witnesses)) for c in view.checkpoints]
    except (LogTamperedError, NoteSignatureError) as e:
        found.failed("checkpoints", e.where or where, e.what)
        return found
    enough = [(c, held) for c, held in marks if len(held) >= need]
    if not enough:
        what = f"no checkpoint is cosigned by {need} of the {len(witnesses)} witnesses" if marks else "the log has no checkpoint"
        found.failed("cosignatures", where, what)
        found.beyond = len(view.lines)
        return found
    chosen, found.cosigners = enough[-1]
    found.head = chosen.head
    found.beyond = len(view.lines) - chosen.head.size
    found.book = read_book(enumerate(view.lines[: chosen.head.size]))
    cosigned = [(c.head.size, min(h.at for h in held)) for c, held in enough if held]
    sizes = [size for size, _ in cosigned]
    for run in found.book.runs.values():
        first = bisect_right(sizes, run.index)
        if first < len(sizes) and sizes[first] <= (run.closings[0].index if run.closings else found.book.size):
            found.registered[run.digest] = cosigned[first][1]
    _conclude(found, [(c.head.size, h.at * 1000) for c, held in marks for h in held], now_ms, within_ms)
    return found


def prove(view: View, run: str) -> Proof:
    """The proof for a run under the latest checkpoint that is cosigned, else the latest. Raises `LogError` if no checkpoint has all of it.

    `run` is the digest of the registration, or its beginning, 8 hex digits or more.
    """
    book = read_book(enumerate(view.lines))
    runs = [r for r in book.runs.values() if r.digest == run or (len(run) >= 8 and r.digest.removeprefix("sha256:").startswith(run))]
    if len(runs) != 1:
        raise LogError(f"{len(runs) or 'no'} such runs in the log: {run[:80]}")
    entries = [(runs[0].index, runs[0].entry), *((c.index, c.entry) for c in runs[0].closings)]
    holding = [c for c in view.checkpoints if c.head.size > entries[-1][0]]
    if not holding:
        raise LogError("no checkpoint has all of this run yet", fix="Sign one: assay log checkpoint FOLDER")
    chosen = ([c for c in holding if len(c.note.signatures) > 1] or holding)[-1]
    proven = [Proven(i, msgspec.json.decode(entry), _path(view, chosen, i)) for i, entry in entries]
    start, end = entries[0][0], entries[1][0] if len(entries) > 1 else chosen.head.size
    between = [c for c in view.checkpoints if start < c.head.size <= end and len(c.note.signatures) > 1]
    before = Before(between[0].note.to_bytes().decode(), _path(view, between[0], start)) if between else None
    return Proof(chosen.note.to_bytes().decode(), proven, before)


def _path(view: View, under: Signed, index: int) -> list[str]:
    return [h.hex() for h in inclusion_path(view.hashes[: under.head.size], index)]


def check_proof(
    data: bytes,
    log_key: NoteKey,
    witnesses: Sequence[NoteKey],
    *,
    need: int,
    now_ms: int,
    within_ms: int = WITHIN_MS,
    source: Source | None = None,
) -> Checked:
    """Check a proof as a stranger to the log: the checkpoint by the log's key and `need` witnesses, each entry in it, and what they say.

    `source` is the run, read from its bundle, that the proof must be of, with this very decision. Raises `LogError` for what is no proof.
    """
    proof, note, head = _read_proof(data)
    found = Checked()
    try:
        if not verify_note(note, [log_key]):
            found.failed("log key", "checkpoint", f"not signed by {log_key.text}")
        if head.origin != log_key.name:
            found.failed("log key", "checkpoint", f"it is of the log {head.origin}, the key of {log_key.name}")
        found.cosigners = _cosigners(note, log_key, witnesses)
    except NoteSignatureError as e:
        found.failed("checkpoint", "checkpoint", e.what)
    if len(found.cosigners) < need:
        found.failed(
            "cosignatures", "checkpoint", f"cosigned by {len(found.cosigners)} of the {len(witnesses)} witnesses; {need} are needed"
        )
    lines = []
    for p in proof.entries:
        line, path = _line(p)
        if not is_included(leaf_hash(line), p.index, head.size, path, head.root):
            found.failed("inclusion", f"entry {p.index}", "it is not in the checkpoint's tree")
        lines.append((p.index, line))
    if [i for i, _ in lines] != sorted({i for i, _ in lines}):
        found.failed("inclusion", "entries", "not in the log's order")
    if not found.ok:
        return found
    found.head = head
    found.book = read_book(lines)
    if len(found.book.runs) != 1 and not found.book.findings:
        found.failed("entries", "proof", f"it is of {len(found.book.runs)} runs, not of one")
    if source is not None:
        _same_run(found, source)
    if proof.before is not None:
        _before(found, proof.before, lines, log_key, witnesses, need)
    _conclude(found, [(head.size, h.at * 1000) for h in found.cosigners], now_ms, within_ms)
    return found


def _conclude(found: Checked, marks: list[tuple[int, int]], now_ms: int, within_ms: int) -> None:
    """Times, and runs that should have ended."""
    check_times(found.book, marks)
    found.findings += found.book.findings
    for run in found.open:
        age = now_ms - run.at
        if age > within_ms:
            found.failed(
                "run without an end", f"entry {run.index}", f"run {run.digest} ({run.target}) was opened {days(age)} ago: dropped?"
            )
    if len(found.findings) > MAX_FINDINGS:
        found.findings = [
            *found.findings[:MAX_FINDINGS],
            Finding("format", "", f"more than {MAX_FINDINGS} findings; the rest is not listed"),
        ]


def require_registered_first(found: Checked) -> None:
    """Make it a finding where it is not shown that a run that ended was registered before its end."""
    for run in found.book.runs.values():
        if run.closings and run.digest not in found.registered:
            found.failed("registered first", f"entry {run.index}", f"no checkpoint with run {run.digest} and without its end is cosigned")


def days(ms: int) -> str:
    """A time span for people."""
    minutes = max(0, ms) // 60_000
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"


def _same_run(found: Checked, source: Source) -> None:
    run = found.book.runs.get(source.digest)
    if run is None:
        found.failed("run", "proof", f"it is of another run than {source.digest}")
    elif source.decision is not None and digest(source.decision) not in [c.digest for c in run.closings[-1:]]:
        found.failed("run", "proof", "the log's last decision on this run is another than the bundle's, or none")


def _before(
    found: Checked, before: Before, lines: Sequence[tuple[int, bytes]], log_key: NoteKey, witnesses: Sequence[NoteKey], need: int
) -> None:
    """When the registration alone was cosigned. A `before` that does not hold is a finding; one without enough cosigners shows nothing."""
    (index, line), *closings = lines
    try:
        note = Note.parse(before.checkpoint.encode())
        head = Checkpoint.parse(note.text)
        path = [bytes.fromhex(h) for h in before.path]
        signed = bool(verify_note(note, [log_key])) and head.origin == log_key.name
        held = _cosigners(note, log_key, witnesses)
    except (AssayError, ValueError) as e:
        found.failed("earlier checkpoint", "before", str(e)[:200])
        return
    if not signed or not is_included(leaf_hash(line), index, head.size, path, head.root):
        found.failed("earlier checkpoint", "before", "it is not the log's, or does not have the registration")
    elif closings and head.size > closings[0][0]:
        found.failed("earlier checkpoint", "before", "it has the run's end already")
    elif held and len(held) >= need:
        found.registered.update(dict.fromkeys(found.book.runs, min(h.at for h in held)))


def _cosigners(note: Note, log_key: NoteKey, witnesses: Sequence[NoteKey]) -> list[Held]:
    """Witnesses that cosigned, a party once; the log's own key is nobody's witness. Raises `NoteSignatureError`."""
    return [h for h in distinct(verify_note(note, witnesses)) if h.key.public != log_key.public]


def _read_proof(data: bytes) -> tuple[Proof, Note, Checkpoint]:
    if len(data) > MAX_PROOF_BYTES:
        raise LogError(f"a proof of {len(data):,} bytes; at most {MAX_PROOF_BYTES:,} are read")
    try:
        proof = msgspec.json.decode(data, type=Proof)
        whole = proof.to_bytes() == data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, AssayError) as e:
        raise LogError(f"not a proof ({type(e).__name__})") from None
    if not whole or proof.format != PROOF_FORMAT or not proof.entries or len(proof.checkpoint) > MAX_NOTE_BYTES:
        raise LogError(f"not a proof of format {PROOF_FORMAT}, in canonical form")
    note = Note.parse(proof.checkpoint.encode())
    return proof, note, Checkpoint.parse(note.text)


def _line(proven: Proven) -> tuple[bytes, list[bytes]]:
    try:
        return canonical(proven.entry), [bytes.fromhex(h) for h in proven.path]
    except (AssayError, ValueError):
        return b"", []
