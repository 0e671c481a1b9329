"""The type of every option that names a signing key: a PEM file, or a PKCS#11 URI, kept as it was typed.

@click.option("--key", type=KEY_PLACE, help=...)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from assay.ledger import KeyPlace


class KeyPlaceType(click.ParamType["KeyPlace"]):
    """Reads what `assay.ledger.key_place` reads. Raises `SigningKeyError` for a URI that names no one key."""

    name = "path|uri"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> KeyPlace:
        """A path or a key on a token."""
        from assay.ledger import key_place

        return key_place(value)


KEY_PLACE = KeyPlaceType()
