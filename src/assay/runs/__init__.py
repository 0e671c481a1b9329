"""The run file: append, resume, and the read model for all rooms above."""

from assay.runs.file import Opening, RunFile, lock_within, run_path, sync_folder, whole_file
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
from assay.runs.judgements import Again, Heading, JudgementFile, read_judgements
from assay.runs.labels import LabelFile, labels_path, read_labels
from assay.runs.reading import ReadRun
from assay.runs.trial import Ended, Trial, read_leaf

__all__ = [
    "Again",
    "Criterion",
    "Ended",
    "Exercise",
    "Heading",
    "Judged",
    "JudgementFile",
    "LabelFile",
    "Met",
    "Opening",
    "ReadRun",
    "RunFile",
    "StepCall",
    "Trajectory",
    "TrajectoryStep",
    "Trial",
    "is_judged",
    "labels_path",
    "lock_within",
    "read_judged",
    "read_judgements",
    "read_labels",
    "read_leaf",
    "run_path",
    "sync_folder",
    "whole_file",
]
