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
LATEST = 253_402_300_799_000
"""The last second of the year 9999 in Unix milliseconds: no later time can be written as a date."""


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
    for annotation in _objects(raw.get("annotations"), "annotations"):
        if annotation.get("was_cancelled"):
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
    except (KeyError, TypeError, ValueError, OverflowError):
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
    for result in _objects(annotation.get("result"), "result"):
        name = result.get("from_name")
        if name not in (*_CHOICES, "modes", "note"):
            continue
        [value] = _objects([result.get("value") or {}], "value")
        if name in _CHOICES:
            yield name, next(iter(_texts(value.get("choices"), name)), "")
        elif name == "modes":
            yield name, " ".join(_texts(value.get("choices"), name))
        else:
            yield name, "\n".join(_texts(value.get("text"), name))


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    """A list of objects, or nothing at all."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError(f"'{name}' must be a list of objects")
    return value


def _texts(value: Any, name: str) -> list[str]:
    """One text or number, a list of them, or nothing at all."""
    many = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(one, str | int) for one in many):
        raise ValueError(f"'{name}' must be a text, or a list of texts")
    return [str(one) for one in many]


def _given(raw: Mapping[str, Any]) -> Given:
    modes = _texts(raw.get("modes"), "modes")
    values: dict[str, Any] = {name: raw[name] for name in _CHOICES if raw.get(name)}
    try:
        values["modes"] = tuple(sorted({int(n) for text in modes for n in re.split(r"[\s,;]+", text) if n}))
    except ValueError:
        raise ValueError(f"'{' '.join(modes)[:80]}' are no numbers of failure modes") from None
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
    if not 0 <= at <= LATEST:
        raise ValueError(f"'{value}' is no time")
    return at
