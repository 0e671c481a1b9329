"""Sketches of prompts: 128 bytes that tell how alike two texts are, and from which no text can be read back.

    sketch = sketch_of(text, key)              # base64, 172 characters; empty for a text too short to be told from others
    likeness(read(a), read(b))                 # about the Jaccard similarity of their shingles, +- 0.06

MinHash by one permutation with 64 bins (Li, Owen and Zhang 2012), empty ones filled by rotation (Shrivastava and Li 2014), over shingles of
8 bytes, hashed under a key of the gate. Who has the key can check a guessed text against a sketch; who has not, cannot.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

BINS = 64
SHINGLE = 8
SHORTEST = 48
END = 1024
Sketch: TypeAlias = NDArray[np.uint16]

_EMPTY = np.int64(1 << 20)
_STEP = 40503
_29, _32, _48, _LAST = np.uint64(29), np.uint64(32), np.uint64(48), np.uint64(BINS - 1)


class Sketcher:
    """Makes sketches under one key."""

    def __init__(self, secret: bytes) -> None:
        key = hmac.digest(secret, b"assay access sketches v1", "sha256")
        self._seed = np.uint64(int.from_bytes(key[:8], "big"))
        self._odd = [np.uint64(int.from_bytes(key[i : i + 8], "big") | 1) for i in (8, 16)]

    def sketch(self, text: str) -> str:
        """The sketch in base64; of a long text the first and the last 1,024 bytes. Case and spacing do not matter."""
        if len(text) > 6 * END:
            text = text[: 3 * END] + text[-3 * END :]
        data = " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")
        if len(data) < SHORTEST:
            return ""
        if len(data) > 2 * END:
            data = data[:END] + data[-END:]
        shingles = np.ndarray((len(data) - SHINGLE + 1,), np.dtype("<u8"), data, 0, (1,))
        mixed = shingles ^ self._seed
        mixed *= self._odd[0]
        mixed ^= mixed >> _29
        mixed *= self._odd[1]
        values = (mixed >> _48).astype(np.int64)
        mixed >>= _32
        mixed &= _LAST
        least = np.full(BINS, _EMPTY)
        np.minimum.at(least, mixed.astype(np.int64), values)
        empty = np.flatnonzero(least == _EMPTY)
        if len(empty):
            full = np.flatnonzero(least != _EMPTY)
            following = full[np.searchsorted(full, empty) % len(full)]
            least[empty] = (least[following] + (following - empty) % BINS * _STEP) & 0xFFFF
        return base64.b64encode(least.astype("<u2").tobytes()).decode()


def read(sketch: str) -> Sketch | None:
    """The 64 values; None for what is no sketch."""
    try:
        raw = base64.b64decode(sketch, validate=True)
    except ValueError:
        return None
    return np.frombuffer(raw, dtype="<u2").astype(np.uint16) if len(raw) == 2 * BINS else None


def likeness(a: Sketch, b: Sketch) -> float:
    """The share of bins that agree."""
    return float(np.count_nonzero(a == b)) / BINS


def last_words(value: Mapping[str, Any]) -> str:
    """What the person said last in a request's body: the part that is theirs, without instructions that a vendor's software repeats."""
    given = value.get("messages", value.get("input"))
    if isinstance(given, str):
        return given
    if not isinstance(given, list):
        return ""
    if given and all(isinstance(part, str) for part in given):
        return "\n".join(given)
    for message in reversed(given):
        if isinstance(message, dict) and message.get("role", "user") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            if isinstance(content, list):
                return "\n".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    return ""
