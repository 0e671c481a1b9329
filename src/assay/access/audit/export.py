"""Taking records out of the audit log: JSON lines and CSV, and proofs that each was there when a checkpoint was signed.

    write_csv(rows, out)
    write_jsonl(rows, out, Prover(Path("audit")))
    check_proofs(Path("records.jsonl"), log_key, witnesses, need=1)

A proof leads from a record's line through the RFC 6962 tree of its segment to an entry of the ends, and from there to a signed checkpoint.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from assay.access.audit.ends import End, read_end
from assay.access.audit.read import Row, whole_lines
from assay.access.audit.records import MAX_LINE, AuditError, AuditTamperedError, read_line
from assay.evidence.log import checked, read_log
from assay.ledger import leaf_hash
from assay.ledger.merkle import _node
from assay.ledger.notes import Checkpoint, Note, NoteKey, distinct, verify_note
from assay.ledger.proofs import inclusion_path, is_included

COLUMNS = (
    "at", "kind", "id", "grant", "version", "person", "organisation", "purpose", "model", "digest", "route", "system", "network", "tools",
    "stream", "tier", "decision", "rules", "rule", "what", "status", "epoch", "reserved_requests", "reserved_tokens", "reserved_money",
    "request_digest", "flags", "sketch", "ended_at", "how", "halt", "answer_digest", "tokens", "money", "first_ms", "ms", "did",
    "subject", "by", "alert",
    "severity", "state", "reason", "until", "worker", "segment", "n",
)  # fmt: skip
TIMES = frozenset({"at", "ended_at", "until"})
_RISKY = re.compile(r"[\s=+\-@\uff0b\uff0d\uff1d\uff20']")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
MAX_PROOFS = 5_000_000


def iso(at: int) -> str:
    """Unix milliseconds as ISO 8601, UTC; empty for 0."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if 0 < at < 2**47 else ""


def cell(value: object) -> str:
    """A value as the text of a cell that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        value = ", ".join(str(v) for v in value)
    text = _CONTROLS.sub("\ufffd", value if isinstance(value, str) else msgspec.json.encode(value).decode())
    return "'" + text if _RISKY.match(text) else text


def write_table(rows: Iterable[dict[str, Any]], columns: Sequence[str], out: IO[bytes], times: Iterable[str] = TIMES) -> int:
    """CSV (RFC 4180), every cell quoted, none a formula; how many rows."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    lines = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    lines.writerow(columns)
    n = 0
    for row in rows:
        lines.writerow([iso(int(row.get(c) or 0)) if c in times else cell(row.get(c)) for c in columns])
        n += 1
    text.flush()
    text.detach()
    return n


def write_csv(rows: Iterable[Row], out: IO[bytes]) -> int:
    """One line a record; a decision and its end are one."""
    return write_table((row.flat() for row in rows), COLUMNS, out)


def to_json(row: Row) -> dict[str, Any]:
    """A row as it is exported."""
    value: dict[str, Any] = {"segment": row.segment, "n": row.n, "record": msgspec.to_builtins(row.record)}
    if row.ended is not None:
        value |= {"ended_n": row.ended_n, "ended": msgspec.to_builtins(row.ended)}
        if row.ended_segment != row.segment:
            value["ended_segment"] = row.ended_segment
    return value


def write_jsonl(rows: Iterable[Row], out: IO[bytes], prover: Prover | None = None) -> int:
    """One object a record; with a prover, the first line is the checkpoint, and each record has its proof. How many records."""
    if prover is not None:
        out.write(msgspec.json.encode({"checkpoint": prover.note.to_bytes().decode()}) + b"\n")
    n = 0
    for row in rows:
        value = to_json(row)
        if prover is not None:
            value["proof"] = prover.prove(row.segment, row.n)
            if row.ended is not None:
                value["ended_proof"] = prover.prove(row.ended_segment, row.ended_n)
        out.write(msgspec.json.encode(value) + b"\n")
        n += 1
    return n


