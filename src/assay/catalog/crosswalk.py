"""The crosswalk: clauses of governance frameworks, and which facts of a run can evidence them. docs/frameworks.md describes the files.

framework = read_framework("nist-ai-rmf")
framework.clauses[0].evidence            # ("decision", "requirements")

A mapping says where to look, never that something is there: `assay.report.frameworks` looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from assay.catalog.content import Catalog
from assay.catalog.files import ROOT
from assay.catalog.yamlfile import load_yaml
from assay.errors import CatalogError

FACTS = frozenset({
    "attacks", "cost", "decision", "drift", "incidents", "intervals", "judges", "labels", "languages", "limits", "merkle-root",
    "over-refusal", "parity", "registration", "requirements", "signatures", "target-identity", "transcripts", "unscorable", "worlds",
})  # fmt: skip
"""What a run can have. Beside them `hazard:ID`, `owasp:ASI01` (goals of agent worlds), and `none`, which stands alone."""

NONE = "none"
OWASP = "owasp-agentic"
MAX_WORDS = 60


class Clause(Struct, frozen=True, forbid_unknown_fields=True):
    """One clause in our own words. `verified`: the identifier was read in the source, and not taken from memory. `beyond`: what of the
    clause no test run can show; a clause with `none` has nothing but that.
    """

    id: Annotated[str, Meta(min_length=1, max_length=40)]
    about: Annotated[str, Meta(min_length=10, max_length=400)]
    verified: bool
    evidence: Annotated[tuple[str, ...], Meta(min_length=1, max_length=40)]
    beyond: Annotated[str, Meta(max_length=600)] = ""


class Framework(Struct, frozen=True, forbid_unknown_fields=True):
    """One framework. `source` says where its text is, `note` what must be known before one relies on the mapping."""

    id: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    title: str
    version: str
    source: str
    clauses: Annotated[tuple[Clause, ...], Meta(min_length=1, max_length=200)]
    note: str = ""


def framework_ids(root: Path = ROOT) -> list[str]:
    """Every framework that has a file."""
    return sorted(p.stem for p in (root / "frameworks").glob("*.yaml"))


def read_framework(name: str, root: Path = ROOT) -> Framework:
    """One framework. Raises `CatalogError`."""
    known = framework_ids(root)
    if name not in known:
        raise CatalogError(f"unknown framework '{name[:60]}'", fix=f"Known: {', '.join(known)}.")
    path = root / "frameworks" / f"{name}.yaml"
    return load_yaml(path.read_text(encoding="utf-8"), Framework, where=f"frameworks/{path.name}", error=CatalogError)


def owasp_ids(catalog: Catalog) -> set[str]:
    """The entries of OWASP's agentic top ten that some hazard of the catalogue names."""
    return {entry.strip() for h in catalog.hazards.values() for entry in h.frameworks.get(OWASP, "").split(",") if entry.strip()}


def lint_crosswalk(catalog: Catalog, root: Path = ROOT) -> list[str]:
    """Every finding as one line that names the file; empty for a sound crosswalk."""
    out = []
    for name in framework_ids(root):
        try:
            framework = read_framework(name, root)
        except CatalogError as e:
            out.append(str(e))
            continue
        out += [f"frameworks/{name}.yaml: {what}" for what in _findings(framework, name, catalog)]
    return out


def _findings(framework: Framework, name: str, catalog: Catalog) -> Iterator[str]:
    if framework.id != name:
        yield f"the id is {framework.id}, the file's name is not"
    seen: set[str] = set()
    for clause in framework.clauses:
        if clause.id in seen:
            yield f"{clause.id} stands twice"
        seen.add(clause.id)
        yield from (f"{clause.id}: {what}" for what in _of_clause(clause, catalog))


def _of_clause(clause: Clause, catalog: Catalog) -> Iterator[str]:
    if len(set(clause.evidence)) < len(clause.evidence):
        yield "the same evidence stands twice"
    if len(clause.about.split()) > MAX_WORDS:
        yield f"more than {MAX_WORDS} words: say it shorter, in our own words"
    if NONE in clause.evidence:
        if len(clause.evidence) > 1:
            yield "'none' stands alone"
        if not clause.beyond.strip():
            yield "'none' needs a reason under 'beyond'"
    for word in clause.evidence:
        kind, _, rest = word.partition(":")
        if kind == "hazard" and rest:
            if rest not in catalog.hazards:
                yield f"unknown hazard '{rest}'"
        elif kind == "owasp" and rest:
            if rest not in owasp_ids(catalog):
                yield f"no hazard names '{rest}'"
        elif word not in FACTS and word != NONE:
            yield f"unknown evidence '{word}'"
