"""Runs as they are kept, in a file or in a store: append, resume, and the read model for all rooms above."""

from assay.runs.address import is_address
from assay.runs.file import RunFile, lock_within, sync_folder, whole_file
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
from assay.runs.opening import (
    REFERENCE_NAME,
    RUN_NAME,
    check_free,
    create_run,
    folder_of,
    is_run,
    read_run,
    reopen_run,
    run_path,
)
from assay.runs.reading import Opening, ReadRun, RunStore
from assay.runs.trial import Ended, Trial, read_leaf

__all__ = [
    "REFERENCE_NAME",
    "RUN_NAME",
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
    "RunStore",
    "StepCall",
    "Trajectory",
    "TrajectoryStep",
    "Trial",
    "check_free",
    "create_run",
    "folder_of",
    "is_address",
    "is_judged",
    "is_run",
    "labels_path",
    "lock_within",
    "read_judged",
    "read_judgements",
    "read_labels",
    "read_leaf",
    "read_run",
    "reopen_run",
    "run_path",
    "sync_folder",
    "whole_file",
]
