"""`assay access console` and `assay access admin`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from assay.cli.keyplace import KEY_PLACE
from assay.cli.words import program, shell_path
from assay.errors import AssayError
from assay.ledger import KeyPlace, load_key

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--gate", required=True, metavar="ADDRESS", help="The administration's address, such as https://gate.example:8471.")
@click.option("--key", required=True, type=KEY_PLACE, help="Your key: an administrator's, an auditor's or a viewer's.")
@click.option("--ca", type=_FILE, help="The only authorities to believe (PEM).")
@click.option("--certificate", type=_FILE, help="Your client's certificate with its key (PEM), where the gate wants one.")
@click.option("--port", default=8472, show_default=True, type=click.IntRange(0, 65535), help="Here, on this machine; 0 takes any free one.")
def command(gate: str, key: KeyPlace, ca: Path | None, certificate: Path | None, port: int) -> None:
    """A page on this machine that shows the gate and acts on it. Your key stays in this process; the browser has none.

    \b
    Examples:
      assay access console --gate https://gate.example:8471 --key admin-1.pem
      assay access console --gate http://127.0.0.1:8471 --key viewer.pem --port 0
    """
    _need()
    import uvicorn

    from assay.access.admin.console.app import make_console
    from assay.access.admin.console.remote import Remote
    from assay.web.serving import listen

    remote = Remote(gate, load_key(key), ca=ca, certificate=certificate)
    with listen("127.0.0.1", port) as socket:
        app, link = make_console(remote, port=socket.getsockname()[1])
        click.echo(f"Open this once, in a browser on this machine:\n\n  {link}\n")
        click.echo(f"It ends after half an hour without you, and with Ctrl-C. Audit: {program()} access audit search --help")
        settings = uvicorn.Config(
            app, access_log=False, log_level="error", server_header=False, proxy_headers=False, ws="none", lifespan="on",
            interface="asgi3", timeout_graceful_shutdown=2, limit_concurrency=50, h11_max_incomplete_event_size=32_768,
        )  # fmt: skip
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(settings).run(sockets=[socket])
    click.echo("\nStopped. The same command prints a new link.")


@click.command()
@click.option("--config", required=True, type=_FILE, help="The gate's file.")
def admin(config: Path) -> None:
    """Serve the administration's API on the listener that the gate's file names: a process of its own, beside `assay access serve`."""
    _need()
    from assay.access.admin.serve import serve_admin
    from assay.access.config import read_config
    from assay.web.serving import listen

    loaded = read_config(config)
    reading = loaded.administration
    host, port = reading.address
    scheme = "https" if reading.tls else "http"
    with listen(host, port, secure=reading.tls is not None) as socket:
        known = ", ".join([*loaded.admins.keys, *reading.auditors, *reading.viewers])
        address = f"{scheme}://{reading.hosts[0]}:{socket.getsockname()[1]}"
        click.echo(f"The administration of {shell_path(config)} at {address}, for {known}. Ctrl-C stops it.")
        click.echo(f"\nEach of them, on their own machine:\n\n  {program()} access console --gate {address} --key KEY")
        serve_admin(loaded, socket)


def _need() -> None:
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as e:
        raise AssayError(f"this needs {e.name}", fix="pip install 'assay[access]'") from None
