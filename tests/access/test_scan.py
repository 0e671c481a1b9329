"""The audit log followed: once or bit by bit gives the same alerts; torn, damaged, shortened and rolled segments; a store that fails."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from assay.access.audit.records import FIRST, encode, hash_of, line_of
from assay.access.safety.alerts import Alert, listed
from assay.access.safety.scan import Scan
from assay.access.store.base import Store, StoreError, open_store

START = 1_704_067_200_000  # 2024-01-01, a Monday: files that are written now are younger
HOUR = 3_600_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = open_store("gate.db", tmp_path)
    yield found
    found.close()


class Log:
    """Segments as workers write them, without their headers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._last: dict[str, tuple[int, str]] = {}

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def write(self, name: str, *records: dict[str, Any], torn: bytes = b"") -> None:
        n, last = self._last.get(name, (0, FIRST))
        with self.path(name).open("ab") as file:
            for record in records:
                line = line_of(encode(record), n, last)
                file.write(line + b"\n")
                n, last = n + 1, hash_of(line)
            file.write(torn)
        self._last[name] = (n, last)


def decided(n: int, at: int, network: str = "192.0.2.7", person: str = "Tan") -> dict[str, Any]:
    return {
        "kind": "decided", "at": at, "id": f"r{n}", "grant": "power", "version": 1, "person": person, "organisation": "Grid Ltd",
        "purpose": "harden", "model": "m7", "digest": "", "route": "chat.completions", "network": network,
        "request_digest": f"sha256:{n:064x}",
    }  # fmt: skip


def ended(n: int, at: int, **more: Any) -> dict[str, Any]:
    return {"kind": "ended", "at": at, "id": f"r{n}", "how": "complete", "tokens": 40, **more}


def days(dice: random.Random) -> list[tuple[str, dict[str, Any]]]:
    """Ten days of two workers: an office, and at the end a flood, a new network, a flag and a night."""
    made = []
    times = [START + day * 24 * HOUR + hour * HOUR + dice.randrange(HOUR) for day in range(10) for hour in range(9, 17) for _ in range(6)]
    times += [START + 10 * 24 * HOUR + 12 * HOUR + i * 500 for i in range(600)] + [START + 10 * 24 * HOUR + 23 * HOUR]
    for n, at in enumerate(sorted(times), 1):
        worker = dice.choice(("w0", "w1"))
        network = "198.51.100.9" if n == 300 else "192.0.2.7"
        made.append((worker, decided(n, at, network)))
        made.append((worker, ended(n, at + dice.randrange(90_000), flags=["personal: card (answer)"] if n == 200 else [])))
    made.append(("w0", {"kind": "token", "at": times[-1], "grant": "power", "version": 1, "person": "Tan", "network": "192.0.2.7"}))
    return sorted(made, key=lambda pair: pair[1]["at"])


def told(alerts: Sequence[Alert]) -> list[tuple[str, str]]:
    return sorted((a.kind, a.id) for a in alerts)


@pytest.mark.parametrize("seed", range(3))
def test_bit_by_bit_gives_what_one_look_gives(tmp_path: Path, store: Store, seed: int) -> None:
    dice = random.Random(seed)
    made = days(dice)
    log = Log(tmp_path / "audit")
    bits = Scan(log.folder, START)
    found: list[Alert] = []
    while made:
        most = dice.randrange(1, 200)
        part, made = made[:most], made[most:]
        for worker in ("w0", "w1"):  # one after the other, so that times go back and forth between scans' ends
            log.write(f"{worker}-{START:013d}", *(record for name, record in part if name == worker))
        found += bits.run(store)
    (tmp_path / "other").mkdir()
    other = open_store("gate.db", tmp_path / "other")
    whole = Scan(log.folder, START).run(other)
    other.close()
    assert told(found) == told(whole)
    assert {"network", "hours", "volume", "tokens", "content"} == {a.kind for a in whole}
    assert Scan(log.folder, START).run(store) == [], "what was found is found once"
    assert bits.run(store) == []
    assert bits.problems() == []


def test_a_torn_line_is_read_when_it_is_whole(tmp_path: Path, store: Store) -> None:
    log, name = Log(tmp_path / "audit"), f"w0-{START:013d}"
    log.write(name, decided(1, START))
    scan = Scan(log.folder, START)
    assert scan.run(store) == []
    line = line_of(encode(decided(2, START + 1, "198.51.100.1")), 1, "0" * 64)
    with log.path(name).open("ab") as file:
        file.write(line[:50])
    assert scan.run(store) == []
    with log.path(name).open("ab") as file:
        file.write(line[50:] + b"\n")
    assert [a.kind for a in scan.run(store)] == ["network"]
    assert scan.problems() == []


