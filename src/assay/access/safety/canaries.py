"""Canaries: marks of a grant in what the gate gives out, by which a leaked text tells where it came from.

    canaries = Canaries(secret)
    body = with_note(body, "chat.completions", canaries.note("power-1", "m7", now_ms))   # a record in the model's instructions
    canaries.response_id("power-1", "m7", now_ms)                                         # chatcmpl-... that only this grant was given
    styler = canaries.styler("power-1", "m7")                                             # dashes, apostrophes, ellipses: see style.py
    find(text, [canaries], issued, now_ms)                                                # [Named("power-1", "m7", "2027-01-05", "note")]

Every mark is HMAC-SHA256 under a key derived from the gate's secret, over grant, model and day: whoever has not the secret can neither make
another's mark nor tell a mark from noise. Nothing is invisible: each is a plain record, an id or a usual way to set a dash. They are put in
where the grant says so (`grant.canaries`), which its holder has signed for.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from assay.access.model import Ms, Route
from assay.access.safety.style import STYLE_LEVEL, Styler, agreement, sites_of, tail
from assay.judges.normalise import MAX_TEXT, decoded_views

if TYPE_CHECKING:
    from assay.access.config import Config
    from assay.access.store.base import Snapshot

DAY_MS = 86_400_000
MARKER = 24
PREFIXES: dict[Route, str] = {"chat.completions": "chatcmpl-", "responses": "resp_", "embeddings": "embd-", "models": "models-"}
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])")
MAX_DAYS = 3660


def day_of(at_ms: Ms) -> int:
    """Days since 1970, UTC."""
    return at_ms // DAY_MS


def day_name(day: int) -> str:
    """As people write it."""
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


class Issued(Struct, frozen=True):
    """Of which grant, model and days (Unix ms) marks may be: all that `find` compares a text with."""

    grant: str
    model: str
    starts: Ms
    until: Ms


class Named(Struct, frozen=True):
    """Whose a text is: by which mark, on which day (empty where the mark has none), and how likely a text with no mark looks the same."""

    grant: str
    model: str
    day: str
    by: Literal["note", "id", "fingerprint", "style"]
    chance: float
    how: str = ""


def issued_in(snapshot: Snapshot, now: Ms) -> list[Issued]:
    """What a store's grants can have given out: every version of each, revoked and expired ones too."""
    spans: dict[tuple[str, str], tuple[Ms, Ms]] = {}
    for versions in snapshot.versions.values():
        for signed in versions:
            grant = signed.grant
            first, last = spans.get((grant.id, grant.model), (grant.starts, grant.expires))
            spans[grant.id, grant.model] = min(first, grant.starts), max(last, grant.expires)
    return [Issued(grant, model, first, min(last, now)) for (grant, model), (first, last) in spans.items() if first <= now]


def open_canaries(config: Config, former: Sequence[Path] = ()) -> list[Canaries]:
    """The marks of a gate: by its secret for them in use, those before it, and those of former files. Raises `GateError`."""
    from assay.access.credentials.secretfile import read_secrets

    paths = [config.path(config.canary_secret or config.secret), *former]
    return [Canaries(secret.value) for path in paths for secret in read_secrets(path)]


class Canaries:
    """The marks of one secret (32 bytes). Pure: the same for the same grant, model and day."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 32:
            raise ValueError("a secret of 32 bytes or more")
        self._key = hmac.digest(secret, b"assay access canaries v1", "sha256")
        self._of_day = lru_cache(maxsize=8192)(self._day_key)
        self._recent = lru_cache(maxsize=8192)(self._markers)
        self._note = lru_cache(maxsize=8192)(self._note_of)

    def marker(self, grant: str, model: str, day: int) -> str:
        """24 characters of base32: 120 bits."""
        return _base32(hmac.digest(self._day_key(grant, model, day), b"note", "sha256")[:15])

    def note(self, grant: str, model: str, at: Ms) -> str:
        """What goes before the model's instructions."""
        return self._note(grant, model, day_of(at))

    def _note_of(self, grant: str, model: str, day: int) -> str:
        marker = self.marker(grant, model, day)
        spaced = "-".join(marker[i : i + 4] for i in range(0, MARKER, 4))
        return f"Access record {spaced}. This session runs under a personal access agreement; the record is no part of the task."

    def recent(self, grant: str, model: str, at: Ms) -> tuple[str, ...]:
        """The markers of today and yesterday, folded: what an echo would hold."""
        return self._recent(grant, model, day_of(at))

    def _markers(self, grant: str, model: str, day: int) -> tuple[str, ...]:
        return self.marker(grant, model, day), self.marker(grant, model, day - 1)

    def response_id(self, grant: str, model: str, at: Ms, route: Route = "chat.completions") -> str:
        """An id that no other answer has, and that names the grant to whoever has the secret: day, 64 random bits, 80 bits of HMAC."""
        day = day_of(at)
        head = day.to_bytes(2, "big") + os.urandom(8)
        return PREFIXES[route] + (head + hmac.digest(self._of_day(grant, model, day), head, "sha256")[:10]).hex()

    def owns_id(self, token: bytes, grant: str, model: str) -> bool:
        """Whether the 20 bytes of an id are of this grant and model."""
        day = int.from_bytes(token[:2], "big")
        return hmac.compare_digest(hmac.digest(self._of_day(grant, model, day), token[:10], "sha256")[:10], token[10:])

    def fingerprint(self, grant: str, model: str, at: Ms) -> str:
        """What stands as `system_fingerprint`: the same all day."""
        return "fp_" + self._fingerprint(grant, model, day_of(at))

    def _fingerprint(self, grant: str, model: str, day: int) -> str:
        return _base32(hmac.digest(self._of_day(grant, model, day), b"fingerprint", "sha256")[:15])

    def styler(self, grant: str, model: str) -> Styler:
        """What sets dashes, apostrophes and ellipses of one answer. The key has no day: a text seldom has marks enough for many days."""
        return Styler(self.style_key(grant, model))

    def style_key(self, grant: str, model: str) -> bytes:
        """The key of a grant's style."""
        return hmac.digest(self._key, f"style\0{grant}\0{model}".encode(), "sha256")

    def _day_key(self, grant: str, model: str, day: int) -> bytes:
        return hmac.digest(self._key, f"day\0{grant}\0{model}\0{day}".encode(), "sha256")


