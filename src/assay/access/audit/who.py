"""Who saw what of which model, for what purpose.

for seen in who(Path("audit"), "m7", since=ms):
    seen.person, seen.purpose, seen.requests
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from assay.access.audit.read import LAST, id_in, lines_between, record_in
from assay.access.audit.records import AnyRecord, Decided, Denied, Ended
from assay.access.audit.segment import chains


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
    for chain in chains(folder):
        unfinished: dict[bytes, Seen] = {}
        for path, n, line in lines_between(chain, since, until):
            if b'"kind":"ended"' in line:
                seen = unfinished.pop(id_in(line), None) if unfinished else None
                if seen is not None:
                    _ended(seen, record_in(line, path, n))
            elif needle in line:
                record = record_in(line, path, n)
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
