"""The access programme in figures, counted from a verified audit log and signed: what a white paper takes, without a name of a person.

value = statistics(Path("audit"), key)                 # JSON: counts in a signed statement, bound to the log's checkpoint
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from assay.access.audit.read import LAST, Query, search
from assay.access.audit.records import Alert, AuditError, AuditTamperedError, BreakGlass, Control, Decided, Denied
from assay.access.audit.verify import verify
from assay.evidence.log import read_log
from assay.evidence.programme import Statistics, TierRow, sign_statistics
from assay.ledger import PrivateKey, digest_bytes

OTHER = "other"


def statistics(folder: Path, key: PrivateKey, since: int = 0, until: int = LAST) -> dict[str, Any]:
    """Counts of this time (Unix ms), signed. Raises `AuditTamperedError` where the log does not hold, `AuditError` where it is empty."""
    checked = verify(folder)
    if not checked.ok:
        raise AuditTamperedError(str(checked.findings[0]), where=str(folder), fix="Run: assay access audit verify")
    view = read_log(folder / "ends")
    checkpoint = digest_bytes(view.checkpoints[-1].note.to_bytes())
    return sign_statistics(key, _counted(folder, checkpoint, since, until))


def _counted(folder: Path, checkpoint: str, since: int, until: int) -> Statistics:
    first, last = LAST, 0
    groups: dict[tuple[str, str], Counter[str]] = {}
    names: dict[str, set[str]] = {"organisations": set(), "persons": set(), "grants": set()}
    events: Counter[str] = Counter()
    for row in search(folder, Query(since=since, until=until)):
        record = row.record
        match record:
            case Decided() if record.route != "models":
                group = groups.setdefault((record.model, record.tier or OTHER), Counter())
                group["requests"] += 1
                names["organisations"].add(record.organisation)
                names["persons"].add(f"{record.organisation}\n{record.person}")
                names["grants"].add(record.grant)
                if row.ended is not None:
                    group["answered"] += row.ended.how == "complete"
                    group["tokens"] += row.ended.tokens
                    events["cut"] += bool(row.ended.halt)
            case Denied():
                groups.setdefault((record.model or OTHER, record.tier or OTHER), Counter())["denied"] += 1
            case Control():
                events["halts"] += record.did == "halt"
            case Alert():
                events["alerts"] += 1
            case BreakGlass():
                events["emergencies"] += record.state == "opened"
            case _:
                continue
        first, last = min(first, record.at), max(last, record.at)
    if not last:
        raise AuditError("nothing was asked in that time", where=str(folder))
    rows = tuple(
        TierRow(model, tier, group["requests"], group["denied"], group["answered"], group["tokens"])
        for (model, tier), group in sorted(groups.items())
    )
    return Statistics(
        checkpoint, first, last, len(names["organisations"]), len(names["persons"]), len(names["grants"]), sum(r.requests for r in rows),
        sum(r.denied for r in rows), events["cut"], events["halts"], events["alerts"], events["emergencies"], rows,
    )  # fmt: skip
