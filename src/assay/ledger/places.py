"""Where a signing key is: a PEM file, or a token that a PKCS#11 URI (RFC 7512) names.

place = key_place("pkcs11:token=office;object=assay?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/run/pin")
place = key_place("institute.pem")

The PIN is never in the URI, which stands in argument lists and histories: `pin-source` names a file, or ASSAY_PKCS11_PIN_FILE does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from assay.errors import SigningKeyError

SCHEME = "pkcs11:"
MAX_URI = 4096
_PATH = ("token", "manufacturer", "model", "serial", "object", "id", "type")
_QUERY = ("module-path", "pin-source")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


class TokenPlace(Struct, frozen=True):
    """A key on a token, by what a PKCS#11 URI says of it; what is empty is not asked for. `text` is the URI as it was given."""

    text: str
    token: str = ""
    manufacturer: str = ""
    model: str = ""
    serial: str = ""
    object: str = ""
    id: bytes = b""
    module: str = ""
    pin_file: str = ""

    def __str__(self) -> str:
        return self.text

    @property
    def name(self) -> str:
        """Token and key as people say them: what stands before errors."""
        key = quote(self.object, safe=" ") if self.object else f"id {self.id.hex()}"
        return f"{SCHEME}{quote(self.token or self.serial, safe=' ')}/{key}"


KeyPlace: TypeAlias = Path | TokenPlace


def key_place(given: str | os.PathLike[str] | TokenPlace) -> KeyPlace:
    """A PKCS#11 URI as what it names, anything else as a path. Raises `SigningKeyError` for a URI that names no one key."""
    if isinstance(given, TokenPlace):
        return given
    text = os.fspath(given)
    if not text.lower().startswith(SCHEME):
        return Path(text)
    if len(text) > MAX_URI:
        raise SigningKeyError(f"a PKCS#11 URI of more than {MAX_URI:,} characters", where=SCHEME)
    path, _, query = text[len(SCHEME) :].partition("?")
    return _checked(text, dict(_attributes(path, ";", _PATH)), dict(_attributes(query, "&", _QUERY)))


def _attributes(part: str, between: str, known: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Names and values of one half of a URI, each name once. Raises `SigningKeyError`."""
    seen = set()
    for attribute in filter(None, part.split(between)):
        name, equals, value = attribute.partition("=")
        if name == "pin-value":
            raise SigningKeyError(
                "a PIN must not stand in a URI", where="pin-value", fix="Put it into a file, and name that by pin-source."
            )
        if name not in known:
            shown = f"'{name[:40]}'" if equals and name.replace("-", "").isalnum() else "what stands there"
            raise SigningKeyError(f"{shown} is not understood in a PKCS#11 URI; {', '.join(known)} are", where=SCHEME)
        if name in seen or _BROKEN_ESCAPE.search(value):
            raise SigningKeyError(f"'{name}' stands there twice, or has a broken escape", where=SCHEME)
        seen.add(name)
        yield name, unquote_to_bytes(value)


def _checked(text: str, path: dict[str, bytes], query: dict[str, bytes]) -> TokenPlace:
    identity = path.pop("id", b"")
    try:
        words = {name: value.decode() for name, value in (path | query).items()}
    except UnicodeDecodeError:
        raise SigningKeyError("a PKCS#11 URI that is not UTF-8", where=SCHEME) from None
    if words.pop("type", "private") != "private":
        raise SigningKeyError("a key that signs has the type 'private'", where=SCHEME)
    module, pin_file = words.pop("module-path", ""), words.pop("pin-source", "").removeprefix("file://").removeprefix("file:")
    if not (words.get("token") or words.get("serial")) or not (words.get("object") or identity):
        raise SigningKeyError("the URI names no one key", where=SCHEME, fix="Give token=NAME, and object=LABEL or id=%01%02.")
    if not module.startswith("/"):
        raise SigningKeyError(
            "the token's module is not named by its whole path", where=SCHEME, fix="Add ?module-path=/usr/lib/softhsm/libsofthsm2.so."
        )
    if pin_file.startswith("|"):
        raise SigningKeyError("pin-source names a program; only a file is read", where="pin-source")
    if any("\0" in value for value in (*words.values(), module, pin_file)):
        raise SigningKeyError("a PKCS#11 URI with a NUL in it", where=SCHEME)
    return TokenPlace(text, **words, id=identity, module=module, pin_file=pin_file)
