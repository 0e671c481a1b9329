"""Configuration: what a command's options are, where nobody typed them: environment, the project's file, the user's file, in this order.

settings = read_settings()                    # None where there is no file
settings.defaults("run", command)             # {"quiet": True}: what click takes for options that are neither typed nor in the environment
settings.origin("run", "quiet")               # "project" or "user"

A file is TOML: a table for each command, a key for each option, by the name that one types (`[plan.new]`, `from = "sea"`). The project's
file is `assay.toml` in the folder where the command is called. It may be that of a repository which somebody else has written, so it sets
only what is listed in `PROJECT`: how things are shown, and no key, no endpoint, no program, nothing that decides.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click

from assay.cli.nearest import closest, nearest
from assay.errors import AssayError
from assay.files import others_may_write

PREFIX = "ASSAY"
PROJECT_FILE = "assay.toml"
NO_CONFIG = "ASSAY_NO_CONFIG"
MAX_BYTES = 1 << 20
OWN = frozenset({
    "ASSAY_KEY_PASSPHRASE", "ASSAY_KEY_PASSPHRASE_FILE", "ASSAY_MCP_TOKEN", "ASSAY_MODEL_FILE", "ASSAY_POLICY_DIGEST", "ASSAY_POLICY_KEY",
    "ASSAY_STORE_URL",
})  # fmt: skip
"""Variables of Assay itself and of the scripts in `deploy` that begin as an option's would, and are none."""
INJECTED = re.compile(r"_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$|_PORT$")
"""What Kubernetes puts into every container for a service of such a name, as ASSAY_MCP_SERVICE_HOST."""
Source = Literal["project", "user"]

PROJECT: Mapping[str, frozenset[str]] = {
    "run": frozenset({"json", "out", "quiet", "wait"}),
    "plan new": frozenset({"from"}),
    "plan cost": frozenset({"answer-tokens", "cell", "clustering", "latency", "rate", "refusal", "runs", "seconds", "unscorable"}),
    "decide": frozenset({"json"}),
    "verify": frozenset({"json"}),
    "report": frozenset({"language"}),
    "compare": frozenset({"all", "json", "language"}),
    "catalog show": frozenset({"language"}),
    "world show": frozenset({"arm", "attack", "item", "language"}),
    "judge steer": frozenset({"answers", "concurrency", "language"}),
    "studio": frozenset({"no-open", "port", "stop-runs"}),
    "label": frozenset({"language", "port"}),
}
"""What a project's file may set. Everything else, options that come later included, is for the user: on the command line, in the
environment, in the user's own file."""

WHY = {
    "keys": "it names keys, or whose signatures count",
    "network": "it chooses with whom Assay speaks, and so who sees prompts and keys",
    "program": "it chooses what is run",
    "other": "it can change what is decided, read or written",
}
_WORDS = {
    "keys": ("key", "identity", "share", "seal", "nonce", "owner", "roles", "admin", "approver", "evaluator", "root", "sigstore", "witness",
             "party", "secret", "recipient", "ca", "certificate", "authority", "token", "passphrase"),
    "network": ("target", "gate", "upstream", "endpoint", "host", "listen", "url", "address", "store", "ray", "network", "http"),
    "program": ("python", "command", "exec", "script", "program", "plugin", "module"),
}  # fmt: skip


class ConfigurationError(AssayError):
    """A configuration file is not valid, or sets what it may not."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The two files, read. `where` says which file each is; a table is empty where there is none."""

    project: Mapping[str, Any]
    user: Mapping[str, Any]
    where: Mapping[Source, Path]
    origins: dict[tuple[str, str], Source] = field(default_factory=dict)

    def defaults(self, name: str, command: click.Command) -> dict[str, Any]:
        """What the files say for a command (or a group, nested), checked. Raises `ConfigurationError`."""
        merged: dict[str, Any] = {}
        both: tuple[tuple[Source, Mapping[str, Any]], ...] = (("user", self.user), ("project", self.project))
        for source, tables in both:
            table = tables.get(name)
            if table is not None:
                self._take(merged, command, name, table, source)
        return merged

    def origin(self, path: str, parameter: str) -> Source | None:
        """Which file an option's value is from; `defaults` was called before."""
        return self.origins.get((path, parameter))

    def _take(self, merged: dict[str, Any], command: click.Command, path: str, table: object, source: Source) -> None:
        where = f"{self.where[source]} [{path.replace(' ', '.')}]"
        if not isinstance(table, dict):
            raise ConfigurationError("a command's options stand in a table", where=where)
        options = {name: p for p in command.params if isinstance(p, click.Option) for name in _names(p)}
        context = click.Context(command, info_name=path, resilient_parsing=True)
        commands = command.list_commands(context) if isinstance(command, click.Group) else []
        for key, value in table.items():
            if key in commands and isinstance(command, click.Group):
                below = command.get_command(context, key)
                if below is not None:
                    self._take(merged.setdefault(key, {}), below, f"{path} {key}", value, source)
                continue
            option = options.get(key)
            if option is None or option.name is None:
                raise ConfigurationError(f"'assay {path}' has no option '{key}'", where=where, fix=nearest(key, [*options, *commands]))
            if source == "project":
                _allowed(path, key, value, where)
            merged[option.name] = _value(option, value, f"{where} {key}")
            self.origins[path, option.name] = source


def variable(path: str, option: str) -> str:
    """The variable of an option: ASSAY_PLAN_COST_RATE for `plan cost` and `rate`."""
    return "_".join([PREFIX, *path.split(), option]).upper().replace("-", "_")


