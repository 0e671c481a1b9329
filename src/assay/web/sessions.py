"""One link that opens once, and who came by it. Only digests are kept, in memory: when the process ends, every sign-in does.

sessions = Sessions(idle_s=30 * 60, longest_s=12 * 3600)     # no limits unless they are given
token = sessions.link()                                      # goes into the link
value = sessions.enter(token)                                # the cookie's value; empty for a link that was used
sessions.holds(value, used=False)                            # a poll: looks, and keeps nothing alive
"""

from __future__ import annotations

import hmac
import math
import secrets
import time
from collections.abc import Callable
from hashlib import sha256

TOKEN_BYTES = 32
LONGEST_TOKEN = 200


def new_token() -> str:
    """A secret for a link or a cookie."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def digest(token: str) -> str:
    """What is kept of a token. Of one that is too long to be ours, only the beginning is read."""
    return sha256(token[:LONGEST_TOKEN].encode("utf-8", "replace")).hexdigest()


class Sessions:
    """Who is signed in: digests of cookies, with when they began and were last used, by a clock in seconds. A session ends when it was not
    used for more than `idle_s`, and when it is older than `longest_s`.
    """

    def __init__(
        self, *, idle_s: float = math.inf, longest_s: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self._idle_s, self._longest_s, self._clock = idle_s, longest_s, clock
        self._known: dict[str, tuple[float, float]] = {}
        self._link = ""

    def link(self) -> str:
        """A token that opens once; the one before opens nothing any more."""
        token = new_token()
        self._link = digest(token)
        return token

    def enter(self, token: str) -> str:
        """The value of a cookie for the link's token; empty if it is not that."""
        if not self._link or not hmac.compare_digest(self._link, digest(token)):
            return ""
        self._link = ""
        value, now = new_token(), self._clock()
        self._known[digest(value)] = (now, now)
        return value

    def holds(self, value: str, *, used: bool = True) -> bool:
        """Whether a cookie's value is of somebody who is signed in; if `used`, the idle time begins anew."""
        name = self._find(value)
        if not name:
            return False
        now, (began, last) = self._clock(), self._known[name]
        if now - began > self._longest_s or now - last > self._idle_s:
            del self._known[name]
            return False
        if used:
            self._known[name] = (began, now)
        return True

    def leave(self, value: str) -> None:
        """Sign out."""
        self._known.pop(self._find(value), None)

    def _find(self, value: str) -> str:
        """The kept digest of this value; empty if there is none. Every kept digest is compared in constant time."""
        given, found = digest(value), ""
        for name in self._known:
            if hmac.compare_digest(name, given):
                found = name
        return found
