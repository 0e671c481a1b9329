"""What is unusual for a person or a grant, against their own past: network, hour, volume, denials. Pure: records in, `Unusual` out.

    habits = Habits()
    for asked in requests: found = habits.feed(asked)       # Request(at, organisation, grant, person, network, denied="", ...)

*Network*: a /24 (IPv4) or /48 (IPv6) that a person has not used; the first one is their habit. *Hour*: an hour of the day (UTC) at which,
and beside which, somebody with 50 requests on 7 days or more was never seen. *Volume*: this hour's requests or tokens of a grant above the
median of its busy hours by `spike` robust deviations (MAD of logarithms), twice its largest, and 50; told when the line is crossed.
*Drift*: days in the top fifth of a grant's days of the same kind (week, week-end) that come too close together: the Shiryaev-Roberts sum
M = (M + 1) f, f being 3 for such a day and 1/2 else, reaches 1 / `level`. If days are exchangeable, ranks are independent and that is an
e-detector: 1 / `level` days or more pass until a false alert, on average (Shin, Ramdas and Rinaldo 2024). *Denials*: more than `denied` of
a person's requests, or of a network's without a grant, by `stats.rates.log_e`, which holds at every look.
"""

from __future__ import annotations

import ipaddress
import math
from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import median
from typing import Generic, Literal, TypeVar

from msgspec import Struct

from assay.access.model import Ms
from assay.stats import log_e

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
MOST_KEPT = 100_000
MOST_NETWORKS = 256
BUSY_HOURS = 24
LEAST_VOLUME = 50
TOP = 0.2
HIT, MISS = 3.0, 0.5
"""The bets on a day in the top fifth: 0.6 / 0.2 and 0.4 / 0.8."""
LEAST_DAYS = 10
V = TypeVar("V")
Kind = Literal["network", "hours", "volume", "tokens", "drift", "denied"]


class Request(Struct, frozen=True):
    """A request as the audit log knows it. `denied` is the rule that turned it away; empty: let through."""

    at: Ms
    organisation: str
    grant: str
    person: str
    network: str
    digest: str = ""
    denied: str = ""


class Unusual(Struct, frozen=True):
    """What was found, about whom, in which period (`period` tells one finding from the next), in figures."""

    kind: Kind
    request: Request
    period: str
    what: str
    figures: dict[str, float]


class HabitSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """See the module. A grant's drift gives a false alert every 1 / `level` days of a kind at most; a person's or a network's denials give
    one, ever, with probability `denied_level` at most.
    """

    spike: float = 4.0
    level: float = 0.001
    denied: float = 0.2
    denied_level: float = 1e-4
    least_denied: int = 20
    learn_requests: int = 50
    learn_days: int = 7


class _Kept(OrderedDict[str, V], Generic[V]):
    """The newest of a bounded number."""

    def keep(self, key: str, value: V) -> V:
        self[key] = value
        if len(self) > MOST_KEPT:
            self.popitem(last=False)
        return value


@dataclass(slots=True)
class _Person:
    networks: dict[str, int] = field(default_factory=dict)
    hours: list[int] = field(default_factory=lambda: [0] * 24)
    days: int = 0
    last_day: int = -1
    requests: int = 0
    told_day: int = -1


@dataclass(slots=True)
class _Volume:
    """Counts of busy hours, sorted, and the threshold of the present one."""

    sorted: list[float] = field(default_factory=list)
    order: list[float] = field(default_factory=list)
    hour: int = -1
    count: float = 0.0
    line: float = math.inf
    told: bool = False

    def add(self, hour: int, amount: float, spike: float) -> bool:
        """Whether this crosses the line. What comes late by an hour, since several workers write, counts in the present one."""
        if hour not in (self.hour, self.hour - 1):
            self._close(spike)
            self.hour, self.count, self.told = hour, 0.0, False
        self.count += amount
        if self.told or self.count <= self.line:
            return False
        self.told = True
        return True

    def _close(self, spike: float) -> None:
        if self.count:
            insort(self.sorted, self.count)
            self.order.append(self.count)
            if len(self.order) > 1000:
                del self.sorted[bisect_left(self.sorted, self.order.pop(0))]
        if len(self.sorted) >= BUSY_HOURS:
            logs = [math.log1p(c) for c in self.sorted]
            middle = median(logs)
            spread = max(0.25, 1.4826 * median(abs(x - middle) for x in logs))
            self.line = max(math.expm1(middle + spike * spread), 2 * self.sorted[-1], LEAST_VOLUME)


@dataclass(slots=True)
class _Days:
    """Counts of days of one kind, sorted, and the sum that tells whether high ones come too close together."""

    counts: list[int] = field(default_factory=list)
    sum: float = 0.0
    high: int = 0


@dataclass(slots=True)
class _Grant:
    requests: _Volume = field(default_factory=_Volume)
    tokens: _Volume = field(default_factory=_Volume)
    day: int = -1
    count: int = 0
    kinds: tuple[_Days, _Days] = field(default_factory=lambda: (_Days(), _Days()))


@dataclass(slots=True)
class _Denied:
    trials: int = 0
    denied: int = 0
    rules: Counter[str] = field(default_factory=Counter)


