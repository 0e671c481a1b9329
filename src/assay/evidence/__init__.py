"""Signed statements, the bundle, and its verification. Never imports the engine: an auditor needs no part of it."""

from assay.evidence.bundle import Recount, Summary, committed, decide, open_run, read_summary, write_bundle
from assay.evidence.bundlerun import BundleRun
from assay.evidence.statements import replay_of
from assay.evidence.verify import Finding, Report, verify_bundle

__all__ = [
    "BundleRun",
    "Finding",
    "Recount",
    "Report",
    "Summary",
    "committed",
    "decide",
    "open_run",
    "read_summary",
    "replay_of",
    "verify_bundle",
    "write_bundle",
]
