"""The audit log of one worker: a record is on disk before what it speaks of happens.

    log = AuditLog.open(config, store, worker=0)
    await log.start()
    await log.write({"kind": "decided", ...}, nonce=(nonce, expires))    # returns when it is on disk; raises to deny
    log.note({"kind": "ended", ...})                                     # soon on disk, with the next batch
    digest = log.content("request", request_id, body, sha256)            # encrypted to the auditors; the log has the digest only
    await log.stop()

Every worker writes to a segment of its own (`WORKER-STARTED.jsonl`), and begins another when that has grown large. One thread takes all
that waits, spends its nonces in one go, and puts it on disk with one write that returns when it is there; another signs, every few seconds,
how far the segment has come (`ends`). Where anything of this fails, every waiting and every later `write` raises, and `problems` says why.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from assay.access.audit.ends import MAX_BATCH, End, Ends
from assay.access.audit.records import AuditError, encode, hash_of, line_of, shown
from assay.access.audit.segment import Begun, begin, write_all
from assay.access.model import DeniedError
from assay.errors import AssayError
from assay.ledger import MerkleTree, PrivateKey, digest, load_key
from assay.runs import sync_folder

if TYPE_CHECKING:
    from assay.access.config import Config
    from assay.access.store.base import Store

Nonce = tuple[bytes, int]
Spend = Callable[[Sequence[Nonce], int], Sequence[bool]]
CHECKPOINT_S = 5.0
ROLL_BYTES = 256 << 20
ROLL_AGAIN_S = 60.0
"""A segment that has so many bytes is ended and another begun; where that fails it goes on, and is tried again later."""
STALLED_S = 5.0
"""A write to the disk that takes longer refuses whoever comes meanwhile."""
MAX_WAITING = 50_000
MAX_RECORDS = 1024
FEW = 4
GATHER_S = 0.0008
NOTE_S = 0.02
"""Where more than a few wait already, a record waits this long for others to go with; one that nobody waits for, longer."""
ENDS = "ends"


class _Item:
    """What goes to the thread: a record's body with the future that waits for it, or a content (then `body` is empty)."""

    __slots__ = ("body", "content", "future", "nonce", "record")

    def __init__(
        self, body: bytes, record: Any, future: asyncio.Future[int] | None = None, nonce: Nonce | None = None, content: Any = None
    ) -> None:
        self.body = body
        self.record = record
        self.future = future
        self.nonce = nonce
        self.content = content