def test_a_damaged_line_is_told_and_the_rest_is_read(tmp_path: Path, store: Store) -> None:
    log = Log(tmp_path / "audit")
    bad, good = f"w0-{START:013d}", f"w1-{START:013d}"
    log.write(bad, decided(1, START), torn=b'{"after":"' + b"0" * 64 + b'","n":1,"record":{"kind":"decided","at":1}}\n\xff\xfe\n')
    log.write(bad, decided(2, START + 5, "198.51.100.1"))
    log.write(good, decided(3, START + 9, "203.0.113.1"))
    scan = Scan(log.folder, START)
    assert len(scan.run(store)) == 2
    [problem] = scan.problems()
    assert problem.startswith(f"the segment {bad} does not hold: ")
    log.path(good).write_bytes(log.path(good).read_bytes()[:100])
    assert scan.run(store) == []
    assert scan.problems()[1] == f"the segment {good} is shorter than it was"
    log.path(bad).unlink()
    log.path(good).unlink()
    assert scan.run(store) == []
    assert scan.problems() == [], "what was moved away is not missed here: `audit verify` says so"


def test_what_is_no_line_at_all_is_told(tmp_path: Path, store: Store) -> None:
    log = Log(tmp_path / "audit")
    log.write(f"w0-{START:013d}", decided(1, START), torn=b"x" * (2 << 20))
    scan = Scan(log.folder, START)
    scan.run(store)
    scan.run(store)
    assert "with what is no line" in scan.problems()[0]


def test_a_segment_that_cannot_be_read_is_tried_again(tmp_path: Path, store: Store) -> None:
    log, name = Log(tmp_path / "audit"), f"w0-{START:013d}"
    log.path(name).mkdir()
    log.write(f"w1-{START:013d}", decided(1, START), decided(2, START + 1, "198.51.100.1"))
    scan = Scan(log.folder, START)
    assert len(scan.run(store)) == 1
    assert scan.problems() == [f"the segment {name} cannot be read: cannot read: Is a directory"]
    log.path(name).rmdir()
    log.write(name, decided(3, START + 2, "203.0.113.1"))
    assert len(scan.run(store)) == 1
    assert scan.problems() == []


def test_segments_that_are_begun_anew_are_followed_and_old_ones_passed_over(tmp_path: Path, store: Store) -> None:
    import os

    log = Log(tmp_path / "audit")
    old = f"w0-{START - 1000 * HOUR:013d}"
    log.write(old, decided(1, START - 900 * HOUR), decided(2, START - 800 * HOUR, "198.51.100.1"))
    os.utime(log.path(old), ns=((START - 700 * HOUR) * 1_000_000,) * 2)
    log.write(f"w0-{START:013d}", decided(3, START - HOUR, "203.0.113.200"), decided(4, START + 1, "203.0.113.1"))
    scan = Scan(log.folder, START)
    assert scan.run(store) == [], "what is older is no habit"
    log.write(f"w0-{START + HOUR:013d}", ended(4, START + HOUR + 5, flags=["personal: card (answer)"]))
    assert [a.kind for a in scan.run(store)] == ["content"], "its beginning is in the segment before"


class Failing:
    """A store that keeps so many records, and then fails."""

    def __init__(self, store: Store, most: int) -> None:
        self.store, self.most = store, most

    def put_record(self, *values: Any) -> int:
        if not self.most:
            raise StoreError("the store is gone")
        self.most -= 1
        return self.store.put_record(*values)


def test_what_could_not_be_kept_is_kept_the_next_time_and_told_once(tmp_path: Path, store: Store) -> None:
    log = Log(tmp_path / "audit")
    log.write(f"w0-{START:013d}", *(decided(n, START + n, f"198.51.{n}.1") for n in range(8)))
    failing: Any = Failing(store, 3)
    scan = Scan(log.folder, START)
    for _ in range(2):
        with pytest.raises(StoreError):
            scan.run(failing)
    assert len(listed(store)) == 3
    assert len(scan.run(store)) == 7
    assert scan.run(store) == []
    assert len(listed(store)) == 7


def test_a_scan_that_is_stopped_goes_on_where_it_was(tmp_path: Path, store: Store) -> None:
    log = Log(tmp_path / "audit")
    log.write(f"w0-{START:013d}", *(decided(n, START + n, f"198.51.{n}.1") for n in range(8)))
    scan = Scan(log.folder, START)
    assert [len(scan.run(store, lambda: True)) for _ in range(10)] == [0, 1, 1, 1, 1, 1, 1, 1, 0, 0]


def test_nothing_looked_for_is_passed_over(tmp_path: Path, store: Store) -> None:
    """Every kind of record is one that is looked at or one that is not: a new kind must be put in its place."""
    from assay.access.audit.records import KINDS
    from assay.access.safety import scan

    assert {k.encode() for k in KINDS} == scan._LOOKED_AT | scan._PASSED_OVER
