"""Trying a call again: as often as the plan says, after a pause that grows, and never for longer than a call may take.

    retries = Retries(limits, pace)
    reply = await retries.asked(lambda attempts, deadline: one_try(body, attempts, deadline))

Exponential back-off with full jitter; a `Retry-After` is obeyed. A try that failed at the endpoint (`Reply.outage`) is made again, nothing
else is. With `limits.hedge_s` a second try starts beside a first one that has not answered by then, and the first answer counts.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable

from assay.plan import Limits
from assay.targets.base import Attempt, Reply
from assay.targets.pace import Pace

BACKOFF_S = 0.5
MAX_BACKOFF_S = 20.0

Try = Callable[[list[Attempt], float], Awaitable[Reply]]
"""One try: it adds itself to the attempts, and is over by the deadline (monotonic clock)."""


class Retries:
    """Shared by all calls to one endpoint."""

    def __init__(self, limits: Limits, pace: Pace) -> None:
        self._limits = limits
        self._pace = pace
        self._jitter = random.SystemRandom()

    async def asked(self, one_try: Try) -> Reply:
        """The reply of the first try that did not fail at the endpoint, or of the last there may be, with all attempts."""
        attempts: list[Attempt] = []
        deadline = time.monotonic() + (self._limits.call_s or math.inf)
        self._pace.earn_retry()
        number = 0
        while True:
            reply = await (self._hedged(one_try, attempts, deadline) if self._limits.hedge_s else one_try(attempts, deadline))
            if not reply.outage:
                reply.attempts = tuple(attempts)
                return reply
            failure = self._no_more(reply, number, deadline)
            if failure:
                reply.failure, reply.attempts = failure, tuple(attempts)
                return reply
            await asyncio.sleep(min(max(self.backoff(number), reply.retry_after_s), deadline - time.monotonic()))
            number += 1

    def backoff(self, number: int, least: float = 0.0) -> float:
        """Seconds before try `number` is made again."""
        return self._jitter.uniform(least, min(MAX_BACKOFF_S, BACKOFF_S * 2**number))

    def _no_more(self, reply: Reply, number: int, deadline: float) -> str:
        """Why a failed call is not tried again; empty if it is. A call that was turned away unread spends nothing of the retry budget."""
        if number >= self._limits.retries:
            return reply.failure
        if time.monotonic() >= deadline:
            return f"{reply.failure}; no answer within {self._limits.call_s:g} s"
        if not reply.busy and not self._pace.spend_retry():
            return f"{reply.failure}; the retry budget is spent"
        return ""

    async def _hedged(self, one_try: Try, attempts: list[Attempt], deadline: float) -> Reply:
        """One try, and a second beside it if the first has not answered in time: the first answer counts."""
        tries = {asyncio.ensure_future(one_try(attempts, deadline))}
        try:
            done, _ = await asyncio.wait(tries, timeout=self._limits.hedge_s)
            if not done:
                tries.add(asyncio.ensure_future(one_try(attempts, deadline)))
            while True:
                done, pending = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
                good = [t for t in done if t.exception() or not t.result().outage]
                if good or not pending:
                    return (good or list(done))[0].result()
                tries = pending
        finally:
            for task in tries:
                task.cancel()
            await asyncio.gather(*tries, return_exceptions=True)
