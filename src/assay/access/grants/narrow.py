"""What a grant permits, and whether one grant permits no more than another. Pure.

permits(grant, asked)                 # why not, in words; empty: permitted
narrower(child, parent)               # where a child is wider than its parent; empty: in no field

Whatever `narrower` finds nothing against, `permits` lets through under the child only what it lets through under the parent.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from assay.access.model import AccessLevel, Asked, Grant, Hours, Quota

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LEVELS: tuple[AccessLevel, ...] = ("AL1", "AL2", "AL3")
WEEK = 7 * 24 * 60
EVERY_MS = 30 * 60_000
"""Zones change their offset at whole or half hours UTC."""
LONGEST_MS = 366 * 86_400_000
"""The longest that a grant may hold; also how far hours in different zones are compared."""


def narrower(child: Grant, parent: Grant) -> list[str]:
    """Where a child permits more than its parent, or is not its child; empty if nowhere. Persons may be others, with keys of their own."""
    found = []
    if child.parent != parent.id or child.id == parent.id:
        found.append(f"it is no sub-grant of '{parent.id}'")
    if parent.parent:
        found.append(f"'{parent.id}' is a sub-grant itself: a sub-grant has none")
    found += [
        f"{name}: other than the parent's"
        for name in ("organisation", "sector", "jurisdiction", "model", "digest", "tier")
        if getattr(child, name) != getattr(parent, name)
    ]
    if child.purpose != parent.purpose and not child.purpose.startswith(parent.purpose + ": "):
        found.append(f"purpose: neither '{parent.purpose}' nor that, a colon, and more")
    if {p.key for p in child.persons} & {p.key for p in parent.persons}:
        found.append("persons: a key of the parent's; a sub-grant has keys of its own")
    if LEVELS.index(child.level) > LEVELS.index(parent.level):
        found.append(f"level: {child.level}, where the parent has {parent.level}")
    if not set(child.routes) <= set(parent.routes):
        found.append("routes: more than the parent's")
    if not _named_within(child.tools, parent.tools):
        found.append("tools: more than the parent's")
    if bool(child.systems) != bool(parent.systems) or not _named_within(child.systems, parent.systems):
        found.append("systems: more than the parent's")
    if not networks_within(child.networks, parent.networks):
        found.append("networks: not all within the parent's")
    found += [f"quotas: {what}" for what in _quotas_within(child.quotas, parent.quotas)]
    if child.starts < parent.starts or child.expires > parent.expires:
        found.append("time: not within the parent's")
    if child.per_person_a_minute > parent.per_person_a_minute:
        found.append("per_person_a_minute: more than the parent's")
    if not _hours_within(child.hours, parent.hours, child.starts, child.expires):
        found.append("hours: not within the parent's (in another zone they are compared over the sub-grant's time)")
    if not set(parent.canaries) <= set(child.canaries):
        found.append("canaries: fewer than the parent's")
    return found


def permits(grant: Grant, asked: Asked) -> list[str]:
    """Why a grant does not permit what is asked; empty if it does. Quotas and the caller's key are looked at elsewhere."""
    found = []
    if not grant.starts <= asked.at < grant.expires:
        found.append("time")
    if not in_hours(grant.hours, asked.at):
        found.append("hours")
    if asked.route not in grant.routes:
        found.append("route")
    if "*" not in grant.tools and not set(asked.tools) <= set(grant.tools):
        found.append("tools")
    if asked.logprobs and grant.level == "AL1":
        found.append("level")
    if asked.system not in (grant.systems or ("",)) and not (asked.system and "*" in grant.systems):
        found.append("system")  # where the grant names any, the request says which
    if not in_networks(grant.networks, asked.network):
        found.append("network")
    return found


def in_hours(hours: Sequence[Hours], at: int) -> bool:
    """Whether a time (Unix ms) is within any of these; always without any."""
    if not hours:
        return True
    moment = datetime.fromtimestamp(at / 1000, UTC)
    for h in hours:
        local = moment.astimezone(zone(h.zone))
        if local.isoweekday() in h.days and h.start <= local.hour * 60 + local.minute < h.end:
            return True
    return False


