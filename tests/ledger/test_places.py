"""Where a key is: PKCS#11 URIs are read as RFC 7512 has them, everything else is a path, and a PIN is never in a URI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from assay.cli import app
from assay.cli.keyplace import KeyPlaceType
from assay.errors import SigningKeyError
from assay.ledger import TokenPlace, key_place

MODULE = "module-path=/usr/lib/softhsm/libsofthsm2.so"


def test_a_uri_is_read_and_kept_as_it_was_typed() -> None:
    text = f"pkcs11:token=The%20Office;object=a%3bb;id=%00%ff;serial=01;model=m;manufacturer=x;type=private?{MODULE}&pin-source=file:///run//pin"
    place = key_place(text)
    assert isinstance(place, TokenPlace)
    assert str(place) == text
    assert (place.token, place.object, place.id, place.serial, place.model, place.manufacturer) == (
        "The Office", "a;b", b"\x00\xff", "01", "m", "x",
    )  # fmt: skip
    assert (place.module, place.pin_file) == ("/usr/lib/softhsm/libsofthsm2.so", "/run//pin")
    assert key_place(place) is place


def test_anything_else_is_a_path() -> None:
    assert key_place("keys//mine.pem") == Path("keys/mine.pem")
    assert key_place(Path("pkcs.pem")) == Path("pkcs.pem")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (f"pkcs11:token=t;object=o?{MODULE}&pin-value=1234", "PIN must not stand in a URI"),
        ("pkcs11:token=t;object=o;pin-value=1234", "PIN must not stand in a URI"),
        (f"pkcs11:token=t?{MODULE}", "names no one key"),
        (f"pkcs11:object=o?{MODULE}", "names no one key"),
        (f"pkcs11:?{MODULE}", "names no one key"),
        ("pkcs11:token=t;object=o", "not named by its whole path"),
        ("pkcs11:token=t;object=o?module-path=libsofthsm2.so", "not named by its whole path"),
        (f"pkcs11:token=t;object=o;slot-id=3?{MODULE}", "'slot-id' is not understood"),
        (f"pkcs11:token=t;object=o?{MODULE}&module-name=softhsm", "'module-name' is not understood"),
        (f"pkcs11:token=t;token=u;object=o?{MODULE}", "twice"),
        (f"pkcs11:token=t;object=%zz?{MODULE}", "broken escape"),
        (f"pkcs11:token=t;object=%ff?{MODULE}", "not UTF-8"),
        (f"pkcs11:token=t;object=a%00b?{MODULE}", "NUL"),
        (f"pkcs11:token=t;object=o;type=public?{MODULE}", "type 'private'"),
        (f"pkcs11:token=t;object=o?{MODULE}&pin-source=|cat pin", "names a program"),
        (f"pkcs11:token={'t' * 5000}", "more than 4,096"),
    ],
    ids=lambda v: v[:40] if " " in v else "uri",
)
def test_a_uri_that_names_no_one_key_is_refused_in_words(uri: str, said: str) -> None:
    with pytest.raises(SigningKeyError, match=said) as caught:
        key_place(uri)
    assert "1234" not in str(caught.value)


def options(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Parameter]]:
    yield from ((path, p) for p in command.params)
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from options(inner, (*path, name))


def test_every_option_that_takes_a_signing_key_takes_a_uri() -> None:
    not_ours = {("verify",), ("model", "sign")}  # a key id; an ECDSA key of OpenSSF Model Signing
    found = {path: p for path, p in options(app) if "--key" in p.opts and path not in not_ours}
    assert ("run",) in found
    assert [path for path, p in found.items() if not isinstance(p.type, KeyPlaceType)] == []