class _Levels:
    """A tree with all its nodes, for many paths. Level 0 are the leaf hashes."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.levels = [leaves]
        while len(self.levels[-1]) > 1:
            below = self.levels[-1]
            above = [_node(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
            self.levels.append([*above, below[-1]] if len(below) & 1 else above)

    def path(self, index: int) -> list[bytes]:
        """PATH(index, D[n]) of RFC 6962, section 2.1.1."""
        path = []
        for level in self.levels[:-1]:
            if (index ^ 1) < len(level):
                path.append(level[index ^ 1])
            index >>= 1
        return path

    @property
    def root(self) -> bytes:
        """MTH(D[n])."""
        return self.levels[-1][0]


class Prover:
    """Makes proofs against the latest checkpoint, or the latest that has cosignatures. Raises `AuditError`, `LogError`."""

    def __init__(self, folder: Path) -> None:
        view = checked(read_log(folder / "ends"), str(folder / "ends"))
        if not view.checkpoints:
            raise AuditError("nothing is signed yet", where=str(folder))
        cosigned = [c for c in view.checkpoints if len(c.note.signatures) > 1]
        signed = (cosigned or list(view.checkpoints))[-1]
        self.note, self._folder = signed.note, folder
        self._lines = view.lines[: signed.head.size]
        self._hashes = [leaf_hash(line) for line in self._lines]
        self._ends: dict[str, tuple[int, End]] = {}
        for index, line in enumerate(self._lines):
            end = read_end(line)
            self._ends[end.segment] = (index, end)
        self._trees: dict[str, tuple[_Levels, list[bytes], list[bytes]]] = {}

    def prove(self, segment: str, n: int) -> dict[str, Any] | None:
        """The proof of a line; None for one that is younger than the checkpoint. Raises `AuditTamperedError`."""
        if segment not in self._ends or n >= self._ends[segment][1].records:
            return None
        index, end = self._ends[segment]
        if segment not in self._trees:
            lines = []
            for line in whole_lines(self._folder / f"{segment}.jsonl"):
                lines.append(line)
                if len(lines) == end.records:
                    break
            tree = _Levels([leaf_hash(line) for line in lines])
            if len(lines) < end.records or tree.root.hex() != end.root:
                raise AuditTamperedError("the segment is not what was signed", where=segment, fix="Run: assay access audit verify")
            self._trees[segment] = (tree, lines, inclusion_path(self._hashes, index))
        tree, lines, up = self._trees[segment]
        return {
            "line": lines[n].decode(), "path": [h.hex() for h in tree.path(n)], "end": self._lines[index].decode(),
            "end_index": index, "end_path": [h.hex() for h in up],
        }  # fmt: skip


Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Proof(Struct, frozen=True, forbid_unknown_fields=True):
    """Why a line is under a checkpoint."""

    line: Annotated[str, Meta(max_length=MAX_LINE)]
    path: Annotated[tuple[Hash, ...], Meta(max_length=64)]
    end: Annotated[str, Meta(max_length=2000)]
    end_index: Annotated[int, Meta(ge=0)]
    end_path: Annotated[tuple[Hash, ...], Meta(max_length=64)]


class _Exported(Struct, frozen=True, forbid_unknown_fields=True):
    segment: str
    n: int
    record: dict[str, Any]
    proof: Proof | None
    ended: dict[str, Any] | None = None
    ended_n: int = -1
    ended_segment: str = ""
    ended_proof: Proof | None = None


class Checked(Struct, frozen=True):
    """How many records have proofs that hold, and how many were younger than the checkpoint."""

    proven: int
    unproven: int


def check_proofs(path: Path, log_key: NoteKey, witnesses: Sequence[NoteKey] = (), need: int = 0) -> Checked:
    """Check a file of `write_jsonl` with proofs, without the log. Raises `AuditTamperedError` naming the line, `AuditError`."""
    proven = unproven = 0
    try:
        with path.open("rb") as file:
            first = file.readline(1 << 21)
            try:
                note = Note.parse(msgspec.json.decode(first, type=dict[str, str])["checkpoint"].encode())
            except (msgspec.MsgspecError, KeyError, UnicodeDecodeError):
                raise AuditError("no checkpoint in the first line: it was exported without proofs", where=str(path)) from None
            head = Checkpoint.parse(note.text)
            if head.origin != log_key.name or not verify_note(note, [log_key]):
                raise AuditTamperedError("the checkpoint is not signed by the log's key", where=str(path))
            if len(distinct(verify_note(note, [w for w in witnesses if w.public != log_key.public]))) < need:
                raise AuditTamperedError(f"the checkpoint has not the cosignatures of {need} witnesses", where=str(path))
            for number, data in enumerate(iter(lambda: file.readline(4 * MAX_LINE), b""), 2):
                where = f"{path}, line {number}"
                try:
                    one = msgspec.json.decode(data, type=_Exported)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
                    raise AuditTamperedError(f"not an exported record: {str(e)[:200]}", where=where) from None
                parts = [(one.segment, one.record, one.n, one.proof)]
                if one.ended is not None:
                    parts.append((one.ended_segment or one.segment, one.ended, one.ended_n, one.ended_proof))
                for segment, record, n, proof in parts:
                    if proof is None:
                        unproven += 1
                        continue
                    why = _wrong(segment, n, record, proof, head)
                    if why:
                        raise AuditTamperedError(why, where=where)
                    proven += 1
    except OSError as e:
        raise AuditError(f"cannot read: {e.strerror}", where=str(path)) from None
    return Checked(proven, unproven)


def _wrong(segment: str, n: int, record: dict[str, Any], proof: Proof, head: Checkpoint) -> str:
    """What does not hold; empty if all does."""
    line, end = read_line(proof.line.encode()), read_end(proof.end.encode())
    if line.n != n or end.segment != segment or msgspec.json.decode(msgspec.json.encode(line.record)) != record:
        return "the record is not the one that the proof is of"
    path, up = [bytes.fromhex(h) for h in proof.path], [bytes.fromhex(h) for h in proof.end_path]
    if not is_included(leaf_hash(proof.line.encode()), n, end.records, path, bytes.fromhex(end.root)):
        return "the line is not in its segment"
    if not is_included(leaf_hash(proof.end.encode()), proof.end_index, head.size, up, head.root):
        return "the segment's end is not under the checkpoint"
    return ""
