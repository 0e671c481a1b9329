"""Plans, their forecasts, and the processes that make runs and reports: the same commands that one would type, each in a group of its own.

starter = Starter(shelf, Typed("assay", shlex_path))
seen = await starter.forecast("quick", "scripted:0.01")
name = starter.start("quick", "scripted:0.01", seen.digest)       # what was looked at is what starts
starter.stop(name); starter.resume(name); starter.report(name)

A process that was started here does not end with the page. What it says goes to `.studio/NAME.log` in the runs' folder, and who it is to
`.studio/NAME.json`, so that a later page, or a second one, can stop it too. Nothing of a secret is ever written: keys are named by their
variable, as on the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from assay.errors import AssayError
from assay.plan import Plan, TargetSpec, builtin_plans, read_plan
from assay.runs import whole_file
from assay.studio.shelf import OWN, Run, Shelf, cut, usable
from assay.studio.writers import born, is_alive
from assay.targets import parse_target

KINDS = ("embedded", "http", "scripted")
"""Targets that a page may name. Others, such as a Python function, stand in a plan file or on a command line."""
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
FORECAST_S = 300
MOST_LOG = 4_000
BEGIN_MS = 15_000
WELL = (0, 10, 20, 130)
"""Exit codes of a run that did what it was asked to: a decision, or stopped with everything kept."""


class StudioError(AssayError):
    """What the page cannot do now. `code` is the word that says so in the reader's language."""

    def __init__(self, code: str, what: str) -> None:
        super().__init__(what)
        self.code = code


class Offer(Struct, frozen=True):
    """A plan that can be started; `wrong` says why not."""

    name: str
    builtin: bool
    target: str
    about: str
    wrong: str = ""


class Expected(Struct, frozen=True):
    """Trials and verdicts for one supposed model."""

    model: str
    trials: int
    verdicts: str


class Forecast(Struct, frozen=True):
    """What a plan would do against a target: cells and calls. `digest` is the plan's with its target, `name` the run's unless another is
    given.
    """

    plan: str
    target: str
    digest: str
    name: str
    hazards: int
    languages: int
    attacks: int
    cells: int
    streams: int
    claims: int
    floor_trials: int
    fewest_trials_to_approve: int
    most_trials: int
    most_requests: int
    expected: tuple[Expected, ...]
    command: str


class _Simulated(Struct, frozen=True):
    """What `assay run --dry-run --json` says."""

    digest: str
    streams: int
    claims: int
    floor_trials: int
    fewest_trials_to_approve: int
    most_trials: int
    most_requests: int
    expected: tuple[Expected, ...]


class _Started(Struct, frozen=True):
    """Who makes a run: process, and when that began, so that a later process of the same number is not taken for it."""

    pid: int
    born: str
    at: int
    plan: str
    target: str


@dataclass(frozen=True, slots=True)
class Typed:
    """How commands are typed where the studio was started: the program, and a path."""

    program: str
    path: Callable[[Path], str]

    def run(self, plan: str, target: str, out: Path) -> str:
        """Starts a plan."""
        chosen = f" --target {shlex.quote(target)}" if target else ""
        return f"{self.program} run {plan}{chosen} --out {self.path(out)}"

    def resume(self, out: Path) -> str:
        """Goes on with a run."""
        return f"{self.program} run --resume --out {self.path(out)}"


