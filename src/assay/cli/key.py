"""`assay key new|show|protect`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from assay import api
from assay.cli.words import shell_path
from assay.errors import SigningKeyError
from assay.ledger import PrivateKey, is_protected, load_key, write_key
from assay.ledger.keys import PASSPHRASE_FILE, passphrase

SHORTEST = 12


@click.group()
def command() -> None:
    """Signing keys (Ed25519, in PEM files). PATH is the usual key unless given.

    A protected key is opened by the passphrase in the file that ASSAY_KEY_PASSPHRASE_FILE names, or in ASSAY_KEY_PASSPHRASE.

    \b
    Examples:
      assay key new institute.pem --protect
      assay key show
      assay key protect
    """


@command.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--protect", is_flag=True, help="Ask for a passphrase.")
def new(path: Path | None, protect: bool) -> None:
    """Make a key at PATH. What is there already stays."""
    path = path or api.default_key_path()
    key = PrivateKey.generate()
    secret = _asked() if protect else b""
    try:
        write_key(path, key, secret)
    except FileExistsError:
        raise SigningKeyError("there is a file already", where=str(path), fix="Choose another path.") from None
    _say(path, key, protected=protect)


@command.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
def show(path: Path | None) -> None:
    """The id that others compare, and whether the key is protected."""
    path = path or api.default_key_path()
    key = load_key(path)
    _say(path, key, protected=is_protected(path.read_bytes()))


@command.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--remove", is_flag=True, help="Take the passphrase away.")
def protect(path: Path | None, remove: bool) -> None:
    """Give the key at PATH a passphrase, or another one. Its id stays the same."""
    path = path or api.default_key_path()
    key = load_key(path)
    write_key(path, key, b"" if remove else _asked(), replace=True)
    _say(path, key, protected=not remove)


def _asked() -> bytes:
    """A new passphrase, typed twice; that of the variables where nobody is there to type."""
    secret = passphrase() if not sys.stdin.isatty() else str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=True)).encode()
    if len(secret) < SHORTEST:
        raise SigningKeyError(f"a passphrase has {SHORTEST} characters or more", fix=f"Type it, or name a file in {PASSPHRASE_FILE}.")
    return secret


def _say(path: Path, key: PrivateKey, *, protected: bool) -> None:
    click.echo(f"{shell_path(path)}: {'protected by a passphrase' if protected else 'not protected'}")
    click.echo(f"key id {key.public.keyid}")
