"""Reading the audit log: what was asked, decided and answered, by whom, for what purpose. Works while workers write.

    for row in search(Path("audit"), Query(person="Ada Tan", since=ms)):
        row.record, row.ended

Reading trusts the files; `auditverify` checks them. A million requests take some ten seconds: a line is decoded only if it can match.
"""

from __future__ import annotations

import heapq
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from assay.access.audit.content import Contents
from assay.access.audit.ends import lines_of
from assay.access.audit.records import (
    MAX_HEADER,
    Alert,
    AnyRecord,
    AuditError,
    AuditTamperedError,
    BreakGlass,
    Control,
    Decided,
    Denied,
    Ended,
    Fault,
    Segment,
    Token,
    quick_line,
)
from assay.access.audit.segment import chains
from assay.access.audit.text import contents_of, digests_of, says

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

KIND: dict[type, str] = {
    Decided: "decided", Ended: "ended", Denied: "denied", Token: "token", Control: "control", Alert: "alert",
    BreakGlass: "break-glass", Fault: "error", Segment: "segment",
}  # fmt: skip
EXACT = ("id", "grant", "person", "organisation", "model", "digest", "system", "route", "decision", "network")
LAST = 2**53 - 1
CLOCK_MS = 60_000
"""A clock is not set back by more."""
LONGEST_MS = 7_260_000
"""No request takes longer, so an end is not waited for that long (`config.Bounds.answer_s`)."""


class Query(Struct, frozen=True, kw_only=True):
    """What to look for: whatever is given must fit. Times are Unix milliseconds; `text` is sought in contents, which takes an identity.

    `rule` fits the rule of a denial and each rule of a decision; `halt` the halt that cut it; `how` how it ended. `kinds`: any of these.
    """

    id: str = ""
    grant: str = ""
    person: str = ""
    organisation: str = ""
    model: str = ""
    digest: str = ""
    system: str = ""
    route: str = ""
    decision: str = ""
    network: str = ""
    rule: str = ""
    how: str = ""
    halt: str = ""
    text: str = ""
    kinds: tuple[str, ...] = ()
    since: int = 0
    until: int = LAST

    @property
    def needles(self) -> list[bytes]:
        """What stands in every line that fits: in canonical JSON, nothing else stands for the same."""
        exact = [b'"%s":%s' % (name.encode(), msgspec.json.encode(getattr(self, name))) for name in EXACT if getattr(self, name)]
        return [*exact, msgspec.json.encode(self.rule)] if self.rule else exact


class Row(Struct):
    """A record, where it stands, and how it ended (of a decision that has an end), and where that stands."""

    segment: str
    n: int
    record: AnyRecord
    ended: Ended | None = None
    ended_n: int = -1
    ended_segment: str = ""

    @property
    def contents(self) -> list[tuple[str, str]]:
        """The digests of what was asked and answered, each with the segment that keeps it."""
        asked = [(self.segment, digest) for digest in digests_of(self.record)]
        return asked + [(self.ended_segment, digest) for digest in (digests_of(self.ended) if self.ended else ())]

    @property
    def kind(self) -> str:
        """The record's kind."""
        return KIND[type(self.record)]

    def flat(self) -> dict[str, Any]:
        """All fields in one table's row; times in ISO 8601 are the caller's business."""
        out: dict[str, Any] = {"segment": self.segment, "n": self.n, "kind": self.kind}
        record = msgspec.to_builtins(self.record)
        out |= {k: v for k, v in record.items() if k not in ("kind", "reserved")}
        if isinstance(self.record, Decided | Denied):
            requests, tokens, money = (*self.record.reserved, 0, 0, 0)[:3]
            out |= {"reserved_requests": requests, "reserved_tokens": tokens, "reserved_money": money}
        if self.ended is not None:
            ended = {k: v for k, v in msgspec.to_builtins(self.ended).items() if k not in ("kind", "id", "at")}
            out |= ended | {"ended_at": self.ended.at}
        return out


def fits(record: AnyRecord, query: Query) -> bool:
    """Whether a record fits all that does not need its end or its contents."""
    if not query.since <= record.at <= query.until:
        return False
    if query.kinds and KIND[type(record)] not in query.kinds:
        return False
    for name in EXACT:
        wanted = getattr(query, name)
        if wanted and getattr(record, name, None) != wanted:
            return False
    if not query.rule:
        return True
    return query.rule == getattr(record, "rule", None) or query.rule in getattr(record, "rules", ())


def search(folder: Path, query: Query, identities: Sequence[Identity] = ()) -> Iterator[Row]:
    """What fits, in order of time. Raises `AuditError`, also for a text to seek without an identity that opens contents."""
    if query.text and not identities:
        raise AuditError("contents are encrypted to the auditors", fix="Give an auditor's identity file: --identity")
    rows = _merged(chains(folder), query)
    opened: dict[str, Contents] = {}
    for row in rows:
        if query.how and (row.ended is None or row.ended.how != query.how):
            continue
        if query.halt and (row.ended is None or row.ended.halt != query.halt):
            continue
        if query.text:
            for segment, _ in row.contents:
                if segment not in opened:
                    opened[segment] = contents_of(folder, segment, identities)
            if not any(says(opened[segment], digest, query.text) for segment, digest in row.contents):
                continue
        yield row


