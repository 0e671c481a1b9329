"""`assay watch DIR|URL`."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assay.cli.keyplace import KEY_PLACE, usual_key
from assay.cli.words import plain, program, shell_path

if TYPE_CHECKING:
    from assay.decision import Gate
    from assay.engine import Committed
    from assay.ledger import KeyPlace
    from assay.plan import Stream
    from assay.watch import Checkpoint, News, Source, Watch, WatchState
    from assay.watch.telling import Teller

MARK = {"worse": "✕", "better": "✓", "no change": "=", "unclear": "?", "failed": "!", "same": "≡", "reference": "◆", "waiting": "…"}
UNKNOWN = 10
CODES = {"worse": 20, "unclear": 10, "failed": 10, "waiting": 10}
REDRAWN_S = 0.1
NEWS = ("worse", "better", "unclear", "failed")


@click.command()
@click.argument("where", metavar="DIR|URL")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("watched"), show_default=True, help="Folder of runs and trend."
)
@click.option(
    "--plan",
    "plan_name",
    default="watch",
    show_default=True,
    metavar="PLAN",
    help="What each checkpoint is asked: a file, or a built-in name.",
)
@click.option("--target", default="", metavar="T", help="Who serves a checkpoint, as for assay run, with {name} for its name.")
@click.option("--models", default="*", show_default=True, metavar="PATTERN", help="Of an endpoint: only models of such names.")
@click.option("--api-key-env", default="", metavar="NAME", help="Of an endpoint: the variable that has the key.")
@click.option("--no-greeting", is_flag=True, help="Of an endpoint: only read the list; a new model behind an old name is not seen.")
@click.option(
    "--baseline",
    default="first",
    show_default=True,
    metavar="WHICH",
    help="Reference: first, approved (the last that was), or a run's folder.",
)
@click.option("--margin", default="0%", show_default=True, help="A change up to this many percentage points is none.")
@click.option(
    "--error", default="5%", show_default=True, help="Chance of ever telling a rise (or a fall) that is none, over all checkpoints."
)
@click.option(
    "--every", type=click.FloatRange(min=0.05, max=86_400), default=60.0, show_default=True, metavar="SECONDS", help="Time between looks."
)
@click.option("--settle", type=click.FloatRange(min=0, max=86_400), default=30.0, show_default=True, metavar="SECONDS",
              help="How long a checkpoint's files must stay as they are.")  # fmt: skip
@click.option("--marker", default="", metavar="NAME", help="Take a checkpoint only when this file is in it (or .NAME beside it).")
@click.option("--again", default="", metavar="NAME", help="Try this checkpoint again, which could not be evaluated; `all` for all of them.")
@click.option("--once", is_flag=True, help="Look once, evaluate what is there, and end.")
@click.option("--until-change", is_flag=True, help="End at the first checkpoint that got worse or better, or is unclear.")
@click.option("--alert-command", default="", metavar="COMMAND", help="Run this at a change; what changed is in its environment.")
@click.option("--webhook", default="", metavar="URL", help="Post JSON there at a change: https, or http on this machine.")
@click.option("--key", type=KEY_PLACE, help="Signing key: a PEM file, made if it is not there, or a PKCS#11 URI.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on standard output.")
def command(**given: Any) -> int:
    """Evaluates each new checkpoint in DIR, or new model at URL, as it appears, compares it with a reference, and tells what changed.

    DIR holds *.gguf files, or sub-folders with weights; URL is an OpenAI-compatible endpoint. Each checkpoint is an ordinary signed run in
    OUT. The error is that of the whole sequence, however long. A watch that was ended, or killed, goes on where it was.

    \b
    Exit code with --once or --until-change: 0 nothing got worse, 10 a checkpoint is unclear or could not be evaluated, 20 something got
    worse; 2 bad input or surroundings, 130 interrupted (everything so far is kept).

    \b
    Examples:
      assay watch checkpoints
      assay watch http://127.0.0.1:8000/v1 --models 'my-model-*' --every 300
      assay watch checkpoints --target 'http://127.0.0.1:8000/v1#{name}' --webhook https://hooks.example.org/x
      assay watch checkpoints --plan my-plan.yaml --once
      assay watch checkpoints --once --again step-300
    """
    asked = Asked(**given)
    if asked.once and asked.until_change:
        raise click.UsageError("--once looks once, and --until-change until something changes")
    return _watch(asked)


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line, read."""

    where: str
    out: Path
    plan_name: str
    target: str
    models: str
    api_key_env: str
    no_greeting: bool
    baseline: str
    margin: str
    error: str
    every: float
    settle: float
    marker: str
    again: str
    once: bool
    until_change: bool
    alert_command: str
    webhook: str
    key: KeyPlace | None
    as_json: bool


