"""`assay key new|show|protect|store|forget`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from assay import api
from assay.cli.keyplace import KEY_PLACE
from assay.cli.words import program, shell_path
from assay.errors import SigningKeyError
from assay.ledger import KeyPlace, PrivateKey, TokenPlace, is_protected, keychain, load_key, write_key
from assay.ledger.keys import PASSPHRASE_FILE, passphrase

SHORTEST = 12
MOST_SECRET = 4096


@click.group()
def command() -> None:
    """Signing keys (Ed25519), in PEM files or on tokens. PATH is a file or a PKCS#11 URI; the usual key unless given.

    A protected key is opened by the passphrase in the file that ASSAY_KEY_PASSPHRASE_FILE names, or in ASSAY_KEY_PASSPHRASE; a token by the
    PIN in the file that the URI's pin-source or ASSAY_PKCS11_PIN_FILE names. `store` keeps that passphrase, and the API keys that plans
    name, in the system's keyring.

    \b
    Examples:
      assay key new institute.pem --protect
      assay key new 'pkcs11:token=office;object=assay?module-path=/usr/lib/softhsm/libsofthsm2.so'
      assay key show
      assay key protect
      assay key store MY_API_KEY --host models.example.org
      assay key store ASSAY_KEY_PASSPHRASE
    """


@command.command()
@click.argument("path", required=False, type=KEY_PLACE)
@click.option("--protect", is_flag=True, help="Ask for a passphrase.")
def new(path: KeyPlace | None, protect: bool) -> None:
    """Make a key at PATH. What is there already stays. A key on a token is made there and never leaves it."""
    path = path or api.default_key_path()
    if isinstance(path, TokenPlace):
        if protect:
            raise _token_has_its_pin(path)
        from assay.ledger.token import make_token_key

        made = PrivateKey(make_token_key(path))
        _say(path, made, protected=True)
        click.echo(f"\nTell the id to the others. To sign a run with it:\n\n  {program()} run --key {shlex.quote(str(path))}")
        return
    key = PrivateKey.generate()
    secret = _asked() if protect else b""
    try:
        write_key(path, key, secret)
    except FileExistsError:
        raise SigningKeyError("there is a file already", where=str(path), fix="Choose another path.") from None
    click.echo(f"Wrote {shell_path(path)}, {'protected by a passphrase' if protect else 'not protected by a passphrase'}.")
    click.echo(f"key id {key.public.keyid}")
    guard = "" if protect else f" To protect it: {program()} key protect {shell_path(path)}"
    click.echo(f"\nTell the id to the others.{guard}\nTo sign a run with it:\n\n  {program()} run --key {shell_path(path)}")


@command.command()
@click.argument("path", required=False, type=KEY_PLACE)
@click.option("--public", is_flag=True, help="Only the public key, in base64: what a roles file takes.")
@click.option("--id", "only_id", is_flag=True, help="Only the id.")
def show(path: KeyPlace | None, public: bool, only_id: bool) -> None:
    """The id that others compare, and whether the key is protected."""
    path = path or api.default_key_path()
    key = load_key(path)
    if public or only_id:
        click.echo(key.public.to_json()["public"] if public else key.public.keyid)
        return
    _say(path, key, protected=isinstance(path, Path) and is_protected(path.read_bytes()))


@command.command()
@click.argument("path", required=False, type=KEY_PLACE)
@click.option("--remove", is_flag=True, help="Take the passphrase away.")
def protect(path: KeyPlace | None, remove: bool) -> None:
    """Give the key at PATH a passphrase, or another one. Its id stays the same."""
    path = path or api.default_key_path()
    if isinstance(path, TokenPlace):
        raise _token_has_its_pin(path)
    key = load_key(path)
    write_key(path, key, b"" if remove else _asked(), replace=True)
    _say(path, key, protected=not remove)


@command.command()
@click.argument("name")
@click.option("--host", default="", help="Only for endpoints on this host; without it, for whatever endpoint a plan gives it to.")
def store(name: str, host: str) -> None:
    """Keep a secret in the system's keyring, under the NAME that a plan gives (`api_key_env`), or ASSAY_KEY_PASSPHRASE.

    It is typed unseen, or is the first line of standard input; never an argument. A variable of that name in the environment goes first.

    \b
    Examples:
      assay key store MY_API_KEY --host models.example.org
      assay key store MY_API_KEY < key.txt
    """
    if why := keychain.problem():
        raise keychain.KeyringError(why, fix=keychain.HEADLESS if "needs" not in why else "pip install 'assay[keyring]'")
    keychain.store(name, _typed(name), host.casefold())
    where = f", for {host}" if host else "" if name.startswith("ASSAY_") else ", for whatever endpoint a plan gives it to"
    click.echo(
        f"{name} is kept in {keychain.backend()}{where}.\nTo remove it: {program()} key forget {name}{f' --host {host}' if host else ''}"
    )


@command.command()
@click.argument("name")
@click.option("--host", default="", help="The one that was stored for this host.")
def forget(name: str, host: str) -> None:
    """Remove a secret from the system's keyring."""
    keychain.forget(name, host.casefold())
    click.echo(f"{name} is kept no more.")


def _typed(name: str) -> str:
    """A secret from whoever types, or the first line of standard input. Raises `SigningKeyError` for what can be none."""
    if sys.stdin.isatty():
        secret = str(click.prompt(name, hide_input=True, confirmation_prompt=True))
    else:
        secret = sys.stdin.readline(MOST_SECRET + 1).rstrip("\r\n")
    if not secret or len(secret) >= MOST_SECRET or not secret.isprintable():
        raise SigningKeyError(f"a secret is one line of printable characters, fewer than {MOST_SECRET:,}", where=name)
    return secret


def _asked() -> bytes:
    """A new passphrase, typed twice; that of the variables where nobody is there to type."""
    secret = passphrase() if not sys.stdin.isatty() else str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=True)).encode()
    if len(secret) < SHORTEST:
        raise SigningKeyError(f"a passphrase has {SHORTEST} characters or more", fix=f"Type it, or name a file in {PASSPHRASE_FILE}.")
    return secret


def _token_has_its_pin(place: TokenPlace) -> SigningKeyError:
    return SigningKeyError(
        "a key on a token has no passphrase: the token has its PIN", where=place.name, fix="Change the PIN with the token's own tools."
    )


def _say(path: KeyPlace, key: PrivateKey, *, protected: bool) -> None:
    if isinstance(path, TokenPlace):
        click.echo(f"{shlex.quote(str(path))}: on a token, protected by its PIN")
    else:
        click.echo(f"{shell_path(path)}: {'protected by a passphrase' if protected else 'not protected'}")
    click.echo(f"key id {key.public.keyid}")
