"""The reference of the command line, from click itself: a page for each command, every sub-command and option on it.

pages()["cli-verify.md"]
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click
from scripts.docsite.words import cell, code, plain

from assay.cli import COMMANDS, app

EXIT_CODES = "Exit codes: 0 approve or success, 10 delay, 20 halt, 1 a check failed, 2 bad input or surroundings, 130 interrupted."


def pages() -> dict[str, str]:
    """The pages by name: `cli.md`, and `cli-COMMAND.md` for each command."""
    context = click.Context(app, info_name="assay")
    found = {"cli.md": _overview()}
    for name in COMMANDS:
        command = app.get_command(context, name)
        if command is None:
            raise LookupError(name)
        found[f"cli-{name}.md"] = "\n".join(_command(command, click.Context(command, info_name=name, parent=context), 1)) + "\n"
    return found


def _overview() -> str:
    rows = [f"| [assay {name}](cli-{name}.md) | {cell(said)} |" for name, said in COMMANDS.items()]
    return "\n".join(["# Commands", "", EXIT_CODES, "", "| command | |", "|---|---|", *rows, ""])


def _command(command: click.Command, context: click.Context, depth: int) -> list[str]:
    lines = [f"{'#' * depth} {context.command_path}", "", *_help(command.help or "")]
    lines += ["```text", f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}", "```", ""]
    lines += _arguments(command, context) + _options(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                lines += _command(inner, click.Context(inner, info_name=name, parent=context), min(depth + 1, 6))
    return lines


def _help(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in map(str.strip, re.split(r"\n[ \t]*\n", inspect.cleandoc(text.split("\f")[0]))):
        if paragraph.startswith("\b"):
            head, *rest = paragraph.removeprefix("\b").strip("\n").split("\n")
            block = rest if head.rstrip().endswith(":") else [head, *rest]
            if block is rest:
                lines += [plain(head.strip()), ""]
            lines += (
                ["```text", *(line.removeprefix("  ") for line in block), "```", ""]
                if len(block) > 1 or block is rest
                else [plain(head), ""]
            )
        else:
            lines += [plain(" ".join(paragraph.split())), ""]
    return lines


def _arguments(command: click.Command, context: click.Context) -> list[str]:
    found = [p for p in command.params if isinstance(p, click.Argument)]
    rows = [f"| {code(p.make_metavar(context))} | {'needed' if p.required else ''} | {_default(p, context)} |" for p in found]
    return ["| argument | | default |", "|---|---|---|", *rows, ""] if rows else []


def _options(command: click.Command, context: click.Context) -> list[str]:
    rows = []
    for option in command.params:
        if not isinstance(option, click.Option) or option.hidden:
            continue
        names = ", ".join([*option.opts, *option.secondary_opts])
        value = "" if option.is_flag or option.count else option.make_metavar(context)
        needed = " Needed." if option.required else ""
        many = " May be given several times." if option.multiple else ""
        from_env = f" Also from {code(str(option.envvar))}." if option.envvar else ""
        said = cell((option.help or "").strip()) + needed + many + from_env
        rows.append(f"| {code(f'{names} {value}'.strip())} | {said} | {_default(option, context)} |")
    return ["| option | | default |", "|---|---|---|", *rows, ""] if rows else []


def _default(parameter: click.Parameter, context: click.Context) -> str:
    """The default that is shown: none for flags, for what is needed, and for what depends on where it runs."""
    value = parameter.get_default(context, call=False)
    if callable(value) or value in (None, False, (), "") or parameter.required or "UNSET" in repr(value) or isinstance(value, Path):
        return ""
    return code(", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value))
