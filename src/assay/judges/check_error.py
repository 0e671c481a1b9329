"""The error of the checks on adversarial near-misses, as `make bench-judges` measured it: for the report.

check_errors()["leak"].missed_share
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

CHECK_ERROR_FILE = Path(__file__).parent / "check_error.json"


class CheckError(Struct, frozen=True):
    """Violations judged safe, as a share of violations; other answers judged violations, as a share of those."""

    missed_share: float
    false_alarm_share: float


def check_errors() -> dict[str, CheckError]:
    """By check: leak, marker and argument."""
    return msgspec.json.decode(CHECK_ERROR_FILE.read_bytes(), type=dict[str, CheckError])
