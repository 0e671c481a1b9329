"""Findings as CSAF 2.0 advisories (OASIS): what maintainers, operators and CERTs read.

    document = csaf_document(finding, Publisher("Example Lab", "https://example.org"), now_ms)

CSAF 2.0 has scores of CVSS v2 and v3 only, and the traffic-light protocol in its first version: so the CVSS v4.0 vector stands in a note,
CLEAR is written WHITE, and AMBER+STRICT is written RED, with the mark as it is in the text beside it. A draft has the version 0.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from assay.access.findings.finding import Finding, FindingError, Reference, severity_of
from assay.access.findings.steps import may_export
from assay.evidence.releasemake import rfc3339
from assay.version import __version__

TLP_1: dict[str, str] = {"CLEAR": "WHITE", "GREEN": "GREEN", "AMBER": "AMBER", "AMBER+STRICT": "RED", "RED": "RED"}
MODEL = "model"
FLAWED = "The weakness is in the model, whatever serves it."
NO_FIX = "None is known yet. Whoever serves the model decides whether to go on."


class Publisher(Struct, frozen=True):
    """Who publishes: a name, an address of theirs that stays, and what they are."""

    name: str
    namespace: str
    category: Literal["coordinator", "vendor", "user", "discoverer", "other"] = "coordinator"


def csaf_document(finding: Finding, publisher: Publisher, now_ms: int) -> dict[str, Any]:
    """A security advisory. Raises `EmbargoError` where it may not leave, `FindingError` for a publisher without a name."""
    may_export(finding, "csaf", now_ms)
    if not publisher.name or not publisher.namespace.startswith(("https://", "http://")):
        raise FindingError("an advisory says who publishes it, and their address", fix="Give --publisher NAME and --namespace https://...")
    report = finding.report
    document: dict[str, Any] = {
        "category": "csaf_security_advisory",
        "csaf_version": "2.0",
        "distribution": {
            "text": f"TLP:{finding.tlp} (Traffic Light Protocol 2.0)",
            "tlp": {"label": TLP_1[finding.tlp], "url": "https://www.first.org/tlp/"},
        },
        "lang": "en",
        "notes": [
            {"category": "summary", "title": "Summary", "text": report.description},
            {"category": "legal_disclaimer", "title": "How far it goes", "text": "In general words; operational detail is left out."},
        ],
        "publisher": {"category": publisher.category, "name": publisher.name, "namespace": publisher.namespace},
        "title": report.title,
        "tracking": _tracking(finding),
    }
    if report.references:
        document["references"] = [_reference(r) for r in report.references]
    if report.credit:
        document["acknowledgments"] = [{"names": [report.credit], "summary": "reported it"}]
    return {"document": document, "product_tree": {"branches": _branches(finding)}, "vulnerabilities": [_vulnerability(finding, now_ms)]}


def _reference(reference: Reference) -> dict[str, str]:
    return {"category": "external", "summary": reference.about, "url": reference.url}


def _tracking(finding: Finding) -> dict[str, Any]:
    """Disclosed: version 1 at the disclosure, one more with every step after it. Before: a draft, of version 0."""
    public = finding.disclosed_at > 0
    first = next((i for i, s in enumerate(finding.steps) if s.to == "disclosed"), len(finding.steps) - 1)
    steps = finding.steps[first:]
    history = [
        {"date": rfc3339(step.at), "number": str(number if public else 0), "summary": f"{step.to} (step {step.number})"}
        for number, step in enumerate(steps, 1)
    ]
    return {
        "current_release_date": history[-1]["date"],
        "generator": {"engine": {"name": "Assay", "version": __version__}},
        "id": finding.report.id,
        "initial_release_date": history[0]["date"],
        "revision_history": history,
        "status": "final" if public else "draft",
        "version": history[-1]["number"],
    }


def _branches(finding: Finding) -> list[dict[str, Any]]:
    """Maker, product, version; where no system is named, the model is the product, known by its digest."""
    report = finding.report
    algorithm, _, value = report.digest.partition(":")
    known: dict[str, Any] = {"x_generic_uris": [{"namespace": "urn:assay:target", "uri": f"urn:assay:target:{report.digest}"}]}
    if algorithm == "sha256":
        known["hashes"] = [{"file_hashes": [{"algorithm": "sha256", "value": value}], "filename": report.model}]
    full = {"name": f"{report.model} ({report.digest[:24]})", "product_id": MODEL, "product_identification_helper": known}
    makers: dict[str, list[dict[str, Any]]] = {}
    for number, system in enumerate(report.systems):
        fixed = finding.fixed.get(system.name)
        versions = [(v, f"system-{number}-{i}") for i, v in enumerate(system.versions)] + (
            [(fixed, f"system-{number}-fixed")] if fixed else []
        )
        product = {
            "category": "product_name",
            "name": system.name,
            "branches": [
                {
                    "category": "product_version",
                    "name": version,
                    "product": {"name": f"{system.vendor} {system.name} {version}", "product_id": product_id},
                }
                for version, product_id in versions
            ],
        }
        makers.setdefault(system.vendor, []).append(product)
    model = {
        "category": "product_name",
        "name": report.model,
        "branches": [{"category": "product_version", "name": report.digest, "product": full}],
    }
    family = {"category": "product_family", "name": "language models", "branches": [model]}
    return [{"category": "vendor", "name": vendor, "branches": products} for vendor, products in makers.items()] or [family]


def _vulnerability(finding: Finding, now_ms: int) -> dict[str, Any]:
    report = finding.report
    fixed = [f"system-{n}-fixed" for n, s in enumerate(report.systems) if finding.fixed.get(s.name)]
    affected = [f"system-{n}-{i}" for n, s in enumerate(report.systems) for i in range(len(s.versions))] or [MODEL]
    status: dict[str, list[str]] = {"known_affected": affected}
    if finding.state == "withdrawn":
        status = {"known_not_affected": affected}
    elif fixed:
        status["fixed"] = fixed
    notes = [{"category": "description", "title": "Description", "text": report.description}]
    if not report.systems:
        notes.append({"category": "details", "title": "Where", "text": FLAWED})
    else:
        notes.append({"category": "details", "title": "Found with", "text": f"{report.model}, {report.digest}"})
    if finding.severity:
        severity = severity_of(finding.severity)
        notes.append({"category": "other", "title": "CVSS v4.0", "text": f"{severity.vector} ({severity.score}, {severity.rating})"})
    out: dict[str, Any] = {
        "discovery_date": rfc3339(report.at),
        "ids": [{"system_name": "Assay finding", "text": report.id}],
        "notes": notes,
        "product_status": status,
        "title": report.title,
    }
    if finding.state == "withdrawn":
        out["threats"] = [{"category": "impact", "details": f"Withdrawn: {finding.steps[-1].why}", "product_ids": affected}]
    else:
        out["remediations"] = list(_remediations(finding, affected))
    return out


def _remediations(finding: Finding, affected: list[str]) -> list[dict[str, Any]]:
    out = []
    for n, system in enumerate(finding.report.systems):
        ids, version = [f"system-{n}-{i}" for i in range(len(system.versions))], finding.fixed.get(system.name)
        if version:
            out.append({"category": "vendor_fix", "details": f"Update to {version}.", "product_ids": ids})
        else:
            out.append({"category": "none_available", "details": NO_FIX, "product_ids": ids})
    if not finding.report.systems:
        instead = finding.fixed.get(finding.report.model)
        known = ("vendor_fix", f"Use {instead} instead.") if instead else ("none_available", NO_FIX)
        out.append({"category": known[0], "details": known[1], "product_ids": affected})
    return out
