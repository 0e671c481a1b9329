"""`assay decide RUN`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from assay import api
from assay.cli.kinds import require_run
from assay.cli.words import decision_lines


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The whole decision as JSON.")
def command(run: Path, as_json: bool) -> int:
    """The decision on the committed trials of RUN (a run folder or file), recomputed.

    Exit code: 0 approve, 10 delay, 20 halt.
    """
    require_run(run)
    decision = api.decide(run)
    if as_json:
        click.echo(json.dumps(decision.to_json(), ensure_ascii=False, indent=2))
    else:
        for line in decision_lines(decision):
            click.echo(line)
    return decision.exit_code
