"""Answers kept on disk, so that the same request need not be paid for twice.

    async with CachedTarget(target, generation, Path("answers.db")) as cached: ...

The key covers everything that can change an answer: the target's identity, its generation settings, the full messages, and the attempt,
that is how often this very request was made in this run, so that two samples of one prompt stay two. A change in any of them is a miss.
Failures are not kept. An answer from the cache says so in its trial's attempts, and the report counts them.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from assay.errors import TargetError
from assay.ledger import canonical
from assay.ledger.canonical import canonical_plain
from assay.plan import Generation
from assay.scenarios import Item, Message
from assay.targets.base import Attempt, ItemTarget, Reply, Target

CACHED = "cached"
_SCHEMA = "CREATE TABLE IF NOT EXISTS answer (key BLOB PRIMARY KEY, crc INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID"
_COMMIT_EVERY = 100


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str
    finish: str
    model: str
    prompt_tokens: int
    answer_tokens: int
    truncated: bool


class CachedTarget:
    """A target whose answers are looked up first."""

    def __init__(self, target: Target, generation: Generation, path: Path) -> None:
        self._target = target
        self._ask_item = target.ask_item if isinstance(target, ItemTarget) else lambda item: target.ask(item.messages)
        self._path = path
        self.identity: Mapping[str, str] = {}
        self._prefix = canonical(msgspec.to_builtins(generation))
        self._made: Counter[bytes] = Counter()
        self._unsaved = 0

    async def __aenter__(self) -> Self:
        try:
            self._db = sqlite3.connect(self._path)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(_SCHEMA)
        except sqlite3.Error as e:
            raise TargetError(f"cannot use this cache: {e}", where=str(self._path)) from None
        await self._target.__aenter__()
        self.identity = self._target.identity
        self._prefix += canonical(dict(self.identity))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._target.__aexit__(kind, error, trace)
        self._db.commit()
        self._db.close()

    async def alive(self) -> bool:
        """Whether the target behind the cache is."""
        return await self._target.alive()

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """The kept answer, or the target's."""
        key = self._key(messages)
        return self._find(key) or self._keep(key, await self._target.ask(messages))

    async def ask_item(self, item: Item) -> Reply:
        """The same for a target that must know the item."""
        key = self._key(item.messages, item.sample)
        found = self._find(key)
        if found is not None:
            return found
        return self._keep(key, await self._ask_item(item))

    def _key(self, messages: tuple[Message, ...], sample: int = 0) -> bytes:
        request = hashlib.sha256(self._prefix + canonical_plain(messages) + (b"#%d" % sample if sample else b"")).digest()
        self._made[request] += 1
        return hashlib.sha256(request + b"%d" % self._made[request]).digest()

    def _find(self, key: bytes) -> Reply | None:
        row = self._db.execute("SELECT crc, value FROM answer WHERE key = ?", (key,)).fetchone()
        if row is None or zlib.crc32(row[1]) != row[0]:
            return None
        kept = msgspec.json.decode(row[1], type=_Kept)
        return Reply(
            kept.text, finish=kept.finish, model=kept.model, prompt_tokens=kept.prompt_tokens, answer_tokens=kept.answer_tokens,
            truncated=kept.truncated, attempts=(Attempt(CACHED, 0),),
        )  # fmt: skip

    def _keep(self, key: bytes, reply: Reply) -> Reply:
        if not reply.failure:
            kept = _Kept(reply.text, reply.finish, reply.model, reply.prompt_tokens, reply.answer_tokens, reply.truncated)
            value = msgspec.json.encode(kept)
            self._db.execute("INSERT OR REPLACE INTO answer (key, crc, value) VALUES (?, ?, ?)", (key, zlib.crc32(value), value))
            self._unsaved += 1
            if self._unsaved % _COMMIT_EVERY == 0:
                self._db.commit()
        return reply
