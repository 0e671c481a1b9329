"""What the gateway writes of a request into the audit log: refused, ended, flagged.

records = Records(audit, metrics)
records.refused(denied, records.facts(route, scope, grant, person, view, now), now, proven)
strangers = Strangers(audit.note)
strangers.denied(denied, "", "192.0.2.7", now)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from assay.access.audit.log import AuditLog
from assay.access.audit.records import shown
from assay.access.credentials.tokens import Proven
from assay.access.gate.live import Live
from assay.access.gate.metrics import Metrics
from assay.access.gate.passing import Passing
from assay.access.gate.reply import Scope, network_of
from assay.access.gate.teeth import View
from assay.access.model import DeniedError, Grant, Person, Route
from assay.access.rules.decide import Ruled
from assay.access.safety.checks import Flag
from assay.access.safety.habits import HOUR_MS, block_of
from assay.access.store.base import Amounts

BELIEVED = 4
"""How many times what was reserved a server may report: images and notes take more than their bytes say, but not any number."""
MOST_OF_ONE = 30
MOST_OF_ALL = 1200


class RefusedError(DeniedError):
    """A denial by the rules, with all that they said."""

    def __init__(self, denial: DeniedError, ruled: Ruled) -> None:
        super().__init__(denial.rule, denial.status, denial.what)
        self.ruled = ruled


class Outcome:
    """How a request ended, and what came back."""

    __slots__ = ("chunks", "first_ms", "flags", "how", "passing", "size", "sketch")

    def __init__(self) -> None:
        self.flags: list[Flag] = []
        self.passing: Passing | None = None
        self.sketch = ""
        self.how = ""
        self.first_ms = -1
        self.size = 0
        self.chunks: list[bytes] = []


class Records:
    """Notes of one worker. Nothing of it is waited for: what must be on disk first, the gateway writes itself."""

    def __init__(self, audit: AuditLog, metrics: Metrics) -> None:
        self._audit = audit
        self._metrics = metrics

    def facts(self, route: Route, scope: Scope, grant: Grant, person: Person, view: View, now: int) -> dict[str, Any]:
        """What a record says of a request before the request itself was read."""
        return {
            "grant": grant.id, "version": grant.version, "person": person.name, "organisation": grant.organisation,
            "purpose": grant.purpose, "model": grant.model, "digest": grant.digest, "route": route, "network": network_of(scope),
            "system": "", "tools": [], "stream": False, "epoch": view.epoch, "tier": grant.tier,
            "decision": view.verdict(grant.model, now),
        }  # fmt: skip

    def refused(self, e: DeniedError, request: dict[str, Any], now: int, proven: Proven) -> None:
        """It was denied, and by which rule. Its proof is spent: a copy of it opens nothing when the reason is gone."""
        by = [*e.ruled.rules, *e.ruled.errors][:100] if isinstance(e, RefusedError) else []
        told = {"rule": e.rule, "what": shown(e.what), "status": e.status, "rules": [shown(r) for r in by]}
        self._audit.note({"kind": "denied", "at": now, **request, **told}, nonce=(proven.nonce, proven.expires))
        self._metrics.decided(request["model"], request["tier"], request["route"], "deny", e.rule)

    def beyond(self, live: Live, reported: int, most: int) -> None:
        """The model's server says that it used more than is believed."""
        what = f"the model's server reports {reported} tokens for a request that can use {most}; {BELIEVED * most} are counted"
        self._alert("use", what, "high", live.grant, live.person, live.id)

    def ended(self, live: Live, outcome: Outcome, used: Amounts, started: float) -> None:
        """It has ended so, and what it took."""
        answer = b"".join(outcome.chunks)
        seconds = time.perf_counter() - started
        flags = list(dict.fromkeys([*outcome.flags, *(outcome.passing.flags if outcome.passing else ())]))
        halt = outcome.how.removeprefix("halt ") if outcome.how.startswith("halt ") else ""
        self._audit.note(
            {
                "kind": "ended", "at": now_ms(), "id": live.id, "how": shown(outcome.how or "denied"), "halt": halt, "tokens": used.tokens,
                "money": used.money, "answer_digest": self._audit.content("answer", live.id, answer), "ms": int(seconds * 1000),
                "first_ms": outcome.first_ms, "flags": [shown(str(f)) for f in flags[:100]], "sketch": outcome.sketch,
            }
        )  # fmt: skip
        self._metrics.ended(live.grant.model, live.grant.tier, live.route, outcome.how, seconds)
        if live.reason:
            self._metrics.cut(live.grant.model)
        self.flagged(flags, live.grant, live.person, live.id)

    def flagged(self, flags: Sequence[Flag], grant: Grant, person: str, request: str) -> None:
        """Content checks have found these."""
        for flag in flags:
            self._alert("content", str(flag), "medium", grant, person, request)

    def _alert(self, alert: str, what: str, severity: str, grant: Grant, person: str, request: str) -> None:
        self._audit.note(
            {
                "kind": "alert", "at": now_ms(), "alert": alert, "what": shown(what), "severity": severity, "grant": grant.id,
                "person": person, "organisation": grant.organisation, "model": grant.model, "id": request,
            }
        )  # fmt: skip


class Strangers:
    """Denials of requests of which nobody knows whose they are: without a token, with a forged or a stolen one. So many are written down
    by each rule for each network (a /24 or a /48), and in all, in an hour: whoever wants to fill the disk cannot.
    """

    def __init__(self, note: Callable[[dict[str, Any]], None]) -> None:
        self._note = note
        self._hour, self._count = -1, 0
        self._of: dict[tuple[str, str], int] = {}

    def denied(self, e: DeniedError, route: str, network: str, now: int) -> None:
        """Write it down, if there is room. What the gate itself cannot do (5xx) is nobody's doing, and left out."""
        hour = now // HOUR_MS
        if hour != self._hour:
            self._hour, self._count, self._of = hour, 0, {}
        key = (block_of(network), e.rule)
        count = self._of.get(key, 0) + 1
        if e.status >= 500 or count > MOST_OF_ONE or self._count >= MOST_OF_ALL:
            return
        self._of[key] = count
        self._count += 1
        more = "; more of this kind and network are not written down within this hour" if count == MOST_OF_ONE else ""
        self._note(
            {
                "kind": "denied", "at": now, "rule": shown(e.rule), "what": shown(e.what)[:200] + more, "status": e.status, "route": route,
                "network": shown(network),
            }
        )  # fmt: skip


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
