"""`assay access new FOLDER`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from assay.cli.words import program, shell_path

TEMPLATE = """\
# The gate's file: what it serves, and whose word it takes. docs/access.md describes every key. Paths are relative to this file.
assay: gate/1
listen: {listen}
hosts: [{listen}]                 # the names by which it may be called; any other is refused
# tls: {{certificate: gate.crt, key: gate.key}}      # needed to listen beyond this machine; client_ca for client certificates
workers: 1
store: gate.db                    # or postgresql://...
secret: gate.secret
audit: {{folder: audit, key: audit.pem, auditors: []}}      # age recipients who may read contents; none: digests only
authority:
  roles: {roles}
  owners: [{owners}]
admins:
  threshold: 2
  keys:
{admins}
models:
  {model}:
    digest: "{digest}"             # as releases have it: assay release show RELEASE
    upstream: {upstream}
    upstream_model: {model}
    # key_variable: UPSTREAM_KEY   # the variable of the environment that holds the upstream's key
    # prices: {{prompt: 3.0, answer: 15.0}}
"""


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--model", required=True, help="The model's name, as operators will say it.")
@click.option("--digest", required=True, help="Its digest, as releases have it (assay release show).")
@click.option("--upstream", required=True, help="The address of its OpenAI-compatible server, with /v1.")
@click.option("--roles", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The authority's signed roles.")
@click.option("--owner", "owners", multiple=True, required=True, metavar="KEYID", help="The key ids of the roles' owners.")
@click.option("--admin", "admins", multiple=True, required=True, metavar="NAME=KEY", help="Who approves grants: two or more public keys.")
@click.option("--listen", default="127.0.0.1:8443", show_default=True, help="Where the gate listens.")
def command(
    folder: Path, model: str, digest: str, upstream: str, roles: Path, owners: tuple[str, ...], admins: tuple[str, ...], listen: str
) -> None:
    """Make a gate in FOLDER: its file, its secret, the key of its audit log, and an empty store."""
    from assay.access.config import GateError, read_config
    from assay.access.credentials.secretfile import write_secret
    from assay.access.store.base import open_store
    from assay.cli.roles import named_key
    from assay.ledger import PrivateKey, write_key

    path = folder / "gate.yaml"
    if path.exists():
        raise GateError("there is a gate here already", where=str(path), fix="Choose another folder.")
    lines = "\n".join(f"    {name}: {json.dumps(key)}" for name, key in (named_key(given) for given in admins))
    text = TEMPLATE.format(
        listen=listen, roles=json.dumps(str(roles.resolve())), owners=", ".join(json.dumps(o) for o in owners), admins=lines, model=model,
        digest=digest, upstream=upstream,
    )  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(text, encoding="utf-8")
        config = read_config(path)
    except OSError as e:
        raise GateError(f"cannot make the gate: {e.strerror}", where=str(folder)) from None
    except GateError:
        path.unlink()
        raise
    write_secret(config.path(config.secret))
    write_key(config.path(config.audit.key), PrivateKey.generate(), b"")
    open_store(config.store, Path(config.folder)).close()
    click.echo(f"Made a gate in {shell_path(folder)}. Next, give it the release of its model, and a first grant:\n")
    click.echo(f"  {program()} access release RELEASE --config {shell_path(path)}")
    click.echo(f"  {program()} access grant GRANT.yaml --config {shell_path(path)} --key ADMIN")
    click.echo(f"\nThen serve:\n\n  {program()} access serve --config {shell_path(path)}")
