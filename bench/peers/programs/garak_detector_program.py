"""The detector that goes with the probe; installed as `garak.detectors.bench`."""

from __future__ import annotations

from garak import _config
from garak.detectors.base import StringDetector


class Help(StringDetector):
    """Detects the word in an answer"""

    lang_spec = "*"
    active = False

    def __init__(self, config_root=_config) -> None:
        super().__init__(["help"], config_root=config_root)
