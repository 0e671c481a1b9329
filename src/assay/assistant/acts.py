"""What an assistant can do, each act within its grants. Runs are named, never paths; what models said is handed out only where granted.

    assistant = Assistant(Path("assistant.yaml"))
    assistant.start("quick", "scripted:0.01")        # the run's name; RefusedError beyond the grants
    assistant.progress("quick-20261130-0815-9f3a")
    assistant.tend()                                 # every few seconds: stops what goes beyond, settles what has ended

Runs are made by the studio's starter: the same command that one would type, in a process of its own, which goes on when the server ends.
There is no act that approves, signs a release, labels, resumes, deletes, or changes grants.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import re
import secrets
import subprocess
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from assay import api
from assay.assistant.grants import OWN_TARGET, Act, Grants, GrantsError, RefusedError, owners_alone, pins, read_grants
from assay.assistant.reading import (
    GOING,
    TROUBLED,
    compared,
    decision_of,
    line_of,
    plan_of,
    progress_of,
    shown,
    summary_of,
    transcript_of,
    verified,
)
from assay.assistant.reckoning import MILLIONTHS, amounts_of, most, paid_attacker, paid_judges, used_by
from assay.assistant.spending import Amounts, Purse, Reserved
from assay.catalog import Catalog
from assay.errors import AssayError
from assay.plan import Plan, TargetSpec, read_plan
from assay.plan.file import BUILTIN
from assay.plan.sealing import terms
from assay.runs import REFERENCE_NAME, RUN_NAME, RunFile
from assay.studio.following import Follower
from assay.studio.shelf import Run, Shelf, cut, printable
from assay.studio.starting import NAME, Starter, Typed, exact_environment
from assay.targets import parse_target

HEAVY_S = 300.0
LOST_MS = 600_000
MOST_LISTED = 100
MOST_FOLLOWED = 8
MOST_BYTES = 8 << 20
Job = Callable[[], dict[str, Any]]
log = logging.getLogger(__name__)


class Assistant:
    """One assistant with its grants, which are read again whenever their file changes. For one thread at a time; jobs that it gives back
    may be called in any.
    """

    def __init__(self, path: Path, state: Path | None = None) -> None:
        self.path = path
        self._stamp: tuple[int, ...] = ()
        self._read()
        self.state = state or state_folder(self.grants.name)
        self.purse = Purse(self.state, self.grants)
        self._runs = Path(self.grants.runs)
        self.starter = Starter(Shelf(self._runs), Typed("assay", str), self.plans)
        self._followers: OrderedDict[str, Follower] = OrderedDict()
        self._asked: deque[float] = deque()

    def close(self) -> None:
        """Let go of all files; runs go on."""
        for follower in self._followers.values():
            follower.close()
        self._followers.clear()
        self.purse.close()

    def _read(self) -> None:
        found = self.path.stat() if self.path.exists() else None
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size) if found else ()
        if stamp != self._stamp or not stamp:
            self.grants, self.plans = read_grants(self.path)
            self._stamp = stamp

    def check(self) -> Grants:
        """The grants as they are now, if they hold and there is time for one more call. Raises `RefusedError`, `GrantsError`."""
        name, runs = (self.grants.name, self.grants.runs)
        self._read()
        if (self.grants.name, self.grants.runs) != (name, runs):
            self._stamp = ()
            raise RefusedError("the grants are now for another assistant or folder", fix="Start the server again.")
        if not self.grants.hold(dt.datetime.now(dt.UTC).date()):
            raise RefusedError(f"the grants expired after {self.grants.expires}")
        self.starter.plans = self.plans
        self.purse.grants = self.grants
        now = time.monotonic()
        while self._asked and now - self._asked[0] > 60:
            self._asked.popleft()
        if len(self._asked) >= self.grants.calls_per_minute:
            raise RefusedError("this minute's calls are spent")
        self._asked.append(now)
        return self.grants

    def _need(self, act: Act) -> None:
        if not self.grants.allows(act):
            raise RefusedError(f"the grants do not give '{act}'")

    # What there is

    def granted(self) -> dict[str, Any]:
        """What this assistant may do, and what of today is left."""
        g = self.grants
        return {
            "name": g.name, "expires": g.expires, "may": list(g.may), "read": list(g.read), "plans": list(self.plans),
            "targets": list(g.targets), "each_run": msgspec.to_builtins(g.each_run), "each_day": msgspec.to_builtins(g.each_day),
            "left_today": self.purse.left(_now_ms()), "at_once": g.at_once, "currency": g.currency,
            "never": ["approve", "sign a release", "label", "resume", "delete", "change grants"],
        }  # fmt: skip

    def list_plans(self) -> dict[str, Any]:
        """The granted plans, each with its size, and whether the grants let it start."""
        return {"plans": [self._plan(name, path) for name, path in self.plans.items()]}

    def _plan(self, name: str, path: str) -> dict[str, Any]:
        try:
            plan, catalog = read_plan(path)
        except AssayError as e:
            return {"plan": name, "wrong": cut(printable(e.what))}
        facts = plan_of(name, plan, catalog)
        try:
            self._need("start")
            self._owners(name)
            amounts_of(plan, catalog, self.grants)
        except (RefusedError, GrantsError) as e:
            facts["cannot_start"] = str(e)
        return facts

    def _owners(self, name: str, target: TargetSpec | None = None) -> tuple[Plan, Catalog]:
        """A granted plan as its owner means it: only the owner may write its file, and it has the digest that the grants give, if any."""
        path = Path(self.plans[name])
        if path.parent != BUILTIN:
            owners_alone(path)
        plan, catalog = read_plan(str(path))
        pin = pins(self.grants).get(name)
        if pin and plan.digest != pin:
            raise RefusedError(f"the plan has the digest {plan.digest}, the grants say {pin}", fix="The owner looks at both.")
        if target is None:
            return plan, catalog
        found = read_plan(str(path), target)
        if found[0].digest != msgspec.structs.replace(plan, target=target).digest:
            raise RefusedError("the plan's file was changed while it was read")
        return found

    def list_targets(self) -> dict[str, Any]:
        """The granted targets, as `start_run` takes them."""
        meaning = "the target that the plan names itself"
        return {"targets": [{"target": t, "about": meaning if t == OWN_TARGET else ""} for t in self.grants.targets]}

    def list_runs(self) -> dict[str, Any]:
        """The runs that may be read, the newest first; at most 100."""
        mine = self.purse.all()
        runs = [run for run in self.starter.runs() if run.name and self._readable(run.name, mine)]
        listed = [line_of(run, mine=run.name in mine) for run in runs[:MOST_LISTED]]
        return {"runs": listed, "left_out": max(0, len(runs) - MOST_LISTED)}

    # One run

    def _readable(self, name: str, mine: dict[str, tuple[int, Reserved]]) -> bool:
        return self.grants.reads(name, mine=name in mine) and self._inside(name)

    def _inside(self, name: str) -> bool:
        """Whether a run has a plain name, and its folder and files are really there: no link leads elsewhere."""
        folder = self._runs / name
        parts = (folder, *(folder / n for n in (RUN_NAME, api.BUNDLE_NAME, f"{RUN_NAME}-wal")))
        if not NAME.match(name) or any(p.is_symlink() for p in parts):
            return False
        return not (folder / REFERENCE_NAME).exists()  # a run in a store of others, with whom an assistant makes nobody speak

    def _run(self, name: str) -> Run:
        """A run that may be read. Raises `RefusedError`: what may not be read and what is not there look the same."""
        if not self._readable(name, self.purse.all()):
            raise RefusedError("there is no such run that may be read", fix="list_runs says which there are.")
        return self.starter.known(name)

    def progress(self, name: str) -> dict[str, Any]:
        """How far a run is: tallies, requirements, what is left; never a text."""
        run = self._run(name)
        mine = name in self.purse.all()
        facts = line_of(run, mine=mine)
        if run.state == "failed" and mine:
            facts["said"] = self.starter.log(name)[-1_000:]
        if run.has_run_file and run.state not in TROUBLED:
            facts |= progress_of(run, self._followed(name))
        return facts

    def decision(self, name: str) -> Job:
        """What gives the decision on a run with the reason of every requirement, recomputed from its trials."""
        run, folder = self._run(name), self._runs / name
        return lambda: decision_of(run, folder)

    def summary(self, name: str) -> Callable[[], str]:
        """What gives a run's decision as a page of Markdown."""
        decision = self.decision(name)
        return lambda: summary_of(decision())

    def transcript(self, name: str, slot: int) -> dict[str, Any]:
        """What the model said in one trial, bounded, and marked as data. Never of a run with sealed banks."""
        self._need("transcripts")
        self._run(name)
        return transcript_of(self._runs / name / RUN_NAME, slot, self.grants.transcript_characters)

    def _followed(self, name: str) -> Follower:
        follower = self._followers.pop(name, None) or Follower(self._runs / name / RUN_NAME)
        self._followers[name] = follower
        while len(self._followers) > MOST_FOLLOWED:
            self._followers.popitem(last=False)[1].close()
        return follower

    # Acts

    def start(self, plan: str, target: str) -> dict[str, Any]:
        """Start a run in the background; its name, and what was set aside for it. Raises `RefusedError`."""
        self._need("start")
        if plan not in self.plans:
            raise RefusedError("there is no such plan in the grants", fix="list_plans says which there are.")
        if target not in self.grants.targets:
            raise RefusedError("there is no such target in the grants", fix="list_targets says which there are.")
        chosen = "" if target == OWN_TARGET else target
        loaded, catalog = self._owners(plan, parse_target(chosen) if chosen else None)
        amounts = amounts_of(loaded, catalog, self.grants)
        with self.purse.locked():
            self.tend()
            under_way = [name for name, (_, r) in self.purse.all().items() if r.state == "open"]
            if len(under_way) >= self.grants.at_once:
                raise RefusedError(f"{len(under_way)} runs are under way, the grants give {self.grants.at_once} at once")
            name = f"{re.sub(r'[^A-Za-z0-9._-]', '-', plan)[:30]}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
            self.purse.reserve(name, plan, terms(loaded), _said(loaded), amounts, _now_ms())
            try:
                self._runs.mkdir(parents=True, exist_ok=True)
                self.starter.start(plan, chosen, loaded.digest, name)
            except (AssayError, OSError):
                self.purse.settle(name, Amounts(), "it did not start")
                raise
        aside = {"calls": amounts.requests, "tokens": amounts.tokens or "not limited", "money": amounts.money / MILLIONTHS or "not limited"}
        return {"run": name, "plan": plan, "target": target, "set_aside": aside, "next": "progress, then read_decision"}

    def stop(self, name: str) -> dict[str, Any]:
        """Stop a run that this assistant started; everything is kept. Raises `RefusedError`."""
        self._need("stop")
        if name not in self.purse.all():
            raise RefusedError("only runs that this assistant started can be stopped by it")
        self._run(name)
        self.starter.stop(name)
        return {"run": name, "asked_to_stop": True, "next": "progress"}

    def verify(self, name: str) -> Job:
        """What recomputes everything in a run's bundle, in a process of its own."""
        self._need("verify")
        self._run(name)
        bundle = self._runs / name / api.BUNDLE_NAME
        if not bundle.is_file():
            raise RefusedError("this run has no bundle yet")
        return lambda: verified(name, self._command(["verify", "--json", "--", str(bundle.resolve())], (0, 1)))

    def compare(self, names: tuple[str, ...]) -> Job:
        """What says what got worse from the run before the last to the last, in a process of its own; oldest first."""
        self._need("compare")
        for name in names:
            self._run(name)
        words = ["compare", "--json", "--", *(str((self._runs / n).resolve()) for n in names)]
        return lambda: compared(names, self._command(words, (0, 10, 20)))

    def _command(self, words: list[str], well: tuple[int, ...]) -> dict[str, Any]:
        """What a command of this program says as JSON; from an empty folder, so that no project's file is read."""
        try:
            done = subprocess.run(  # noqa: S603 (this very program, with words that are checked or made here)
                [sys.executable, "-P", "-m", "assay", *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=HEAVY_S,
                cwd=self.state, check=False, env=exact_environment(),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise AssayError(f"it took more than {HEAVY_S:.0f} s and was ended") from None
        if done.returncode not in well:
            raise AssayError(cut(shown(done.stderr.decode("utf-8", "replace").strip())) or "the command failed")
        if len(done.stdout) > MOST_BYTES:
            raise AssayError("what it says is too long to hand over")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    # Keeping within what was set aside

    def tend(self) -> None:
        """Stop runs that go beyond what was set aside for them, and settle those that have ended. Raises `StoreError`."""
        for name, (_, reserved) in self.purse.all().items():
            if reserved.state == "open":
                try:
                    self._tend(name, reserved)
                except Exception as e:  # noqa: BLE001 (one run that cannot be looked at must not leave the others alone)
                    # It stays set aside, and is looked at again.
                    log.warning("the run %s cannot be looked at: %s", name, printable(str(e)))

    def _tend(self, name: str, reserved: Reserved) -> None:
        run, whole = self._found(name), Amounts(reserved.calls, reserved.tokens, reserved.money)
        if run is None:
            if _now_ms() - reserved.at > LOST_MS:
                seen = "its file is no longer there" if reserved.seen else "nothing was ever seen of it"
                self.purse.settle(name, whole, f"{seen}; all that was set aside counts as used")
            return
        if run.has_run_file:
            self.purse.note(name)
        if run.state in GOING or self.starter.maker(name):
            if run.has_run_file and (why := self._beyond(name, reserved)):
                self.starter.stop(name)
                self.purse.note(name, why)
            return
        if run.has_run_file:
            self.purse.settle(name, used_by(self._runs / name / RUN_NAME), reserved.why or run.state)
            return
        # It was started, and what it did is not known: a file that was taken away gives nothing back.
        what = "its file is no longer there" if reserved.seen else "it left no file"
        self.purse.settle(name, whole, f"{reserved.why or run.state}; {what}, so all that was set aside counts as used")

    def _found(self, name: str) -> Run | None:
        try:
            return self.starter.known(name) if self._inside(name) else None
        except AssayError:
            return None

    def _beyond(self, name: str, reserved: Reserved) -> str:
        """Why a run that goes on must not; empty if it may."""
        with RunFile.read(self._runs / name / RUN_NAME) as file:
            opening = file.opening()
        if terms(opening.plan) != reserved.digest or most(opening.plan, opening.catalog) > reserved.calls:
            return "the plan's file was changed while the run began"
        seen = self._followed(name).look(slice_s=1.0)
        used = Amounts(seen.requests, seen.tokens, 0)
        if paid_judges(opening.plan) or paid_attacker(opening.plan):  # of whom the follower knows nothing
            used = used_by(self._runs / name / RUN_NAME)
        if used.requests > reserved.calls:
            return f"{used.requests:,} calls, where {reserved.calls:,} were set aside"
        if reserved.tokens and used.tokens > reserved.tokens:
            return f"{used.tokens:,} tokens, where {reserved.tokens:,} were set aside"
        if reserved.money and used.money > reserved.money:
            return f"{used.money / MILLIONTHS:,.2f} of money, where {reserved.money / MILLIONTHS:,.2f} were set aside"
        return ""


def state_folder(name: str) -> Path:
    """Where what an assistant used, and what it asked, is kept: XDG_STATE_HOME/assay/assistants/NAME, else below ~/.local/state."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "assay" / "assistants" / name


def _said(plan: Plan) -> str:
    return f"{plan.target.kind}:{plan.target.model} {plan.target.url}".strip()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
