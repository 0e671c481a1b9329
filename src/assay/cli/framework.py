"""How a framework's clause table is said on a terminal, and whether a bundle's decision is signed by the run's key."""

from __future__ import annotations

import json
import shutil
import textwrap
from pathlib import Path

import click
import msgspec

from assay import api
from assay.catalog.crosswalk import framework_ids, read_framework
from assay.cli.words import program, shell_path
from assay.errors import AssayError
from assay.evidence import read_summary
from assay.evidence.bundle import last_line
from assay.evidence.statements import DECISION
from assay.ledger import PublicKey, open_envelope
from assay.report.facts import Fact
from assay.report.frameworks import ClauseView, FrameworkView, make_basis, resolve
from assay.report.text import visible
from assay.runs import read_run, run_path

SIGN = {"shown": "+", "against": "✕", "undecided": "?", "partly": "~", "missing": "-"}
STYLE = {"evidence": "green", "partial": "yellow", "against": "red", "gap": "magenta"}
MEANING = {
    "evidence": "all that is asked of a run is in this one",
    "partial": "some of it is",
    "against": "a claim was shown not to hold",
    "gap": "nothing is",
}
CAVEAT = "A mapping covers nothing: this says what one run has, not that a clause is fulfilled."


def list_frameworks() -> None:
    """Every framework, and how many of its clauses have an identifier that was read in the source."""
    for name in framework_ids():
        framework = read_framework(name)
        read = sum(c.verified for c in framework.clauses)
        click.echo(
            f"{name:<22} {len(framework.clauses):>2} clauses, identifiers verified: {read:>2}  {framework.title}, {framework.version}"
        )
    click.echo(f"\n{CAVEAT}")


def print_framework(run: Path, name: str, *, as_json: bool) -> None:
    """The clause table of a run. Raises `AssayError`."""
    framework = read_framework(name)
    path = run_path(run)
    bundle = path.parent / api.BUNDLE_NAME
    with read_run(path) as file:
        summary = read_summary(bundle)
        closed = summary is not None and decision_signed(bundle, file.opening().public_key)
        view = resolve(framework, make_basis(file, summary, closed=closed))
    if as_json:
        click.echo(json.dumps({**msgspec.to_builtins(view), "caveat": CAVEAT}, ensure_ascii=False, indent=2))
        return
    for line in _lines(view, run):
        click.echo(line)


def decision_signed(bundle: Path, key: dict[str, str]) -> bool:
    """Whether the last statement of a bundle is a decision signed by this key. What it says is compared by whoever recounts."""
    try:
        value = msgspec.json.decode(last_line(bundle))["value"]
        return open_envelope(value, PublicKey.from_json(key)).get("predicateType") == DECISION
    except (OSError, AssayError, KeyError, TypeError, msgspec.MsgspecError, UnicodeDecodeError):
        return False


def _lines(view: FrameworkView, run: Path) -> list[str]:
    room = max(40, min(140, shutil.get_terminal_size((110, 24)).columns))
    out = [
        f"{view.title}, {view.version}",
        f"What {shell_path(run)} has for it; target {visible(view.target)}, decision {view.verdict}.",
        "",
    ]
    for clause in view.clauses:
        out += _clause(clause, room)
    counts = [f"{view.count(s)} {s} ({MEANING[s]})" for s in ("evidence", "partial", "against", "gap")]
    out += textwrap.wrap("; ".join(counts) + ".", room)
    unverified = sum(not c.verified for c in view.clauses)
    out.append("")
    out += textwrap.wrap(f"{CAVEAT} {view.note}", room)
    if unverified:
        words = f"* {unverified} of {len(view.clauses)} identifiers were not read in the source. Check them before you cite them."
        out += textwrap.wrap(words, room)
    out += ["", f"Source  {view.source}"]
    out += [f"{name:<12}  {value}" for name, value in view.digests.items()]
    return [*out, "", f"What they are digests of is recomputed by: {program()} verify {shell_path(run)}"]


def _clause(clause: ClauseView, room: int) -> list[str]:
    mark = " " if clause.verified else "*"
    first, *rest = textwrap.wrap(clause.about, room - 33)
    status = click.style(f"{clause.status:<8}", fg=STYLE[clause.status])
    out = [f"{clause.id + mark:<22} {status}  {first}", *(f"{'':<33}{r}" for r in rest)]
    for fact in clause.facts:
        out += _indented(SIGN[fact.state], _said(fact), room)
    if clause.beyond:
        out += _indented("·", f"beyond a run: {clause.beyond}", room)
    return [*out, ""]


def _said(fact: Fact) -> str:
    return f"{fact.evidence}: {fact.words}" + (f" [{fact.digest}]" if fact.digest else "")


def _indented(sign: str, words: str, room: int) -> list[str]:
    first, *rest = textwrap.wrap(words, room - 6)
    return [f"    {sign} {first}", *(f"      {r}" for r in rest)]
