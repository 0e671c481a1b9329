"""Failures never vanish and never turn into verdicts: each row of the table is a fault, injected below HTTP, and where it must end."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import assay
from assay.attacks import ATTACKS
from assay.runs import RunFile, Trial
from assay.scenarios import ItemBuilder
from tests.support import plan_text
from tests.targets.raw_endpoint import Call, echo, http, payload, serve_raw

TRIALS = 40
LIMITS = {"concurrency": 8, "timeout_s": 0.6, "outage_s": 20, "retries": 4, "retry_share": 20}


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off in hundredths of a second, so that the table takes seconds."""
    monkeypatch.setattr("assay.targets.retries.BACKOFF_S", 0.02)
    monkeypatch.setattr("assay.engine.patience.FIRST_PAUSE_S", 0.05)


async def reset(call: Call) -> None:
    call.reset()


async def half_closed(call: Call) -> None:
    await call.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
    call.writer.write_eof()
    await asyncio.sleep(0.1)
    call.writer.close()


async def slow_loris(call: Call) -> None:
    for byte in http(payload(call.body)):
        await call.send(bytes([byte]))
        await asyncio.sleep(0.05)


async def hangs(call: Call) -> None:
    await asyncio.sleep(30)


async def html(call: Call) -> None:
    await call.send(http(b"<html>Sign in</html>", kind="text/html"))


async def truncated_json(call: Call) -> None:
    await call.send(http(payload(call.body)[:-20]))


async def cut_body(call: Call) -> None:
    await call.send(http(payload(call.body)[:-20], length=len(payload(call.body))))
    call.writer.close()


async def http_500(call: Call) -> None:
    await call.send(http(b"{}", "500 Internal Server Error"))


async def http_429(call: Call) -> None:
    await call.send(http(b"{}", "429 Too Many Requests", more="Retry-After: 0.05\r\n"))


async def answered(call: Call) -> None:
    await call.answer()


async def mislabelled(call: Call) -> None:
    await call.send(http(payload(call.body), kind="text/plain"))


async def answered_twice(call: Call) -> None:
    await call.send(http(payload(call.body)) * 2)


async def answered_again_later(call: Call) -> None:
    data = http(payload(call.body))
    await call.send(data)
    await asyncio.sleep(0.005)
    await call.send(data)


async def answered_again_later_without_ids(call: Call) -> None:
    data = http(payload(call.body, name="chatcmpl-0"))
    await call.send(data)
    await asyncio.sleep(0.005)
    await call.send(data)


@dataclass
class Row:
    """A fault, which calls it hits, and what becomes of the trials."""

    fault: Callable[[Call], Awaitable[None]]
    share: float = 0.3
    statuses: set[str] = field(default_factory=set)  # what some attempt must be recorded as
    reason: str = ""  # why trials end unscorable where the fault hits one item every time


TABLE = {
    "reset": Row(reset, statuses={"ClientOSError", "ServerDisconnectedError"}, reason="connection failed"),
    "half-closed": Row(
        half_closed, statuses={"ServerDisconnectedError", "ClientOSError", "ClientResponseError"}, reason="connection failed"
    ),
    "slow loris": Row(slow_loris, 0.1, {"timeout"}, "timed out"),
    "hangs": Row(hangs, 0.1, {"timeout"}, "timed out"),
    "HTML instead of JSON": Row(html, statuses={"200"}, reason="malformed answer (HTML)"),
    "truncated JSON": Row(truncated_json, statuses={"200"}, reason="malformed answer"),
    "body cut short": Row(cut_body, statuses={"ClientPayloadError"}, reason="connection failed (ClientPayloadError)"),
    "30% of 500": Row(http_500, statuses={"500"}, reason="HTTP 500"),
    "429 storm": Row(http_429, 0.6, {"429"}),
    "answered twice": Row(answered_twice, 1.0),
    "answered again later": Row(answered_again_later, 1.0),
    "answered again later, ids all the same": Row(answered_again_later_without_ids, 1.0),
    "JSON called text": Row(mislabelled, 1.0),
}


