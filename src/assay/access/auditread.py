"""Reading the audit log: what was asked, decided and answered, by whom, for what purpose. Works while workers write.

    for row in search(Path("audit"), Query(person="Ada Tan", since=ms)):
        row.record, row.ended
    who(Path("audit"), "m7")            # who saw what of which model, for what purpose

Reading trusts the files; `auditverify` checks them. A million requests take some ten seconds: a line is decoded only if it can match.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from assay.access.auditcontent import Contents
from assay.access.auditends import lines_of
from assay.access.auditrecords import (
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
from assay.access.auditsegment import content_path, header_of, segments

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

KIND: dict[type, str] = {
    Decided: "decided", Ended: "ended", Denied: "denied", Token: "token", Control: "control", Alert: "alert",
    BreakGlass: "break-glass", Fault: "error", Segment: "segment",
}  # fmt: skip
EXACT = ("id", "grant", "person", "organisation", "model", "digest", "system", "route", "decision", "network")
LAST = 2**53 - 1
LONGEST_MS = 7_200_000
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
    """A record, where it stands, and how it ended (of a decision that has an end)."""

    segment: str
    n: int
    record: AnyRecord
    ended: Ended | None = None
    ended_n: int = -1

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
    rows = _merged([(path, query) for path in segments(folder)], lambda path: _rows(path, query))
    opened: dict[str, Contents] = {}
    for row in rows:
        if query.how and (row.ended is None or row.ended.how != query.how):
            continue
        if query.halt and (row.ended is None or row.ended.halt != query.halt):
            continue
        if query.text and not _says(folder, row, query.text, identities, opened):
            continue
        yield row


def _merged(paths: Sequence[tuple[Path, Query]], rows: Callable[[Path], Iterator[Row]]) -> Iterator[Row]:
    """Rows of several segments by time; a segment is opened when its time has come, so that few are open at once."""
    waiting = deque(sorted((int(path.stem.rpartition("-")[2]), path) for path, _ in paths))
    heap: list[tuple[int, int, Row, Iterator[Row]]] = []
    ticket = count()
    while heap or waiting:
        while waiting and (not heap or waiting[0][0] <= heap[0][0]):
            _push(heap, rows(waiting.popleft()[1]), ticket)
        if not heap:
            continue
        _, _, row, more = heapq.heappop(heap)
        yield row
        _push(heap, more, ticket)


def _push(heap: list[tuple[int, int, Row, Iterator[Row]]], rows: Iterator[Row], ticket: Iterator[int]) -> None:
    row = next(rows, None)
    if row is not None:
        heapq.heappush(heap, (row.record.at, next(ticket), row, rows))


def _rows(path: Path, query: Query) -> Iterator[Row]:
    """One segment's rows that fit, each decision with its end, in order."""
    needles = query.needles
    waiting: deque[Row] = deque()
    unfinished: dict[bytes, Row] = {}
    own_ends = "ended" in query.kinds
    for n, line in enumerate(whole_lines(path)):
        if b'"kind":"ended"' in line and not own_ends:
            row = unfinished.pop(id_in(line), None)
            if row is not None:
                end = quick_line(line).record
                if isinstance(end, Ended):
                    row.ended, row.ended_n = end, n
        elif all(needle in line for needle in needles):
            record = _record(line, path, n)
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


def _record(line: bytes, path: Path, n: int) -> AnyRecord:
    try:
        return quick_line(line).record
    except AuditTamperedError as e:
        raise AuditTamperedError(e.what, where=f"{path}, line {n}", fix="Run: assay access audit verify") from None


def whole_lines(path: Path) -> Iterator[bytes]:
    """The lines that have their end, without it. Raises `AuditError`."""
    try:
        with path.open("rb", buffering=1 << 20) as file:
            for data in lines_of(file):
                if not data.endswith(b"\n"):
                    return
                yield data[:-1]
    except OSError as e:
        raise AuditError(f"cannot read: {e.strerror}", where=str(path)) from None


def id_in(line: bytes) -> bytes:
    """The id of a record as it stands in its line. A text can hold no `"id":"`, since its quotes are escaped."""
    begin = line.find(b'"id":"') + 6
    return line[begin : line.find(b'"', begin)]


# Contents


def contents_of(folder: Path, segment: str, identities: Sequence[Identity]) -> Contents:
    """A segment's contents, for an auditor. Raises `AuditError`."""
    path = folder / f"{segment}.jsonl"
    return Contents.open(content_path(path), header_of(path), identities)