class AuditLog:
    """One worker's log. `write`, `note` and `content` are for the event loop's thread, `start` and `stop` once each."""

    def __init__(
        self, folder: Path, worker: str, key: PrivateKey, auditors: Sequence[str] = (), *,
        spend: Spend | None = None, config: str = "", checkpoint_s: float = CHECKPOINT_S, roll_bytes: int = ROLL_BYTES,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.segment = ""
        self.observe: Callable[[float, int], None] | None = None
        """Called in the thread after every write: how many seconds it took, and how many records wait now."""
        self._worker, self._key, self._auditors, self._config = worker, key, tuple(auditors), config
        self._spend, self._checkpoint_s, self._roll_bytes = spend, checkpoint_s, roll_bytes
        self._queue: queue.SimpleQueue[list[_Item] | Begun | None] = queue.SimpleQueue()
        self._rolling: asyncio.Task[None] | None = None
        self._roll_at = 0.0
        self._told_damaged: set[str] = set()
        self._held: list[_Item] = []
        self._timer: asyncio.Handle | None = None
        self._due = 0.0
        self._handed = self._taken = self._awaited = 0
        self._dead = "it was not begun"
        self._gone = self._ending = False
        self._busy_since = 0.0
        self._unsigned_since = 0.0
        self._stopping = threading.Event()
        self._state = threading.Lock()
        self._signing = threading.Lock()

    @classmethod
    def open(cls, config: Config, store: Store, worker: int) -> AuditLog:
        """The log as the gate's file has it. Raises `AssayError` where the key cannot be had."""
        key = load_key(config.path(config.audit.key))
        terms = digest(msgspec.to_builtins(config))
        return cls(config.path(config.audit.folder), f"w{worker}", key, config.audit.auditors, spend=store.spend, config=terms)

    # The event loop's side

    def write(self, record: dict[str, Any], *, nonce: Nonce | None = None) -> asyncio.Future[int]:
        """Await it: the record's place in the segment, once it is on disk. Raises `DeniedError` for a nonce that was used before (which is
        itself recorded), what the store raises, and `AuditError` for all else.
        """
        busy = self._busy_since  # read once: the thread sets it to 0 at any time
        if self._dead or (busy and time.monotonic() - busy > STALLED_S) or self._handed - self._taken > MAX_WAITING:
            raise AuditError(f"the audit log cannot be written: {self._dead or 'the disk does not keep up'}")
        future = self._loop.create_future()
        self._awaited += 1
        self._hold(_Item(encode(record), record, future, nonce), 0.0 if self._awaited < FEW else GATHER_S)
        if self._gone:  # the thread may have ended between the two: nobody else takes it out of the queue then
            self._refuse_rest()
        return future

    def note(self, record: dict[str, Any], *, nonce: Nonce | None = None) -> None:
        """Record something that nothing waits for; a nonce is spent with it, as far as it can be. It never raises: a record that is
        none is noted as a fault. Once the disk has failed nothing can be noted; then `problems` says so.
        """
        if self._gone:
            return
        try:
            body = encode(record)
        except AuditError as e:
            record = {"kind": "error", "at": time.time_ns() // 1_000_000, "what": shown(f"no record: {e.what}")}
            body = encode(record)
        self._hold(_Item(body, record, nonce=nonce), NOTE_S)

    def content(self, kind: str, request: str, data: bytes, sha256: bytes = b"") -> str:
        """Keep a content for the auditors, if there are any, and return its salted digest for the record. `sha256` is that of the data, if
        it is known. A content that is given in before a record is on disk when that record is; nothing else runs between the two, or they
        may come to lie in different segments.
        """
        sealer = self._sealer
        n, salt, salted = sealer.digest(data, sha256)
        if sealer.keeps and not self._gone:
            self._hold(_Item(b"", None, content=(kind, n, salt, salted, data)), NOTE_S)
        return "sha256:" + salted.hex()

    def _hold(self, item: _Item, seconds: float) -> None:
        """Into the next batch, which the thread gets after so many seconds at the latest: every batch costs disk and interpreter the same,
        however much is in it, so few are made.
        """
        self._held.append(item)
        if not self._loop_runs():
            self._hand_over()
            return
        due = self._loop.time() + seconds
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._hand_over) if seconds else self._loop.call_soon(self._hand_over)

    def _loop_runs(self) -> bool:
        """Whether this is called on the event loop; at its start the log notes things from elsewhere."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _hand_over(self) -> None:
        self._timer, held, self._held = None, self._held, []
        if held:
            self._handed += len(held)
            self._queue.put(held)
            if self._gone:
                self._refuse_rest()

    def problems(self) -> list[str]:
        """Why nothing may be served; empty if all is well."""
        found = [f"audit: {self._dead}"] if self._dead else []
        busy, unsigned = self._busy_since, self._unsigned_since
        if busy and time.monotonic() - busy > STALLED_S:
            found.append(f"audit: the disk has not answered for {int(time.monotonic() - busy)} s")
        if unsigned:
            found.append(f"audit: no checkpoint could be signed for {int(time.monotonic() - unsigned)} s")
        return found

    async def start(self) -> None:
        """Begin the segment. Raises `AuditError`, `LogError`, `LogTamperedError`: then nothing may be served."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._begin)

    async def stop(self) -> None:
        """Write what waits, sign the end, and let the segment go."""
        self._ending = True
        if self._rolling is not None:
            await self._rolling
        if self._timer is not None:
            self._timer.cancel()
        self._hand_over()
        await asyncio.to_thread(self._end)

    async def _roll(self) -> None:
        """Another segment for what comes from now on. What was held before it goes to the old one, which the thread then ends."""
        try:
            begun = await asyncio.to_thread(self._new_segment)
        except (AssayError, OSError) as e:
            self._roll_at = time.monotonic() + ROLL_AGAIN_S
            what = shown(f"no new segment could be begun: {e.what if isinstance(e, AssayError) else e.strerror}")
            self.note({"kind": "error", "at": time.time_ns() // 1_000_000, "what": what})
            return
        finally:
            self._rolling = None
        if self._timer is not None:
            self._timer.cancel()
        self._hand_over()
        self._sealer = begun.sealer  # contents that are given in from here on are the new segment's, as are the records that name them
        self._queue.put(begun)
        self._tell_damaged(begun)

    def _tell_damaged(self, begun: Begun) -> None:
        for name in begun.damaged:
            if name not in self._told_damaged:
                self._told_damaged.add(name)
                what = f"the segment {name} does not hold; run: assay access audit verify"
                self.note({"kind": "alert", "at": time.time_ns() // 1_000_000, "alert": "audit", "what": what, "severity": "critical"})

    # The threads' side

    def _new_segment(self) -> Begun:
        ends = Ends.open(self.folder / ENDS, self._key)  # one of its own: the signer's thread is at work on the other
        now = time.time_ns() // 1_000_000
        return begin(self.folder, self._worker, self._key, ends, self._auditors, self._config, now, self.segment)

    def _take_over(self, begun: Begun) -> None:
        """End the segment that was written to so far, and go on in this one."""
        with self._signing:
            self._checkpoint((), final=True)
            self._close()
            self._follow(begun)
            self._checkpoint(begun.ends)

    def _follow(self, begun: Begun) -> None:
        with self._state:
            self._tree, self._n, self._last, self._bytes = MerkleTree(), 0, "", 0
            self._content_bytes, self._contents = 0, hashlib.sha256()
            self._signed = 0
            self._begun, self.segment = begun, begun.name
        self._count([begun.line])

    def _close(self) -> None:
        os.close(self._begun.file)
        if self._begun.content >= 0:
            os.close(self._begun.content)

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        sync_folder(self.folder.parent)
        self._ends = Ends.open(self.folder / ENDS, self._key)
        begun = begin(self.folder, self._worker, self._key, self._ends, self._auditors, self._config, time.time_ns() // 1_000_000)
        self._follow(begun)
        self._sealer = begun.sealer
        self._checkpoint(begun.ends)
        self._dead = ""
        self._tell_damaged(begun)
        self._writer = threading.Thread(target=self._write_all, name="audit", daemon=True)
        self._signer = threading.Thread(target=self._sign_all, name="audit-checkpoints", daemon=True)
        self._writer.start()
        self._signer.start()

    def _end(self) -> None:
        if not self.segment or self._stopping.is_set():
            return
        self._stopping.set()
        self._queue.put(None)
        self._writer.join()
        self._signer.join()
        failed = self._dead
        self._dead, self._gone = failed or "it was stopped", True
        self._refuse_rest()
        try:
            if not failed:
                self._checkpoint((), final=True)
        finally:
            self._close()

    def _write_all(self) -> None:
        waiting = self._queue
        batch: list[_Item] = []
        try:
            while True:
                items = waiting.get()
                batch = []
                while isinstance(items, list):
                    batch += items
                    if len(batch) > MAX_RECORDS or not waiting.qsize():
                        break
                    items = waiting.get_nowait()
                for part in _parts(batch):
                    self._commit(part)
                self._taken += len(batch)
                batch = []
                if isinstance(items, Begun):
                    self._take_over(items)
                elif items is None:
                    return
        except BaseException as e:  # noqa: BLE001 (whatever it is, nobody may go on waiting, and nothing may be served)
            reason = e.strerror if isinstance(e, OSError) and e.strerror else e.what if isinstance(e, AssayError) else type(e).__name__
            self._fail(str(reason), batch)

    def _commit(self, batch: list[_Item]) -> None:
        """Everything that waits, with one write."""
        failed = self._spent([item for item in batch if item.nonce is not None])
        contents = [item.content for item in batch if item.content is not None]
        if contents:
            self._keep(contents)
        lines: list[bytes] = []
        done: list[tuple[asyncio.Future[int], int | Exception]] = []
        n, last = self._n, self._last
        for item in batch:
            if not item.body:
                continue
            body, result = item.body, failed.get(id(item)) if item.future is not None else None
            if result is not None:
                body = encode(_denied(item.record, result))
            line = line_of(body, n, last)
            lines.append(line)
            last = hash_of(line)
            if item.future is not None:
                done.append((item.future, n if result is None else result))
            n += 1
        if lines:
            lines.append(b"")
            data = b"\n".join(lines)
            lines.pop()
            self._busy_since = started = time.monotonic()
            write_all(self._begun.file, data)
            self._busy_since = 0.0
            self._count(lines)
            if self.observe is not None:
                self.observe(time.monotonic() - started, self._handed - self._taken)
        if done:
            self._tell(done)

    def _spent(self, items: list[_Item]) -> dict[int, Exception]:
        """Spend nonces: the items that may not go on, and why."""
        if not items:
            return {}
        if self._spend is None:
            return {id(item): AuditError("there is no store to spend nonces in") for item in items}
        try:
            new = self._spend([item.nonce for item in items if item.nonce is not None], time.time_ns() // 1_000_000)
            if len(new) != len(items):
                raise AuditError("the store has not answered for every nonce")
        except Exception as e:  # noqa: BLE001 (the store's failure denies these, whatever it is; the log itself goes on)
            error = e if isinstance(e, AssayError) else AuditError(f"the store has failed ({type(e).__name__})")
            return {id(item): error for item in items}
        return {
            id(item): DeniedError("replay", 401, "this proof was used before")
            for item, fresh in zip(items, new, strict=True) if fresh is not True
        }  # fmt: skip

    def _keep(self, contents: list[tuple[str, int, bytes, bytes, bytes]]) -> None:
        """Contents go to disk before the records that name them."""
        data = b"".join([self._begun.sealer.frame(*c) for c in contents])
        self._busy_since = time.monotonic()
        write_all(self._begun.content, data)
        os.fdatasync(self._begun.content)
        self._busy_since = 0.0
        with self._state:
            self._contents.update(data)
            self._content_bytes += len(data)

    def _count(self, lines: list[bytes]) -> None:
        with self._state:
            for line in lines:
                self._tree.append(line)
                self._bytes += len(line) + 1
            self._n += len(lines)
            self._last = hash_of(lines[-1])

    def _resolve(self, done: Sequence[tuple[asyncio.Future[int], int | Exception]]) -> None:
        self._awaited -= len(done)
        _resolve(done)
        settled = self._rolling is None and self._begun.sealer is self._sealer and not (self._dead or self._ending)
        if settled and self._bytes > self._roll_bytes and time.monotonic() >= self._roll_at:
            self._rolling = self._loop.create_task(self._roll())

    def _tell(self, done: Sequence[tuple[asyncio.Future[int], int | Exception]]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._resolve, done)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _fail(self, reason: str, batch: list[_Item]) -> None:
        self._dead, self._gone = reason, True
        error = AuditError(f"the audit log cannot be written: {reason}")
        self._tell([(item.future, error) for item in batch if item.future is not None])
        self._refuse_rest()

    def _refuse_rest(self) -> None:
        error = AuditError(f"the audit log cannot be written: {self._dead}")
        rest: list[tuple[asyncio.Future[int], int | Exception]] = []
        try:
            while True:
                items = self._queue.get_nowait()
                rest += [(item.future, error) for item in (items if isinstance(items, list) else ()) if item.future is not None]
        except queue.Empty:
            self._tell(rest)

    # Checkpoints

    def _sign_all(self) -> None:
        """Sign every few seconds. Where that fails it is said at once, and after ten times as long nothing is written any more."""
        while not self._stopping.wait(self._checkpoint_s):
            try:
                with self._signing:
                    self._checkpoint(())
                self._unsigned_since = 0.0
            except Exception as e:  # noqa: BLE001 (it is said in health, and ends the log if it lasts)
                self._unsigned_since = self._unsigned_since or time.monotonic()
                lasts = time.monotonic() - self._unsigned_since > 10 * self._checkpoint_s
                if lasts or (isinstance(e, AssayError) and e.exit_code == 1):
                    self._dead = f"no checkpoint can be signed: {e.what if isinstance(e, AssayError) else type(e).__name__}"
                    self._refuse_rest()
                    return

    def _checkpoint(self, others: Sequence[End], *, final: bool = False) -> None:
        with self._state:
            n, size, last, root = self._n, self._bytes, self._last, self._tree.root().hex()
            content, contents = self._content_bytes, self._contents.hexdigest()
        if n == self._signed and not final:
            return
        end = End(
            at=time.time_ns() // 1_000_000, segment=self.segment, records=n, length=size, last=last, root=root,
            content=content, contents=contents, final=final,
        )  # fmt: skip
        self._ends.add(*others, end)
        self._signed = n


def _parts(batch: list[_Item]) -> Iterator[list[_Item]]:
    """A batch in parts that one write takes."""
    part: list[_Item] = []
    size = 0
    for item in batch:
        part.append(item)
        size += len(item.body) + 256
        if size > MAX_BATCH - (512 << 10):
            yield part
            part, size = [], 0
    if part:
        yield part


def _resolve(done: Sequence[tuple[asyncio.Future[int], int | Exception]]) -> None:
    for future, result in done:
        if future.done():  # whoever waited is gone
            continue
        if isinstance(result, int):
            future.set_result(result)
        else:
            future.set_exception(result)


_OF_DENIED = frozenset({
    "id", "grant", "version", "person", "organisation", "purpose", "model", "digest", "route", "network", "system", "tools", "stream",
    "tier", "decision", "epoch", "request_digest", "reserved",
})  # fmt: skip


def _denied(record: dict[str, Any], error: Exception) -> dict[str, Any]:
    """The record of a denial, in place of one that was to be written."""
    kept = {k: v for k, v in record.items() if k in _OF_DENIED}
    rule, status = (error.rule, error.status) if isinstance(error, DeniedError) else ("store", 503)
    what = error.what if isinstance(error, AssayError) else type(error).__name__
    return {**kept, "kind": "denied", "at": record["at"], "rule": rule, "status": status, "what": shown(what)}
