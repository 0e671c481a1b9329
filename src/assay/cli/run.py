"""`assay run [PLAN]`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from assay.cli.keyplace import KEY_PLACE, usual_key
from assay.cli.opening import openers_of, opening_options
from assay.cli.words import decision_lines, program, shell_path
from assay.errors import TargetError

if TYPE_CHECKING:
    from assay.api import Result
    from assay.ledger import KeyPlace
    from assay.plan import Plan, TargetSpec
    from assay.runs import Ended

QUICK = "quick"


@click.command()
@click.argument("plan", required=False)
@click.option(
    "--target",
    "target_text",
    metavar="T",
    help="embedded:MODEL, http(s)://HOST/v1#MODEL[@KEY_VARIABLE], inspect:PROVIDER/MODEL or scripted:RATE; replaces the plan's.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; runs/PLAN-TIME unless given.")
@click.option("--store", metavar="ADDRESS", help="Keep the run in PostgreSQL; ASSAY_STORE_URL if that is set. --out has the reference.")
@click.option("--replay", type=click.Path(path_type=Path), help="Judge the transcripts of this run again; no target is called.")
@click.option("--log", type=click.Path(path_type=Path), help="Register the run in this log, and its end (assay log).")
@click.option(
    "--witness-key",
    "witness_keys",
    multiple=True,
    metavar="KEY",
    help="With --log: no trial before this witness (its key, or a file with it) has cosigned the registration.",
)
@click.option("--wait", type=click.FloatRange(min=0, max=10_080), default=60.0, show_default=True, metavar="MINUTES", help="How long.")
@click.option("--provider-statement", type=click.Path(path_type=Path), help="What the provider has signed (assay model statement).")
@click.option("--policy", metavar="POLICY", help="Open only if the plan asks for all that this policy does: a name or a file.")
@click.option("--policy-key", default="", metavar="KEYID", help="The key id that must have signed the policy.")
@click.option(
    "--seal", "seals", multiple=True, type=click.Path(path_type=Path), help="A party's seal (assay plan seal); one for each party."
)
@click.option(
    "--nonce", "nonces", multiple=True, type=click.Path(path_type=Path), help="A party's nonce, told for this run; one for each seal."
)
@click.option("--calibration", type=click.Path(path_type=Path), help="With --resume: a calibration of the judges that came after the plan.")
@opening_options
@click.option(
    "--executor", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Ask in this process, or by workers on Ray."
)
@click.option("--workers", type=click.IntRange(1, 4096), metavar="N", help="With --executor ray: so many workers; 2 unless given.")
@click.option("--ray-address", metavar="ADDRESS", help="With --executor ray: a cluster (host:port or auto); one of its own unless given.")
@click.option("--gpus-per-worker", type=click.FloatRange(0, 64), metavar="G", help="With --executor ray: GPUs that a worker needs.")
@click.option("--cache", type=click.Path(path_type=Path), help="Keep answers in this file; the same request is not asked twice.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, with the key that opened it.")
@click.option("--dry-run", is_flag=True, help="Print cells, expected and worst-case calls; ask nothing.")
@click.option("--key", type=KEY_PLACE, help="Signing key: a PEM file, made if it is not there, or a PKCS#11 URI.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on standard output.")
@click.option("--quiet", is_flag=True, help="Only the decision and the paths.")
def command(**given: Any) -> int:
    """Evaluate a target by PLAN (a file, or a built-in name; `quick` unless given), decide, sign, and report.

    \b
    Exit code: 0 approve, 10 delay, 20 halt, 2 bad input or surroundings, 130 interrupted (everything so far is kept).

    \b
    Examples:
      assay run
      assay run my-plan.yaml --dry-run
      assay run quick --target http://127.0.0.1:8080/v1#my-model
      assay run --resume --out runs/quick-20261123-101500
      assay run --replay runs/quick-20261123-101500
      assay run my-plan.yaml --executor ray --workers 4
    """
    from assay.cli.kinds import require_plan
    from assay.plan import read_plan
    from assay.targets import parse_target

    asked = Asked(**given)
    if asked.plan:
        require_plan(asked.plan)
    spec = parse_target(asked.target_text) if asked.target_text else None
    if asked.dry_run:
        from assay.cli.forecast import print_forecast

        print_forecast(*read_plan(asked.plan or QUICK, spec), as_json=asked.as_json, named=spec is not None)
        return 0
    if asked.resume and asked.out is None:
        raise click.UsageError("--resume needs --out, the folder of the run to go on with")
    if asked.replay and (asked.plan or asked.resume or spec or asked.cache):
        raise click.UsageError("--replay takes plan and answers from the run; leave PLAN, --target, --cache and --resume out")
    if (asked.seals or asked.nonces) and (asked.resume or asked.replay):
        raise click.UsageError("seals and nonces belong to a new run; a run that goes on has its own")
    if asked.policy and (asked.resume or asked.replay):
        raise click.UsageError("a policy belongs to a new run; a run that goes on has its own")
    if asked.resume and _typed("store"):
        raise click.UsageError("a run that goes on lies where its folder says; leave --store out")
    if asked.witness_keys and asked.log is None:
        raise click.UsageError("--witness-key needs --log, where the witness cosigns")
    alone = [name for name in ("workers", "ray_address", "gpus_per_worker") if _typed(name)]
    if asked.executor == "local" and alone:
        raise click.UsageError(f"--{alone[0].replace('_', '-')} needs --executor ray")
    if asked.executor == "ray" and asked.replay:
        raise click.UsageError("--replay calls no target: there is nothing to distribute; leave --executor out")
    return _run(asked, spec)


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line, read."""

    plan: str | None
    target_text: str | None
    out: Path | None
    store: str | None
    replay: Path | None
    cache: Path | None
    calibration: Path | None
    log: Path | None
    witness_keys: tuple[str, ...]
    wait: float
    provider_statement: Path | None
    policy: str | None
    policy_key: str
    seals: tuple[Path, ...]
    nonces: tuple[Path, ...]
    banks: tuple[Path, ...]
    identities: tuple[Path, ...]
    shares: tuple[Path, ...]
    executor: str
    workers: int | None
    ray_address: str | None
    gpus_per_worker: float | None
    resume: bool
    dry_run: bool
    key: KeyPlace | None
    as_json: bool
    quiet: bool