def evaluated(folder: Path, fault: Callable[[Call], Awaitable[None]], **limits: Any) -> list[Trial]:
    """The trials of a run against an endpoint with a fault; the bundle is verified."""
    with serve_raw(fault) as endpoint:
        path = folder / "plan.yaml"
        path.write_text(
            plan_text(
                target={"kind": "http", "model": "m", "url": endpoint.url},
                matrix={"hazards": ["secret-leakage"], "languages": ["en"], "attacks": [], "benign": False},
                requirements=[{"id": "v", "kind": "violation-rate", "max_rate": 0.01}],
                budget={"calls": TRIALS},
                exploration={},
                limits={**LIMITS, **limits},
            )
        )
        result = assay.evaluate(path, out=folder / "run")
    assert result.ended == "complete"
    assert result.bundle is not None
    report = assay.verify(result.bundle)
    assert report.ok, report.findings
    with RunFile.read(folder / "run" / "run.db") as run:
        trials, opening = list(run.trials()), run.opening()
    assert [t.slot for t in trials] == list(range(TRIALS))
    builder = ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS)
    for trial in trials:
        assert trial.attempts, "every trial records its attempts"
        if trial.outcome == "unscorable":
            assert trial.answer == ""
        else:
            item = builder.build(trial.stream, trial.index)
            own = echo({"messages": [{"content": m.content} for m in item.messages]})
            assert trial.answer == own, "an answer was taken for another item's"
    return trials


@pytest.mark.parametrize("name", TABLE)
def test_a_passing_fault_is_retried_recorded_and_leaves_no_mark(name: str, tmp_path: Path) -> None:
    row, rng = TABLE[name], random.Random(name)

    async def fault(call: Call) -> None:
        hit = call.number > 0 and len(call.text) > len("Hello") and rng.random() < row.share
        await (row.fault(call) if hit else call.answer())

    trials = evaluated(tmp_path, fault)
    assert {t.outcome for t in trials} == {"safe"}
    if row.statuses:
        failed = {status for t in trials for status, _ in t.attempts[:-1]}
        assert failed & row.statuses, failed
    else:
        assert all(len(t.attempts) <= 3 for t in trials)


@pytest.mark.parametrize("name", [n for n, row in TABLE.items() if row.reason])
def test_a_fault_that_one_item_always_meets_makes_it_unscorable_for_that_reason(name: str, tmp_path: Path) -> None:
    row = TABLE[name]
    poison: list[str] = []

    async def fault(call: Call) -> None:
        if call.number == 5 and len(call.text) > len("Hello"):
            poison.append(call.text)
        await (row.fault(call) if call.text in poison else call.answer())

    trials = evaluated(tmp_path, fault, retries=1)
    unscorable = [t for t in trials if t.outcome == "unscorable"]
    assert len(unscorable) >= 1
    assert len(unscorable) <= 3
    for trial in unscorable:
        assert row.reason in trial.reason
        assert len(trial.attempts) >= 4, "two tries, asked twice"
    assert {t.outcome for t in trials} == {"safe", "unscorable"}


def test_an_endpoint_gone_for_a_while_is_waited_for(tmp_path: Path) -> None:
    began = time.monotonic()

    async def fault(call: Call) -> None:
        gone = call.number > 10 and time.monotonic() - began < 3
        await (reset(call) if gone else call.answer())

    trials = evaluated(tmp_path, fault, retries=1)
    assert {t.outcome for t in trials} == {"safe"}
    assert time.monotonic() - began > 3


def test_the_retry_budget_stops_a_storm_of_retries(tmp_path: Path) -> None:
    """Half of all calls fail; with hardly any retries allowed, trials end unscorable instead of calling on and on."""
    rng = random.Random(3)
    calls = 0

    async def fault(call: Call) -> None:
        nonlocal calls
        calls += 1
        greeting = len(call.text) <= len("Hello")
        await (http_500(call) if not greeting and rng.random() < 0.8 else call.answer())

    trials = evaluated(tmp_path, fault, retries=20, retry_share=0)
    assert any("retry budget" in t.reason for t in trials)
    assert all(t.outcome in ("safe", "unscorable") for t in trials)
    asked = sum(len(t.attempts) for t in trials)
    assert asked <= 2 * TRIALS + 20, "twenty retries to begin with, and each item asked twice at most"


def test_a_call_has_a_deadline_over_all_its_retries(tmp_path: Path) -> None:
    poison: list[str] = []

    async def fault(call: Call) -> None:
        if call.number == 5:
            poison.append(call.text)
        await (hangs(call) if call.text in poison else call.answer())

    began = time.monotonic()
    trials = evaluated(tmp_path, fault, call_s=0.8, timeout_s=30, retries=20)
    assert [t.reason for t in trials if t.outcome == "unscorable"] == ["timed out; no answer within 0.8 s"]
    assert time.monotonic() - began < 25  # the time of one try alone would be 30
