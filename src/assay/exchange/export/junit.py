"""JUnit XML: a requirement is a test suite, a claim a test case. Green only where the verdict is approve.

A claim that holds passes, one that was shown not to hold is a failure, each with its own reason; the requirement's stands in its suite's
properties. An undecided claim is an **error**, not skipped: most CI systems count what is skipped as good, and undecided is not good. A
last suite holds the verdict itself and whether a signed bundle agrees, so that nothing is green by a gap between claims and verdict.

JUnit XML has no official schema; this is the part that Jenkins' junit-10.xsd and the Ant schema (Windy Road's JUnit.xsd) share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO
from xml.sax.saxutils import escape, quoteattr

from msgspec import Struct

from assay.decision import ClaimResult, RequirementResult
from assay.exchange.export.rows import ExportedRun, Heading
from assay.exchange.export.spelling import iso

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
BUNDLE = {"agrees": "", "differs": "the signed bundle beside the run says otherwise", "none": "there is no signed bundle beside the run"}


class Case(Struct, frozen=True):
    """One test case. `tag` is `failure`, `error`, or empty where it passes; `type` and `message` say why not."""

    name: str
    tag: str = ""
    type: str = ""
    message: str = ""


def xml_text(text: str) -> str:
    """The text with what XML 1.0 has no place for (section 2.2) as U+FFFD; not escaped."""
    return _NOT_XML.sub("\ufffd", text)


def cases(heading: Heading) -> dict[str, list[Case]]:
    """The test cases by suite."""
    out: dict[str, list[Case]] = {}
    for requirement in heading.decision.requirements:
        mine = [_case(c.label or requirement.id, c.status, _why(c, requirement), _counts(c)) for c in requirement.claims]
        out[requirement.id] = mine or [_case(requirement.id, requirement.status, requirement.reason, "")]
    verdict = "open" if heading.verdict == "delay" else heading.verdict
    why = BUNDLE[heading.bundle]
    out["decision"] = [
        Case("a signed bundle agrees with the trials", *(("error", "unsigned", why) if why else ())),
        _case("the verdict is approve", verdict, f"the verdict is {heading.verdict}", ""),
    ]
    return out


def _why(claim: ClaimResult, requirement: RequirementResult) -> str:
    """The reason of this claim alone: the requirement's, where it has no other, or that part of it which is about this claim."""
    if len(requirement.claims) == 1:
        return requirement.reason
    if claim.status == "open":
        return "undecided: the evidence does not suffice, either way"
    parts = (part for part in requirement.reason.split("; ") if part.startswith(f"{claim.label}: "))
    return next(parts, "shown not to hold")


def _counts(claim: ClaimResult) -> str:
    return ", ".join(f"{name} {count}" for name, count in claim.counts.items())


def _case(name: str, status: str, reason: str, counts: str) -> Case:
    if status == "approve":
        return Case(name)
    message = f"{reason} ({counts})" if counts else reason
    return Case(name, "failure", "halt", message) if status == "halt" else Case(name, "error", "undecided", message)


def write(run: ExportedRun, out: BinaryIO) -> None:
    """Write the decision; trials are not in this format, so nothing of a transcript is."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    reasons = {r.id: r.reason for r in run.heading.decision.requirements}
    for number, (name, mine) in enumerate(cases(run.heading).items()):
        lines += _suite(number, name, mine, run.heading, reasons.get(name, ""))
    out.write("\n".join([*lines, "</testsuites>", ""]).encode())


def _suite(number: int, name: str, mine: list[Case], heading: Heading, reason: str) -> Iterator[str]:
    tags = [c.tag for c in mine]
    attributes = {
        "name": f"{heading.plan}.{name}", "package": heading.plan, "id": str(number), "tests": str(len(mine)),
        "failures": str(tags.count("failure")), "errors": str(tags.count("error")), "skipped": "0", "hostname": "assay",
        "time": "0", "timestamp": iso(heading.last_at or heading.opened_at)[:19],
    }  # fmt: skip
    yield f"<testsuite{_attributes(attributes)}>"
    known = {
        "verdict": heading.verdict, "target": heading.target, "target digest": ":".join(heading.target_digest),
        "plan digest": heading.plan_digest, "merkle root": heading.root,
        "trials": str(heading.decision.trials), "decided at": str(heading.decision.decided_at),
    }  # fmt: skip
    if reason:
        known["reason"] = reason
    properties = [f"<property{_attributes({'name': k, 'value': v})}/>" for k, v in known.items()]
    yield f"<properties>{''.join(properties)}</properties>"
    for case in mine:
        opened = f"<testcase{_attributes({'name': case.name, 'classname': f'{heading.plan}.{name}', 'time': '0'})}"
        if not case.tag:
            yield opened + "/>"
            continue
        why = _attributes({"type": case.type, "message": case.message})
        yield f"{opened}><{case.tag}{why}>{escape(xml_text(case.message))}</{case.tag}></testcase>"
    yield "</testsuite>"


def _attributes(values: dict[str, str]) -> str:
    return "".join(f" {name}={quoteattr(xml_text(value))}" for name, value in values.items())
