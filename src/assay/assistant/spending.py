"""What an assistant's runs may use: set aside before a run starts, settled when it has ended, never over-spent, whatever is killed when.

    purse = Purse(state, grants)
    with purse.locked():                                  # among all servers with these grants
        purse.reserve("quick-1", Amounts(500, 0, 0), now)     # raises RefusedError when the day has too little left
    purse.settle("quick-1", Amounts(312, 20_000, 0))          # the rest is free again

The store is the gate's (SQLite, synchronous): a reservation is on disk before the run's process is made. Where a server dies between the
two, what it set aside stays used until the day is over: an assistant loses by a crash and never gains.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from assay.access.store.base import MOST, Amounts, LeaseKey
from assay.access.store.sqlite import SqliteStore
from assay.assistant.grants import EachDay, Grants, RefusedError
from assay.assistant.reckoning import MILLIONTHS

DAY_MS = 86_400_000
KIND = "assistant-run"
NAMES = ("calls", "tokens", "money")


class Reserved(Struct, frozen=True):
    """What was set aside for a run: when its day began and when it was set aside (Unix ms); `digest` is that of the
    plan's terms. `used` is known when it is settled; `seen` says that its run file was there once.
    """

    run: str
    plan: str
    digest: str
    target: str
    day: int
    at: int
    calls: int
    tokens: int
    money: int
    state: Literal["open", "settled"] = "open"
    used: tuple[int, int, int] = (0, 0, 0)
    why: str = ""
    seen: bool = False


class Purse:
    """The reservations of one assistant, in the folder `state`. Raises `StoreError` where the store does not work: then nothing starts."""

    def __init__(self, state: Path, grants: Grants) -> None:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._store = SqliteStore(state / "quotas.db")
        self._lock = state / "start.lock"
        self.grants = grants

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time, among all processes. Raises `RefusedError` while another has it."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RefusedError("another run is being started", fix="Ask again in a few seconds.") from None
            yield
        finally:
            os.close(descriptor)

    def all(self) -> dict[str, tuple[int, Reserved]]:
        """Every reservation by its run, with the version of its record."""
        return {name: (version, msgspec.convert(value, Reserved)) for name, (version, value) in self._store.records(KIND).items()}

    def reserve(self, run: str, plan: str, digest: str, target: str, amounts: Amounts, now: int) -> None:
        """Set this aside, and a run. Raises `RefusedError` where the day has too little left."""
        keys = self._keys(now)
        least = [amounts, Amounts(requests=1)]
        got = self._store.lease(keys, least, least, now)
        if any(g is None for g in got):
            self._store.give_back([(key, g) for key, g in zip(keys, got, strict=True) if g is not None])
            raise RefusedError(f"the grants' {self._lacking(amounts, now)} for today are spent", fix="More is free after midnight UTC.")
        value = Reserved(run, plan, digest, target, now - now % DAY_MS, now, *amounts)
        self._store.put_record(KIND, run, msgspec.to_builtins(value), 0)

    def settle(self, run: str, used: Amounts, why: str = "") -> None:
        """Give back what was set aside and not used, or take what was used beyond it. Once: a second time changes nothing."""
        found = self.all().get(run)
        if found is None or found[1].state == "settled":
            return
        version, reserved = found
        settled = msgspec.structs.replace(reserved, state="settled", used=tuple(used), why=why)
        self._store.put_record(KIND, run, msgspec.to_builtins(settled), version)  # first: a crash between the two loses, and never gains
        back = Amounts(reserved.calls - used.requests, reserved.tokens - used.tokens, reserved.money - used.money)
        self._store.give_back([(self._keys(reserved.day)[0], back)])

    def note(self, run: str, why: str = "") -> None:
        """Note that a run's file was there, and why it was stopped, if it was; it is settled when it has ended."""
        version, reserved = self.all()[run]
        noted = msgspec.structs.replace(reserved, why=why or reserved.why, seen=True)
        if noted != reserved:
            self._store.put_record(KIND, run, msgspec.to_builtins(noted), version)

    def left(self, now: int) -> dict[str, int | float | str]:
        """What of the day is left."""
        calls, runs = self._store.used(self._keys(now))
        day = self.grants.each_day
        left: dict[str, int | float | str] = {"runs": max(0, day.runs - runs.requests), "calls": max(0, day.calls - calls.requests)}
        left["tokens"] = "any" if day.tokens == "any" else max(0, day.tokens - calls.tokens)
        left["money"] = "any" if day.money == "any" else max(0.0, day.money - calls.money / MILLIONTHS)
        return left

    def _lacking(self, amounts: Amounts, now: int) -> str:
        left = self.left(now)
        if left["runs"] == 0:
            return "runs"
        asked = (amounts.requests, amounts.tokens, amounts.money / MILLIONTHS)
        lacking = [n for n, a in zip(NAMES, asked, strict=True) if not isinstance(left[n], str) and a > left[n]]  # type: ignore[operator]
        return " and ".join(lacking) or "calls"

    def _keys(self, now: int) -> list[LeaseKey]:
        day: EachDay = self.grants.each_day
        starts = now - now % DAY_MS
        tokens = MOST if day.tokens == "any" else day.tokens
        money = MOST if day.money == "any" else round(day.money * MILLIONTHS)
        name = self.grants.name
        return [
            LeaseKey(name, "", "day", starts, Amounts(day.calls, tokens, money)),
            LeaseKey(name, "", "day-runs", starts, Amounts(requests=day.runs)),
        ]


__all__ = ["Amounts", "Purse", "Reserved"]