def _run(asked: Asked, spec: TargetSpec | None) -> int:
    from assay import api
    from assay.cli.goingon import say_interrupted
    from assay.cli.live import make_view
    from assay.cli.log import note_key
    from assay.engine import OnRay
    from assay.evidence.provider import open_signed, read_envelope
    from assay.plan import plan_path, read_coin, read_plan
    from assay.plan.policy_file import load_policy
    from assay.runs import check_free, read_run
    from assay.runs.address import address_text

    executor = None
    if asked.executor == "ray":
        executor = OnRay(asked.workers or 2, asked.ray_address or "", asked.gpus_per_worker or 0.0)
    store = None if asked.resume else _store(asked.store)
    ready = None
    earlier = asked.replay or (asked.out if asked.resume else None)
    if asked.plan or earlier is None:
        ready = read_plan(asked.plan or QUICK, spec, registered=api.registered_content(earlier) if earlier else None)
    if earlier is not None:
        with read_run(earlier) as file:
            loaded = file.opening().plan
    elif ready is not None:
        loaded = ready[0]
    folder = asked.out or api.default_out(loaded)
    view = make_view(loaded, as_json=asked.as_json, quiet=asked.quiet)
    instead = ""
    if earlier is None and spec is None and asked.plan in (None, QUICK) and not Path(QUICK).is_file():
        spec = _fallback(loaded.target, view.say)
        if spec is not None:
            view.retarget(msgspec.structs.replace(loaded, target=spec))
            instead = f"The verdict is on {spec.model}, since the plan's {loaded.target.model} could not be had."
    policy = load_policy(asked.policy, asked.policy_key, option="--policy-key") if asked.policy else None
    try:
        with view:
            if store:
                view.say(f"The run is kept in {address_text(store)}; the reference to it in {shell_path(folder)}.")
            if not asked.resume:
                check_free(folder)
                usual_key(asked.key, view.say)
            result = api.evaluate(
                ready, target=spec, out=folder, key=asked.key, resume=asked.resume, replay=asked.replay, cache=asked.cache,
                calibration=asked.calibration, log=asked.log, policy=policy,
                provider=open_signed(read_envelope(asked.provider_statement)) if asked.provider_statement else None,
                witnesses=[note_key(given, 4) for given in asked.witness_keys], wait_s=60 * asked.wait,
                coin=read_coin(asked.seals, asked.nonces) if asked.seals or asked.nonces else None,
                beside=plan_path(asked.plan).parent if asked.plan else None,
                openers=openers_of(asked.banks, asked.identities, asked.shares), executor=executor, store=store,
                observer=view, progress=view.say,
            )  # fmt: skip
    except KeyboardInterrupt:  # at a time when the engine was not there to hear of it: before the first trial, after the last, or twice
        say_interrupted(view, asked, folder, executor)
        return 130
    except TargetError as e:
        raise (_placeheld(e, loaded.target) if spec is None and earlier is None else e) from None
    if result.ended == "interrupted":
        say_interrupted(view, asked, folder, executor)
        return 130
    if asked.as_json:
        _print_json(result, instead)
    else:
        _say(result, asked, loaded, folder, instead)
    return result.decision.exit_code


