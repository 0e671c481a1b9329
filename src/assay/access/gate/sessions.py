"""What is under way on all workers, told through the store, and the word that one of them is to be cut.

    telling = Telling(store)                              # a worker; telling.publish(live=[...], now=now), about once a second
    under_way(store, now)                                 # whoever administers
    ask_cut(store, session, by="wei", reason="...", now=now)   # raises the epoch, so that every worker looks within its lease
    cuts(store, now)                                      # a worker, when the epoch changed: {session: reason}

Nothing of what is said is among it. What a worker told longer ago than `STALE_MS` is of one that is gone, and left out.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from assay.access.model import Ms, Plain

if TYPE_CHECKING:
    from assay.access.store.base import Store

KIND = "sessions"
CUTS = "cuts"
STALE_MS = 10_000
GONE_MS = 60_000
"""Whose record is older has no worker any more: another may have it, so that there are no more records than there were workers at once."""
CUT_MS = 3_600_000
MOST = 5000
TRIES = 20

Short = Annotated[str, Meta(max_length=300)]


class Session(Struct, frozen=True, forbid_unknown_fields=True):
    """One request under way; `since` is Unix milliseconds, `tokens` about how many of a streamed answer have come (0: not known)."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
    model: Short
    grant: Short
    organisation: Short
    person: Short
    route: Short
    since: Ms
    tokens: Annotated[int, Meta(ge=0)] = 0


class Told(Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker has under way, and when it said so."""

    at: Ms
    live: Annotated[tuple[Session, ...], Meta(max_length=MOST)]


class Cut(Struct, frozen=True, forbid_unknown_fields=True):
    """The word that a session is to be cut."""

    by: Plain
    reason: Plain
    at: Ms


class _Cuts(Struct, frozen=True, forbid_unknown_fields=True):
    cuts: Annotated[dict[str, Cut], Meta(max_length=MOST)] = {}


def publish(store: Store, worker: str, live: Iterable[Session], now: int, known: int = -1) -> int:
    """Tell what is under way; the version to be given the next time. Raises `StoreError`, `ConflictError` where two use one name."""
    if known < 0:
        known = store.records(KIND).get(worker, (0, {}))[0]
    kept = sorted(live, key=lambda s: s.since)[:MOST]
    return store.put_record(KIND, worker, msgspec.to_builtins(Told(now, tuple(kept))), known)


class Telling:
    """What one worker tells, under a name of its own: processes on other machines may have its number."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name, self._version = "", 0

    def publish(self, live: Iterable[Session], now: int) -> None:
        """Tell what is under way; under another name where somebody else has taken this one. Raises `StoreError`, `ConflictError`."""
        from assay.access.store.base import ConflictError

        live = list(live)
        for attempt in range(TRIES):
            if not self._name:
                self._name, self._version = self._free(now)
            try:
                self._version = publish(self._store, self._name, live, now, self._version)
            except ConflictError:
                self._name = ""
                if attempt == TRIES - 1:
                    raise
                continue
            return

    def _free(self, now: int) -> tuple[str, int]:
        """A name that nobody uses: that of a worker that is gone, or a new one."""
        for name, (version, value) in self._store.records(KIND).items():
            told = value.get("at")
            if isinstance(told, int) and now - told > GONE_MS:
                return name, version
        return secrets.token_hex(8), 0


def under_way(store: Store, now: int) -> dict[str, Told]:
    """What each worker that lives has under way. Raises `StoreError`."""
    out = {}
    for worker, (_, value) in store.records(KIND).items():
        try:
            told = msgspec.convert(value, Told)
        except msgspec.ValidationError:
            continue
        if now - told.at <= STALE_MS:
            out[worker] = told
    return out


def ask_cut(store: Store, session: str, *, by: str, reason: str, now: int) -> int:
    """Have a session cut; the epoch from which workers know. Raises `StoreError`."""
    from assay.access.store.base import ConflictError

    for attempt in range(TRIES):
        version, kept = _cuts(store, now)
        kept[session] = Cut(by, reason, now)
        try:
            store.put_record(CUTS, "all", msgspec.to_builtins(_Cuts(dict(list(kept.items())[-MOST:]))), version)
        except ConflictError:
            if attempt == TRIES - 1:
                raise
            continue
        break
    return store.touch()


def cuts(store: Store, now: int) -> dict[str, Cut]:
    """Sessions that are to be cut, by id, asked for within the last hour. Raises `StoreError`, also where that cannot be read: then none of
    what is under way is known to be let be.
    """
    return _cuts(store, now)[1]


def _cuts(store: Store, now: int) -> tuple[int, dict[str, Cut]]:
    from assay.access.store.base import StoreError

    version, value = store.records(CUTS).get("all", (0, {}))
    try:
        found = msgspec.convert(value, _Cuts)
    except msgspec.ValidationError as e:
        raise StoreError(f"the store is damaged: cuts: {e}") from None
    return version, {k: c for k, c in found.cuts.items() if now - c.at <= CUT_MS}
