"""`assay config show`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import click
from msgspec import Struct, to_builtins

from assay.cli import COMMANDS
from assay.cli.configuration import Settings, name_variables, project_file, read_settings, unknown_variables, user_file, variable
from assay.cli.words import plain, program, shell_path

SECRET = ("ASSAY_KEY_PASSPHRASE", "ASSAY_MCP_TOKEN", "ASSAY_STORE_URL")
SECRET_OPTIONS = ("alert-command", "nonce", "sigstore-token", "store", "webhook")
"""Options whose values open something: a password or a token stands in such an address, and not always where addresses have theirs."""
HIDDEN = "(set, not shown)"
VARIABLES = {
    "ASSAY_KEY": "the usual signing key",
    "ASSAY_KEY_PASSPHRASE_FILE": "file with the passphrase of protected keys",
    "ASSAY_KEY_PASSPHRASE": "that passphrase itself",
    "ASSAY_PKCS11_PIN_FILE": "file with the PIN of a token",
    "ASSAY_NO_CONFIG": "neither file is read",
    "ASSAY_MCP_TOKEN": "what an assistant shows over HTTP",
    "ASSAY_STORE_URL": "PostgreSQL store of new runs, with its password",
    "ASSAY_TRACE_SHARE": "share of trials with a span of their own",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "collector of traces and metrics",
}
"""What is set by the environment alone."""
ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:/+)([^\s]*)")
HOST = re.compile(r"(?:[^/?#@\\]*@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?(?=[/?#]|\Z)")
MOST = 300


class Value(Struct, frozen=True):
    """One option: its command, its name, what it is, and from where. `source` is environment, project, user or built-in."""

    command: str
    option: str
    value: Any
    source: str


@click.group()
def command() -> None:
    """What is configured. First of these that says something: flag, environment, project's file, user's file, built-in.

    The environment's name of an option is ASSAY_COMMAND_OPTION, such as ASSAY_RUN_QUIET=1. The project's file is assay.toml in the folder
    where the command is called, the user's ~/.config/assay/config.toml (or below XDG_CONFIG_HOME); each has a table for a command.

    \b
    Examples:
      assay config show
      assay config show plan cost
    """


@command.command()
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def show(words: tuple[str, ...], as_json: bool) -> None:
    """Every value that is set, and where it comes from; of one COMMAND, its built-in values too. Secrets are never shown."""
    settings = read_settings(COMMANDS)
    chosen = " ".join(words)
    values = list(_values(settings, chosen))
    if chosen and not values and words[0] not in COMMANDS:
        raise click.UsageError(f"there is no command 'assay {chosen}'")
    variables = {name: HIDDEN if name in SECRET else _shown(os.environ[name]) for name in VARIABLES if os.environ.get(name)}
    unknown = unknown_variables(COMMANDS, command_of)
    files = {"project": project_file(), "user": user_file()}
    if as_json:
        found = {"files": {name: {"path": str(p.absolute()), "read": p.is_file()} for name, p in files.items()}}
        click.echo(json.dumps({**found, "values": to_builtins(values), "variables": variables, "unknown": unknown}, ensure_ascii=False))
        return
    for name, path in files.items():
        click.echo(f"{name:<8} {shell_path(path)}{'' if path.is_file() else '  (not there)'}")
    _print(values)
    if variables:
        click.echo("\nEnvironment")
        for name, value in variables.items():
            click.echo(f"  {name:<28} {value}  ({VARIABLES[name]})")
    if unknown:
        click.echo("\nRefused, since no option has the name")
        for name, meant in unknown.items():
            click.echo(f"  {plain(name)}  {meant}")
    if not values and not variables and not unknown:
        click.echo(f"\nNothing is set: everything is built-in. Of one command: {program()} config show run")


def _print(values: list[Value]) -> None:
    last = ""
    width = max((len(v.option) for v in values), default=0)
    for value in values:
        if value.command != last:
            click.echo(f"\nassay {value.command}")
            last = value.command
        shown = value.value if isinstance(value.value, str) else json.dumps(value.value, ensure_ascii=False, default=str)
        click.echo(f"  --{value.option:<{width}}  {shown}  ({value.source})")


def _values(settings: Settings | None, chosen: str) -> Iterator[Value]:
    """Of every command, or of the chosen one with what is built in."""
    from assay.cli import app

    top = click.Context(app, info_name="assay")
    for name in COMMANDS:
        if chosen.split()[0] != name if chosen else not _mentioned(name, settings):
            continue
        found = command_of(name)
        if found is not None:
            name_variables(name, found)
            defaults = settings.defaults(name, found) if settings is not None else {}
            yield from _of(found, click.Context(found, info_name=name, parent=top), name, defaults, settings, chosen)


def command_of(name: str) -> click.Command | None:
    """A command by its name, as files and environment leave it alone."""
    from assay.cli import app

    return app.get_command(click.Context(app, info_name="assay", parent=click.Context(app)), name)


def _mentioned(name: str, settings: Settings | None) -> bool:
    """Whether a file or the environment says anything of a command; else it need not be imported."""
    start = variable(name, "")
    in_a_file = settings is not None and name in {*settings.project, *settings.user}
    return in_a_file or any(found.startswith(start) for found in os.environ)


def _of(
    command: click.Command, context: click.Context, path: str, defaults: dict[str, Any], settings: Settings | None, chosen: str
) -> Iterator[Value]:
    wanted = path == chosen or path.startswith(f"{chosen} ") or not chosen
    for option in command.params if wanted else ():
        if not isinstance(option, click.Option) or option.name is None:
            continue
        name = option.opts[-1].lstrip("-")
        from_environment = option.value_from_envvar(context)
        source = settings.origin(path, option.name) if settings is not None else None
        if from_environment is not None:
            yield Value(path, name, _of_option(name, from_environment), "environment")
        elif source is not None:
            yield Value(path, name, _of_option(name, defaults[option.name]), f"{source} file")
        elif chosen:
            yield Value(path, name, _shown(option.get_default(context)), "built-in")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                nested = defaults.get(name, {})
                yield from _of(below, click.Context(below, info_name=name, parent=context), f"{path} {name}", nested, settings, chosen)


def _of_option(name: str, value: Any) -> Any:
    """What is set, unless the option is one that keeps a secret."""
    return HIDDEN if name in SECRET_OPTIONS else _shown(value)


def _address(found: re.Match[str]) -> str:
    """Scheme and host. The rest can hold a secret: user and password, path, query. No host where it is not plain which part that is."""
    scheme, rest = found.groups()
    host = HOST.match(rest)
    astray = host is None or "@" in rest[host.end() :].partition("#")[0]
    return f"{scheme}..." if host is None or astray else f"{scheme}{host[1]}{'/...' if rest != host[1] else ''}"


def _shown(value: Any) -> Any:
    """A value made safe to show: of an address its scheme and host, nothing that steers a terminal, at most 300 characters."""
    if isinstance(value, list | tuple):
        return [_shown(v) for v in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    if not isinstance(value, str) and "unset" in repr(value).lower():
        return None
    return plain(ADDRESS.sub(_address, str(value)))[:MOST]
