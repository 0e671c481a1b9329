"""Asks one endpoint, and while it is down asks again: an outage is no answer, and an item that breaks the endpoint is no outage.

    patience = Patience(target, limits.outage_s, told)
    reply = await patience.asked(lambda: target.ask(messages))

Each call of an episode or a strategy is asked with patience by itself, so what was answered before it stands: it is not drawn again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from assay.errors import TargetError
from assay.targets import Attempt, Reply, Target
from assay.targets.base import Call

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 5.0
STRIKES = 2


class Patience:
    """One for each endpoint, for as long as it is asked. `told` hears the reason and the seconds of an outage; `what` is the endpoint's
    name in messages.
    """

    def __init__(self, target: Target, outage_s: float, told: Callable[[str, float], None], what: str = "") -> None:
        self._target, self._outage_s, self._told, self._what = target, outage_s, told, what
        self._silent_since: float | None = None

    async def asked(self, ask: Call) -> Reply:
        """The reply to one call, with the attempts of all its tries.

        A failure of the endpoint is taken for the call's own only if the endpoint is alive to a harmless request, twice running, and did
        not turn the call away unread (then only after `outage_s`). Otherwise it is asked again. Raises `TargetError` if the endpoint
        answers nothing at all for `outage_s`.
        """
        attempts: tuple[Attempt, ...] = ()
        pause, began, strikes = FIRST_PAUSE_S, 0.0, 0
        while True:
            reply = await ask()
            if attempts:
                reply.attempts = attempts + reply.attempts
            if not reply.outage:
                self._silent_since = None
                return reply
            attempts = reply.attempts
            began = began or time.monotonic()
            if await self._target.alive():
                self._silent_since = None
                strikes += 1
                if time.monotonic() - began > self._outage_s if reply.busy else strikes >= STRIKES:
                    return reply
            else:
                strikes = 0
                self._wait_or_stop(reply.failure)
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_S)

    def _wait_or_stop(self, failure: str) -> None:
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        seconds = now - self._silent_since
        if seconds >= self._outage_s:
            raise TargetError(
                f"{self._what or 'the endpoint'} has given no answer for {seconds:.0f} s ({failure}); everything so far is kept",
                where=self._target.identity.get("url", self._target.identity.get("model", "")),
            )
        self._told(f"{self._what}: {failure}" if self._what else failure, seconds)
