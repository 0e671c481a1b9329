"""Samples of other tools, played live: Assay draws the next one and decides, the tool plays and scores it in a worker process.

    target = open_played(inner, plan, folder, progress)      # the plan's target, played by the source that its judges name
    scorer_of(target, spec)                                  # the scorer's word, as a judge

Built in: any Inspect task, AgentDojo's suites. Neither is imported here (docs/sources.md).
"""

from __future__ import annotations

from pathlib import Path

from assay.plan import Plan
from assay.sources.adapters import Adapter, find_adapter
from assay.sources.file import Bounds, SourceFile, keep_sources, read_source_file, source_specs
from assay.sources.played import Played, scorer_of
from assay.sources.worker import Opening, Worker
from assay.targets import Progress, Target

__all__ = [
    "Adapter",
    "Bounds",
    "Opening",
    "Played",
    "SourceFile",
    "Worker",
    "find_adapter",
    "keep_sources",
    "open_played",
    "read_source_file",
    "scorer_of",
    "source_specs",
]


def open_played(target: Target, plan: Plan, folder: Path, progress: Progress) -> Target:
    """The target as it is, or played by the source that the plan's judges name; its file lies in `folder`. Raises `TargetError`."""
    return Played(target, plan, folder, progress) if any(source_specs(plan)) else target
