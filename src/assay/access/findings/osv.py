"""Findings as records of the Open Source Vulnerability format (OpenSSF), version 1.7.5: for databases and scanners that everybody reads.

    record = osv_record(finding, "EXAMPLE", now_ms)

Only what was disclosed under TLP:CLEAR has this form. A model is in no ecosystem that the format knows, so nothing affected has a package;
versions and the model's digest are enumerated. The id begins with the database's own prefix, which is registered with OSV before
osv.dev takes records in.
"""

from __future__ import annotations

import re
from typing import Any

from assay.access.findings.finding import Finding, FindingError, severity_of
from assay.access.findings.steps import may_export
from assay.evidence.releasemake import rfc3339

SCHEMA_VERSION = "1.7.5"
_PREFIX = re.compile(r"[A-Z][A-Z0-9]{1,19}\Z")


def osv_record(finding: Finding, prefix: str, now_ms: int) -> dict[str, Any]:
    """A record. Raises `EmbargoError` where it may not leave, `FindingError` for a prefix that is none."""
    may_export(finding, "osv", now_ms)
    if not _PREFIX.match(prefix):
        raise FindingError(f"'{prefix[:40]}' is no prefix of a database", fix="Capital letters and digits: --prefix EXAMPLE")
    report = finding.report
    out: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "id": f"{prefix}-{report.id}",
        "modified": rfc3339(finding.steps[-1].at),
        "published": rfc3339(finding.disclosed_at),
        "summary": report.title,
        "details": report.description,
        "affected": _affected(finding),
        "references": [{"type": "WEB", "url": r.url} for r in report.references],
        "database_specific": {
            "tlp": finding.tlp,
            "state": finding.state,
            "model": {"name": report.model, "digest": report.digest},
            "embargo_ended": rfc3339(finding.embargo_until),
            "evidence": [{"kind": e.kind, "digest": e.digest} for e in report.evidence],
        },
    }
    if finding.severity:
        out["severity"] = [{"type": "CVSS_V4", "score": severity_of(finding.severity).vector}]
    if report.credit:
        out["credits"] = [{"name": report.credit, "type": "REPORTER"}]
    if finding.state == "withdrawn":
        out["withdrawn"] = rfc3339(finding.steps[-1].at)
    return out


def _affected(finding: Finding) -> list[dict[str, Any]]:
    """Systems by version; without any, the model by its digest."""
    report = finding.report
    if not report.systems:
        known: dict[str, Any] = {"name": report.model, "kind": "language model"}
        instead = finding.fixed.get(report.model)
        return [{"versions": [report.digest], "database_specific": known | ({"fixed": instead} if instead else {})}]
    out = []
    for system in report.systems:
        known = {"vendor": system.vendor, "name": system.name}
        fixed = finding.fixed.get(system.name)
        out.append({"versions": list(system.versions), "database_specific": known | ({"fixed": fixed} if fixed else {})})
    return out
