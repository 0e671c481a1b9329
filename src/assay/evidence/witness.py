"""The other party's side of a log: cosign a checkpoint if the log only grew since the last one cosigned, else say what differs.

    cosigned = witness(Path("witness.json"), key, "example.org/auditor", shown, now_s)
    cosigned.note.to_bytes()

The witness keeps, in a file of its own, the last tree that it cosigned of every log. What it is shown (`Shown`) is a checkpoint with either
the log's leaf hashes or a consistency proof; as a file, the latter is the request of c2sp.org/tlog-witness. The state is on disk before a
cosignature is given away.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from assay.evidence.log import View, lock_file, write_durably
from assay.evidence.logbook import LogError, LogTamperedError
from assay.ledger import PrivateKey, canonical
from assay.ledger.notes import COSIGNATURE, SIGNATURE, Checkpoint, Note, NoteKey, cosign, verify_note
from assay.ledger.proofs import HASH_BYTES, consistency_path, is_consistent, root_of

FORMAT = "assay-witness/1"
MAX_STATE_BYTES = 1 << 28
MAX_PATH = 63


class Seen(Struct, frozen=True, forbid_unknown_fields=True):
    """The last tree of a log that was cosigned: the log's key, size, root (hex), when (Unix s), and the leaf hashes if they were shown."""

    key: str
    size: int
    root: str
    at: int
    leaves: bytes = b""

    def leaf(self, index: int) -> bytes:
        """The hash of leaf `index`; empty if it was not shown."""
        return self.leaves[index * HASH_BYTES : (index + 1) * HASH_BYTES]


class State(Struct, frozen=True, forbid_unknown_fields=True):
    """A witness's memory: its own verifier key, and what it cosigned by origin."""

    witness: str
    logs: dict[str, Seen] = {}
    format: str = FORMAT


class Shown(Struct, frozen=True):
    """A checkpoint as it is shown to a witness; `old` is the size that the proof `path` starts from, -1 without a proof."""

    note: Note
    hashes: tuple[bytes, ...] | None = None
    old: int = -1
    path: tuple[bytes, ...] = ()


class Cosigned(Struct, frozen=True):
    """A checkpoint with the cosignature, the key that others check it with, and what was cosigned before."""

    note: Note
    head: Checkpoint
    key: NoteKey
    at: int
    before: Seen | None


def show(view: View) -> Shown:
    """The latest checkpoint of a log's folder with its leaf hashes. Raises `LogError` if there is none."""
    if not view.checkpoints:
        raise LogError("the log has no checkpoint yet", fix="Sign one: assay log checkpoint FOLDER")
    return Shown(view.checkpoints[-1].note, tuple(view.hashes))


def request(view: View, old: int) -> bytes:
    """A witness's request as C2SP has it: the size to start from, the consistency proof from there, and the latest checkpoint."""
    shown = show(view)
    head = Checkpoint.parse(shown.note.text)
    path = consistency_path(view.hashes[: head.size], old)
    lines = [f"old {old}", *(base64.b64encode(h).decode() for h in path), "", ""]
    return "\n".join(lines).encode() + shown.note.to_bytes()


def parse_shown(data: bytes) -> Shown:
    """Read a checkpoint, with or without the lines of a request before it. Raises `AssayError`."""
    if not data.startswith(b"old "):
        return Shown(Note.parse(data))
    head, _, note = data.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    size = re.fullmatch(rb"old (0|[1-9][0-9]{0,18})", first)
    if size is None or len(lines) > MAX_PATH:
        raise LogError("a request begins with 'old SIZE' and at most 63 lines of proof", where="line 1")
    try:
        path = tuple(base64.b64decode(line, validate=True) for line in lines)
    except ValueError:
        raise LogError("a line of the proof is not base64", where="lines 2 and on") from None
    return Shown(Note.parse(note), None, int(size[1]), path)


def witness(state_path: Path, key: PrivateKey, name: str, shown: Shown, now_s: int, log_key: NoteKey | None = None) -> Cosigned:
    """Cosign what is shown, or refuse. `log_key` must be given for a log that was never cosigned here.

    Raises `LogTamperedError` for a split view, a log that was rewritten, shrank or changed its key, or is not signed by it; `LogError` for
    what cannot be judged.
    """
    head = Checkpoint.parse(shown.note.text)
    own = NoteKey(name, key.public, COSIGNATURE)
    with lock_file(state_path.with_name(f".{state_path.name}.lock")):
        state = read_state(state_path) or State(own.text)
        if state.witness != own.text:
            raise LogError("the state belongs to another witness", where=str(state_path), fix=f"It is that of {state.witness}.")
        seen = state.logs.get(head.origin)
        trusted = _log_key(head, seen, log_key)
        if trusted.public == own.public:
            raise LogError("a log's own key is no witness to it", fix="Let the other party cosign, with a key of its own.")
        if not verify_note(shown.note, [trusted]):
            raise LogTamperedError(f"the checkpoint is not signed by the log's key {trusted.text}", where=head.origin)
        _check(head, shown, seen)
        at = max(now_s, seen.at if seen else 0)
        if at > now_s + 60:
            raise LogError(f"the clock is {at - now_s:,} s behind the last cosignature", fix="Set the clock right.")
        leaves = b"".join(shown.hashes[: head.size]) if shown.hashes is not None else _kept(seen, head.size)
        now = Seen(trusted.text, head.size, head.root.hex(), at, leaves)
        after = msgspec.structs.replace(state, logs={**state.logs, head.origin: now})
        write_durably(state_path, canonical(msgspec.to_builtins(after)) + b"\n")
    return Cosigned(shown.note.signed(cosign(shown.note.text, name, key, at)), head, own, at, seen)