def _watch(asked: Asked) -> int:
    from assay.cli.cost import rate_of
    from assay.plan import plan_path, read_plan
    from assay.watch import Settings, Watch
    from assay.watch.serving import require_target
    from assay.watch.telling import Teller

    plan, catalog = read_plan(asked.plan_name)
    source = _source(asked)
    settings = Settings(
        out=asked.out, baseline=asked.baseline, level=rate_of(asked.error, f"--error {asked.error}"),
        margin=rate_of(asked.margin, f"--margin {asked.margin}"), target=asked.target, api_key_env=asked.api_key_env, key=asked.key,
        beside=plan_path(asked.plan_name).parent,
    )  # fmt: skip
    secret = [name for name in (asked.api_key_env, plan.target.api_key_env, asked.target.rpartition("@")[2]) if name]
    teller = Teller(tuple(shlex.split(asked.alert_command)), asked.webhook, secret)
    screen = Screen(as_json=asked.as_json)
    if plan.bank is None and not plan.sizes:
        screen.note(
            "This plan asks every checkpoint other items, so they are not paired: give it a bank, and far fewer calls show a change."
        )
    require_target(settings.target, plan)
    usual_key(asked.key, screen.note)
    with Watch.open(settings, source, plan, catalog) as watch:
        screen.note(
            f"Watching {source.about}; {len(watch.state.checkpoints)} checkpoints so far; runs and trend in {shell_path(asked.out)}"
        )
        if asked.again:
            watch.again(asked.again)
        try:
            code = _once(watch, source, teller, screen, asked) if asked.once else _loop(watch, teller, screen, asked)
        except KeyboardInterrupt:
            screen.clear()
            screen.note("Interrupted. Everything so far is kept; the same command goes on.")
            return 130
    screen.end(watch, asked.out)
    return code


def _source(asked: Asked) -> Source:
    from assay.targets.apikey import api_key
    from assay.watch import Endpoint, Folder
    from assay.watch.sources import checked_address

    if asked.where.lower().startswith(("http://", "https://")):
        checked_address(asked.where)
        key = api_key(asked.api_key_env, asked.where)
        return Endpoint(asked.where, key=key, models=asked.models, greet=not asked.no_greeting)
    if not Path(asked.where).is_dir():
        what = "this" if "://" in asked.where or "@" in asked.where else f"'{asked.where}'"  # a password may be anywhere in an address
        raise click.UsageError(f"{what} is no folder, and no address that begins with http:// or https://")
    return Folder(Path(asked.where), settle_s=asked.settle, marker=asked.marker)


def _once(watch: Watch, source: Source, teller: Teller, screen: Screen, asked: Asked) -> int:
    """One look; what has just been written is given the time to settle."""
    from assay.watch.telling import words_of

    seen: set[int] = set()
    until, rounds, said = time.monotonic() + 2 * asked.settle + 1, 0, False
    while True:
        seen |= {n.checkpoint.number for n in _looked(watch, teller, screen) if n.kind == "evaluated"}
        settling = getattr(source, "waiting", False) and not asked.marker and time.monotonic() < until
        unknown = bool(watch.silent) or any(c.status == "found" for c in watch.state.checkpoints)
        waiting = unknown and rounds < watch.settings.tries
        if not settling and not waiting:
            break
        if settling and not said:
            screen.note(f"Waiting {asked.settle:g} s for files to settle (--settle).")
            said = True
        rounds += not settling
        time.sleep(min(max(asked.settle / 4, 0.05), 5.0) if settling else min(asked.every, 5.0))
    every = watch.state.checkpoints
    if not every:
        screen.note("There is no checkpoint yet.")
    new = [c for c in every if c.number in seen or c.status == "found"]
    code = max([*(_code(watch.state, c) for c in new or every[-1:]), *(UNKNOWN for _ in watch.silent)], default=UNKNOWN)
    if every and not new:
        screen.note(f"Nothing new. The latest: {words_of(watch.state, every[-1])} (exit {code}).")
    return code


