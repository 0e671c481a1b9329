"""`assay compare RUN RUN...`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table

from assay.cli.kinds import require_run
from assay.cli.words import ONE_LINE, program, shell_path
from assay.decision import EXIT_CODES, Comparison, History, Observed, compare, over_time, percent
from assay.errors import AssayError
from assay.evidence import BundleRun
from assay.evidence.bundle import committed as committed_of
from assay.plan import ErrorRates
from assay.report.observed import observed_trials, settled
from assay.runs import is_address, read_run, whole_file

SHOWN = 15
BETWEEN: Mapping[str, JustifyMethod] = {
    "stream": "left", "before": "right", "now": "right", "pairs": "right", "difference": "right", "": "left",
}  # fmt: skip
MARK = {"not worse": "✓", "worse": "✕", "open": "·"}
SAID = {
    "halt": "✕ WORSE: something got worse by more than {margin}.",
    "approve": "✓ NOT WORSE: nothing got worse by more than {margin}.",
    "delay": "… UNDECIDED: the runs do not suffice to say that nothing got worse by more than {margin}.",
}


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--margin", default="5%", show_default=True, help="How much worse is too much, in percentage points.")
@click.option("--error", default="5%", show_default=True, help="Chance of a wrong 'worse', and of a wrong 'not worse'.")
@click.option("--floor", default="1%", show_default=True, help="A rate below which a cell has nothing more to show.")
@click.option("--first", is_flag=True, help="Compare the last run with the first, not with the one before.")
@click.option("--all", "everything", is_flag=True, help="Show every stream.")
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="Also write the comparison as one page, from signed runs (2 to 26)."
)
@click.option("--language", metavar="TAG", help="Language of that page: en, ms, zh-Hans, ta, th, vi or id.  [default: en]")
def command(
    runs: tuple[Path, ...], margin: str, error: str, floor: str, first: bool, everything: bool, as_json: bool, html: Path | None,
    language: str | None,
) -> int:  # fmt: skip
    """What changed between RUNS (run folders, run files or bundles), oldest first.

    The last run is compared with the one before it, paired by item where both asked the same items (plans with a bank). Three runs or more
    also show change over time, saturation, and which items to retire. Bundles are read, not verified: assay verify does that. With --html,
    every run must be signed, and each is held against its signatures before anything is written.

    Exit code: 0 nothing got worse, 10 undecided (as where the newer run lacks streams of the older), 20 something got worse.

    \b
    Examples:
      assay compare runs/v1 runs/v2
      assay compare runs/v1 runs/v2 runs/v3 --margin 2%
      assay compare runs/v1 runs/v2 --html comparison.html --language ms
    """
    from assay.cli.cost import rate_of

    if len(runs) < 2:
        raise AssayError("there is nothing to compare it with", fix="Give two runs or more, oldest first.")
    rates = {name: rate_of(value, f"--{name} {value}") for name, value in (("margin", margin), ("error", error), ("floor", floor))}
    if not (0 <= rates["margin"] < 1 and 0 < rates["error"] <= 0.5 and 0 < rates["floor"] < 1):
        raise AssayError("margin, error or floor is out of range", fix="Usual values are 5%, 5% and 1%.")
    if language and html is None:
        raise click.UsageError("--language goes with --html.")
    for path in runs:
        require_run(path)
    if html is not None:
        comparison, history = _write_page(runs, rates, html, language or "en", first=first)
    else:
        observed = [observe(path) for path in runs]
        comparison = compare(observed[0 if first else -2], observed[-1], rates["margin"], ErrorRates(rates["error"], rates["error"]))
        history = over_time(observed, floor=rates["floor"]) if len(observed) > 2 else None
    if not comparison.differences:
        raise AssayError("these runs have no stream in common", fix="Compare runs whose plans share hazards, languages and attacks.")
    if as_json:
        click.echo(json.dumps(_facts(comparison, history), ensure_ascii=False))
    else:
        _say(comparison, history, runs, first=first, everything=everything)
    if html is not None and not as_json:
        click.echo(f"\nComparison: {shell_path(html)}")
    return EXIT_CODES[comparison.verdict]


def _write_page(
    runs: tuple[Path, ...], rates: dict[str, float], html: Path, language: str, *, first: bool
) -> tuple[Comparison, History | None]:  # fmt: skip
    from assay.report.comparison import comparison_view, render_comparison, words_in
    from assay.report.sources import read_sources

    words_in(language)
    sources = read_sources(runs)
    view = comparison_view(sources, rates["margin"], rates["error"], rates["floor"], first=first)
    page = render_comparison(view, language).encode("utf-8")
    try:
        with whole_file(html) as file:
            file.write(page)
    except OSError as e:
        raise AssayError(f"cannot write the comparison: {e.strerror}", where=str(html)) from None
    if view.history is None:
        return view.comparison, None
    names = {source.letter: source.name for source in sources}
    courses = tuple(msgspec.structs.replace(c, alarm=names.get(c.alarm, "")) for c in view.history.courses)
    return view.comparison, msgspec.structs.replace(view.history, courses=courses)


def observe(path: Path) -> Observed:
    """One run's outcomes, from a run folder, a run file or a bundle. Raises `AssayError`."""
    if path.is_file() and path.suffix == ".jsonl":
        bundle = BundleRun.read(path)
        opening = bundle.opening()
        return observed_trials(path.parent.name or path.name, opening, bundle.trials(), settled(bundle, opening.plan.labels.people))
    with read_run(path) as run:
        name = run.digest[7:19] if is_address(path) else path.name if path.is_dir() else path.parent.name
        opening = run.opening()
        known = settled(run, opening.plan.labels.people)
        return observed_trials(name, opening, (trial for trial, _ in committed_of(run)), known)


