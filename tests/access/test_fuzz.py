"""Some seconds of the fuzzer, on two seeds; ten minutes are `make fuzz-access`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.access.fuzz import Fuzz
from tests.access.gate import Gate


def test_threat_9_nothing_that_is_mutated_gets_in_or_breaks_the_gate(tmp_path: Path) -> None:
    with Gate(tmp_path / "gate") as gate:
        gate.put(gate.grant())
        time.sleep(0.3)
        for seed in (9, 20261129):
            fuzz = Fuzz(gate, seed)
            asyncio.run(fuzz.run(5))
            assert not fuzz.problems, fuzz.problems[:3]
            assert fuzz.statuses.total() > 200
        assert "Traceback" not in (gate.folder / "gate.out").read_text()
