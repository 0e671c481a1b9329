"""YAML in documents, read by the reader that would read it: whole files by their first key, fragments of plan and gate key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml


def read_yaml(text: str, where: str, folder: Path) -> None:
    """Raises what its reader raises, AssertionError for what no reader is known of. Texts that are shortened by `...` are parsed only."""
    from assay.access.admission.objects import Rules
    from assay.access.config import Config
    from assay.access.model import Grant
    from assay.catalog.yamlfile import load_yaml
    from assay.errors import AssayError
    from assay.evidence.roles import read_roles
    from assay.plan import Plan, parse_plan
    from assay.plan.policy import Policy, parse_policy
    from assay.report.paper import read_about

    value = yaml.safe_load(text)
    assert isinstance(value, dict | list), where
    kind = value.get("assay", "") if isinstance(value, dict) else ""
    if kind == "plan/1":
        parse_plan(text, where=where)
    elif kind == "policy/1":
        parse_policy(text, where=where)
    elif kind == "admission/1":
        load_yaml(text, Rules, where=where, error=AssayError)
    elif kind == "gate/1":
        load_yaml(text, Config, where=where, error=AssayError)
    elif kind == "grant/1":
        load_yaml(text, Grant, where=where, error=AssayError)
    elif kind in ("paper/1", "roles/1"):
        file = folder / "file.yaml"
        file.write_text(text, encoding="utf-8")
        (read_about if kind == "paper/1" else read_roles)(file)
    elif isinstance(value, dict) and (of := next((s for s in (Plan, Config, Policy) if value.keys() <= set(s.__struct_fields__)), None)):
        _fragment(value, of, where)
    else:
        assert kind == "", f"{where}: no test knows how to read {kind}"


def _fragment(value: dict[str, Any], of: type[msgspec.Struct], where: str) -> None:
    fields = {f.name: f.type for f in msgspec.structs.fields(of)}
    for key, given in value.items():
        try:
            msgspec.convert(given, fields[key], strict=False)
        except msgspec.ValidationError as e:
            raise AssertionError(f"{where}: {key}: {e}") from None
