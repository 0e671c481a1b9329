"""Signed notes, checkpoints and cosignatures, as C2SP specifies them (c2sp.org/signed-note, tlog-checkpoint, tlog-cosignature).

    note = Note(Checkpoint("example.org/log", 3, root).to_text())
    note = note.signed(sign_note(note.text, "example.org/log", key), cosign(note.text, "example.org/witness", other_key, now_s))
    verify_note(Note.parse(note.to_bytes()), [log_key, witness_key])

A key is known by its name and its four-byte id. Lines of unknown keys are ignored and never counted; a line of a known key that does not
hold makes the whole note worthless. Only Ed25519: plain signatures (type 0x01) by logs, timestamped cosignatures (type 0x04) by witnesses.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from assay.errors import AssayError
from assay.ledger.keys import PrivateKey, PublicKey
from assay.ledger.proofs import EMPTY_ROOT, HASH_BYTES

MAX_NOTE_BYTES = 1 << 20
MAX_SIGNATURES = 100
MAX_SIZE = 2**63 - 1
SIGNATURE: Literal[1] = 1
COSIGNATURE: Literal[4] = 4
_DASH = "\N{EM DASH} "
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class NoteError(AssayError):
    """A note, checkpoint or verifier key is malformed."""


class NoteSignatureError(NoteError):
    """A signature of a known key does not hold."""

    exit_code = 1


class NoteKey(Struct, frozen=True):
    """A verifier key: whose it is, and what its signatures mean (`SIGNATURE` or `COSIGNATURE`)."""

    name: str
    public: PublicKey
    kind: Literal[1, 4]

    @property
    def id(self) -> bytes:
        """The first four bytes of SHA-256(name, newline, type, key): tells keys apart, secures nothing."""
        return hashlib.sha256(self.name.encode() + b"\n" + self._material).digest()[:4]

    @property
    def text(self) -> str:
        """The key as a line that people hand over: name+id+key, the C2SP `vkey`."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(self._material).decode()}"

    @property
    def _material(self) -> bytes:
        return bytes([self.kind]) + self.public.raw

    @classmethod
    def parse(cls, text: str, *, kind: Literal[1, 4]) -> NoteKey:
        """Strict inverse of `text`. Raises `NoteError`, also for a key of another kind than `kind`."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3:
            raise NoteError("a verifier key is NAME+ID+KEY", where=text[:80])
        material = _base64(parts[2])
        if material is None or len(material) != 33:
            raise NoteError("the verifier key is not 33 bytes of base64", where=text[:80])
        if material[0] != kind:
            what = {SIGNATURE: "a log's (type 1)", COSIGNATURE: "a witness's (type 4)"}
            raise NoteError(f"this key is of type {material[0]}, not {what[kind]}", where=text[:80])
        key = cls(key_name(parts[0]), PublicKey(material[1:]), kind)
        if key.text != text.strip():
            raise NoteError("name, id and key do not agree", where=text[:80])
        return key


class NoteSignature(Struct, frozen=True):
    """One signature line: the key's name and id, and what it signed with."""

    name: str
    id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """As it stands in a note, newline included."""
        return f"{_DASH}{self.name} {base64.b64encode(self.id + self.signature).decode()}\n"

    @property
    def said_at(self) -> int:
        """The time that a cosignature claims, Unix seconds; -1 for what cannot be one."""
        return int.from_bytes(self.signature[:8], "big") if len(self.signature) == 72 else -1


class Note(Struct, frozen=True):
    """Signed text: ends in a newline, and so does every signature line after the empty line."""

    text: str
    signatures: tuple[NoteSignature, ...] = ()

    def to_bytes(self) -> bytes:
        """The note as a file, UTF-8."""
        return (self.text + "\n" + "".join(s.line for s in self.signatures)).encode()

    def signed(self, *signatures: NoteSignature) -> Note:
        """With more signatures; of two by one key the one with the later time stays."""
        kept = list(self.signatures)
        for new in signatures:
            old = next((i for i, s in enumerate(kept) if (s.name, s.id) == (new.name, new.id)), None)
            if old is None:
                kept.append(new)
            elif new.said_at > kept[old].said_at:
                kept[old] = new
        return Note(self.text, tuple(kept))

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Read a note. Raises `NoteError` naming the line."""
        if len(data) > MAX_NOTE_BYTES:
            raise NoteError(f"a note of {len(data):,} bytes; at most {MAX_NOTE_BYTES:,} are read")
        try:
            whole = data.decode()
        except UnicodeDecodeError as e:
            raise NoteError(f"the note is not UTF-8 (byte {e.start})") from None
        for number, line in enumerate(whole.split("\n"), 1):
            if any(c < " " for c in line):
                raise NoteError("a control character", where=f"line {number}")
        head, gap, tail = whole.rpartition("\n\n")
        if not gap or not tail.endswith("\n"):
            raise NoteError("a note is text, an empty line, and signature lines, each ended by a newline")
        lines = tail[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise NoteError(f"{len(lines)} signatures; at most {MAX_SIGNATURES} are read")
        first = head.count("\n") + 3
        return cls(head + "\n", tuple(_signature(line, f"line {first + i}") for i, line in enumerate(lines)))


class Checkpoint(Struct, frozen=True):
    """A tree head: the log's name for itself, how many leaves, and their root (32 bytes)."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def to_text(self) -> str:
        """The note text."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Strict inverse of `to_text`. Raises `NoteError` naming the line."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines):
            raise NoteError("a checkpoint is three lines or more (origin, size, root), none of them empty")
        origin, size, root, *extensions = lines
        decoded = _base64(root)
        if not _DECIMAL.fullmatch(size) or int(size) > MAX_SIZE:
            raise NoteError(f"the tree size is {size[:40]!r}, not a decimal number without leading zeroes", where="line 2")
        if decoded is None or len(decoded) != HASH_BYTES:
            raise NoteError("the root is not 32 bytes of base64", where="line 3")
        if size == "0" and decoded != EMPTY_ROOT:
            raise NoteError("the empty tree has another root", where="line 3")
        return cls(origin, int(size), decoded, tuple(extensions))


class Held(Struct, frozen=True):
    """A known key's signature that holds; `at` is its time in Unix seconds, -1 for a plain signature."""

    key: NoteKey
    at: int


