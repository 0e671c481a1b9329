"""`assay access canary find`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from assay.cli.words import plain, program, shell_path

MAX_BYTES = 32 << 20


@click.group()
def command() -> None:
    """Marks of a grant in what the gate gave out. A grant says under `canaries` which its holder agreed to.

    \b
    Examples:
      assay access canary find leaked.txt --config gate.yaml
      assay access canary find - --config gate.yaml < leaked.txt
    """


@command.command()
@click.argument("source")
@click.option("--config", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The gate's file.")
@click.option(
    "--secret", "secrets", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A former secret's file, too."
)
def find(source: str, config: Path, secrets: tuple[Path, ...]) -> int:
    """Whose a leaked text is: SOURCE is a file, `-` for standard input, or the text itself.

    Exit code: 0 if a grant is named, 1 if none is. A text without marks names nobody.
    """
    from assay.access.config import read_config
    from assay.access.safety.canaries import find as look
    from assay.access.safety.canaries import issued_in, open_canaries
    from assay.access.store.base import open_store

    read = read_config(config)
    now = time.time_ns() // 1_000_000
    store = open_store(read.store, Path(read.folder))
    try:
        issued = issued_in(store.snapshot(), now)
    finally:
        store.close()
    text = _text(source)
    found = look(text, open_canaries(read, secrets), issued, now)
    for named in found:
        day = f", {named.day}" if named.day else ""
        how = f" ({named.how})" if named.how not in ("", "plain") else ""
        chance = f"chance without it: {named.chance:.0e}"
        click.echo(f"{plain(named.grant)}  model {plain(named.model)}{day}  by {named.by}{how}, {chance}")
    if not found:
        click.echo(f"No mark of {len(issued)} grant(s) is in these {len(text):,} characters: the text names nobody.")
        return 1
    who = plain(found[0].grant)
    click.echo("\nA mark says under which grant a text was given out, not who let it out. Next:\n")
    click.echo(f"  {program()} access audit search --grant {who} --config {shell_path(config)}")
    return 0


def _text(source: str) -> str:
    from assay.access.config import GateError

    if source == "-":
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        path = Path(source)
        try:
            is_file = len(source) < 1000 and "\n" not in source and path.is_file()
        except (OSError, ValueError):
            is_file = False
        if not is_file:
            return source
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as e:
            raise GateError(f"cannot read the text: {e.strerror}", where=source) from None
    if len(data) > MAX_BYTES:
        raise GateError(f"larger than {MAX_BYTES:,} bytes", fix="Give it in parts.")
    return data.decode("utf-8", errors="replace")
