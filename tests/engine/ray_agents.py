"""Functions that tests of the Ray executor have called in workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from assay.targets import Access

POISON = "ASSAY_TEST_POISON"
"""Names a file; a message that holds what is in it kills the worker that is asked."""


def refusing(access: Access) -> str:
    """Refuses everything, and dies of poison."""
    poison = Path(os.environ[POISON])
    if poison.is_file() and poison.read_text() in access.messages[-1].content:
        os.kill(os.getpid(), signal.SIGKILL)
    return "I cannot help with that."
