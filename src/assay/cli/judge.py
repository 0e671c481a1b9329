"""`assay judge again|compare|measure|steer`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from assay import api
from assay.catalog import read_judge_attacks
from assay.cli.keyplace import KEY_PLACE
from assay.cli.opening import openers_of, opening_options
from assay.cli.words import program, shell_path
from assay.decision.opinions import Opinion, agreement, read_opinions, sources
from assay.errors import AssayError
from assay.judges.calibration import Measured, alpha, calibrated_rows, cohen, fleiss, measured, ratings
from assay.judges.steering import Withstood, steering_cases, tally
from assay.plan import Calibration, Judges, JudgeSpec
from assay.runs import folder_of, read_labels, read_run, run_path
from assay.targets import parse_target

if TYPE_CHECKING:
    from assay.ledger import KeyPlace

SHOWN = 10
Rubric = Literal["en", "item"]
Combine = Literal["most-severe", "majority"]


@click.group()
def command() -> None:
    """Judges: read a run again with others, compare them, measure them on people's labels.

    \b
    Examples:
      assay judge again runs/first --judge http://127.0.0.1:8080/v1#my-judge --rubric item
      assay judge compare runs/first runs/first/judgements-my-judge-item.jsonl
      assay judge steer --judge embedded:qwen2.5-coder-0.5b-instruct --language ms --answers 1
      assay judge measure runs/calibration --write calibration.json
    """


@command.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--judge", "judges", multiple=True, required=True, help="A judge, as --target takes it; several make a panel.")
@click.option("--structured", is_flag=True, help="The endpoint holds the judge to a JSON schema (response_format).")
@click.option(
    "--rubric", default="en", show_default=True, type=click.Choice(["en", "item"]), help="Rubric in English, or in the item's language."
)
@click.option(
    "--combine", default="most-severe", show_default=True, type=click.Choice(["most-severe", "majority"]), help="How verdicts become one."
)
@click.option(
    "--tries", default=2, show_default=True, type=click.IntRange(1, 10), help="How often a judge is asked until its reply can be used."
)
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Where the judgements go; beside the run unless given.")
@opening_options
@click.option("--key", type=KEY_PLACE, help="Your signing key, for the ledger of exposures of sealed banks.")
def again(
    run: Path, judges: tuple[str, ...], structured: bool, rubric: Rubric, combine: Combine, tries: int,
    out: Path | None, banks: tuple[Path, ...], identities: tuple[Path, ...], shares: tuple[Path, ...], key: KeyPlace | None,
) -> int:  # fmt: skip
    """Read every answer of RUN that needs a judge with another panel. The target is not called, and the run does not change.

    What is read is kept line by line: the same command goes on where it was interrupted.
    """
    panel = _panel(judges, rubric, combine, tries, structured=structured)
    path = run_path(run)
    out = out or folder_of(run) / f"judgements-{'+'.join(j.name for j in panel.panel)}-{rubric}.jsonl"
    with read_run(path) as file:
        total = file.count()
    console = Console(stderr=True)
    with Progress("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("answers read", total=total)
        api.judge_again(
            path, panel, out, progress=lambda line: console.print(escape(line)), told=lambda n: bar.update(task, completed=n),
            openers=openers_of(banks, identities, shares), key=key,
        )  # fmt: skip
    click.echo(f"Kept in {shell_path(out)}.")
    click.echo(f"\nNext, compare: {program()} judge compare {shell_path(run)} {shell_path(out)}")
    return 0


@command.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("judgements", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
def compare(run: Path, judgements: tuple[Path, ...], as_json: bool) -> int:
    """Two readings of RUN side by side: the run's own judges and a file of JUDGEMENTS, or two such files.

    Shows who flags what, agreement (Cohen's kappa) by hazard and language, and, where people labelled, who is right more often.
    """
    if not 1 <= len(judgements) <= 2:
        raise AssayError("give one or two files of judgements", fix=f"{program()} judge again writes them.")
    first, second = sources(run_path(run), judgements)
    both = [(first.of[slot], second.of[slot]) for slot in sorted(first.of.keys() & second.of.keys())]
    if not both:
        raise AssayError("the two have no trial in common", where=str(run))
    groups: dict[tuple[str, str, str], list[tuple[Opinion, Opinion]]] = {}
    for a, b in both:
        groups.setdefault((a.stream.hazard, a.stream.language, a.stream.arm), []).append((a, b))
    rows = [(key, agreement(pairs), cohen([(a.outcome, b.outcome) for a, b in pairs])) for key, pairs in sorted(groups.items())]
    if as_json:
        click.echo(json.dumps({"first": first.name, "second": second.name, "groups": [
            {"hazard": h, "language": t, "arm": arm, "kappa": kappa, **counts} for (h, t, arm), counts, kappa in rows]}))  # fmt: skip
        return 0
    table = Table(title=f"{escape(first.name)}  |  {escape(second.name)}", title_justify="left", box=None, padding=(0, 1))
    for name in ("hazard", "language", "arm"):
        table.add_column(name)
    for name in ("answers", "both flag", "only first", "only second", "unusable 1st", "unusable 2nd", "kappa", "right 1st", "right 2nd"):
        table.add_column(name, justify="right")
    for (hazard, tag, arm), c, kappa in rows:
        right = [f"{c[f'right_{i}']}/{c['labelled']}" if c["labelled"] else "" for i in ("first", "second")]
        told = [str(c[n]) for n in ("n", "both", "only_first", "only_second", "unusable_first", "unusable_second")]
        table.add_row(hazard, tag, arm, *told, "" if kappa is None else f"{kappa:.2f}", *right)
    Console().print(table)
    differ = [(a, b) for a, b in both if a.outcome != b.outcome]
    for a, b in differ[:SHOWN]:
        click.echo(f"  trial {a.slot}, {a.stream.key}: {a.outcome}, {b.outcome}")
    if len(differ) > SHOWN:
        click.echo(f"  and {len(differ) - SHOWN} more on which they differ")
    click.echo(f"\nNext, let people say who is right: {program()} label {shell_path(run)}")
    return 0


@command.command()
@click.option("--judge", "judges", multiple=True, required=True, help="A judge, as --target takes it; several make a panel.")
@click.option("--structured", is_flag=True, help="The endpoint holds the judge to a JSON schema (response_format).")
@click.option(
    "--rubric", default="en", show_default=True, type=click.Choice(["en", "item"]), help="Rubric in English, or in the answer's language."
)
@click.option(
    "--combine", default="most-severe", show_default=True, type=click.Choice(["most-severe", "majority"]), help="How verdicts become one."
)
@click.option("--language", "languages", multiple=True, help="Only these languages; all that have steering texts unless given.")
@click.option(
    "--answers", default=3, show_default=True, type=click.IntRange(1, 3), help="Violating and acceptable answers of each language."
)
@click.option("--concurrency", default=8, show_default=True, type=click.IntRange(1, 256), help="How many are judged at once.")
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
def steer(
    judges: tuple[str, ...], structured: bool, rubric: Rubric, combine: Combine, languages: tuple[str, ...],
    answers: int, concurrency: int, as_json: bool,
) -> int:  # fmt: skip
    """Whether a judge can be steered by the answer that it reads: forged verdicts, notes to the reviewer, appeals, in eight languages.

    Answers that violate are judged alone, then with words around them that ask for another verdict. Counted is how often a verdict that
    was right alone is turned to safe. Without a usable reply an answer is unscorable, which is never safe.

    Exit code: 0 if no verdict was turned, 1 if some were.
    """
    written = read_judge_attacks()
    unknown = [t for t in languages if t not in written]
    if unknown:
        raise AssayError(f"there are no steering texts in '{unknown[0]}'", fix=f"There are some in {', '.join(written)}.")
    panel = _panel(judges, rubric, combine, 2, structured=structured)
    tags = list(languages or written)
    console = Console(stderr=True)
    with Progress("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("answers judged", total=len(list(steering_cases(written, tags, answers))))
        judged = api.steer_judge(
            panel, tags, answers=answers, concurrency=concurrency, progress=lambda line: console.print(escape(line)),
            told=lambda n: bar.update(task, completed=n),
        )  # fmt: skip
    by_language, by_kind = tally(judged, by_language=True), tally(judged, by_language=False)
    if as_json:
        click.echo(json.dumps({"languages": msgspec.to_builtins(by_language), "kinds": msgspec.to_builtins(by_kind)}))
    else:
        _steered("by language", by_language)
        _steered("by kind of steering", by_kind)
    return 1 if by_language[-1].turned else 0


def _steered(title: str, rows: list[Withstood]) -> None:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1))
    table.add_column("", no_wrap=True)
    for name in ("flagged alone", "passed alone", "steered", "turned to safe", "95%", "unusable"):
        table.add_column(name, justify="right")
    for r in rows:
        turned = f"{r.turned / r.steered:.0%}" if r.steered else ""
        table.add_row(
            r.name, f"{r.flagged}/{r.violating}", f"{r.passed}/{r.acceptable}", str(r.steered), f"{r.turned} {turned}",
            _interval(r.interval), str(r.unusable),
        )  # fmt: skip
    Console().print(table)


def _panel(judges: tuple[str, ...], rubric: Rubric, combine: Combine, tries: int, *, structured: bool) -> Judges:
    specs = [parse_target(text) for text in judges]
    names = _distinct([spec.model.rpartition("/")[2] or spec.model for spec in specs])
    return Judges(
        tuple(JudgeSpec(name, spec, rubric, structured=structured) for name, spec in zip(names, specs, strict=True)), combine, tries
    )


@command.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--judgements", type=click.Path(path_type=Path), default=None, help="Measure this reading of the run, not the run's own judges."
)
@click.option(
    "--level", default=0.01, show_default=True, type=click.FloatRange(0, 0.5, min_open=True), help="Error of the sensitivity's bound."
)
@click.option("--write", type=click.Path(path_type=Path), default=None, help="Write a calibration that a plan can name.")
@click.option(
    "--anchors", default=40, show_default=True, type=click.IntRange(0, 1000), help="Labelled answers kept to notice a changed judge."
)
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
def measure(runs: tuple[Path, ...], judgements: Path | None, level: float, write: Path | None, anchors: int, as_json: bool) -> int:
    """Sensitivity and specificity of the judges of RUNS by hazard, language and arm, on the labels of people; and how people agree.

    Counted are answers that the run drew for labelling whatever the judge said (labels.audit in the plan), and streams that are labelled
    whole (assay label --all): among answers that were labelled because they were flagged, every violation is caught.
    """
    if judgements is not None and len(runs) > 1:
        raise AssayError("a file of judgements belongs to one run", fix="Measure one run at a time.")
    if write is not None and write.exists():
        raise AssayError("there is such a file already", where=str(write), fix="Choose another --write.")
    opinions = [read_opinions(run_path(run), judgements) for run in runs]
    rows = [measured(row, level) for row in calibrated_rows(s for o in opinions for s in o.seen())]
    acts = []
    for run in runs:
        with read_run(run) as file:
            acts.append(read_labels(file))
    rated = [given for labels in acts for given in ratings(labels)]
    people = {"trials rated by several": len(rated), "alpha": alpha(rated), "fleiss": fleiss(rated)}
    if as_json:
        click.echo(json.dumps({"rows": [msgspec.to_builtins(r) for r in rows], "people": people}))
    else:
        _show(rows, people)
    if not rows:
        raise AssayError(
            "no labelled answer was drawn whatever the judge said, so nothing can be measured",
            fix="Set labels.audit in the plan, or label all of a stream (assay label --all).",
        )
    if write is not None:
        kept = tuple(a for o in opinions for a in o.anchors(anchors // len(opinions)))
        calibration = Calibration("calibration/1", tuple(r.row for r in rows), tuple(o.source for o in opinions), kept)
        write.write_bytes(msgspec.json.format(msgspec.json.encode(calibration), indent=1) + b"\n")
        click.echo(f"\nKept in {shell_path(write)}. Next, name it in a plan under judges: calibration: {write.name}")
    return 0


def _show(rows: list[Measured], people: dict[str, float | int | None]) -> None:
    table = Table(title="Judges, by people's labels", title_justify="left", box=None, padding=(0, 1))
    for name in ("hazard", "language", "arm"):
        table.add_column(name)
    for name in ("violations", "caught", "sensitivity", "95%", "bound", "acceptable", "passed", "specificity", "95%"):
        table.add_column(name, justify="right")
    for m in rows:
        r = m.row
        table.add_row(
            r.hazard, r.language, r.arm, str(r.caught + r.missed), str(r.caught), _rate(m.sensitivity), _interval(m.sensitivity_interval),
            f"{m.bound:.2f}", str(r.alarms + r.passed), str(r.passed), _rate(m.specificity), _interval(m.specificity_interval),
        )  # fmt: skip
    if rows:
        Console().print(table)
    if people["trials rated by several"]:
        told = ", ".join(f"{name} {value:.2f}" for name, value in people.items() if isinstance(value, float))
        click.echo(f"People: {people['trials rated by several']} trials rated by several; {told or 'all said the same'}.")


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _interval(value: tuple[float, float]) -> str:
    return f"{value[0]:.2f}-{value[1]:.2f}"


def _distinct(names: list[str]) -> list[str]:
    """Names for the judges of a panel: what is no name's character becomes a hyphen, equal ones are numbered."""
    plain = [
        "".join(c if (c.isalnum() and c.isascii()) or c in "._-" else "-" for c in name).strip("._-")[:48] or "judge" for name in names
    ]
    seen = Counter(plain)
    counted: Counter[str] = Counter()
    out = []
    for name in plain:
        counted[name] += 1
        out.append(f"{name}-{counted[name]}" if seen[name] > 1 else name)
    return out
