"""`assay model serve`: an embedded model behind an OpenAI-compatible address, for a gate, a test bench or a first try."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import click

from assay.cli.words import plain, program, shell_path
from assay.errors import AssayError

if TYPE_CHECKING:
    from assay.targets.models import Model

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
MAX_KEY_BYTES = 4096
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("name", default="")
@click.option(
    "--listen", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT", help="Where it listens; port 0 takes any free one."
)
@click.option(
    "--key-file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The API key that callers give; made if it is not there.",
)
@click.option("--certificate", type=_FILE, help="Certificate (PEM); needed to listen beyond this machine.")
@click.option("--private-key", type=_FILE, help="Its key (PEM).")
@click.option("--slots", default=4, show_default=True, type=click.IntRange(1, 64), help="Requests at once.")
@click.option("--context", default=4096, show_default=True, type=click.IntRange(512, 131_072), help="Tokens of prompt and answer together.")
def serve(name: str, listen: str, key_file: Path, certificate: Path | None, private_key: Path | None, slots: int, context: int) -> None:
    """Serve an embedded model (the default one unless NAME says another) to whoever has the key. Ctrl-C stops it.

    \b
    Examples:
      assay model serve --key-file local.key
      assay model serve smollm2-135m-instruct --key-file local.key --listen 127.0.0.1:0
      assay model serve --key-file model.key --listen 0.0.0.0:8000 --certificate model.crt --private-key model.key.pem
    """
    from assay.targets import models

    host, port = _address(listen)
    if (certificate is None) != (private_key is None):
        raise AssayError("certificate and key go together", where="--certificate, --private-key")
    if certificate is None and host not in LOOPBACK:
        raise AssayError(
            "without TLS it listens on this machine only", where=f"--listen {plain(listen)}", fix="Give --certificate and --private-key."
        )
    wanted = models.model(name or models.DEFAULT)
    key = _key(key_file)
    path = models.weights(wanted.name, lambda line: click.echo(line, err=True))
    behind = (host, port) if certificate is None else ("127.0.0.1", 0)
    server = _started(path, slots, context, key, behind, wanted.name)
    inner = urlsplit(str(server.listening_address))
    try:
        asyncio.run(
            _until_stopped((host, port), (str(inner.hostname), int(inner.port or 0)), certificate, private_key, _Told(wanted, key_file))
        )
    except AssayError as e:
        click.echo(f"assay: {e}", err=True)
        _end(e.exit_code)
    _end(0)


@dataclass(frozen=True, slots=True)
class _Told:
    """What a person is told once it serves."""

    model: Model
    key_file: Path

    def say(self, scheme: str, address: tuple[str, int]) -> None:
        """The address, and the next command."""
        at, key = f"{scheme}://{address[0]}:{address[1]}/v1", shell_path(self.key_file)
        click.echo(f"{self.model.name}, {self.model.digest}\nServing at {at} with the key in {key}. Ctrl-C stops it.")
        click.echo(f"\nEvaluate it:\n\n  LOCAL_KEY=$(cat {key}) {program()} run --target {at}#{self.model.name}@LOCAL_KEY")
        sys.stdout.flush()


async def _until_stopped(
    listen: tuple[str, int], inner: tuple[str, int], certificate: Path | None, private_key: Path | None, told: _Told
) -> None:
    from assay.targets.tlsfront import tls_front

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    if certificate is None or private_key is None:
        told.say("http", inner)
        await stopped.wait()
        return
    async with tls_front(listen, inner, certificate, private_key) as address:
        told.say("https", address)
        await stopped.wait()


def _end(code: int) -> NoReturn:
    """The runtime's threads do not end by themselves."""
    sys.stdout.flush()
    os._exit(code)


def _started(path: Path, slots: int, context: int, key: str, address: tuple[str, int], name: str) -> Any:
    from assay.targets.embedded_server import start

    try:
        return start(str(path), slots, context, key, address, name)
    except ImportError:
        raise AssayError("the embedded runtime is not installed", fix="pip install 'assay[local]'") from None
    except RuntimeError:
        raise AssayError(
            "the model's server did not start",
            where=f"--listen {address[0]}:{address[1]}",
            fix="Is the address free? Is there enough memory?",
        ) from None


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise AssayError("not HOST:PORT", where=f"--listen {plain(listen)}")
    return host.strip("[]"), int(port)


def _key(path: Path) -> str:
    """The key in a file that only its owner reads; a new one where there is none."""
    try:
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
                made.write(secrets.token_urlsafe(32) + "\n")
        with path.open("rb") as file:
            key = file.read(MAX_KEY_BYTES + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise AssayError(f"cannot read the key: {getattr(e, 'strerror', None) or 'it is no text'}", where=str(path)) from None
    if not 16 <= len(key) <= 512 or not key.isprintable() or " " in key:
        raise AssayError("a key is 16 to 512 printable characters on one line", where=str(path))
    return key
