"""What a log's entries say: which runs were opened, which ended, and what is wrong. Pure: works on lines, from whoever they come.

    book = read_book(enumerate(lines))
    [run for run in book.runs.values() if not run.closings]     # dropped, or still under way
    book.findings

An entry is canonical JSON: {"kind": "opened", "key": ..., "statement": DSSE} registers a run under the digest of its statement, and
{"kind": "closed", "opened": digest, "decision": DSSE} ends it. A run that went on after its decision (labels came) is closed again, with
"continues": the RFC 6962 consistency proof from the trials that the first decision was on to those of the later one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import msgspec
from msgspec import Struct

from assay.errors import AssayError
from assay.evidence.statements import DECISION
from assay.evidence.verify import CLOCK_SLACK_MS, MAX_FINDINGS, Finding
from assay.ledger import PublicKey, canonical, digest, open_envelope
from assay.ledger.proofs import consistency_path, is_consistent, root_of
from assay.runs.registered import OPENED

MAX_ENTRY_BYTES = 8 << 20
TWO_CLOCKS_MS = 60_000
"""How far the clocks of two parties may differ before a time is called wrong."""


class LogError(AssayError):
    """A log cannot be read or written, or was asked for what it cannot do."""


class LogTamperedError(LogError):
    """A log contradicts what it signed, or what was cosigned: it shrank, was rewritten, or shows others something else."""

    exit_code = 1


class Closing(Struct, frozen=True):
    """A decision that ended a run. `at` is Unix time in milliseconds, `root` that of the tree over registration and trials."""

    index: int
    at: int
    verdict: str
    trials: int
    root: str
    ended: str
    digest: str
    entry: bytes


class LoggedRun(Struct, frozen=True):
    """A registered run. `at` is Unix time in milliseconds; `replays` the run whose transcripts it judges again, else empty."""

    digest: str
    index: int
    at: int
    plan: str
    target: str
    replays: str
    key: PublicKey
    subject: Any
    entry: bytes
    closings: tuple[Closing, ...] = ()


@dataclass(slots=True)
class Book:
    """The runs by the digest of their registration, and what does not hold; `size` is one more than the last entry's index."""

    runs: dict[str, LoggedRun] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    size: int = 0
    _roots: dict[str, str] = field(default_factory=dict)

    @property
    def open(self) -> list[LoggedRun]:
        """Runs without an end."""
        return [run for run in self.runs.values() if not run.closings]

    def read(self, index: int, line: bytes) -> None:
        """Take in the next entry; whatever is wrong with it becomes a finding."""
        self.size = index + 1
        try:
            self._read(index, line)
        except AssayError as e:
            self.failed("entry", index, e.what)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError, ValueError, AttributeError) as e:
            self.failed("entry", index, f"not an entry ({type(e).__name__})")

    def failed(self, check: str, index: int, what: str) -> None:
        """Note what does not hold; the list is bounded."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(check, f"entry {index}", what))

    def _read(self, index: int, line: bytes) -> None:
        if len(line) > MAX_ENTRY_BYTES:
            raise LogError(f"{len(line):,} bytes; at most {MAX_ENTRY_BYTES:,} are read")
        value = msgspec.json.decode(line)
        if not isinstance(value, dict) or canonical(value) != line:
            raise LogError("not a canonical JSON object")
        if set(value) == {"kind", "key", "statement"} and value["kind"] == "opened":
            self._opened(index, value, line)
        elif {"kind", "opened", "decision"} <= set(value) <= {"kind", "opened", "decision", "continues"} and value["kind"] == "closed":
            self._closed(index, value, line)
        else:
            raise LogError("neither an opening nor a closing")

    def _opened(self, index: int, value: dict[str, Any], line: bytes) -> None:
        key = PublicKey.from_json(value["key"])
        statement = _statement(value["statement"], key, OPENED)
        predicate, run = statement["predicate"], digest(value["statement"])
        if run in self.runs:
            self.failed("two openings", index, f"run {run} is registered already, as entry {self.runs[run].index}")
            return
        self.runs[run] = LoggedRun(
            run,
            index,
            _count(predicate["at"]),
            _text(predicate["planDigest"]),
            _text(predicate["target"]["model"]),
            _text(predicate.get("replayOf", "")),
            key,
            statement["subject"],
            line,
        )

    def _closed(self, index: int, value: dict[str, Any], line: bytes) -> None:
        run = self.runs.get(_text(value["opened"]))
        if run is None:
            self.failed("closing without an opening", index, f"no entry before it registers run {_text(value['opened'])[:80]}")
            return
        statement = _statement(value["decision"], run.key, DECISION)
        evidence, verdict = statement["predicate"]["evidence"], _text(statement["predicate"]["decision"]["verdict"])
        closing = Closing(
            index,
            _count(evidence["at"]),
            verdict,
            _count(evidence["trials"]),
            _text(evidence["merkleRoot"]),
            _text(evidence["ended"]),
            digest(value["decision"]),
            line,
        )
        if evidence["planDigest"] != run.plan or statement["subject"] != run.subject:
            self.failed(
                "closing of another run", index, f"the decision has another plan or target than run {run.digest} (entry {run.index})"
            )
            return
        other = self._roots.setdefault(closing.root, run.digest)
        if other != run.digest:
            self.failed("closing of another run", index, f"the decision has closed run {other} already")
            return
        if closing.at + CLOCK_SLACK_MS < run.at:
            self.failed("closing before the opening", index, f"the decision is older than the registration (entry {run.index})")
        if run.closings or "continues" in value:
            self._again(index, run, closing, value.get("continues"))
        self.runs[run.digest] = msgspec.structs.replace(run, closings=(*run.closings, closing))

    def _again(self, index: int, run: LoggedRun, closing: Closing, continues: Any) -> None:
        if not run.closings:
            self.failed("entry", index, f"it goes on from a closing of run {run.digest} that is not there")
            return
        last = run.closings[-1]
        try:
            path = [bytes.fromhex(h) for h in continues]
        except (TypeError, ValueError):
            path = [b""]
        if continues is None or not is_consistent(last.trials + 1, _raw(last.root), closing.trials + 1, _raw(closing.root), path):
            self.failed(
                "two closings",
                index,
                f"run {run.digest} was closed as entry {last.index} ({last.verdict}, {last.trials} trials), and this decision"
                f" ({closing.verdict}, {closing.trials} trials) does not show that it goes on from there",
            )


def read_book(entries: Iterable[tuple[int, bytes]]) -> Book:
    """What entries say, each with its index, in order."""
    book = Book()
    for index, line in entries:
        book.read(index, line)
    return book


def entry_of_opening(opened: dict[str, Any], key: dict[str, Any]) -> bytes:
    """The entry that registers a run: the signed registration, and the public key that it holds under."""
    return canonical({"kind": "opened", "key": key, "statement": opened})


def entry_of_closing(run: str, decision: dict[str, Any], leaves: Sequence[bytes], last: Closing | None) -> bytes:
    """The entry that ends run `run`. `leaves` are the leaf hashes of the run's own tree; `last` is an earlier closing that it goes on from.

    Raises `LogTamperedError` if it does not.
    """
    entry: dict[str, Any] = {"kind": "closed", "opened": run, "decision": decision}
    if last is not None:
        if last.trials + 1 > len(leaves) or root_of(leaves[: last.trials + 1]) != _raw(last.root):
            raise LogTamperedError(
                f"the log has another decision on this run (entry {last.index}: {last.verdict}, {last.trials} trials), and this one does"
                f" not go on from it",
            )
        entry["continues"] = [h.hex() for h in consistency_path(leaves, last.trials + 1)]
    return canonical(entry)


def check_times(book: Book, marks: Sequence[tuple[int, int]]) -> None:
    """Hold the entries' own times against those of cosigned checkpoints, `marks`: (size, Unix ms). Adds to the book's findings.

    A registration that says it is older than a checkpoint that lacks it came into the log late: the run may have been looked at before. No
    entry can be newer than a checkpoint that holds it.
    """
    marks = sorted(marks)
    sizes = [size for size, _ in marks]
    latest = list(accumulate((at for _, at in marks), max))
    earliest = list(accumulate((at for _, at in reversed(marks)), min))[::-1]
    for run in book.runs.values():
        without = bisect_right(sizes, run.index)
        late = latest[without - 1] if without else 0
        if run.at + TWO_CLOCKS_MS < late:
            seconds = (late - run.at) // 1000
            book.failed("older than its checkpoint", run.index, f"opened {seconds:,} s before a checkpoint that lacks it: registered late")
        for index, at in [(run.index, run.at), *((c.index, c.at) for c in run.closings)]:
            holding = bisect_right(sizes, index)
            held = earliest[holding] if holding < len(marks) else at
            if at > held + TWO_CLOCKS_MS:
                book.failed("newer than its checkpoint", index, f"made {(at - held) // 1000:,} s after a checkpoint that holds it")


def _statement(value: Any, key: PublicKey, predicate_type: str) -> dict[str, Any]:
    statement = open_envelope(value, key)
    if statement.get("predicateType") != predicate_type:
        raise LogError(f"the statement is of type {str(statement.get('predicateType'))[:80]!r}, not {predicate_type}")
    return statement


def _raw(root: str) -> bytes:
    try:
        return bytes.fromhex(root.removeprefix("sha256:"))
    except ValueError:
        return b""


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise LogError("a time or number is not a natural number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise LogError("a name or digest is not a short text")
    return value
