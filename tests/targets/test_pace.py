"""Limits of one endpoint: places that halve and recover, requests and tokens a minute, Retry-After, the retry budget; and hedging."""

from __future__ import annotations

import asyncio
import time

from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Message
from assay.targets import Reply
from assay.targets.http import HttpTarget
from assay.targets.pace import FIRST_RETRIES, Pace
from tests.targets.raw_endpoint import Call, http, serve_raw

BUSY = Reply("", failure="HTTP 429", outage=True, busy=True)
GOOD = Reply("hello", prompt_tokens=10, answer_tokens=5)


async def calls(pace: Pace, count: int, reply: Reply, tokens: int = 0) -> None:
    for _ in range(count):
        await pace.enter(tokens)
        pace.leave(time.monotonic(), tokens, reply)


def test_places_halve_once_for_all_that_were_under_way_and_come_back() -> None:
    async def go() -> None:
        pace = Pace(Limits(concurrency=32))
        began = [time.monotonic() for _ in range(32)]
        for _ in began:
            await pace.enter(0)
        for b in began:
            pace.leave(b, 0, BUSY)
        assert pace.places == 16, "one storm, one cut"
        await asyncio.sleep(0.001)
        await calls(pace, 1, BUSY)
        assert pace.places == 8
        await calls(pace, 1000, GOOD)
        assert pace.places == 32, "recovers, and no further than the plan allows"
        for _ in range(40):
            await asyncio.sleep(0.0005)
            await calls(pace, 1, BUSY)
        assert pace.places == 1, "never below one"

    asyncio.run(go())


def test_no_more_calls_at_once_than_places_even_if_some_are_cancelled() -> None:
    async def go() -> None:
        pace = Pace(Limits(concurrency=3))
        now = most = 0

        async def call() -> None:
            nonlocal now, most
            await pace.enter(0)
            now += 1
            most = max(most, now)
            try:
                await asyncio.sleep(0.002)
            finally:
                now -= 1
                pace.leave(0.0, 0, GOOD)

        tasks = [asyncio.create_task(call()) for _ in range(40)]
        await asyncio.sleep(0.003)
        for task in tasks[1::3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most == 3
        assert pace.enter_at_once(0), "no place is lost"

    asyncio.run(go())


def test_requests_and_tokens_a_minute() -> None:
    async def go() -> None:
        pace = Pace(Limits(concurrency=50, requests_per_minute=6000))
        began = time.monotonic()
        await asyncio.gather(*(calls(pace, 3, GOOD) for _ in range(10)))
        assert 0.28 <= time.monotonic() - began < 1.0
        pace = Pace(Limits(concurrency=50, tokens_per_minute=60_000))
        began = time.monotonic()
        await calls(pace, 4, GOOD, tokens=100)
        assert time.monotonic() - began < 0.25, "85 of each hundred tokens were set aside and not used"
        began = time.monotonic()
        await calls(pace, 4, Reply("x", prompt_tokens=90, answer_tokens=60), tokens=100)
        assert 0.4 <= time.monotonic() - began < 1.0, "three calls of 150 tokens, paid at a thousand a second"

    asyncio.run(go())


def test_retry_after_holds_every_call() -> None:
    async def go() -> None:
        pace = Pace(Limits(concurrency=4))
        await calls(pace, 1, Reply("", failure="HTTP 429", outage=True, busy=True, retry_after_s=0.3))
        began = time.monotonic()
        assert not pace.enter_at_once(0)
        await calls(pace, 1, GOOD)
        assert 0.25 <= time.monotonic() - began < 1.0

    asyncio.run(go())


def test_the_retry_budget_is_a_share_of_the_calls() -> None:
    pace = Pace(Limits(retry_share=0.25))
    assert sum(pace.spend_retry() for _ in range(100)) == FIRST_RETRIES
    for _ in range(40):
        pace.earn_retry()
    assert sum(pace.spend_retry() for _ in range(100)) == 10


def test_a_hedge_answers_for_a_straggler_and_is_recorded() -> None:
    async def fault(call: Call) -> None:
        if call.number == 2:
            await asyncio.sleep(5)
        await call.answer()

    async def go(url: str) -> tuple[Reply, float]:
        limits = Limits(concurrency=4, timeout_s=20, hedge_s=0.1)
        async with HttpTarget(TargetSpec(kind="http", model="m", url=url), Generation(), limits) as target:
            began = time.monotonic()
            reply = await target.ask((Message("user", "a question"),))
            return reply, time.monotonic() - began

    with serve_raw(fault) as endpoint:
        reply, seconds = asyncio.run(go(endpoint.url))
    assert reply.text.startswith("I cannot help")
    assert seconds < 2
    assert sorted(a.status for a in reply.attempts) == ["200", "cancelled"]


def test_a_storm_of_429_lowers_the_pressure_and_leaves_no_mark() -> None:
    """An endpoint that takes 4 at a time and turns the rest away: the client settles near that, and everything is answered."""
    now = turned_away = 0

    async def fault(call: Call) -> None:
        nonlocal now, turned_away
        if now >= 4:
            turned_away += 1
            await call.send(http(b"{}", "429 Too Many Requests"))
            return
        now += 1
        await asyncio.sleep(0.02)
        now -= 1
        await call.answer()

    async def go(url: str) -> tuple[list[Reply], float]:
        limits = Limits(concurrency=64, timeout_s=20, retries=20)
        async with HttpTarget(TargetSpec(kind="http", model="m", url=url), Generation(), limits) as target:
            replies = await asyncio.gather(*(target.ask((Message("user", f"question {i}"),)) for i in range(200)))
            return replies, target.pace.places

    with serve_raw(fault) as endpoint:
        replies, places = asyncio.run(go(endpoint.url))
    assert all(not r.failure for r in replies)
    assert places < 32
    assert turned_away < 400, "without backing off it would be thousands"
