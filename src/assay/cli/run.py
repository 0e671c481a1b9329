"""`assay run [PLAN]`."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from assay.cli.words import decision_lines, program, shell_path

if TYPE_CHECKING:
    from assay.api import Result
    from assay.plan import TargetSpec


@click.command()
@click.argument("plan", required=False)
@click.option(
    "--target",
    "target_text",
    metavar="T",
    help="embedded:MODEL, http(s)://HOST/v1#MODEL[@KEY_VARIABLE] or scripted:RATE; replaces the plan's.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; runs/PLAN-TIME unless given.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--dry-run", is_flag=True, help="Print cells, expected and worst-case calls; ask nothing.")
@click.option("--key", type=click.Path(path_type=Path), help="Signing key (PEM); made if it is not there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on standard output.")
@click.option("--quiet", is_flag=True, help="Only the decision and the paths.")
def command(
    plan: str | None, target_text: str | None, out: Path | None, resume: bool, dry_run: bool, key: Path | None, as_json: bool, quiet: bool
) -> int:
    """Evaluate a target by PLAN (a file, or a built-in name; `quick` unless given), decide, sign, and report.

    \b
    Exit code: 0 approve, 10 delay, 20 halt, 2 bad input or surroundings, 130 interrupted (everything so far is kept).

    \b
    Examples:
      assay run
      assay run my-plan.yaml --dry-run
      assay run quick --target http://127.0.0.1:8080/v1#my-model
      assay run --resume --out runs/quick-20261123-101500
    """
    from assay.plan import read_plan
    from assay.targets import parse_target

    target = parse_target(target_text) if target_text else None
    if dry_run:
        from assay.cli.forecast import print_forecast

        print_forecast(*read_plan(plan or "quick", target), as_json=as_json)
        return 0
    if resume and out is None:
        raise click.UsageError("--resume needs --out, the folder of the run to go on with")
    return _run(plan, target, out, resume, key, as_json, quiet)


def _run(plan: str | None, spec: TargetSpec | None, out: Path | None, resume: bool, key: Path | None, as_json: bool, quiet: bool) -> int:
    from assay import api
    from assay.cli.live import make_view
    from assay.plan import read_plan

    if resume and out is not None:
        from assay.runs import RunFile, run_path

        with RunFile.read(run_path(out)) as file:
            loaded = file.opening().plan
            ready = read_plan(plan, spec) if plan else None
    else:
        ready = read_plan(plan or "quick", spec)
        loaded = ready[0]
    folder = out or Path("runs") / f"{loaded.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    view = make_view(loaded, as_json=as_json, quiet=quiet)
    if not resume and spec is None:
        spec = _fallback(loaded.target, view.say)
        if spec is not None:
            view.retarget(msgspec.structs.replace(loaded, target=spec))
    with view:
        result = api.evaluate(
            ready, target=spec, out=folder, key=key, resume=resume, observer=view, progress=view.say,
        )  # fmt: skip
    if result.ended == "interrupted":
        again = f"{program()} run --resume --out {shell_path(folder)}"
        if as_json:
            view.event({"event": "interrupted", "trials": result.target_calls, "resume": again})
        else:
            click.echo(f"\nInterrupted. All {result.target_calls} finished trials are kept. To go on:\n\n  {again}")
        return 130
    if as_json:
        _print_json(result)
        return result.decision.exit_code
    click.echo("")
    if result.ended == "deadline":
        click.echo(f"The plan's {loaded.budget.minutes:g} minutes were over before its trials were; some cells have fewer than planned.")
    for line in decision_lines(result.decision):
        click.echo(line)
    unscorable = _unscorable(result)
    if unscorable:
        click.echo(f"  {unscorable}")
    if result.report and result.bundle:
        click.echo(f"\n  Report  {shell_path(result.report)}\n  Bundle  {shell_path(result.bundle)}")
        click.echo(f"\nNext, check the evidence as the other party would:\n\n  {program()} verify {shell_path(result.bundle)}")
    return result.decision.exit_code


def _unscorable(result: Result) -> str:
    """Said if a tenth of the answers or more could not be scored; else empty."""
    from assay.runs import RunFile, run_path

    with RunFile.read(run_path(result.run)) as file:
        reasons = Counter(t.reason for t in file.trials() if t.outcome == "unscorable")
    count = reasons.total()
    if 10 * count < result.target_calls or not count:
        return ""
    often = reasons.most_common(1)[0][0]
    return f"{count} of {result.target_calls} answers could not be scored (most often: {often}); they never count as safe."


def _print_json(result: Result) -> None:
    sys.stdout.write(
        json.dumps(
            {
                "event": "decision",
                "ended": result.ended,
                **result.decision.to_json(),
                "report": str(result.report),
                "bundle": str(result.bundle),
            },
            ensure_ascii=False,
        )
        + "\n"
    )


def _fallback(target: TargetSpec, say: Callable[[str], None]) -> TargetSpec | None:
    """The small model, said plainly, where the default's weights cannot be had and the plan does not pin them."""
    from assay.errors import ModelError
    from assay.targets import models

    if target.kind != "embedded" or target.model != models.DEFAULT or target.digest:
        return None
    try:
        models.weights(models.DEFAULT, say)
    except ModelError as e:
        say(f"{e.what}.")
        say(f"Using the smaller {models.FALLBACK} instead: {models.MODELS[models.FALLBACK].note}.")
        models.weights(models.FALLBACK, say)
        return msgspec.structs.replace(target, model=models.FALLBACK)
    return None