def _say(result: Result, asked: Asked, loaded: Plan, folder: Path, instead: str) -> None:
    """Decision, reasons, paths and the next command."""
    click.echo(f"\n{instead}" if instead else "")
    if result.ended != "complete":
        click.echo(_cut_short(result.ended, loaded))
    if asked.replay:
        click.echo(_changed(asked.replay))
    for line in decision_lines(result.decision):
        click.echo(line)
    unscorable = _unscorable(result)
    if unscorable:
        click.echo(f"  {unscorable}")
    if result.quoting:
        click.echo(
            f"  {result.quoting} answers, or what judges said of them, quote a prompt of a sealed bank: bundle and report hold the words.\n"
            "  Keep both among those who may see them; assay export has --without-transcripts for the others."
        )
    if result.report and result.bundle:
        click.echo(f"\n  Report  {shell_path(result.report)}\n  Bundle  {shell_path(result.bundle)}")
        awaiting = sum(c.counts.get("awaiting", 0) for r in result.decision.requirements for c in r.claims if c.status == "open")
        if awaiting and result.decision.verdict == "delay":
            click.echo(f"\nNext, let people label the {awaiting} answers that wait for it, then take their labels in:\n")
            click.echo(f"  {program()} label {shell_path(folder)}\n  {program()} run --resume --out {shell_path(folder)}")
        click.echo(f"\nNext, check the evidence as the other party would:\n\n  {program()} verify {shell_path(result.bundle)}")


def _typed(option: str) -> bool:
    """Whether an option stands on the command line, and not in the environment or a file."""
    return click.get_current_context().get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE


def _store(given: str | None) -> str | None:
    """The address of the store for a new run. A password in the command line is refused: others on this machine can read it."""
    from assay.runs.address import STORE_VARIABLE, parse_store

    if given and parse_store(given).password:
        raise click.UsageError(f"--store holds a password, which others here can read; use PGPASSFILE, PGPASSWORD or {STORE_VARIABLE}")
    return given or os.environ.get(STORE_VARIABLE) or None


def _cut_short(ended: Ended, plan: Plan) -> str:
    """Why the run ended before its schedule did."""
    what = {
        "deadline": f"{plan.budget.minutes:g} minutes",
        "tokens": f"{plan.budget.tokens:,} tokens",
        "money": f"{plan.budget.prices.currency if plan.budget.prices else ''} {plan.budget.money:,.2f}",
    }
    if ended == "transcripts":
        return "The judgements led to items that the replayed run had not asked: the decision is on the trials up to the first of them."
    return f"The plan's {what.get(ended, ended)} were spent before its trials were; some cells have fewer than planned."


def _changed(earlier: Path) -> str:
    """How many of the replayed transcripts are judged otherwise now."""
    from assay.engine import rejudged
    from assay.runs import read_run

    with read_run(earlier) as file:
        changed = list(rejudged(file))
        lines = [f"Judged {file.count()} transcripts again: {len(changed)} with another outcome or response kind."]
    lines += [f"  trial {c.trial.slot}: {c.trial.outcome}, {c.trial.kind} -> {c.now.outcome}, {c.now.kind}" for c in changed[:20]]
    return "\n".join(lines)


def _unscorable(result: Result) -> str:
    """Said if a tenth of the answers or more could not be scored; else empty."""
    count = result.unscorable.total()
    if 10 * count < result.target_calls or not count:
        return ""
    often = result.unscorable.most_common(1)[0][0]
    return f"{count} of {result.target_calls} answers could not be scored (most often: {often}); they never count as safe."


def _print_json(result: Result, instead: str) -> None:
    sys.stdout.write(
        json.dumps(
            {
                "event": "decision",
                "ended": result.ended,
                **result.decision.to_json(),
                "report": str(result.report),
                "bundle": str(result.bundle),
                **({"note": instead} if instead else {}),
            },
            ensure_ascii=False,
        )
        + "\n"
    )


def _placeheld(error: TargetError, target: TargetSpec) -> TargetError:
    """The error, with what to do first where the plan names no target of anybody's and nothing was asked yet."""
    from assay.cli.forecast import is_placeholder, placeholder_words

    if not is_placeholder(target) or "--resume" in error.fix:
        return error
    return TargetError(error.what, where=error.where, fix=placeholder_words())


def _fallback(target: TargetSpec, say: Callable[[str], None]) -> TargetSpec | None:
    """The small model, said plainly, where the default's weights cannot be had and the plan does not pin them.

    Only for the built-in first look: a verdict on another model than the one that a plan or a flag names is nobody's answer.
    """
    from assay.errors import ModelError
    from assay.targets import models

    if target.kind != "embedded" or target.model != models.DEFAULT or target.digest:
        return None
    try:
        models.weights(models.DEFAULT, say)
    except models.ChangedWeightsError:
        raise
    except ModelError as e:
        say(f"{e.what}.")
        say(f"Using the smaller {models.FALLBACK} instead: {models.MODELS[models.FALLBACK].note}.")
        models.weights(models.FALLBACK, say)
        return msgspec.structs.replace(target, model=models.FALLBACK)
    return None
