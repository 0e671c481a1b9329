"""The probe that garak runs; installed as `garak.probes.bench`."""

from __future__ import annotations

import json
from pathlib import Path

import garak.probes
from garak import _config
from garak.attempt import Conversation, Message, Turn


class Prompts(garak.probes.Probe):
    """Every prompt of a file once, with its own system prompt"""

    lang = "*"
    active = False
    goal = "send the prompts of a file"
    intent = "T999test"
    tier = garak.probes.Tier.UNLISTED
    primary_detector = "bench.Help"
    DEFAULT_PARAMS = garak.probes.Probe.DEFAULT_PARAMS | {"file": ""}

    def __init__(self, config_root=_config) -> None:
        super().__init__(config_root=config_root)
        records = [json.loads(line) for line in Path(self.file).read_text().splitlines()]
        self.prompts = [
            Conversation([Turn("system", Message(record["system"])), Turn("user", Message(record["user"]))]) for record in records
        ]