def read_state(path: Path) -> State | None:
    """A witness's memory; None if there is none yet. Raises `LogError`: a damaged memory is not forgotten."""
    if not path.exists():
        return None
    try:
        if path.stat().st_size > MAX_STATE_BYTES:
            raise LogError("the witness's state is too large", where=str(path))
        state = msgspec.json.decode(path.read_bytes(), type=State)
        sound = state.format == FORMAT and all(s.size >= 0 and len(bytes.fromhex(s.root)) == HASH_BYTES for s in state.logs.values())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, ValueError) as e:
        raise LogError(f"the witness's state is damaged ({type(e).__name__})", where=str(path), fix="Restore it from a copy.") from None
    if not sound:
        raise LogError(f"not a witness's state of format {FORMAT}", where=str(path))
    return state


def _log_key(head: Checkpoint, seen: Seen | None, given: NoteKey | None) -> NoteKey:
    known = NoteKey.parse(seen.key, kind=SIGNATURE) if seen else given
    if known is None:
        raise LogError(
            f"the log {head.origin} was never cosigned here: whose key must it be signed with?",
            fix="Give the key that its operator told you: --log-key.",
        )
    if given is not None and given != known:
        raise LogTamperedError(f"the log's key was {known.text}, not {given.text}", where=head.origin)
    if known.name != head.origin:
        raise LogTamperedError(f"the checkpoint is of the log {head.origin}, the key of {known.name}")
    return known


def _check(head: Checkpoint, shown: Shown, seen: Seen | None) -> None:
    """That what is shown is the tree cosigned before, grown. Raises `LogTamperedError` saying what differs."""
    where = head.origin
    if shown.hashes is not None and len(shown.hashes) < head.size:
        raise LogTamperedError(f"the log has shrunk: {len(shown.hashes)} entries, where its checkpoint has {head.size}", where=where)
    if seen is not None and seen.size:
        _compare(head, shown, seen)
    if shown.hashes is not None and root_of(shown.hashes[: head.size]) != head.root:
        raise LogTamperedError(f"the entries do not give the root that the checkpoint of size {head.size} signed", where=where)


def _compare(head: Checkpoint, shown: Shown, seen: Seen) -> None:
    where = head.origin
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seen.at))
    before = f"{seen.size} entries with root {seen.root}, cosigned here on {when}"
    if head.size < seen.size:
        raise LogTamperedError(f"the log was rolled back: the checkpoint has {head.size} entries; before it had {before}", where=where)
    if shown.hashes is not None:
        differing = _differing(shown.hashes, seen)
        if differing:
            raise LogTamperedError(f"split view, or the log was rewritten: {differing}; before it had {before}", where=where)
    elif head.size == seen.size:
        if head.root.hex() != seen.root:
            raise LogTamperedError(
                f"split view, or the log was rewritten: the root at this size is {head.root.hex()}; before it had {before}", where=where
            )
    elif shown.old != seen.size:
        raise LogError(
            f"no proof that the log only grew from the {seen.size} entries cosigned here", where=where,
            fix=f"Ask for one: assay log checkpoint FOLDER --since {seen.size}",
        )  # fmt: skip
    elif not is_consistent(seen.size, bytes.fromhex(seen.root), head.size, head.root, shown.path):
        raise LogTamperedError(
            f"split view, or the log was rewritten: no proof leads from before to the {head.size} entries now; before it had {before}",
            where=where,
        )


def _differing(hashes: Sequence[bytes], seen: Seen) -> str:
    """The first entry that is another than before, or the root if the entries were not shown then; empty if nothing differs."""
    root = root_of(hashes[: seen.size]).hex()
    if root == seen.root:
        return ""
    first = next((i for i in range(seen.size) if seen.leaf(i) and seen.leaf(i) != hashes[i]), None)
    if first is None:
        return f"its first {seen.size} entries have root {root}"
    return f"entry {first} (counted from 0) is another than it was"


def _kept(seen: Seen | None, size: int) -> bytes:
    """The leaf hashes known from before, as far as they go."""
    return seen.leaves[: size * HASH_BYTES] if seen else b""


def own_key_name(key: PrivateKey) -> str:
    """The name that a witness has unless it gives itself another."""
    return f"assay-witness/{key.public.keyid[:16]}"