def name_variables(path: str, command: click.Command) -> set[str]:
    """Let a command's options, and those of its subcommands, take their variables, where the environment has any of them. What is left:
    variables that begin as theirs do and are no option's.
    """
    start = variable(path, "")
    mine = [name for name in os.environ if name.startswith(start)]
    left = {name for name in mine if os.environ[name] and name not in OWN and not INJECTED.search(name)}
    if not mine:
        return left
    for option in command.params:
        if isinstance(option, click.Option):
            names = [variable(path, name) for name in _names(option)]
            option.envvar = option.envvar or next((name for name in names if name in mine), None)
            left.difference_update(names)
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path, resilient_parsing=True)
        for name in command.list_commands(context):
            begins = variable(f"{path} {name}", "")
            if any(found.startswith(begins) for found in mine):
                below = command.get_command(context, name)
                if below is not None:
                    unknown = name_variables(f"{path} {name}", below)
                    left = {found for found in left if not found.startswith(begins) or found in unknown}
    return left


def require_variables(path: str, command: click.Command) -> None:
    """As `name_variables`. Raises `ConfigurationError` for what is left."""
    if left := name_variables(path, command):
        name = min(left)
        raise ConfigurationError(f"'assay {path}' has no option of this name", where=name, fix=nearest_variable(name, path, command))


def unknown_variables(commands: Iterable[str], find: Callable[[str], click.Command | None]) -> dict[str, str]:
    """Of all commands, the variables that are set and no option's, with what may be meant. No command is imported needlessly."""
    out: dict[str, str] = {}
    for path in commands:
        if any(name.startswith(variable(path, "")) for name in os.environ) and (command := find(path)) is not None:
            out |= {name: nearest_variable(name, path, command) for name in sorted(name_variables(path, command))}
    return out


def nearest_variable(name: str, path: str, command: click.Command) -> str:
    """The variable that may be meant, or how to see which there are."""
    near = closest(name, _variables(path, command))
    return f"Did you mean '{near}'?" if near else f"Unset it. The options there are: assay config show {path}"


def _variables(path: str, command: click.Command) -> Iterator[str]:
    yield from (variable(path, name) for option in command.params if isinstance(option, click.Option) for name in _names(option))
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path, resilient_parsing=True)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from _variables(f"{path} {name}", below)


def user_file() -> Path:
    """XDG_CONFIG_HOME/assay/config.toml, else ~/.config/assay/config.toml."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "assay" / "config.toml"


def project_file() -> Path:
    """assay.toml in the folder where the command is called, and in no folder above it."""
    return Path(PROJECT_FILE)


def read_settings(commands: Mapping[str, str]) -> Settings | None:
    """Both files; None if there is neither, or ASSAY_NO_CONFIG is set. `commands` may have tables. Raises `ConfigurationError`."""
    if os.environ.get(NO_CONFIG):
        return None
    where: dict[Source, Path] = {"project": project_file(), "user": user_file()}
    found = {source: path for source, path in where.items() if os.path.lexists(path)}
    if not found:
        return None
    if "user" in found:
        _only_ours(found["user"])
    tables: dict[Source, dict[str, Any]] = {source: _read(path) for source, path in found.items()}
    for source, table in tables.items():
        for name in table:
            if name not in commands:
                fix = nearest(name, commands)
                raise ConfigurationError(f"there is no command 'assay {name}'", where=f"{where[source]} [{name}]", fix=fix)
    return Settings(tables.get("project", {}), tables.get("user", {}), where)


def _read(path: Path) -> dict[str, Any]:
    import tomllib

    if not path.is_file():
        raise ConfigurationError("this is no file", where=str(path))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise ConfigurationError(f"cannot be read: {e.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigurationError("not UTF-8", where=str(path)) from None
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise ConfigurationError(f"not TOML: {e}", where=str(path)) from None


def _only_ours(path: Path) -> None:
    """The user's file may name keys and endpoints, so nobody else may write it, or put another into its folder."""
    try:
        part = others_may_write(path)
    except OSError as e:
        raise ConfigurationError(f"cannot be read: {e.strerror}", where=str(e.filename)) from None
    if part is not None:
        what = "others may write this " + ("file, so it is not read" if part is path else "folder, so its configuration is not read")
        raise ConfigurationError(what, where=str(part), fix=f"chmod go-w {part}")


def _allowed(path: str, key: str, value: object, where: str) -> None:
    """Refuse what a project's file may not set. Raises `ConfigurationError`."""
    if key not in PROJECT.get(path, frozenset()):
        what = f"'{key}' may not come from a project's file: {WHY[_reason(key)]}"
        raise ConfigurationError(what, where=where, fix=f"Type --{key}, or put it into your own file: {user_file()}")
    if key == "out" and not Path(str(value)).resolve().is_relative_to(Path.cwd().resolve()):
        raise ConfigurationError("a project's file writes below its own folder only", where=f"{where} {key}")


def _reason(key: str) -> str:
    words = key.split("-")
    return next((kind for kind, known in _WORDS.items() if any(w in known or w.removesuffix("s") in known for w in words)), "other")


def _names(option: click.Option) -> list[str]:
    """The long names of an option, as they stand in a file."""
    return [name.removeprefix("--") for name in option.opts if name.startswith("--")]


def _value(option: click.Option, value: object, where: str) -> Any:
    """A value of the kind that the option takes; click checks the rest. Raises `ConfigurationError`."""
    if option.multiple:
        if not isinstance(value, list) or not all(isinstance(v, str | int | float) and not isinstance(v, bool) for v in value):
            raise ConfigurationError("this may be given several times: write a list", where=where)
        return [str(v) for v in value]
    if option.is_flag:
        if not isinstance(value, bool):
            raise ConfigurationError("this is a switch: true or false", where=where)
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ConfigurationError("this takes one value", where=where)
    return str(value)
