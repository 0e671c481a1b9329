"""All that can be asked of the administration's API: the one list from which routes and the OpenAPI description are made.

next(o for o in OPERATIONS if o.name == "halt").path
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from assay.access.admin import wire
from assay.access.admin.acts import Acts
from assay.access.admin.looks import Call

KIB, MIB = 1 << 10, 1 << 20
Act = Callable[[Acts, Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked for: by whom, what comes with it, what is answered."""

    name: str
    method: str
    path: str
    role: wire.RoleName
    summary: str
    answer: type[Struct]
    act: Act
    query: type[Struct] | None = None
    body: type[Struct] | None = None
    body_bytes: int = 0


def _look(name: str, path: str, summary: str, answer: type[Struct], act: Act) -> Operation:
    return Operation(name, "GET", path, "viewer", summary, answer, act)


def _do(name: str, path: str, summary: str, act: Act, body: type[Struct] = wire.Signed, most: int = 2 * MIB) -> Operation:
    return Operation(name, "POST", path, "admin", summary, wire.Done, act, body=body, body_bytes=most)


OPERATIONS: tuple[Operation, ...] = (
    _look("me", "/access/me", "Who has signed this request, and as what.", wire.Me, Acts.me),
    _look("overview", "/access/overview", "What the console shows first, at one epoch.", wire.Overview, Acts.overview),
    _look("list-grants", "/access/grants", "All grants with their states and quotas.", wire.Grants, Acts.grants),
    _look("show-grant", "/access/grants/{id}", "One grant with what was signed.", wire.GrantDetail, Acts.grant),
    _do("propose-grant", "/access/grants", "Propose a grant that you have signed; others approve it.", Acts.put_grant),
    _do("approve-grant", "/access/grants/{id}/approve", "Add your signature to a grant.", Acts.approve),
    _do("revoke-grant", "/access/grants/{id}/revoke", "End a grant and its sub-grants for ever.", Acts.revoke),
    _do("put-sub-grant", "/access/sub-grants", "Take a sub-grant that a holder of its parent has signed.", Acts.put_sub_grant),
    _look("list-halts", "/access/halts", "All halts.", wire.Halts, Acts.halts),
    _do("halt", "/access/halts", "Halt at once whatever fits a scope.", Acts.halt),
    _do("lift-halt", "/access/halts/{id}/lift", "End a halt.", Acts.lift),
    _look("list-releases", "/access/releases", "What holds of every served model.", wire.Releases, Acts.releases),
    _do("add-release", "/access/releases", "Keep a release that holds.", Acts.add_release, wire.ReleaseSent, 20 * MIB),
    _look("list-sessions", "/access/sessions", "Requests under way on all workers.", wire.Sessions, Acts.sessions),
    _do("cut-session", "/access/sessions/{id}/cut", "Cut a request that is under way.", Acts.cut, wire.Reason, 8 * KIB),
    _look("list-findings", "/access/findings", "Weaknesses that operators reported.", wire.Findings, Acts.findings),
    _look("list-alerts", "/access/alerts", "Unusual use.", wire.Alerts, Acts.alerts),
    _do("close-alert", "/access/alerts/{id}/close", "Close an alert, and say why.", Acts.close_alert, wire.Reason, 8 * KIB),
    _look("list-exceptions", "/access/exceptions", "Accesses in an emergency and their reviews.", wire.Glasses, Acts.glasses),
    _do("review-exception", "/access/exceptions/{id}/review", "Keep the signed review of such an access.", Acts.review, most=64 * KIB),
    Operation(
        "search-audit", "GET", "/access/audit", "auditor", "Records of the audit log.", wire.AuditFound, Acts.audit, query=wire.AuditQuery
    ),
    Operation(
        "show-config", "GET", "/access/config", "auditor", "The gate's file without secrets.", wire.ConfigView, Acts.configuration
    ),
)  # fmt: skip
