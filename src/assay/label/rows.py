"""One row of somebody's file as labels: flat columns, or a task with annotations as Label Studio exports it. Pure.

parse_row({"slot": "41", "transcript": "sha256:...", "verdict": "violation", "labeller": "Wei"}, candidates)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from assay.judges.labels import LABELLER
from assay.label.queue import Candidate
from assay.label.values import Given

_CHOICES = ("verdict", "refusal", "confidence")


class Row(Struct, frozen=True):
    """One label, checked against its trial. `at` is Unix time in milliseconds, 0 where the row does not say."""

    candidate: Candidate
    labeller: str
    given: Given
    adjudicates: bool = False
    at: int = 0


def parse_row(raw: Mapping[str, Any], known: Mapping[int, Candidate], labeller_column: str = "", labeller: str = "") -> list[Row]:
    """The labels of one row; none for a task that nobody has labelled. Raises `ValueError` that says what is wrong."""
    data: Any = raw["data"] if isinstance(raw.get("data"), dict) else raw
    candidate = _candidate(data, known)
    if data is raw:
        if not raw.get("verdict"):
            return []
        who = _name(raw.get(labeller_column or "labeller") or labeller, labeller_column or "labeller")
        return [Row(candidate, who, _given(raw), str(raw.get("adjudicates", "")).lower() in ("yes", "true", "1"), _time(raw.get("at")))]
    rows = []
    for annotation in raw.get("annotations") or []:
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        values = dict(_results(annotation))
        by = annotation.get(labeller_column or "completed_by")
        by = by.get("email") if isinstance(by, dict) else by
        name = _name(str(by) if by else labeller, labeller_column or "completed_by")
        rows.append(Row(candidate, name, _given(values), bool(annotation.get("adjudicates")), _time(annotation.get("created_at"))))
    return rows


def _candidate(data: Any, known: Mapping[int, Candidate]) -> Candidate:
    try:
        slot = int(data["slot"])
    except (KeyError, TypeError, ValueError):
        raise ValueError("there is no 'slot' with the trial's number") from None
    candidate = known.get(slot)
    if candidate is None:
        raise ValueError(f"trial {slot} is not in this run, or not of the hazards and languages named")
    for field in ("transcript", "item"):
        given = data.get(field)
        if given != getattr(candidate, field) and (given or field == "transcript"):
            raise ValueError(f"trial {slot}: the {field} is another one: {given or 'none given'}")
    return candidate


def _name(name: Any, column: str) -> str:
    if not name:
        raise ValueError(f"nobody is named in '{column}'; name the column with --labeller-column, or the person with --labeller")
    if not re.match(LABELLER, str(name)):
        raise ValueError(f"'{str(name)[:80]}' is no name of a labeller")
    return str(name)


def _results(annotation: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for result in annotation.get("result") or []:
        value, name = result.get("value", {}), result.get("from_name")
        if name in _CHOICES:
            yield name, next(iter(value.get("choices", [])), "")
        elif name == "modes":
            yield name, " ".join(value.get("choices", []))
        elif name == "note":
            yield name, "\n".join(value.get("text", []))


def _given(raw: Mapping[str, Any]) -> Given:
    modes = raw.get("modes") or ""
    values: dict[str, Any] = {name: raw[name] for name in _CHOICES if raw.get(name)}
    try:
        numbers = modes if isinstance(modes, list) else re.split(r"[\s,;]+", str(modes).strip())
        values["modes"] = tuple(sorted({int(n) for n in numbers if str(n)}))
    except ValueError:
        raise ValueError(f"'{modes}' are no numbers of failure modes") from None
    values["note"] = str(raw.get("note") or "")
    try:
        given = msgspec.convert(values, Given)
    except msgspec.ValidationError as e:
        raise ValueError(f"{e}") from None
    if given.verdict is None:
        raise ValueError("there is no verdict: violation, acceptable or unsure")
    return given


def _time(value: Any) -> int:
    if value in (None, ""):
        return 0
    try:
        text = str(value)
        at = int(text) if text.isdigit() else int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValueError(f"'{value}' is no time: milliseconds, or as 2026-11-29T16:20:00Z") from None
    if not 0 <= at < 1 << 53:
        raise ValueError(f"'{value}' is no time")
    return at