def key_name(name: str) -> str:
    """The name, if it can be a key's. Raises `NoteError`."""
    if not name or "+" in name or any(c.isspace() or c < " " for c in name) or len(name.encode(errors="replace")) > 255:
        raise NoteError(f"'{name[:80]}' cannot be a key's name: no spaces, no +, 1 to 255 bytes", fix="Use something like example.org/log.")
    return name


def sign_note(text: str, name: str, key: PrivateKey) -> NoteSignature:
    """A log's plain signature over the text."""
    return NoteSignature(name, NoteKey(key_name(name), key.public, SIGNATURE).id, key.sign(text.encode()))


def cosign(text: str, name: str, key: PrivateKey, at: int) -> NoteSignature:
    """A witness's cosignature at `at` (Unix seconds): that this is the largest tree of this log that it has seen, and it only ever grew.

    The caller has checked that. Raises `NoteError` for a time outside 0 to 2^63 - 1.
    """
    if not 0 <= at <= MAX_SIZE:
        raise NoteError(f"{at} is no POSIX time that a cosignature can hold")
    signature = key.sign(_cosigned(text, at))
    return NoteSignature(name, NoteKey(key_name(name), key.public, COSIGNATURE).id, at.to_bytes(8, "big") + signature)


def verify_note(note: Note, keys: Iterable[NoteKey]) -> list[Held]:
    """Which of the known keys signed, each once, with the latest of its times, in the order of `keys`.

    Raises `NoteSignatureError` if any line of a known key does not hold; lines of unknown keys are ignored.
    """
    held = []
    for key in dict.fromkeys(keys):
        times = [_holds(note.text, s, key) for s in note.signatures if (s.name, s.id) == (key.name, key.id)]
        if times:
            held.append(Held(key, max(times)))
    return held


def distinct(held: Sequence[Held]) -> list[Held]:
    """One entry a public key: a party that signs under two names is still one party."""
    return list({h.key.public.raw: h for h in reversed(held)}.values())[::-1]


def _holds(text: str, signature: NoteSignature, key: NoteKey) -> int:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    timed = key.kind == COSIGNATURE
    if len(signature.signature) != (72 if timed else 64):
        raise NoteSignatureError(f"the signature of {key.name} has {len(signature.signature)} bytes")
    at = signature.said_at if timed else -1
    if at > MAX_SIZE:
        raise NoteSignatureError(f"the cosignature of {key.name} has no possible time")
    signed = _cosigned(text, at) if timed else text.encode()
    try:
        Ed25519PublicKey.from_public_bytes(key.public.raw).verify(signature.signature[8 if timed else 0 :], signed)
    except (InvalidSignature, ValueError):
        raise NoteSignatureError(f"the signature of {key.name} does not hold") from None
    return at


def _cosigned(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def _signature(line: str, where: str) -> NoteSignature:
    name, gap, encoded = line.removeprefix(_DASH).partition(" ")
    raw = _base64(encoded)
    if not line.startswith(_DASH) or not gap or raw is None or len(raw) < 5:
        raise NoteError("a signature line is an em dash, a space, the key's name, a space, and base64 of id and signature", where=where)
    try:
        return NoteSignature(key_name(name), raw[:4], raw[4:])
    except NoteError as e:
        raise NoteError(e.what, where=where) from None


def _base64(text: str) -> bytes | None:
    """Strictly: what encodes back to the same text; None for anything else."""
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, UnicodeEncodeError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None