def digests_of(row: Row) -> list[str]:
    """The contents that a row names: what was asked, what was answered."""
    asked = row.record.request_digest if isinstance(row.record, Decided | Denied) else ""
    answered = row.ended.answer_digest if row.ended is not None else ""
    if isinstance(row.record, Ended):
        answered = row.record.answer_digest
    return [d for d in (asked, answered) if d]


def _says(folder: Path, row: Row, text: str, identities: Sequence[Identity], opened: dict[str, Contents]) -> bool:
    digests = digests_of(row)
    if not digests:
        return False
    if row.segment not in opened:
        opened[row.segment] = contents_of(folder, row.segment, identities)
    contents, wanted = opened[row.segment], text.casefold()
    return any(d in contents and wanted in readable(contents[d][1]).casefold() for d in digests)


def readable(data: bytes) -> str:
    """The text of a content: the strings of JSON, and those of a stream's parts put together."""
    if data.lstrip()[:1] in (b"{", b"["):
        try:
            return "\n".join(_strings(msgspec.json.decode(data)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return data.decode("utf-8", errors="replace")
    parts: list[str] = []
    for line in data.split(b"\n"):
        if line.startswith(b"data:") and b"[DONE]" not in line:
            try:
                parts += _deltas(msgspec.json.decode(line[5:]))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                parts.append(line.decode("utf-8", errors="replace"))
    return "".join(parts) if parts else data.decode("utf-8", errors="replace")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)


_SAID = frozenset({"content", "delta", "text", "arguments", "refusal", "reasoning_content"})


def _deltas(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            if name in _SAID and isinstance(one, str):
                yield one
            else:
                yield from _deltas(one)
    elif isinstance(value, list):
        for one in value:
            yield from _deltas(one)


# Who saw what of which model, for what purpose


class Seen(Struct, kw_only=True):
    """What one person saw of one model under one grant for one purpose, of one system. Times are Unix ms; money in millionths.

    `answered` requests ended with an answer, or part of one; `open` have no end yet, or their worker was killed; `denied` never went on.
    """

    model: str
    digest: str
    person: str
    organisation: str
    grant: str
    purpose: str
    system: str
    requests: int = 0
    answered: int = 0
    complete: int = 0
    open: int = 0
    denied: int = 0
    tokens: int = 0
    money: int = 0
    routes: dict[str, int] = {}
    tools: dict[str, int] = {}
    networks: dict[str, int] = {}
    first: int = 0
    last: int = 0


def who(folder: Path, model: str, since: int = 0, until: int = LAST) -> list[Seen]:
    """Who saw what of this model (its name or its digest), for what purpose; most requests first. Raises `AuditError`."""
    found: dict[tuple[str, ...], Seen] = {}
    needle = msgspec.json.encode(model)
    for path in segments(folder):
        unfinished: dict[bytes, Seen] = {}
        for n, line in enumerate(whole_lines(path)):
            if b'"kind":"ended"' in line:
                seen = unfinished.pop(id_in(line), None) if unfinished else None
                if seen is not None:
                    _ended(seen, _record(line, path, n))
            elif needle in line:
                record = _record(line, path, n)
                if isinstance(record, Decided | Denied) and model in (record.model, record.digest) and since <= record.at <= until:
                    seen = _seen(found, record)
                    if isinstance(record, Decided) and record.route != "models":
                        seen.open += 1
                        unfinished[msgspec.json.encode(record.id)[1:-1]] = seen
    return sorted(found.values(), key=lambda s: (-s.requests, s.person, s.grant, s.system))


def _seen(found: dict[tuple[str, ...], Seen], record: Decided | Denied) -> Seen:
    key = (record.model, record.digest, record.person, record.organisation, record.grant, record.purpose, record.system)
    seen = found.get(key)
    if seen is None:
        seen = found[key] = Seen(
            model=record.model, digest=record.digest, person=record.person, organisation=record.organisation, grant=record.grant,
            purpose=record.purpose, system=record.system, first=record.at,
        )  # fmt: skip
    if isinstance(record, Denied):
        seen.denied += 1
    else:
        seen.requests += 1
        seen.routes[record.route] = seen.routes.get(record.route, 0) + 1
        for tool in record.tools:
            seen.tools[tool] = seen.tools.get(tool, 0) + 1
    if record.network in seen.networks or len(seen.networks) < 1000:
        seen.networks[record.network] = seen.networks.get(record.network, 0) + 1
    seen.first, seen.last = min(seen.first, record.at), max(seen.last, record.at)
    return seen


def _ended(seen: Seen, record: AnyRecord) -> None:
    if isinstance(record, Ended):
        seen.open -= 1
        seen.complete += record.how == "complete"
        seen.answered += bool(record.first_ms >= 0 or record.how == "complete")
        seen.tokens += record.tokens
        seen.money += record.money
