"""`assay studio [FOLDER]`."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from pathlib import Path

import click

from assay.cli.words import program, shell_path
from assay.errors import AssayError


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"))
@click.option("--port", default=8473, show_default=True, type=click.IntRange(0, 65535), help="On this machine only; 0 takes any free one.")
@click.option("--no-open", is_flag=True, help="Only print the link; open no browser.")
@click.option("--stop-runs", is_flag=True, help="At the end stop the runs that were started here; unless given, they go on.")
def command(folder: Path, port: int, no_open: bool, stop_runs: bool) -> int:
    """A page on this machine that lists the runs of FOLDER (`runs` unless given), follows them live, opens reports and starts plans.

    Ctrl-C ends the page. Runs that were started from it go on, and a later studio finds them again.

    \b
    Examples:
      assay studio
      assay studio runs --port 0 --no-open
    """
    try:
        from assay.studio.app import make_studio
        from assay.web.serving import listen, serve
    except ImportError as e:
        raise AssayError(f"the page needs {e.name}", fix="pip install 'assay[label]'") from None
    from assay.studio.shelf import Shelf
    from assay.studio.starting import Starter, Typed

    starter = Starter(Shelf(folder), Typed(program(), shell_path))
    with listen("127.0.0.1", port) as socket:
        app, link = make_studio(starter, port=socket.getsockname()[1])
        if not folder.is_dir():
            click.echo(f"There is no folder {shell_path(folder)} yet: the first run that is started from the page makes it.")
        click.echo(f"The runs of {shell_path(folder)}. Open this once, in a browser on this machine:\n\n  {link}\n")
        click.echo("Ctrl-C ends the page, not the runs." if not stop_runs else "Ctrl-C ends the page, and the runs that it started.")
        if not no_open:
            webbrowser.open(link)
        try:
            serve(app, socket)
        finally:
            starter.end_forecast()
    _goodbye(starter.under_way(), folder, starter.stop_all if stop_runs else None)
    return 0


def _goodbye(going: dict[str, int], folder: Path, stop: Callable[[], None] | None) -> None:
    """What still runs, and how to stop it; or that it was stopped."""
    click.echo("\nThe page has ended.")
    if stop is not None:
        stop()
    for name, pid in going.items():
        if stop is not None:
            click.echo(f"Stopped {name}; all is kept. To go on: {program()} run --resume --out {shell_path(folder / name)}")
        else:
            click.echo(f"{name} goes on (process {pid}). To stop it, with everything kept: kill -INT {pid}")