def in_networks(blocks: tuple[str, ...], address: str) -> bool:
    """Whether an address (or a block) is within any of these blocks."""
    try:
        return networks_within((address,), blocks)
    except ValueError:
        return False


@lru_cache(4096)
def networks_within(inner: tuple[str, ...], outer: tuple[str, ...]) -> bool:
    """Whether every block of `inner` lies within the union of `outer`. Raises ValueError for what is no CIDR block."""
    union = _union(outer)
    return all(any(_holds(wide, ipaddress.ip_network(block)) for wide in union) for block in inner)


@lru_cache(512)
def zone(name: str) -> ZoneInfo:
    """A time zone of the IANA database. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (OSError, KeyError, ValueError):
        raise ValueError(f"there is no time zone '{name}' here") from None


def _holds(wide: Network, block: Network) -> bool:
    if isinstance(wide, ipaddress.IPv4Network):
        return isinstance(block, ipaddress.IPv4Network) and block.subnet_of(wide)
    return isinstance(block, ipaddress.IPv6Network) and block.subnet_of(wide)


@lru_cache(1024)
def _union(blocks: tuple[str, ...]) -> tuple[Network, ...]:
    parsed = [ipaddress.ip_network(block) for block in blocks]
    return (
        *ipaddress.collapse_addresses(b for b in parsed if isinstance(b, ipaddress.IPv4Network)),
        *ipaddress.collapse_addresses(b for b in parsed if isinstance(b, ipaddress.IPv6Network)),
    )


def _named_within(child: tuple[str, ...], parent: tuple[str, ...]) -> bool:
    return "*" in parent or set(child) <= set(parent)


def _quotas_within(child: Sequence[Quota], parent: Sequence[Quota]) -> list[str]:
    own = {q.window: q for q in child}
    found = []
    for limit in parent:
        q = own.get(limit.window)
        if q is None:
            found.append(f"none for the window '{limit.window}', where the parent has one")
        elif q.requests > limit.requests or q.tokens > limit.tokens or q.money > limit.money:
            found.append(f"more than the parent's for the window '{limit.window}'")
    return found


@lru_cache(1024)
def _hours_within(child: tuple[Hours, ...], parent: tuple[Hours, ...], starts: int, expires: int) -> bool:
    """Whether no instant of the child's time is in the child's hours and not in the parent's, at every offset that its zones then have."""
    if not parent:
        return True
    if not child:
        return False
    try:
        zones = {name: zone(name) for name in {h.zone for h in (*child, *parent)}}
    except ValueError:
        return False
    if len(zones) == 1:
        only = dict.fromkeys(zones, 0)
        return _week(child, only) & ~_week(parent, only) == 0
    if expires - starts > LONGEST_MS:
        return False
    for offsets in _offsets(tuple(zones.values()), starts, expires):
        if any(o % 60 for o in offsets):
            return False
        minutes = {name: offset // 60 for name, offset in zip(zones, offsets, strict=True)}
        if _week(child, minutes) & ~_week(parent, minutes):
            return False
    return True


def _offsets(zones: tuple[ZoneInfo, ...], starts: int, expires: int) -> set[tuple[int, ...]]:
    """All offsets (seconds) that these zones have together between two times (Unix ms)."""
    begin = starts - starts % EVERY_MS
    found = set()
    for at in range(begin, expires + 1, EVERY_MS):
        moment = datetime.fromtimestamp(at / 1000, UTC)
        offsets = (moment.astimezone(z).utcoffset() for z in zones)
        found.add(tuple(int(o.total_seconds()) if o is not None else 1 for o in offsets))
    return found


def _week(hours: Sequence[Hours], offsets: dict[str, int]) -> int:
    """The minutes of a week in UTC as bits of an integer, for zones that are so many minutes ahead of UTC."""
    bits = 0
    for h, day in [(one, day) for one in hours for day in one.days]:
        width = h.end - h.start
        if width > 0:
            first = ((day - 1) * 1440 + h.start - offsets[h.zone]) % WEEK
            run = ((1 << width) - 1) << first
            bits |= (run & ((1 << WEEK) - 1)) | (run >> WEEK)
    return bits
