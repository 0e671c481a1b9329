"""A finding as drafts for the next evaluation: a scenario for the catalogue, and a requirement for the plan. Never complete by itself.

    files, missing = drafts(finding, "secret-leakage", plan_text)
    write_drafts(files, Path("draft"))              # then: assay catalog lint --draft draft ; assay plan check draft/plan.yaml

What only people can say is left out, so that lint and check name it: the texts, their harmless twins, the slots that a program looks at,
what counts as a violation, and the threshold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

from assay.access.findings.finding import Finding, FindingError
from assay.catalog import Catalog, Hazard, Scenario
from assay.catalog.content import HazardTexts, Provenance
from assay.catalog.files import hazard_ids, read_hazard
from assay.catalog.yamlfile import load_yaml
from assay.errors import CatalogError, PlanError
from assay.runs import whole_file

HAZARD_NAME = "hazard.yaml"
MAX_DRAFTS = 100


def drafts(finding: Finding, hazard_id: str, plan_text: str, max_rate: float | None = None) -> tuple[dict[str, str], list[str]]:
    """Files by their paths in the draft folder, and what is missing in words. Raises `FindingError` for a finding nobody has confirmed."""
    if finding.state not in ("confirmed", "fixed", "disclosed"):
        raise FindingError(f"it is '{finding.state}': what was confirmed becomes a scenario", where=finding.report.id)
    known = hazard_id in hazard_ids()
    hazard = _hazard(finding, hazard_id, known)
    scenario = hazard.scenarios[-1]
    files = {f"hazards/{hazard_id}/{HAZARD_NAME}": _yaml(hazard)}
    missing = [f"the texts of {scenario.id} and their harmless twins, in every language of the plan (docs/content.md)"]
    if not known:
        provenance = Provenance("", f"drafted from finding {finding.report.id}", "none")
        files[f"hazards/{hazard_id}/en.yaml"] = _yaml(HazardTexts("en", {}, provenance))
        missing += [
            "what a violation is and what is acceptable (violation, acceptable)",
            "who wrote the texts (provenance)",
            "further scenarios",
        ]
    if hazard.kind == "verifiable":
        missing.append(f"the slots of {scenario.id}: what is protected, and the public fact that the harmless twin asks for")
    files["plan.yaml"] = _plan(finding, hazard_id, plan_text, max_rate)
    if max_rate is None:
        missing.append("the threshold of the requirement (max_rate), which the parties agree on before the first trial")
    return files, missing


def _hazard(finding: Finding, hazard_id: str, known: bool) -> Hazard:
    situation = " ".join(finding.report.description.split())
    if not known:
        scenario = Scenario(finding.report.id, situation, "user")
        return Hazard(hazard_id, finding.report.title, "judged", situation, (scenario,))
    hazard = read_hazard(hazard_id)
    if hazard.check == "world":
        raise FindingError(
            f"'{hazard_id}' is played in agent worlds, whose goals are code and texts: docs/worlds.md", where=finding.report.id
        )
    carrier = hazard.scenarios[-1].carrier if hazard.scenarios else "user"
    return msgspec.structs.replace(hazard, scenarios=(*hazard.scenarios, Scenario(finding.report.id, situation, carrier)))


def _plan(finding: Finding, hazard_id: str, text: str, max_rate: float | None) -> str:
    """The plan with the hazard in its matrix and one more requirement. Raises `PlanError` for a text that is no plan."""
    try:
        plan: Any = yaml.safe_load(text)
        hazards, requirements = plan["matrix"]["hazards"], plan["requirements"]
        if hazard_id not in hazards:
            hazards.append(hazard_id)
        requirements.append({"id": finding.report.id, "kind": "violation-rate", "hazards": [hazard_id], "max_rate": max_rate})
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as e:
        raise PlanError(f"the plan to start from cannot be read: {type(e).__name__}") from None
    plan.pop("catalog", None)
    head = f"# From finding {finding.report.id}. A draft: assay plan check says what is missing.\n"
    return head + yaml.safe_dump(plan, sort_keys=False, allow_unicode=True, width=120)


def _yaml(value: msgspec.Struct) -> str:
    head = "# A draft from a finding: assay catalog lint --draft FOLDER says what is missing. Describe it in general words.\n"
    return head + yaml.safe_dump(msgspec.to_builtins(value), sort_keys=False, allow_unicode=True, width=120)


def write_drafts(files: dict[str, str], folder: Path) -> None:
    """Write them to a folder that is not there yet. Raises `FindingError`."""
    if folder.exists():
        raise FindingError("there is such a folder already", where=str(folder), fix="Choose another --out.")
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as out:
                out.write(text.encode())
    except OSError as e:
        raise FindingError(f"cannot write: {e.strerror}", where=str(folder)) from None


def with_drafts(catalog: Catalog, folder: Path) -> Catalog:
    """The content with a draft folder's hazards in the place of those of the same names. Raises `CatalogError`."""
    hazards, texts = dict(catalog.hazards), dict(catalog.texts)
    found = sorted((folder / "hazards").glob(f"*/{HAZARD_NAME}"))
    if not 0 < len(found) <= MAX_DRAFTS:
        raise CatalogError(f"{len(found)} drafts of hazards, where there are 1 to {MAX_DRAFTS}", where=str(folder))
    for path in found:
        hazard: Hazard = _read(path, Hazard)
        if hazard.id != path.parent.name:
            raise CatalogError(f"the hazard is '{hazard.id}', and its folder has another name", where=str(path))
        hazards[hazard.id] = hazard
        own: dict[str, HazardTexts] = {p.stem: _read(p, HazardTexts) for p in sorted(path.parent.glob("*.yaml")) if p.name != HAZARD_NAME}
        if unknown := sorted(set(own) - set(catalog.languages)):
            raise CatalogError(f"'{unknown[0]}' is no language of the catalogue", where=str(path.parent))
        texts[hazard.id] = {**texts.get(hazard.id, {}), **own}
    return msgspec.structs.replace(catalog, hazards=hazards, texts=texts)


def _read(path: Path, kind: Any) -> Any:
    try:
        if path.stat().st_size > 2 << 20:
            raise CatalogError("larger than 2 MiB", where=str(path))
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise CatalogError(f"cannot read the draft: {e}", where=str(path)) from None
    return load_yaml(text, kind, where=str(path), error=CatalogError)
