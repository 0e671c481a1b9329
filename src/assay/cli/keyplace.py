"""The type of every option that names a signing key: a PEM file, or a PKCS#11 URI, kept as it was typed.

@click.option("--key", type=KEY_PLACE, help=...)
key = usual_key(given, click.echo)      # of that option; where it is made now, that is said
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from assay.ledger import KeyPlace, PrivateKey


class KeyPlaceType(click.ParamType["KeyPlace"]):
    """Reads what `assay.ledger.key_place` reads. Raises `SigningKeyError` for a URI that names no one key."""

    name = "path|uri"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> KeyPlace:
        """A path or a key on a token."""
        from assay.ledger import key_place

        return key_place(value)


KEY_PLACE = KeyPlaceType()


def usual_key(given: KeyPlace | None, say: Callable[[str], None]) -> PrivateKey:
    """The key that was given, or the usual one; a file is made where there is none, and one line says so. Raises `SigningKeyError`."""
    from assay import api
    from assay.cli.words import program, shell_path
    from assay.ledger import is_protected, load_or_create_key

    place = given or api.default_key_path()
    new = isinstance(place, Path) and not place.exists()
    key = load_or_create_key(place)
    if new and isinstance(place, Path):
        guard = "" if is_protected(place.read_bytes()) else f"; protect it: {program()} key protect {shell_path(place)}"
        say(f"Made a signing key: {shell_path(place)}, id {key.public.keyid}{guard}")
    return key