def _merged(chains: Sequence[list[Path]], query: Query) -> Iterator[Row]:
    """Rows of several chains of segments by time; one is opened when its time has come, so that few are open at once."""
    waiting = deque(sorted((int(chain[0].stem.rpartition("-")[2]), chain) for chain in chains))
    heap: list[tuple[int, int, Row, Iterator[Row]]] = []
    ticket = count()
    while heap or waiting:
        while waiting and (not heap or waiting[0][0] <= heap[0][0]):
            _push(heap, _rows(waiting.popleft()[1], query), ticket)
        if not heap:
            continue
        _, _, row, more = heapq.heappop(heap)
        yield row
        _push(heap, more, ticket)


def _push(heap: list[tuple[int, int, Row, Iterator[Row]]], rows: Iterator[Row], ticket: Iterator[int]) -> None:
    row = next(rows, None)
    if row is not None:
        heapq.heappush(heap, (row.record.at, next(ticket), row, rows))


def _rows(chain: Sequence[Path], query: Query) -> Iterator[Row]:
    """The rows of a chain of segments that fit, each decision with its end, in order."""
    needles = query.needles
    waiting: deque[Row] = deque()
    unfinished: dict[bytes, Row] = {}
    own_ends = "ended" in query.kinds
    for path, n, line in lines_between(chain, query.since, query.until):
        if b'"kind":"ended"' in line and not own_ends:
            row = unfinished.pop(id_in(line), None)
            if row is not None:
                end = quick_line(line).record
                if isinstance(end, Ended):
                    row.ended, row.ended_n, row.ended_segment = end, n, path.stem
        elif all(needle in line for needle in needles):
            record = record_in(line, path, n)
            if fits(record, query):
                row = Row(path.stem, n, record)
                waiting.append(row)
                if isinstance(record, Decided):
                    unfinished[msgspec.json.encode(record.id)[1:-1]] = row
        while waiting and (_finished(waiting[0]) or waiting[-1].record.at - waiting[0].record.at > LONGEST_MS):
            yield waiting.popleft()
    yield from waiting


def _finished(row: Row) -> bool:
    return not isinstance(row.record, Decided) or row.ended is not None


def record_in(line: bytes, path: Path, n: int) -> AnyRecord:
    """What a line says. Raises `AuditTamperedError` naming it."""
    try:
        return quick_line(line).record
    except AuditTamperedError as e:
        raise AuditTamperedError(e.what, where=f"{path}, line {n}", fix="Run: assay access audit verify") from None


def whole_lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """The lines that have their end, without it, from a line's beginning on. Raises `AuditError`."""
    try:
        with path.open("rb", buffering=1 << 20) as file:
            file.seek(offset)
            for data in lines_of(file):
                if not data.endswith(b"\n"):
                    return
                yield data[:-1]
    except OSError as e:
        raise AuditError(f"cannot read: {e.strerror}", where=str(path)) from None


def lines_between(chain: Sequence[Path], since: int, until: int) -> Iterator[tuple[Path, int, bytes]]:
    """The lines that can matter to what was decided in that time, each with its segment and place: from a minute before to as long after as
    an answer may take. Found by halving, since a segment is in order of time.
    """
    last = until + LONGEST_MS
    for path in chain:
        for line in whole_lines(path, _offset(path, since - CLOCK_MS) if since else 0):
            at = time_in(line) if until < LAST else 0
            if at > last:
                return
            yield path, place_in(line), line


def _offset(path: Path, since: int) -> int:
    """Where a line begins before which all are older."""
    low, high = 0, path.stat().st_size
    try:
        with path.open("rb") as file:
            while high - low > 1 << 16:
                middle = (low + high) // 2
                file.seek(middle)
                file.readline(MAX_HEADER)
                begin = file.tell()
                line = file.readline(MAX_HEADER)
                if begin >= high or not line.endswith(b"\n") or time_in(line) >= since:
                    high = middle
                else:
                    low = begin
    except OSError as e:
        raise AuditError(f"cannot read: {e.strerror}", where=str(path)) from None
    return low


_AT = re.compile(rb'"at":([0-9]{1,16})[,}]')
_N = re.compile(rb'\{"after":"[0-9a-f]{64}","n":([0-9]{1,16}),')


def time_in(line: bytes) -> int:
    """A line's time; 0 if it has none. A text can hold no `"at":`, since its quotes are escaped."""
    found = _AT.search(line)
    return int(found[1]) if found else 0


def place_in(line: bytes) -> int:
    """A line's place in its segment; -1 if it is no line."""
    found = _N.match(line)
    return int(found[1]) if found else -1


def id_in(line: bytes) -> bytes:
    """The id of a record as it stands in its line. A text can hold no `"id":"`, since its quotes are escaped."""
    begin = line.find(b'"id":"') + 6
    return line[begin : line.find(b'"', begin)]
