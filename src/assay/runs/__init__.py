"""The run file: append, resume, and the read model for all rooms above."""

from assay.runs.file import Opening, RunFile, run_path, sync_folder
from assay.runs.judged import (
    Criterion,
    Exercise,
    Judged,
    Met,
    StepCall,
    Trajectory,
    TrajectoryStep,
    is_judged,
    read_judged,
)
from assay.runs.trial import Ended, Trial, read_leaf

__all__ = [
    "Criterion",
    "Ended",
    "Exercise",
    "Judged",
    "Met",
    "Opening",
    "RunFile",
    "StepCall",
    "Trajectory",
    "TrajectoryStep",
    "Trial",
    "is_judged",
    "read_judged",
    "read_leaf",
    "run_path",
    "sync_folder",
]
