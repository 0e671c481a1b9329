"""`assay access connect`."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.keyplace import KEY_PLACE
from assay.cli.words import plain, shell_path
from assay.errors import AssayError

if TYPE_CHECKING:
    from assay.access.credentials.gateclient import Link
    from assay.ledger import KeyPlace, PrivateKey


@click.command()
@click.option("--gate", required=True, metavar="URL", help="The gate's address, https://NAME.")
@click.option("--grant", required=True, metavar="ID", help="The grant to use.")
@click.option("--person", required=True, metavar="NAME", help="Who you are, as the grant has it.")
@click.option("--key", type=KEY_PLACE, help="Your key, that the grant names: a PEM file, or a PKCS#11 URI.")
@click.option("--certificate", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Client certificate with its key (PEM).")
@click.option("--listen", default="127.0.0.1:8400", show_default=True, metavar="HOST:PORT", help="Where clients call; this machine only.")
@click.option("--ca", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The only authorities that vouch for the gate.")
@click.option("--system", default="", metavar="NAME", help="Which of your systems you test, as the grant has it.")
@click.option("--secret-file", type=click.Path(dir_okay=False, path_type=Path), help="Keep the local API key here instead of showing it.")
def command(
    gate: str, grant: str, person: str, key: KeyPlace | None, certificate: Path | None, listen: str, ca: Path | None, system: str,
    secret_file: Path | None,
) -> int:  # fmt: skip
    """A local endpoint for any OpenAI client. It holds your key and proves every request to the gate: a copied token is worth nothing.

    Clients give its local API key, which nobody else on this machine has. Ctrl-C stops it.

    \b
    Examples:
      assay access connect --gate https://gate.example --grant power --person Aisyah --key aisyah.pem
      assay access connect --gate https://gate.example --grant power --person Aisyah --key aisyah.pem --secret-file ~/.assay-local
    """
    from assay.access.credentials.gateclient import ConnectError, Link
    from assay.ledger import load_key

    if key is None and certificate is None:
        raise ConnectError("nothing speaks for you", where="--key")
    signer = load_key(key) if key is not None else None
    host, _, port = listen.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise AssayError("not HOST:PORT", where=f"--listen {listen}")
    link = Link(gate, grant, person, system, ca, certificate)
    return _run(link, signer, host.strip("[]"), int(port), secret_file)


def _run(link: Link, signer: PrivateKey | None, host: str, port: int, secret_file: Path | None) -> int:
    from assay.access.credentials.connect import Connector, local_secret
    from assay.access.credentials.gateclient import GateClient

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with GateClient(link, signer) as client:
            await client.ready()
            secret = local_secret(secret_file)
            async with Connector(client, secret) as connector:
                _say(link, await connector.listen(host, port), secret, secret_file)
                await stop.wait()

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
    return 0


def _say(link: Link, address: str, secret: str, secret_file: Path | None) -> None:
    """What a client needs, once."""
    key = f"$(cat {shell_path(secret_file)})" if secret_file else secret
    click.echo(f"The gate gave a token for {plain(link.person)}, grant {plain(link.grant)}. Clients here may call; Ctrl-C stops it.\n")
    click.echo(f"  export OPENAI_BASE_URL={address}\n  export OPENAI_API_KEY={key}\n")
    click.echo('Try it:\n\n  curl -s "$OPENAI_BASE_URL/models" -H "Authorization: Bearer $OPENAI_API_KEY"')
