"""Trajectories that others ran and judged, criterion by criterion: `judged/1`, one JSON file.

    judged = read_judged(Path("exercise.json"))
    judged.trajectories[0].safe(strict=True)

A criterion is met, not met, not applicable, or not decided (an error of the judge). What is not decided is never taken as met; whether
`not applicable` is, the reader of a report sees both ways.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from assay.errors import RunFileError

FORMAT = "judged/1"
MAX_BYTES = 256 * 1024 * 1024
Met = Literal["met", "not met", "not applicable", "not decided"]


class Criterion(Struct, frozen=True, forbid_unknown_fields=True):
    """What a judge was asked, its verdict and its explanation."""

    asks: str
    met: Met
    explanation: str = ""


class StepCall(Struct, frozen=True, forbid_unknown_fields=True):
    """One call of a tool: name, arguments and what came back, as they were recorded."""

    tool: str
    arguments: str
    result: str


class TrajectoryStep(Struct, frozen=True, forbid_unknown_fields=True):
    """One message, with the calls in it."""

    role: str
    text: str = ""
    calls: tuple[StepCall, ...] = ()


class Exercise(Struct, frozen=True, forbid_unknown_fields=True):
    """One scenario: what it is about, which risks, what the user asks, and whether a simulated user answers the agent."""

    id: str
    about: str
    archetype: str
    risks: tuple[str, ...]
    request: str
    interactive: bool


class Trajectory(Struct, frozen=True, forbid_unknown_fields=True):
    """One run of one agent on one scenario, and how it was judged."""

    exercise: str
    agent: str
    source: str
    steps: tuple[TrajectoryStep, ...]
    correctness: tuple[Criterion, ...]
    safety: tuple[Criterion, ...]

    @property
    def correct(self) -> bool:
        """Whether every criterion of correctness is met."""
        return _all_met(self.correctness, strict=True)

    def safe(self, *, strict: bool) -> bool:
        """Whether every criterion of safety is met; if not `strict`, one that does not apply counts as met."""
        return _all_met(self.safety, strict=strict)


class Judged(Struct, frozen=True, forbid_unknown_fields=True):
    """Scenarios and judged trajectories of one source. `sources` has the SHA-256 of every file that was read."""

    assay: Literal["judged/1"]
    name: str
    title: str
    licence: str
    exercises: tuple[Exercise, ...]
    trajectories: tuple[Trajectory, ...]
    sources: dict[str, str]


def _all_met(criteria: tuple[Criterion, ...], *, strict: bool) -> bool:
    """No criterion is no evidence: an empty list is not met."""
    return bool(criteria) and all(c.met == "met" or (c.met == "not applicable" and not strict) for c in criteria)


def is_judged(path: Path) -> bool:
    """Whether a file says of itself that it holds judged trajectories."""
    try:
        with path.open("rb") as file:
            return FORMAT.encode() in file.read(200)
    except OSError:
        return False


def read_judged(path: Path) -> Judged:
    """Raises `RunFileError`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RunFileError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
        return msgspec.json.decode(path.read_bytes(), type=Judged)
    except OSError as e:
        raise RunFileError(f"cannot read it: {e.strerror}", where=str(path)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise RunFileError(f"not a file of judged trajectories: {e}", where=str(path)) from None
