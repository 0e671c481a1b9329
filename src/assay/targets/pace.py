"""How fast an endpoint is called: places, requests and tokens a minute, and less of everything when it says that it is too much.

    await pace.enter(tokens=800)
    ...
    pace.leave(began, 800, reply)            # reply.busy: the endpoint turned it away (429, 503, no connection)

Additive increase, multiplicative decrease (AIMD; Chiu and Jain 1989): a call that is turned away halves the number of places, at most once
for calls that began before the last cut; every answer adds 1 / places, up to the plan's concurrency. A Retry-After holds every call.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from assay.plan import Limits
from assay.targets.base import Reply

FIRST_RETRIES = 20.0


class Pace:
    """Shared by all calls to one endpoint."""

    def __init__(self, limits: Limits) -> None:
        self._most = float(limits.concurrency)
        self.places = self._most
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._last_cut = 0.0
        self._held_until = 0.0
        self._requests = _Meter(limits.requests_per_minute)
        self._tokens = _Meter(limits.tokens_per_minute)
        self._retries = FIRST_RETRIES
        self._retry_share = limits.retry_share

    def enter_at_once(self, tokens: int) -> bool:
        """Take a place if nothing needs waiting for; the usual case, without the cost of a coroutine."""
        if self._under_way >= int(self.places) or self._wait(tokens) > 0:
            return False
        self._under_way += 1
        return True

    async def enter(self, tokens: int) -> None:
        """Wait for a place, for the meters, and for the end of a Retry-After."""
        while self._under_way >= max(1, int(self.places)):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake()
                raise
        self._under_way += 1
        try:
            while (wait := self._wait(tokens)) > 0:
                await asyncio.sleep(wait)
        except BaseException:
            self._under_way -= 1
            self._wake()
            raise

    def _wait(self, tokens: int) -> float:
        """Seconds until the call may go; 0 takes its share of the meters."""
        if not (self._held_until or self._requests.rate or self._tokens.rate):
            return 0.0
        now = time.monotonic()
        wait = max(self._held_until - now, self._requests.wait(now), self._tokens.wait(now))
        if wait <= 0:
            self._held_until = 0.0
            self._requests.take(now, 1)
            self._tokens.take(now, tokens)
        return wait

    def leave(self, began: float, tokens: int, reply: Reply | None) -> None:
        """The call that began then, with so many tokens set aside, is over; no reply if it was cut short from outside."""
        self._under_way -= 1
        if reply is not None and reply.busy:
            now = time.monotonic()
            if began > self._last_cut:
                self.places = max(1.0, self.places / 2)
                self._last_cut = now
            if reply.retry_after_s:
                self._held_until = max(self._held_until, now + reply.retry_after_s)
        elif self.places < self._most:
            self.places = min(self._most, self.places + 1 / self.places)
        if self._tokens.rate and reply is not None and (reply.prompt_tokens or reply.answer_tokens):
            self._tokens.take(time.monotonic(), reply.prompt_tokens + reply.answer_tokens - tokens)
        if self._waiting:
            self._wake()

    def _wake(self) -> None:
        free = int(self.places) - self._under_way
        while free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1

    def earn_retry(self) -> None:
        """A call has begun: it pays for its share of a retry."""
        self._retries = min(self._retries + self._retry_share, 10 * FIRST_RETRIES)

    def spend_retry(self) -> bool:
        """Whether the retry budget has one left; takes it."""
        if self._retries < 1:
            return False
        self._retries -= 1
        return True


class _Meter:
    """So many units a minute: after units were taken, the next call waits until they are paid for."""

    def __init__(self, per_minute: int) -> None:
        self.rate = per_minute / 60
        self._paid_at = 0.0

    def wait(self, now: float) -> float:
        """Seconds until a call may go."""
        return self._paid_at - now if self.rate else 0.0

    def take(self, now: float, units: int) -> None:
        """Take units, or give them back where negative."""
        if self.rate:
            self._paid_at = max(now, self._paid_at) + units / self.rate