def _facts(comparison: Comparison, history: History | None) -> dict[str, Any]:
    facts = msgspec.to_builtins(comparison) | {"differences": [_plain(d) for d in comparison.differences]}
    if history:
        rotation = history.rotation
        facts["history"] = {
            "courses": [_plain(c) for c in history.courses], "separates": history.separates, "run_length": history.run_length,
            "retire": {history.items[i]: why for i, why in rotation.retire.items()} if rotation else {},
            "harden": rotation.harden if rotation else {},
            "warnings": {history.items[i]: why for i, why in rotation.warnings.items()} if rotation else {},
        }  # fmt: skip
    return dict(facts)


def _plain(value: Any) -> dict[str, Any]:
    return {**msgspec.to_builtins(value), "stream": value.stream.key}


def _say(comparison: Comparison, history: History | None, runs: tuple[Path, ...], *, first: bool, everything: bool) -> None:
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 120
    older, newer = shell_path(runs[0 if first else -2]), shell_path(runs[-1])
    margin = f"{percent(comparison.margin).removesuffix('%')} percentage points"
    console.print(SAID[comparison.verdict].format(margin=margin), highlight=False)
    if comparison.only_older and comparison.verdict == "delay":
        count = len(comparison.only_older)
        console.print(f"  {count} of the older run's streams are not in the newer one: of them nothing is shown.", highlight=False)
    worse = comparison.worse
    for d in worse[: None if everything else SHOWN]:
        console.print(
            f"  ✕ {escape(d.stream.key)}: {d.older[0]} of {d.older[1]} before, {d.newer[0]} of {d.newer[1]} now; worse by "
            f"{percent(round(d.low, 3))} or more", highlight=False, soft_wrap=True,
        )  # fmt: skip
    if len(worse) > SHOWN and not everything:
        console.print(f"  and {len(worse) - SHOWN} more (--all)")
    ordered = sorted(comparison.differences, key=lambda d: -(d.low + d.high))
    rows = [
        [
            escape(d.stream.key), _rate(d.older), _rate(d.newer), str(d.paired or "-"), f"{100 * d.low:+.1f} to {100 * d.high:+.1f}",
            f"{MARK[d.status]} {d.status}",
        ]
        for d in (ordered if everything else ordered[:SHOWN])
    ]  # fmt: skip
    _print_table(console, f"{escape(older)} → {escape(newer)}", BETWEEN, rows)
    if len(ordered) > SHOWN and not everything:
        console.print(f"{len(ordered) - SHOWN} more streams (--all)")
    for names, where in ((comparison.only_older, "the older"), (comparison.only_newer, "the newer")):
        if names:
            console.print(f"Only in {where} run: {escape(', '.join(names[:5]))}{' ...' if len(names) > 5 else ''}", soft_wrap=True)
    if history:
        _say_history(console, history, everything=everything)
    console.print(f"\nNext, look at the newer run's report:\n\n  {program()} report {newer}", highlight=False, soft_wrap=True)


def _print_table(console: Console, title: str, columns: Mapping[str, JustifyMethod], rows: list[list[str]]) -> None:
    """A table; where the terminal is too narrow for it, each stream's name whole, and what it shows below it."""
    table = Table(title=title, title_justify="left")
    for name, side in columns.items():
        table.add_column(name, justify=side, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    if Measurement.get(console, console.options.update_width(ONE_LINE), table).maximum <= console.width:
        console.print(table)
        return
    console.print(title, highlight=False, soft_wrap=True)
    for stream, *values in rows:
        console.print(stream, highlight=False, soft_wrap=True)
        shown = ", ".join(f"{name} {value}".strip() for name, value in zip(list(columns)[1:], values, strict=True))
        console.print(Padding(shown, (0, 0, 0, 4)), highlight=False)


def _rate(counts: tuple[int, int]) -> str:
    return f"{counts[0]}/{counts[1]}"


def _say_history(console: Console, history: History, *, everything: bool) -> None:
    ordered = sorted(history.courses, key=lambda c: (not c.alarm, c.saturated, -c.band[1]))
    rows = [
        [
            escape(c.stream.key), " ".join(f"{s}/{n}" for s, n in c.history), escape(c.alarm) or "-",
            f"{100 * c.band[0]:.1f}% to {100 * c.band[1]:.1f}%", "yes" if c.saturated else "no",
        ]
        for c in (ordered if everything else ordered[:SHOWN])
    ]  # fmt: skip
    _print_table(console, "Over all runs", dict.fromkeys(("stream", "violations", "alarm", "next", "saturated"), "left"), rows)
    alarmed = [c for c in ordered if c.alarm]
    if alarmed:
        console.print(
            f"{len(alarmed)} of {len(ordered)} streams rose above what the first run allows (a false alarm of one stream comes once in "
            f"{history.run_length:.0f} runs or more)."
        )
    if not history.separates:
        console.print("This benchmark no longer separates these runs: every stream is saturated. Harden it, or look elsewhere.")
    if history.rotation:
        console.print(f"{len(history.items)} items were asked in three runs or more; {len(history.rotation.retire)} are to be retired.")
        for item, why in list(history.rotation.retire.items())[: None if everything else SHOWN]:
            console.print(f"  retire {history.items[item][:23]}: {escape(why)}", highlight=False, soft_wrap=True)
        for name, why in history.rotation.harden.items():
            console.print(f"  harden {escape(name)}: {escape(why)}", highlight=False, soft_wrap=True)
        for item, why in list(history.rotation.warnings.items())[: None if everything else SHOWN]:
            console.print(f"  keep   {history.items[item][:23]}: {escape(why)}", highlight=False, soft_wrap=True)
    else:
        console.print(
            "No items were asked in three of these runs, so none can be retired or kept by what they tell (plans with a bank do that)."
        )
