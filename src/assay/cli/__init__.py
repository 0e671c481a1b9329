"""The command `assay`: one module per command, loaded when it is called. Parses, calls, prints.

Exit codes: 0 approve or success, 10 delay, 20 halt, 1 a check failed, 2 bad input or surroundings, 130 interrupted.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from assay.cli.nearest import require_command
from assay.errors import AssayError
from assay.version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "run": "Evaluate, decide, sign, report; a live matrix while it runs.",
    "decide": "The decision on a run; exit 0 approve, 10 delay, 20 halt.",
    "verify": "Recompute everything in an evidence bundle.",
    "release": "What an authority says of a target: approved by two, for a time, or halted at once.",
    "roles": "Whose signature counts for what: owners, evaluators, approvers.",
    "access": "The door: operators reach a model early, by grant and by decision, and it shuts at once.",
    "log": "A log that runs are registered in and must end in; the other party cosigns it.",
    "report": "Write a run's HTML report.",
    "studio": "A page on this machine: lists runs, follows them live, opens reports, starts plans.",
    "label": "The labelling page: people's verdicts on what no program can judge.",
    "judge": "Judges: read a run again with others, compare them, measure them on people's labels.",
    "compare": "Runs side by side: what got worse, what changed, what no longer tells them apart.",
    "watch": "New checkpoints as they appear: evaluate, compare with the reference, tell what changed.",
    "bank": "Held-out banks: seal, show, check; each exposure is counted.",
    "plan": "Start, check and list plans.",
    "policy": "The least that a plan must ask for: list, check, diff, sign, verify.",
    "catalog": "What is in the box: hazards, languages, attacks; and its lint.",
    "world": "Agent worlds: list, look at an episode, serve one over MCP.",
    "selftest": "Prove the checks: what must trip them does, what must not does not.",
    "store": "Runs in PostgreSQL, for several machines: list, check, make a folder for one.",
    "export": "A run in others' formats: csv, jsonl, junit, sarif and more.",
    "import": "Others' test sets as banks: moonshot, ailuminate, table, garak, pyrit.",
    "key": "Signing keys: make one, show its id, protect it by a passphrase; secrets in the system's keyring.",
    "model": "Which model it is: embedded models, signed weights, providers' statements, fingerprints.",
    "mcp": "Assistants over the Model Context Protocol: list, run, read decisions, within grants.",
    "config": "What is configured, and where each value comes from.",
    "doctor": "Whether everything that a run may need is here, and what to do where it is not.",
    "completion": "Completion for bash, zsh and fish.",
}

MODULES = {"export": "exporting", "import": "importing"}
"""Modules that cannot have their command's name."""

UNCONFIGURED = ("config", "doctor", "completion")
"""They work, and say what is wrong, where a configuration file is damaged."""


class _Commands(click.Group):
    """Knows every command's name and summary; imports a command's module when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"assay.cli.{MODULES.get(cmd_name, cmd_name)}").command
        if ctx.resilient_parsing:  # a shell asks what may follow
            import_module("assay.cli.completing").teach(command)
        elif cmd_name not in UNCONFIGURED and ctx.parent is None:
            from assay.cli.configuration import read_settings, require_variables

            require_variables(cmd_name, command)
            settings = read_settings(COMMANDS)
            if settings is not None:
                ctx.default_map = {cmd_name: settings.defaults(cmd_name, command)}
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        require_command(ctx, self, args[0])
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands by their names alone: no module is imported for it."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        from click.shell_completion import CompletionItem

        return [CompletionItem(name, help=about) for name, about in COMMANDS.items() if name.startswith(incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "--version", prog_name="assay", message="%(prog)s %(version)s")
def app() -> None:
    """Tests language models across languages, hazards and attacks; decides approve, delay or halt; signs the evidence.

    \b
    Examples:
      assay run                                   the built-in quick plan on the embedded model
      assay run my-plan.yaml --dry-run            cells and calls, before anything is asked
      assay run quick --target http://127.0.0.1:8080/v1#my-model
      assay verify runs/.../evidence.jsonl
    """


def main() -> int:
    """Entry point: errors as one clear message, never a traceback."""
    gc.set_threshold(20_000, 20, 50)  # cycles are few here; Python's default looks for them 30 times as often, for 5% of a run's time
    try:
        code: Any = app(standalone_mode=False, complete_var="_ASSAY_COMPLETE")
    except click.UsageError as e:
        e.show()
        return 2
    except click.exceptions.Exit as e:
        return e.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except AssayError as e:
        from assay.cli.words import plain  # what is wrong may quote a file, and a file may hold what steers a terminal

        click.echo("assay: " + "\n".join(plain(line) for line in str(e).split("\n")), err=True)
        return e.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return code if isinstance(code, int) else 0
