"""The run file: append, resume, and the read model for all rooms above."""

from assay.runs.file import Opening, RunFile, run_path, sync_folder
from assay.runs.trial import Ended, Trial, read_leaf

__all__ = ["Ended", "Opening", "RunFile", "Trial", "read_leaf", "run_path", "sync_folder"]