class Starter:
    """Starts, stops, goes on with, and reports; one for a folder."""

    def __init__(self, shelf: Shelf, typed: Typed, plans: Mapping[str, str] | None = None) -> None:
        """`plans`, names and paths, stand for the built-in ones and those of the folder, where only they may be started."""
        self.shelf, self.typed, self.plans = shelf, typed, plans
        self._runs: dict[str, subprocess.Popen[bytes]] = {}
        self._reports: dict[str, subprocess.Popen[bytes]] = {}
        self._forecast: asyncio.subprocess.Process | None = None

    def offers(self) -> list[Offer]:
        """The built-in plans, then the plan files of the folder, each checked."""
        found = [self._offer(name, name, builtin=True) for name in builtin_plans()]
        return found + [self._offer(path.name, str(path), builtin=False) for path in self._files()]

    def _files(self) -> list[Path]:
        try:
            return sorted(p for p in self.shelf.folder.iterdir() if p.suffix in (".yaml", ".yml") and p.is_file() and usable(p.name))
        except OSError:
            return []

    def _offer(self, name: str, path: str, *, builtin: bool) -> Offer:
        try:
            plan, _ = read_plan(path)
        except AssayError as e:
            return Offer(name, builtin, "", "", wrong=cut(str(e)))
        return Offer(name, builtin, f"{plan.target.kind}:{plan.target.model}", cut(plan.about.strip().split(". ")[0]))

    def _plan(self, name: str, target: str) -> tuple[str, Plan]:
        """A plan that is offered, by its name, and where it is. Raises `AssayError`."""
        known = self.plans
        if known is None:
            known = {p.name: str(p.resolve()) for p in self._files()} | {n: n for n in builtin_plans()}
        if name not in known:
            raise StudioError("no_plan", "there is no such plan here")
        return known[name], read_plan(known[name], _spec(target))[0]

    async def forecast(self, name: str, target: str) -> Forecast:
        """Simulate a plan, as `assay run --dry-run` does, in a process of its own; a later one replaces it. Raises `AssayError`."""
        path, plan = await asyncio.to_thread(self._plan, name, target)
        self.end_forecast()
        process = await asyncio.create_subprocess_exec(
            *_assay(), "run", "--dry-run", "--json", *_target(target), "--", path,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, env=exact_environment(),
        )  # fmt: skip
        self._forecast = process
        try:
            out, err = await asyncio.wait_for(process.communicate(), FORECAST_S)
        except TimeoutError:
            raise StudioError("too_long", "the forecast took too long") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        if code := process.returncode:
            said = err.decode("utf-8", "replace").strip()
            raise StudioError("replaced" if code < 0 else "failed", _plain(said)[-MOST_LOG:] or "the forecast failed")
        try:
            found = msgspec.json.decode(out, type=_Simulated)
        except msgspec.MsgspecError as e:
            raise StudioError("failed", f"the forecast cannot be read: {e}") from None
        m = plan.matrix
        attacks = 1 + len(m.attacks)
        free = self._free(plan.name)
        typed = name if name in builtin_plans() else self.typed.path(Path(path))
        return Forecast(
            plan=name, target=f"{plan.target.kind}:{plan.target.model}", name=free, hazards=len(m.hazards), languages=len(m.languages),
            attacks=attacks, cells=len(m.hazards) * len(m.languages) * attacks,
            command=self.typed.run(typed, target, self.shelf.folder / free), **msgspec.structs.asdict(found),
        )  # fmt: skip

    def _free(self, plan: str) -> str:
        """A name for a run of this plan that no run has: the plan's with the time."""
        name = f"{plan[:40]}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
        tried = (name, *(f"{name}-{i}" for i in range(2, 1000)))
        return next(n for n in tried if not os.path.lexists(self.shelf.folder / n))

    def end_forecast(self) -> None:
        """End the simulation that is under way, if any."""
        if self._forecast is not None and self._forecast.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._forecast.kill()

    def start(self, plan: str, target: str, digest: str, name: str = "") -> str:
        """Start a plan whose forecast was looked at; the run's name. Raises `AssayError`."""
        path, loaded = self._plan(plan, target)
        if loaded.digest != digest:
            raise StudioError("plan_changed", "the plan is not the one whose forecast was shown")
        name = name or self._free(loaded.name)
        if not NAME.match(name):
            raise StudioError("bad_name", "letters, digits and . _ - only, at most 64, beginning with a letter or digit")
        out = self.shelf.folder / name
        if os.path.lexists(out) or self._record(name) is not None:
            raise StudioError("name_taken", "there is something of that name already")
        self._launch(name, ["run", *_target(target), f"--out={out.resolve()}", "--", path], loaded)
        return name

    def resume(self, name: str) -> None:
        """Go on with a run that stopped. Raises `AssayError`."""
        run = self.known(name)
        if run.state not in ("stopped", "finished") or not run.has_run_file:
            raise StudioError("not_stopped", "this run is not one that stopped")
        record = self._record(name)
        plan, target = (record.plan, record.target) if record else (run.plan, run.target)
        self._launch(name, ["run", "--resume", f"--out={(self.shelf.folder / name).resolve()}"], None, plan, target)

    def stop(self, name: str) -> None:
        """Ask the process that makes a run to stop; it keeps everything. Only those that a studio started. Raises `AssayError`."""
        pid = self.stoppable(self.known(name))
        if not pid:
            raise StudioError("not_ours", "no studio started this run, or it has ended")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)

    def report(self, name: str) -> None:
        """Write a run's report. Raises `AssayError`."""
        run = self.known(name)
        if run.state not in ("finished", "stopped") or not run.has_run_file:
            raise StudioError("not_stopped", "this run has no report yet")
        self._write(name, "report")

    def explore(self, name: str) -> None:
        """Write a signed run's interactive report. Raises `AssayError`."""
        run = self.known(name)
        if run.state != "finished" or run.signed != "yes":
            raise StudioError("not_stopped", "only what is signed has an interactive report")
        self._write(name, "report", "--interactive")

    def _write(self, name: str, *command: str) -> None:
        """One report of a run at a time."""
        busy = self._reports.get(name)
        if busy is None or busy.poll() is not None:
            self._reports[name] = self._process(f"{name}.report.log", [*command, "--", str((self.shelf.folder / name).resolve())])

    def known(self, name: str) -> Run:
        """A run that is listed, by its name. Raises `StudioError`."""
        self._reap()
        found = self.shelf.run(name) if usable(name) else None
        if (found is None or (found.state == "broken" and not found.has_run_file)) and name in self._recorded():
            found = self._early(name) or found
        found = self._begun(found) if found else None
        if found is None:
            raise StudioError("no_run", "there is no such run here")
        return found

    def runs(self) -> list[Run]:
        """Every run that is listed: those of the folder, and those that were started here and have no run file yet, or never got one."""
        self._reap()
        listed = [self._begun(run) for run in self.shelf.runs()]
        names = {r.name for r in listed if r.state != "broken" or r.has_run_file}
        early = [run for name in self._recorded() if name not in names and (run := self._early(name)) is not None]
        found = {r.name or r.shown: r for r in listed} | {r.name: r for r in early}
        return sorted(found.values(), key=lambda r: (-r.at, r.shown))

    def _begun(self, run: Run) -> Run:
        """A run that was just asked to go on is no longer one that stopped, though nobody holds its lock yet."""
        record = self._record(run.name) if run.state == "stopped" and run.name in self._runs else None
        just = record is not None and time.time_ns() // 1_000_000 - record.at < BEGIN_MS
        return msgspec.structs.replace(run, state="starting") if just and self.maker(run.name) else run

    def _early(self, name: str) -> Run | None:
        record = self._record(name)
        if record is None:
            return None
        if self.maker(name):
            return Run(name, name, "starting", record.plan, record.target, at=record.at)
        said = self.log(name)
        return Run(name, name, "failed", record.plan, record.target, at=record.at, wrong=said[-300:]) if said else None

    def maker(self, name: str) -> int:
        """The process that makes a run and was started by a studio; 0 if there is none, or it has ended."""
        mine = self._runs.get(name)
        if mine is not None:
            return mine.pid if mine.poll() is None else 0
        record = self._record(name)
        return record.pid if record is not None and is_alive(record.pid, record.born) else 0

    def stoppable(self, run: Run) -> int:
        """The process to ask, if a studio started it: this one, or another one whose process holds the lock of this very run; else 0."""
        mine = self._runs.get(run.name)
        pid = self.maker(run.name)
        return pid if run.state in ("starting", "running") and (mine is not None or pid == run.writer) else 0

    def failed(self, name: str) -> bool:
        """Whether the process that was started here last ended as none should."""
        mine = self._runs.get(name)
        return mine is not None and mine.poll() not in (None, *WELL)

    def reporting(self, name: str) -> str:
        """`busy` while a report is written, `failed` where it could not be, else empty."""
        process = self._reports.get(name)
        code = process.poll() if process is not None else 0
        return "busy" if code is None else "failed" if code else ""

    def log(self, name: str) -> str:
        """The last that the process making a run said, made safe to show."""
        return self._tail(f"{name}.log")

    def report_log(self, name: str) -> str:
        """The last that the process writing a report said."""
        return self._tail(f"{name}.report.log")

    def under_way(self) -> dict[str, int]:
        """Runs that this studio started and that go on, with their processes."""
        return {name: p.pid for name, p in self._runs.items() if p.poll() is None}

    def stop_all(self, seconds: float = 60.0) -> None:
        """Stop every run that this studio started, and wait until they have."""
        for name in self.under_way():
            self.stop(name)
        until = time.monotonic() + seconds
        for process in self._runs.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))

    def _launch(self, name: str, words: list[str], loaded: Plan | None, plan: str = "", target: str = "") -> None:
        process = self._process(f"{name}.log", words)
        self._runs[name] = process
        plan, target = (loaded.name, f"{loaded.target.kind}:{loaded.target.model}") if loaded else (plan, target)
        record = _Started(process.pid, born(process.pid), time.time_ns() // 1_000_000, plan, target)
        with contextlib.suppress(OSError), whole_file(self._own() / f"{name}.json") as out:
            out.write(msgspec.json.encode(record) + b"\n")

    def _process(self, log: str, words: list[str]) -> subprocess.Popen[bytes]:
        """A command in a group of its own, so that Ctrl-C on the studio's terminal does not reach it, saying what it says to a file."""
        try:
            with (self._own() / log).open("wb") as out:
                return subprocess.Popen(  # noqa: S603 (this very program, with words that are checked or made here)
                    [*_assay(), *words], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                    env=exact_environment(),
                )  # fmt: skip
        except OSError as e:
            raise StudioError("failed", f"the command could not be started: {e.strerror}") from None

    def _own(self) -> Path:
        own = self.shelf.folder / OWN
        own.mkdir(parents=True, exist_ok=True, mode=0o700)
        return own

    def _recorded(self) -> list[str]:
        try:
            return [p.stem for p in (self.shelf.folder / OWN).iterdir() if p.suffix == ".json" and usable(p.stem)]
        except OSError:
            return []

    def _record(self, name: str) -> _Started | None:
        try:
            return msgspec.json.decode((self.shelf.folder / OWN / f"{name}.json").read_bytes(), type=_Started)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _tail(self, file: str) -> str:
        try:
            with (self.shelf.folder / OWN / file).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - MOST_LOG))
                return _plain(log.read(MOST_LOG).decode("utf-8", "replace")).strip()
        except OSError:
            return ""

    def _reap(self) -> None:
        for process in (*self._runs.values(), *self._reports.values()):
            process.poll()


def _assay() -> list[str]:
    """This very program. `-P`: no module is taken from the folder that the studio was started in."""
    return [sys.executable, "-P", "-m", "assay"]


def exact_environment() -> dict[str, str]:
    """This environment, without what gives a command other options than those that stand there: what was looked at is what starts, in the
    folder that was named, and no module is taken from there by any process below it.
    """
    options = ("ASSAY_RUN_", "ASSAY_REPORT_", "ASSAY_VERIFY_", "ASSAY_COMPARE_", "ASSAY_STORE_URL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(options)}
    return kept | {"ASSAY_NO_CONFIG": "1", "PYTHONSAFEPATH": "1"}


def _spec(target: str) -> TargetSpec | None:
    """The target that was typed; None for the plan's own. Raises `AssayError`."""
    if not target:
        return None
    spec = parse_target(target)
    if spec.kind not in KINDS:
        raise StudioError("bad_target", f"a target of the kind '{cut(spec.kind)}' cannot be named here")
    return spec


def _target(target: str) -> list[str]:
    return [f"--target={target}"] if target else []


def _plain(text: str) -> str:
    """What a process said, line by line, with a mark where a character cannot be shown."""
    return "\n".join("".join(c if c.isprintable() else "�" for c in line) for line in text.splitlines())