class Habits:
    """Follows requests in the order of their time."""

    def __init__(self, settings: HabitSettings | None = None) -> None:
        self.settings = settings or HabitSettings()
        self._persons: _Kept[_Person] = _Kept()
        self._grants: _Kept[_Grant] = _Kept()
        self._denied: _Kept[_Denied] = _Kept()

    def feed(self, request: Request) -> list[Unusual]:
        """What is unusual about a request."""
        found = [self._denials(request)]
        if not request.denied:
            key = f"{request.grant}\0{request.person}"
            person = self._persons.get(key) or self._persons.keep(key, _Person())
            found += [self._network(person, request), self._hour(person, request), self._volume(request), self._drift(request)]
        return [f for f in found if f is not None]

    def tokens(self, request: Request, tokens: int) -> list[Unusual]:
        """What is unusual about the tokens that a request took, once it has ended."""
        grant = self._grants.get(request.grant) or self._grants.keep(request.grant, _Grant())
        hour = request.at // HOUR_MS
        if grant.tokens.add(hour, tokens, self.settings.spike):
            figures = {"tokens": grant.tokens.count, "line": grant.tokens.line}
            return [Unusual("tokens", request, str(grant.tokens.hour), "many more tokens in an hour than ever before", figures)]
        return []

    def _network(self, person: _Person, request: Request) -> Unusual | None:
        block = block_of(request.network)
        known = block in person.networks
        person.networks[block] = person.networks.get(block, 0) + 1
        if known or len(person.networks) == 1:
            return None
        count = len(person.networks)
        if count > MOST_NETWORKS:
            del person.networks[next(iter(person.networks))]
        return Unusual("network", request, block, f"a network that this person has not used before: {block}", {"networks": count})

    def _hour(self, person: _Person, request: Request) -> Unusual | None:
        day, hour = request.at // DAY_MS, request.at // HOUR_MS % 24
        learnt = person.requests >= self.settings.learn_requests and person.days >= self.settings.learn_days
        near = sum(person.hours[(hour + d) % 24] for d in (-1, 0, 1))
        person.requests += 1
        person.hours[hour] += 1
        if day != person.last_day:
            person.last_day = day
            person.days += 1
        if not learnt or near or person.told_day == day:
            return None
        person.told_day = day
        figures = {"hour": float(hour), "requests": float(person.requests), "days": float(person.days)}
        return Unusual("hours", request, str(day), f"an hour at which this person was never seen: {hour:02}:00 UTC", figures)

    def _volume(self, request: Request) -> Unusual | None:
        grant = self._grants.get(request.grant) or self._grants.keep(request.grant, _Grant())
        hour = request.at // HOUR_MS
        if not grant.requests.add(hour, 1, self.settings.spike):
            return None
        figures = {"requests": grant.requests.count, "line": grant.requests.line}
        return Unusual("volume", request, str(grant.requests.hour), "many more requests in an hour than ever before", figures)

    def _drift(self, request: Request) -> Unusual | None:
        grant = self._grants[request.grant]
        day = request.at // DAY_MS
        if day in (grant.day, grant.day - 1):
            grant.count += 1
            return None
        closed, count = grant.day, grant.count
        grant.day, grant.count = day, 1
        if closed < 0:
            return None
        days = grant.kinds[(closed + 3) % 7 >= 5]  # 1970-01-01 was a Thursday
        before = days.counts
        if len(before) >= LEAST_DAYS:
            high = len(before) - bisect_left(before, count) + 1 <= TOP * (len(before) + 1)
            days.sum = (days.sum + 1) * (HIT if high else MISS)
            days.high += high
        insort(before, count)
        if days.sum < 1 / self.settings.level:
            return None
        figures = {"days": float(len(before)), "high": float(days.high), "sum": round(days.sum, 1)}
        days.sum, days.high = 0.0, 0
        return Unusual("drift", request, str(closed), "more on many days than its past lets expect", figures)

    def _denials(self, request: Request) -> Unusual | None:
        key = f"{request.grant}\0{request.person}" if request.grant else f"\0\0{block_of(request.network)}"
        one = self._denied.get(key) or self._denied.keep(key, _Denied())
        one.trials += 1
        if not request.denied:
            return None
        one.denied += 1
        one.rules[request.denied[:80] if len(one.rules) < 50 else "others"] += 1
        if one.denied < self.settings.least_denied:
            return None
        if float(log_e(one.denied, one.trials, self.settings.denied, "halt")) < -math.log(self.settings.denied_level):
            return None
        rule = one.rules.most_common(1)[0][0]
        figures = {"requests": float(one.trials), "denied": float(one.denied)}
        self._denied.keep(key, _Denied())
        period = str(request.at if request.grant else request.at // DAY_MS)  # whoever knocks all day is told of once a day
        return Unusual("denied", request, period, f"{one.denied} of {one.trials} requests turned away, most by '{rule}'", figures)


@lru_cache(65_536)
def block_of(network: str) -> str:
    """The /24 or /48 that an address is in; the text itself (its first 64 characters) if it is no address."""
    try:
        address = ipaddress.ip_address(network.split("/")[0].split("%")[0])
    except ValueError:
        return network[:64]
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))
