"""Canonical JSON (RFC 8785) and SHA-256 digests over it.

digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import rfc8785

from assay.errors import AssayError

_MAX_INTEGER = 2**53 - 1
_fast = msgspec.json.Encoder(order="sorted")


def canonical(value: Any) -> bytes:
    """The RFC 8785 form of a JSON value, UTF-8 bytes.

    Raises `AssayError` for what JSON cannot hold (NaN, integers beyond 2^53, lone surrogates).
    """
    try:
        return _fast.encode(value) if _is_plain(value) else rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as e:
        raise AssayError(f"this value has no canonical JSON form: {e}") from None


def _is_plain(value: Any) -> bool:
    """Whether `canonical_plain` gives the same bytes: no floats, no integers that JSON's numbers cannot hold, ASCII keys."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-_MAX_INTEGER <= value <= _MAX_INTEGER)
    if kind is dict:
        return all(type(k) is str and k.isascii() and _is_plain(v) for k, v in value.items())
    if kind is list:
        return all(_is_plain(v) for v in value)
    return False


def canonical_plain(value: Any) -> bytes:
    """The same bytes as `canonical`, 20 times faster, for values without floats whose keys are ASCII.

    The caller guarantees both; tests compare the two over generated values.
    """
    return _fast.encode(value)


def digest_bytes(data: bytes) -> str:
    """`sha256:` and the hex digest of bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """`sha256:` and the hex digest of a value's canonical JSON."""
    return digest_bytes(canonical(value))
