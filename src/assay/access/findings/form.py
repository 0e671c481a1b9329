"""The form that a reporter fills in, and what becomes of it: a report, signed; and the record's file on its way to the gate.

Path("finding.yaml").write_text(FORM)
report = report_of(read_form(Path("finding.yaml")), Reporter("power", "Example Power", "Ada", thumbprint, "m7", digest), now_ms)
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.access.findings.finding import Evidence, FindingError, Reference, Report, Short, System, Tlp, Vector, Words, new_id, severity_of
from assay.access.model import Plain
from assay.catalog.yamlfile import load_yaml

MAX_BYTES = 1 << 20
FORM = """\
# A finding. Describe it in GENERAL WORDS: what kind of thing goes wrong, where, and how bad it is. Never how it is done:
# no prompts, no payloads, no commands, no outputs. Keep those where they are, and name them by their SHA-256 under evidence.
assay: finding-form/1
title: ""                      # one line
description: |
  What happens, in general words.
embargo: 2099-12-31            # the last day (UTC) on which nobody but you and the gate's administrators sees it; two years at most
tlp: AMBER                     # CLEAR, GREEN, AMBER, AMBER+STRICT or RED (first.org/tlp)
severity: ""                   # a CVSS v4.0 vector, if you have one: CVSS:4.0/AV:N/...
systems: []                    # your own systems that are affected; none: the model itself is
#  - {vendor: Example Grid, name: Outage Desk, versions: ["4.1", "4.2"], fixed: ""}
references: []                 # - {url: "https://...", about: ...}
evidence: []                   # - {kind: audit, digest: "sha256:..."}   kinds: audit, trial, bundle, other
credit: ""                     # how you want to be named when it is disclosed; empty: not at all
"""


class Form(Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds."""

    assay: Literal["finding-form/1"]
    title: Plain
    description: Words
    embargo: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
    tlp: Tlp = "AMBER"
    severity: Vector = ""
    systems: tuple[System, ...] = ()
    references: tuple[Reference, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    credit: Short = ""


class Reporter(Struct, frozen=True):
    """Who reports, by their grant: its id, organisation, model and digest; their name and their key's thumbprint in it."""

    grant: str
    organisation: str
    person: str
    key: str
    model: str
    digest: str


def read_form(path: Path) -> Form:
    """A form, checked. Raises `FindingError` with the line."""
    text = _bounded(path).decode("utf-8", errors="replace")
    text = re.sub(r"^(embargo:\s*)([0-9]{4}-[0-9]{2}-[0-9]{2})", r'\1"\2"', text, flags=re.MULTILINE)  # YAML would make a date of it
    form: Form = load_yaml(text, Form, where=str(path), error=FindingError)
    if form.description.strip() == "What happens, in general words.":
        raise FindingError("the description is still the form's own", where=str(path))
    return form


def day_end_ms(day: str) -> int:
    """The last millisecond of a day, UTC. Raises `FindingError` for a day that does not exist."""
    try:
        return int(datetime.fromisoformat(f"{day}T23:59:59.999+00:00").astimezone(UTC).timestamp() * 1000)
    except ValueError:
        raise FindingError(f"there is no such day: {day[:40]}") from None


def report_of(form: Form, reporter: Reporter, now_ms: int) -> Report:
    """The report, with the vector in its canonical order. Raises `FindingError`."""
    value: dict[str, Any] = {
        **msgspec.to_builtins(reporter), **{n: getattr(form, n) for n in ("title", "tlp", "systems", "references", "evidence", "credit")},
        "assay": "finding/1", "id": new_id(), "at": now_ms, "description": form.description.strip(),
        "embargo_until": day_end_ms(form.embargo), "severity": severity_of(form.severity).vector if form.severity else "",
    }  # fmt: skip
    try:
        return msgspec.convert(msgspec.to_builtins(value), Report)
    except msgspec.ValidationError as e:
        raise FindingError(f"this is no report: {e}") from None


def read_record(path: Path) -> Any:
    """The JSON of a record's file, unchecked. Raises `FindingError`."""
    try:
        return msgspec.json.decode(_bounded(path))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise FindingError("not JSON", where=str(path)) from None


def _bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise FindingError(f"cannot read: {e.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise FindingError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    return data
