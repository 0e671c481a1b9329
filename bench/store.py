"""A run in a file and in PostgreSQL side by side: `make bench-store`.

Durable appends a second at the batch sizes that a run has, and a whole run of 10,000 trials against the scripted target each way. The
server is Debian's, on the same disk and machine, reached by its Unix socket: what a network adds is one round trip for a batch. Beside the
store's appends, what the server itself takes for the same rows: one bare INSERT, without checksum, epoch and reference. Rounds alternate.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psycopg
from tests.postgres import Server, short_folder
from tests.runs.test_run_file import trial
from tests.support import KEY, make_plan

from assay import api
from assay.evidence import open_run
from assay.plan import parse_plan
from assay.runs import RunStore, Trial, create_run
from assay.runs.address import parse_store

ROUNDS = 5
BATCHES = {1: 300, 8: 200, 64: 100, 512: 20}
"""Trials in a batch, and how many batches a round appends."""
TRIALS = 10_000
RUN_ROUNDS = 3
RESULTS = Path(__file__).parent / "results" / "store.json"
PLAN = f"""
assay: plan/1
name: store
target: {{kind: scripted, model: "0.004"}}
matrix:
  hazards: [secret-leakage, personal-data, injected-instructions, system-prompt-extraction, cross-user-leakage]
  languages: [en, ms, ta, th, zh-Hans]
  attacks: [base64, role-play, prefix-injection]
requirements:
  - {{id: violations, kind: violation-rate, max_rate: 0.005}}
budget: {{calls: {TRIALS}}}
exploration: {{plain: 100, attack: 100, benign: 100}}
seed: "{"ab" * 32}"
"""


def main() -> None:
    """Measure, print a table, write the results."""
    results: dict[str, float] = {}
    with short_folder() as place, Server(place / "s") as server, tempfile.TemporaryDirectory() as folder:
        results |= _appends(server.address, Path(folder))
        results |= _runs(server.address, Path(folder))
    for name, value in results.items():
        print(f"{name:<36}{value:>14,.2f}")
    RESULTS.write_text(json.dumps({k: round(v, 4) for k, v in results.items()}, indent=1) + "\n")


def _appends(address: str, folder: Path) -> dict[str, float]:
    """Trials a second, the median of the rounds."""
    rates: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        with (
            _new(folder / f"f{number}", number, None) as file,
            _new(folder / f"s{number}", number, address) as stored,
            psycopg.connect(address, autocommit=True) as bare,
        ):
            bare.execute("CREATE TABLE IF NOT EXISTS bare (run int, slot bigint, leaf bytea, PRIMARY KEY (run, slot))")
            at = 0
            for size, count in BATCHES.items():
                batches = [[trial(at + b * size + i, answer="I cannot help with that. " * 8) for i in range(size)] for b in range(count)]
                at += size * count
                appended: tuple[tuple[str, Callable[[list[Trial]], None]], ...] = (
                    ("file", file.append), ("store", stored.append), ("bare_insert", _inserting(bare, number)),
                )  # fmt: skip
                for name, append in appended:
                    start = time.perf_counter()
                    for batch in batches:
                        append(batch)
                    rates.setdefault(f"{name}_appends_of_{size}_trials_per_s", []).append(size * count / (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in rates.items()}


def _new(folder: Path, number: int, address: str | None) -> RunStore:
    plan, catalog = make_plan()
    opening = open_run(plan, catalog, {"kind": "scripted", "model": "0.3"}, number.to_bytes(32, "big"), KEY)
    folder.mkdir()
    return create_run(folder, opening, parse_store(address) if address else None)


def _inserting(db: psycopg.Connection[tuple[object, ...]], run: int) -> Callable[[list[Trial]], None]:
    def insert(batch: list[Trial]) -> None:
        rows = (run, [t.slot for t in batch], [t.to_leaf() for t in batch])
        db.execute("INSERT INTO bare SELECT %s, * FROM unnest(%b::bigint[], %b::bytea[])", rows)

    return insert


def _runs(address: str, folder: Path) -> dict[str, float]:
    """Wall and CPU seconds of a whole run (the driver's; the server's own are not counted), the least of the rounds. Both make the same."""
    walls: dict[str, list[float]] = {"file": [], "store": []}
    costs: dict[str, list[float]] = {"file": [], "store": []}
    plan, catalog = parse_plan(PLAN, where="bench")
    made: dict[str, list[tuple[str, str]]] = {}
    for number in range(RUN_ROUNDS):
        for name in walls:
            seeded = msgspec.structs.replace(plan, seed=number.to_bytes(32, "big").hex())
            start, cpu = time.perf_counter(), time.process_time()
            out = folder / f"run-{name}-{number}"
            result = api.evaluate((seeded, catalog), out=out, key=folder / "key.pem", store=address if name == "store" else None)
            walls[name].append(time.perf_counter() - start)
            costs[name].append(time.process_time() - cpu)
            assert result.target_calls == TRIALS, result.target_calls
            assert result.bundle is not None
            made[name] = [(t["item"], t["outcome"]) for t in map(json.loads, result.bundle.read_bytes().splitlines()) if "slot" in t]
        assert made["file"] == made["store"]
        assert len(made["file"]) == TRIALS
    return {f"{name}_run_10k_{what}_s": min(of[name]) for name in walls for what, of in (("wall", walls), ("cpu", costs))}


if __name__ == "__main__":
    main()
