"""The gate's secret, which all its workers share: a file that only its owner reads, the one in use first, then those that were retired.

    write_secret(Path("gate.secret"))
    rotate_secret(Path("gate.secret"), now)
    read_secrets(Path("gate.secret"))          # (Secret(value=..., retired=0), Secret(value=..., retired=1790000000000))

A line is 64 hex digits; a retired secret's has the time (Unix ms) when it was retired behind it. Whoever has the secret can make tokens.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path

from msgspec import Struct

from assay.access.config import GateError

MAX_LINES = 8
LONGEST_TOKEN_MS = 3_600_000
_LINE = re.compile(r"([0-9a-f]{64})(?: ([0-9]{1,15}))?")


class Secret(Struct, frozen=True):
    """32 bytes, and when they were retired (Unix ms; 0: in use). Its repr does not show them."""

    value: bytes
    retired: int = 0

    def __repr__(self) -> str:
        return f"Secret(retired={self.retired})"


def read_secrets(path: Path) -> tuple[Secret, ...]:
    """The secret in use, then the retired ones. Raises `GateError`: not there, readable by others, not as it should be."""
    try:
        with path.open("rb") as file:
            mode, data = os.fstat(file.fileno()).st_mode, file.read(4096)
    except OSError as e:
        raise GateError(f"cannot read the gate's secret: {e.strerror}", where=str(path), fix="Make one: assay access secret new") from None
    if stat.S_IMODE(mode) & 0o077:
        raise GateError("others than its owner can get at the gate's secret", where=str(path), fix=f"chmod 600 {path}, and rotate it.")
    lines = [_LINE.fullmatch(line) for line in data.decode("ascii", errors="replace").splitlines()]
    found = tuple(Secret(bytes.fromhex(m[1]), int(m[2] or 0)) for m in lines if m)
    whole = 1 <= len(lines) <= MAX_LINES and len(found) == len(lines)
    if not whole or found[0].retired or not all(s.retired for s in found[1:]) or len({s.value for s in found}) < len(found):
        raise GateError("not a gate's secret: 64 hex digits, then retired ones with their time", where=str(path))
    if any(len(set(s.value)) < 8 for s in found):
        raise GateError("the secret is not random", where=str(path), fix="Make one: assay access secret new")
    return found


def write_secret(path: Path) -> None:
    """A new secret where there is none. Raises `GateError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise GateError("there is a file already", where=str(path), fix="Rotate it: assay access secret rotate") from None
    except OSError as e:
        raise GateError(f"cannot write the gate's secret: {e.strerror}", where=str(path)) from None
    _write(descriptor, f"{secrets.token_hex(32)}\n")


def rotate_secret(path: Path, now: int) -> None:
    """A new secret in use; the old one is retired, and kept while a token by it can live. Raises `GateError`."""
    old = read_secrets(path)
    kept = [Secret(old[0].value, now), *(s for s in old[1:] if s.retired > now - LONGEST_TOKEN_MS)]
    if len(kept) >= MAX_LINES:
        raise GateError(f"rotated {MAX_LINES - 1} times within an hour", where=str(path))
    text = f"{secrets.token_hex(32)}\n" + "".join(f"{s.value.hex()} {s.retired}\n" for s in kept)
    partial = path.with_name(f".{path.name}.partial")
    try:
        _write(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), text)
        partial.replace(path)
    except FileExistsError:
        raise GateError("it is being rotated, or that was broken off", where=str(partial), fix="Else remove this file.") from None
    except OSError as e:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise GateError(f"cannot write the gate's secret: {e.strerror}", where=str(path)) from None


def _write(descriptor: int, text: str) -> None:
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