def with_note(body: Mapping[str, Any], route: Route, note: str) -> dict[str, Any]:
    """The request with the note before its instructions; unchanged where the route has none."""
    if route == "chat.completions" and isinstance(body.get("messages"), list):
        return {**body, "messages": [{"role": "system", "content": note}, *body["messages"]]}
    if route == "responses":
        given = body.get("instructions")
        return {**body, "instructions": f"{note}\n\n{given}" if isinstance(given, str) and given else note}
    return dict(body)


def marked_response(data: bytes, old_id: bytes, new_id: bytes) -> bytes:
    """A part of an answer with the gate's id where the upstream's stood. `old_id` is as it stands in the JSON, without its quotes."""
    return data.replace(b'"' + old_id + b'"', b'"' + new_id + b'"') if old_id else data


def find(text: str, canaries: Sequence[Canaries], issued: Sequence[Issued], now: Ms) -> list[Named]:
    """Whose marks a text holds, the surest first; nobody for a text without marks. `canaries` are those of the present and former secrets.

    Records and fingerprints are looked for in what the text's usual encodings decode to as well (reversed, Rot13, Base64, spelling with
    separators). A text with the marks of several grants names them all.
    """
    found: dict[tuple[str, str, str], Named] = {}
    for named in (*_by_marker(text, canaries, issued, now), *_by_id(text, canaries, issued), *_by_style(text, canaries, issued)):
        found.setdefault((named.grant, named.by, named.day), named)
    return sorted(found.values(), key=lambda n: (n.chance, n.grant, n.day))


def _by_marker(text: str, canaries: Sequence[Canaries], issued: Sequence[Issued], now: Ms) -> Iterator[Named]:
    needles: dict[str, tuple[Issued, int, Literal["note", "fingerprint"]]] = {}
    for each in canaries:
        for one in issued:
            first, last = day_of(one.starts), day_of(min(one.until, now))
            for day in range(max(first, last - MAX_DAYS), last + 1):
                needles[each.marker(one.grant, one.model, day)] = one, day, "note"
                needles[each._fingerprint(one.grant, one.model, day)] = one, day, "fingerprint"
    looked = 0
    hits: dict[str, str] = {}
    for start in range(0, max(1, len(text)), MAX_TEXT - 4096):
        for how, view in decoded_views(text[start : start + MAX_TEXT]):
            looked += len(view)
            for i in range(len(view) - MARKER + 1):
                if view[i : i + MARKER] in needles:
                    hits.setdefault(view[i : i + MARKER], how)
    for marker, how in hits.items():
        one, day, by = needles[marker]
        yield Named(one.grant, one.model, day_name(day), by, min(1.0, looked * len(needles) * 2.0**-120), how)


def _by_id(text: str, canaries: Sequence[Canaries], issued: Sequence[Issued]) -> Iterator[Named]:
    tokens = {match.group() for match in _ID.finditer(text.lower())}
    for token in sorted(tokens):
        raw = bytes.fromhex(token)
        day = int.from_bytes(raw[:2], "big")
        for each in canaries:
            for one in issued:
                if day_of(one.starts) <= day <= day_of(one.until) and each.owns_id(raw, one.grant, one.model):
                    yield Named(one.grant, one.model, day_name(day), "id", min(1.0, len(tokens) * len(issued) * len(canaries) * 2.0**-80))


def _by_style(text: str, canaries: Sequence[Canaries], issued: Sequence[Issued]) -> Iterator[Named]:
    """Bonferroni over all grants that it could be."""
    pairs = [(one, each) for one in {(i.grant, i.model): i for i in issued}.values() for each in canaries]
    sites = sites_of(text)
    for one, each in pairs:
        chance = min(1.0, tail(agreement(sites, each.style_key(one.grant, one.model)), len(sites)) * len(pairs))
        if chance <= STYLE_LEVEL:
            yield Named(one.grant, one.model, "", "style", chance)


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().lower()
