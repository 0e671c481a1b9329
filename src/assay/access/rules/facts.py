"""What the rules are told of a request: the entities and the context that policies/schema.cedarschema describes. Pure.

    terms = Terms.of(asked.grant)                              # once per grant: networks and time zones, parsed
    grant_entities(asked.grant), request_entities(asked)       # grant and organisation; person and model
    context(asked, terms, verdict="delay", halted=False, parent_alive=False)

Cedar has no loop over a set, so hours and networks are compared here, and the rules are told the result. Nothing that the rules are told is
finer than a minute, except on which side of the grant's start and expiry a request falls: so `key` can say everything on which a decision
depends.
"""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from assay.access.grants.narrow import in_hours, zone
from assay.access.model import Asked, Grant

MINUTE_MS = 60_000
Standing = Literal["approve", "delay", "halt", "none"]
"""The decision on a model; `none` where there is none that holds."""
WINDOWS = ("before", "open", "after")


class Terms(NamedTuple):
    """A grant's networks, ready to compare, and the zone of its first hours, UTC without."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    zone: ZoneInfo

    @classmethod
    def of(cls, grant: Grant) -> Terms:
        """Raises ValueError for a network or a time zone that does not exist."""
        zones = [zone(h.zone) for h in grant.hours]
        return cls(tuple(ip_network(n) for n in grant.networks), zones[0] if zones else zone("UTC"))


def address_of(text: str) -> IPv4Address | IPv6Address:
    """A caller's address; one of IPv4 in the clothes of IPv6 as what it is. Raises ValueError, also for one with a zone (link-local)."""
    found = ip_address(text)
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            raise ValueError("a link-local address with a zone says nothing about who is behind it")
        return found.ipv4_mapped or found
    return found


def phase(grant: Grant, at: int) -> int:
    """0 before the grant's start, 1 from it to its expiry, 2 from that on."""
    return (at >= grant.starts) + (at >= grant.expires)


def valid_until(grant: Grant, at: int) -> int:
    """The last millisecond, included, for which what is decided at `at` holds: of its minute, or before the grant starts or expires."""
    end = at - at % MINUTE_MS + MINUTE_MS - 1
    if at < grant.starts:
        return min(end, grant.starts - 1)
    return min(end, grant.expires - 1) if at < grant.expires else end


def grant_entities(grant: Grant) -> list[dict[str, Any]]:
    """The grant and its organisation, as Cedar's JSON."""
    terms = {
        "tier": _entity("Tier", grant.tier),
        "level": int(grant.level.removeprefix("AL")),
        "sector": _entity("Sector", grant.sector),
        "jurisdiction": grant.jurisdiction,
        "model": grant.model,
        "digest": grant.digest,
        "persons": [{"key": p.key, "name": p.name} for p in grant.persons],
        "routes": [_entity("Route", r) for r in grant.routes],
        "tools": list(grant.tools),
        "systems": list(grant.systems),
        "parent": grant.parent,
    }
    organisation = {"type": "Organisation", "id": grant.organisation}
    return [
        {"uid": organisation, "attrs": {}, "parents": []},
        {"uid": {"type": "Grant", "id": grant.id}, "attrs": terms, "parents": [organisation]},
    ]


def request_entities(asked: Asked) -> list[dict[str, Any]]:
    """The person who asks and the model asked for, as Cedar's JSON."""
    person, organisation = asked.person, {"type": "Organisation", "id": asked.grant.organisation}
    return [
        {"uid": {"type": "Person", "id": person.key}, "attrs": {"key": person.key, "name": person.name}, "parents": [organisation]},
        {"uid": {"type": "Model", "id": asked.model}, "attrs": {"name": asked.model, "digest": asked.digest}, "parents": []},
    ]


def context(asked: Asked, terms: Terms, *, verdict: Standing, halted: bool, parent_alive: bool) -> dict[str, Any]:
    """The context as Cedar's JSON. Raises ValueError, OverflowError or TypeError for an address or a time that is none."""
    address = address_of(asked.network)
    local = datetime.fromtimestamp(asked.at // 1000, UTC).astimezone(terms.zone)
    told = {
        "grant": _entity("Grant", asked.grant.id),
        "verdict": _entity("Verdict", verdict),
        "halted": halted,
        "parent_alive": parent_alive,
        "window": _entity("Window", WINDOWS[phase(asked.grant, asked.at)]),
        "in_hours": in_hours(asked.grant.hours, asked.at),
        "weekday": local.isoweekday(),
        "minute": local.hour * 60 + local.minute,
        "address": {"__extn": {"fn": "ip", "arg": str(address)}},
        "in_networks": any(address in network for network in terms.networks),
        "route": _entity("Route", asked.route),
        "tools": list(asked.tools),
        "system": asked.system,
        "stream": asked.stream,
        "logprobs": asked.logprobs,
    }
    if asked.reasoning is not None:  # what was not said is left out, and then the schema refuses the request
        told["reasoning"] = asked.reasoning
    return told


def request(asked: Asked, told: dict[str, Any]) -> dict[str, Any]:
    """Who asks to do what with which model, as cedarpy takes it."""
    return {
        "principal": {"type": "Person", "id": asked.person.key},
        "action": {"type": "Action", "id": asked.route},
        "resource": {"type": "Model", "id": asked.model},
        "context": told,
    }


def _entity(kind: str, name: str) -> dict[str, Any]:
    return {"__entity": {"type": kind, "id": name}}