def _loop(watch: Watch, teller: Teller, screen: Screen, asked: Asked) -> int:
    from assay.errors import AssayError

    while True:
        try:
            for news in _looked(watch, teller, screen):
                if asked.until_change and news.kind == "evaluated" and _verdict(watch.state, news.checkpoint) in NEWS:
                    return _code(watch.state, news.checkpoint)
        except AssayError as e:
            if not watch.state.checkpoints:  # it was never reached: more likely a wrong address than an outage
                raise
            screen.note(f"cannot look now: {e}")
        time.sleep(asked.every)


def _looked(watch: Watch, teller: Teller, screen: Screen) -> Iterator[News]:
    for news in watch.look(teller, screen.observer, screen.progress):
        screen.say(news, watch.state)
        yield news


def _verdict(state: WatchState, checkpoint: Checkpoint) -> str:
    from assay.watch.telling import outcome_of

    return outcome_of(state, checkpoint)


def _code(state: WatchState, checkpoint: Checkpoint) -> int:
    return CODES.get(_verdict(state, checkpoint), 0)


class Screen:
    """One line for each thing that happens; on a terminal, the trials of the run under way in a line that moves."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._moving = sys.stderr.isatty() and not as_json
        self._shown = False
        self._at = 0.0

    def note(self, line: str) -> None:
        """Beside the news, on standard error."""
        self.clear()
        click.echo(plain(line), err=True)

    def progress(self, line: str) -> None:
        """What a run says of itself."""
        if self._moving:
            self.note(f"  {line}")

    def say(self, news: News, state: WatchState) -> None:
        """One line, or one JSON object."""
        from assay.watch.telling import alert_of

        self.clear()
        if self._json:
            click.echo(json.dumps({**alert_of(state, news.checkpoint), "event": news.kind, "message": news.message}, ensure_ascii=False))
            return
        if news.kind == "found":
            self.note(news.message)
        elif news.kind in ("untold", "silent"):
            self.note(f"! {news.message}")
        else:
            mark = MARK[_verdict(state, news.checkpoint)]
            click.echo(f"{time.strftime('%H:%M:%S')}  {mark} {plain(news.message)}")
            if news.checkpoint.status == "failed":
                self.note(f"  To try it again, when that is mended: the same command with --again {shlex.quote(news.checkpoint.name)}")

    def clear(self) -> None:
        """Take the moving line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            self._shown = False

    def moved(self, line: str) -> None:
        """Show the moving line, at most ten times a second."""
        if self._moving and time.monotonic() - self._at >= REDRAWN_S:
            self._at = time.monotonic()
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
            self._shown = True

    def observer(self, checkpoint: Checkpoint) -> Following:
        """Who follows a run."""
        return Following(self, checkpoint)

    def end(self, watch: Watch, out: Path) -> None:
        """The next command."""
        if self._json:
            return
        trend = out / "trend.html"
        if trend.is_file():
            click.echo(f"\n  Trend   {shell_path(trend)}")
        whole = [c for c in watch.state.checkpoints if c.status == "done"]
        if len(whole) > 1:
            click.echo("\nNext, see one of them beside the reference:\n")
            click.echo(f"  {program()} compare {shell_path(out / whole[0].run)} {shell_path(out / whole[-1].run)}")


class Following:
    """Counts the trials of a run on the screen."""

    def __init__(self, screen: Screen, checkpoint: Checkpoint) -> None:
        self._screen, self._name, self._count = screen, checkpoint.name, 0

    def committed(self, trial: Committed, gate: Gate, phase: str) -> None:
        """One more."""
        self._count += 1
        self._screen.moved(f"  {plain(self._name)}: {self._count} trials")

    def restored(self, counts: dict[Stream, list[int]]) -> None:
        """What was there already."""
        self._count = sum(n[0] for n in counts.values())

    def outage(self, reason: str, seconds: float) -> None:
        """The endpoint does not answer."""
        self._screen.note(f"  {plain(self._name)}: no answer for {seconds:.0f} s ({plain(reason)})")
