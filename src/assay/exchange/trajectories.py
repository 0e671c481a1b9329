"""Judged trajectories of agents from the Singapore-Korea bilateral testing exercise, as it published them.

judged = from_sg_kr(Path("sg-kr-agent-testing"))        # a folder with `scenarios` and `judged`

Verdicts are read strictly: true is met, false is not, a word for `not applicable` is that, and everything else is not decided, which no
figure takes as met.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from assay.errors import CatalogError
from assay.exchange.banking import read_source
from assay.runs import Criterion, Exercise, Judged, Met, StepCall, Trajectory, TrajectoryStep

NOT_APPLICABLE = frozenset({"na", "n/a", "not applicable", "not_applicable"})
MAX_FILES = 10_000
MAX_TEXT = 200_000
MAX_STEPS = 2_000
_MET = re.compile(r"criterion_met_(\d{1,4})$")


def from_sg_kr(folder: Path) -> Judged:
    """Read all of it. Raises `CatalogError`, naming the file, for what cannot be read: no trajectory is left out silently."""
    scenarios, judged = sorted((folder / "scenarios").glob("*.json")), sorted((folder / "judged").glob("*.json"))
    if not scenarios or not judged:
        raise CatalogError("no 'scenarios' and 'judged' with JSON files in it", where=str(folder))
    if len(scenarios) + len(judged) > MAX_FILES:
        raise CatalogError(f"more than {MAX_FILES:,} files", where=str(folder))
    sources: dict[str, str] = {}
    exercises = tuple(_exercise(_read(path, folder, sources), path) for path in scenarios)
    trajectories = tuple(_trajectory(_read(path, folder, sources), path) for path in judged)
    known = {e.id for e in exercises}
    for trajectory, path in zip(trajectories, judged, strict=True):
        if trajectory.exercise not in known:
            raise CatalogError(f"the scenario '{trajectory.exercise}' is not there", where=str(path))
    return Judged(
        "judged/1",
        "sg-kr-agent-testing",
        "Singapore-Korea bilateral agent testing, 2026",
        _licence(folder),
        exercises,
        trajectories,
        sources,
    )


def _read(path: Path, folder: Path, sources: dict[str, str]) -> dict[str, Any]:
    data, digest = read_source(path)
    sources[str(path.relative_to(folder))] = digest
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise CatalogError(f"not JSON: {e}", where=str(path)) from None
    if not isinstance(value, dict):
        raise CatalogError("not a JSON object", where=str(path))
    return value


def _exercise(value: dict[str, Any], path: Path) -> Exercise:
    risks = value.get("risk_types")
    return Exercise(
        id=_text(value, "id", path), about=_text(value, "description", path), archetype=_text(value, "agent_archetype", path),
        risks=tuple(str(r)[:100] for r in risks) if isinstance(risks, list) else (), request=_text(value, "user_prompt", path),
        interactive=value.get("interactive") is True,
    )  # fmt: skip


def _trajectory(value: dict[str, Any], path: Path) -> Trajectory:
    metadata, judgement, trajectory = (_mapping(value, name, path) for name in ("metadata", "judgement", "trajectory"))
    history = trajectory.get("conversation_history")
    if not isinstance(history, list) or len(history) > MAX_STEPS:
        raise CatalogError(f"no conversation_history of at most {MAX_STEPS:,} messages", where=str(path))
    return Trajectory(
        exercise=_text(metadata, "scenario_id", path), agent=_text(metadata, "model", path), source=path.name,
        steps=tuple(_step(m, path) for m in history), correctness=_criteria(_mapping(judgement, "correctness", path), path),
        safety=_criteria(_mapping(judgement, "safety", path), path),
    )  # fmt: skip


def _criteria(value: dict[str, Any], path: Path) -> tuple[Criterion, ...]:
    numbers = sorted({int(found[1]) for name in value if (found := re.search(r"_(\d{1,4})$", name))})
    if not numbers:
        raise CatalogError("a judgement without criteria", where=str(path))
    return tuple(
        Criterion(
            asks=str(value.get(f"criterion_description_{n}", ""))[:MAX_TEXT],
            met=_met(value.get(f"criterion_met_{n}", "missing")),
            explanation=str(value.get(f"criterion_explanation_{n}", ""))[:MAX_TEXT],
        )
        for n in numbers
    )


def _met(value: object) -> Met:
    if value is True:
        return "met"
    if value is False:
        return "not met"
    if value is None or (isinstance(value, str) and value.strip().casefold() in NOT_APPLICABLE):
        return "not applicable"
    return "not decided"


def _step(message: object, path: Path) -> TrajectoryStep:
    if not isinstance(message, dict):
        raise CatalogError("a message that is no object", where=str(path))
    calls = message.get("tool_calls_and_responses") or []
    if not isinstance(calls, list) or len(calls) > MAX_STEPS:
        raise CatalogError("calls that are no list", where=str(path))
    return TrajectoryStep(
        role=str(message.get("role", ""))[:40],
        text=_plain(message.get("content")),
        calls=tuple(
            StepCall(_plain(c.get("name")), _plain(c.get("arguments")), _plain(c.get("content"))) for c in calls if isinstance(c, dict)
        ),
    )


def _call(call: dict[str, Any]) -> StepCall:
    return StepCall(_plain(call.get("name")), _plain(call.get("arguments")), _plain(call.get("content")))


def _plain(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8")


def _mapping(value: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    found = value.get(name)
    if not isinstance(found, dict):
        raise CatalogError(f"no '{name}'", where=str(path))
    return found


def _text(value: dict[str, Any], name: str, path: Path) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not found.strip():
        raise CatalogError(f"no '{name}'", where=str(path))
    return found[:MAX_TEXT]


def _licence(folder: Path) -> str:
    """The first line of the licence that came with it."""
    path = folder / "LICENSE"
    if not path.is_file():
        raise CatalogError("no licence is known, so it cannot be used", where=str(folder), fix="Put its LICENSE beside it.")
    return read_source(path)[0].decode("utf-8", "replace").strip().splitlines()[0][:200]
