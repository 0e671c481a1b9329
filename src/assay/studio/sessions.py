"""One link that opens once, and who came by it. Only digests are kept, in memory: when the process ends, every sign-in does.

sessions = Sessions()
token = sessions.link()                  # goes into the link
value = sessions.enter(token)            # the cookie's value; empty for a link that was used
sessions.holds(value)
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256

TOKEN_BYTES = 32


class Sessions:
    """Who is signed in."""

    def __init__(self) -> None:
        self._link = ""
        self._known: set[str] = set()

    def link(self) -> str:
        """A token that opens once; the one before opens nothing any more."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._link = _digest(token)
        return token

    def enter(self, token: str) -> str:
        """The value of a cookie for the link's token; empty if it is not that."""
        if not self._link or not hmac.compare_digest(self._link, _digest(token)):
            return ""
        self._link = ""
        value = secrets.token_urlsafe(TOKEN_BYTES)
        self._known.add(_digest(value))
        return value

    def holds(self, value: str) -> bool:
        """Whether a cookie's value is of somebody who is signed in."""
        return _digest(value[:200]) in self._known

    def leave(self, value: str) -> None:
        """Sign out."""
        self._known.discard(_digest(value[:200]))


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()
