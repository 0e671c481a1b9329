"""`assay import NAME`, where NAME is an importer that was found by its entry point: garak, pyrit, and what others have installed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from assay.exchange.importers import Importer, Wanted, importer_points, load_importer

FIXED = frozenset({"name", "title", "licence", "language", "python", "out", "help"})


class Importers(click.Group):
    """The group's own commands, and one for each importer that is installed, loaded when it is named."""

    write: Callable[[Any, Path], None]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names only: listing imports nothing."""
        return sorted({*super().list_commands(ctx), *importer_points()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The own command of a name, else the importer's."""
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        point = importer_points().get(cmd_name)
        return command_of(cmd_name, load_importer(point), self.write) if point is not None else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Own commands with their summaries, importers by where they come from."""
        own = {name: command.get_short_help_str(90) for name, command in self.commands.items()}
        points = {name: f"From {point.dist.name if point.dist else 'a package'}." for name, point in importer_points().items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted(own.items()))
        if points:
            with formatter.section("Importers (entry points of the group assay.importers)"):
                formatter.write_dl(sorted(points.items()))


def command_of(name: str, importer: Importer, write: Callable[[Any, Path], None]) -> click.Command:
    """An importer as a command."""
    given = {option.name: option for option in importer.options if option.name not in FIXED}

    def run(what: tuple[str, ...], out: Path, **values: Any) -> None:
        options = {option: tuple(values.pop(option.replace("-", "_"))) for option in given}
        wanted = Wanted(what, options=options, progress=lambda line: click.echo(line, err=True), **values)
        write(importer.run(wanted), out)

    parameters: list[click.Parameter] = [
        click.Argument(["what"], nargs=-1, required=True, metavar=importer.what),
        click.Option(["--name"], default="", help="The bank's name: the hazard that a plan names."),
        click.Option(["--title"], default="", help="For people."),
        click.Option(["--licence"], default="", help="Of the prompts."),
        click.Option(["--language"], default="", help="Language tag, where the source does not say."),
        *[click.Option([f"--{o.name}", o.name.replace("-", "_")], multiple=True, help=o.help) for o in given.values()],
        click.Option(["--out"], type=click.Path(path_type=Path), default=Path("banks"), show_default=True, help="Folder for the files."),
    ]
    if importer.outside:
        said = f"The Python that has it; ASSAY_{name.upper().replace('-', '_')}_PYTHON unless given."
        parameters.append(click.Option(["--python"], default="", metavar="PATH", help=said))
    return click.Command(name, params=parameters, callback=run, help=inspect.cleandoc(importer.about))
