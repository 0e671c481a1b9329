"""A grant as people write it: YAML with the fields of `Grant`, times as dates, hours as clock times.

grant = read_grant(Path("power.yaml"), version=1, now=now)
grant = grant_of(text, where="power.yaml", version=1, now=now)
child = read_grant(Path("relays.yaml"), version=1, now=now, parent=grant)      # what it does not say is the parent's
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from assay.access.grants.grant import GrantError, problems
from assay.access.model import Grant
from assay.catalog import Located

MAX_BYTES = 1 << 20
INHERITED = (
    "organisation", "sector", "jurisdiction", "purpose", "model", "digest", "tier", "level", "routes", "networks", "quotas", "expires",
    "tools", "systems", "hours", "per_person_a_minute", "canaries",
)  # fmt: skip
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
CLOCK = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])\Z")


def read_grant(path: Path, *, version: int, now: int, parent: Grant | None = None) -> Grant:
    """The grant of a file, checked. It begins now (Unix ms) and has this version unless it says otherwise. Raises `GrantError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise GrantError(f"cannot read the grant: {e.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise GrantError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    return grant_of(data.decode("utf-8", errors="replace"), where=str(path), version=version, now=now, parent=parent)


def grant_of(text: str, *, where: str, version: int, now: int, parent: Grant | None = None) -> Grant:
    """The grant of a text, checked like a file's. Raises `GrantError` that names line and field under `where`."""
    located = Located(text, where=where, error=GrantError)
    if not isinstance(located.data, dict):
        raise located.fail("a grant is a mapping of fields to values")
    said = dict(located.data)
    for name in ("starts", "expires"):
        if name in said:
            said[name] = _time(said[name], located, f".{name}")
    if isinstance(said.get("hours"), list):
        said["hours"] = [_hours(h, located, f".hours[{i}]") for i, h in enumerate(said["hours"])]
    base: dict[str, Any] = {"version": version, "starts": now}
    if parent is not None:
        terms = parent.to_json()
        base |= {name: terms[name] for name in INHERITED} | {"parent": parent.id, "starts": max(now, parent.starts)}
    located.data = {**base, **said}
    grant = located.convert(Grant)
    for what in problems(grant):
        field, _, rest = what.partition(": ")
        raise located.fail(rest, f".{field}")
    return grant


def _time(value: Any, located: Located, path: str) -> int:
    """Unix milliseconds of a date (its beginning, UTC), a time with its offset, or milliseconds."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if DAY.match(value) else datetime.fromisoformat(value)
        except ValueError:
            raise located.fail("not a date or a time: write 2027-01-31, or 2027-01-31T18:00:00+08:00", path) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise located.fail("a time says its offset: 2027-01-31T18:00:00+08:00", path)
    return int(value.timestamp() * 1000)


def _hours(value: Any, located: Located, path: str) -> Any:
    if not isinstance(value, dict):
        return value
    out = dict(value)
    for name in ("start", "end"):
        if isinstance(out.get(name), str):
            found = CLOCK.match(out[name])
            if not found or (minute := int(found.group(1)) * 60 + int(found.group(2))) > 1440:
                raise located.fail('a time of the day is like "08:30", "24:00" at its end', f"{path}.{name}")
            out[name] = minute
    return out
