"""Look, evaluate, compare, tell: one step after the other, each noted before the next.

with Watch.open(settings, source, plan, catalog) as watch:
    for news in watch.look():
        print(news.message)
    watch.state.checkpoints[-1].change
"""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from msgspec import Struct, structs

from assay import api
from assay.catalog import Catalog
from assay.engine import Observer
from assay.errors import AssayError, ModelError
from assay.ledger import KeyPlace
from assay.plan import Plan, TargetSpec
from assay.targets import parse_target
from assay.targets.models import ChangedWeightsError, link_weights
from assay.watch.changes import compared
from assay.watch.outcomes import Outcomes, read_outcomes
from assay.watch.sources import Endpoint, Found, Source
from assay.watch.state import Checkpoint, WatchState, read_state, write_state
from assay.watch.telling import Teller, alert_of, message_of, verdict_of
from assay.watch.trend import write_trend

RUN_NAME = "run.db"
LOCK = ".watch.lock"
TREND = "trend.html"
TRIES = 3
MOST_NEW = 50
HEARD = frozenset({"worse", "better", "unclear", "failed"})
"""Verdicts that somebody is told of."""
_SLUG = re.compile(r"[^A-Za-z0-9._-]+")


class Settings(Struct, frozen=True):
    """`out` is the folder of the watch; `baseline` is `first`, `approved` (the last checkpoint whose run approved) or a run's folder.

    `target` may hold `{name}`; empty, files are served by the embedded runtime and an endpoint's models by the endpoint. `api_key_env`
    names the variable that has an endpoint's key. `keep` says how many of the latest runs the trend's chart shows beside the reference.
    """

    out: Path
    baseline: str = "first"
    level: float = 0.05
    margin: float = 0.0
    target: str = ""
    api_key_env: str = ""
    key: KeyPlace | None = None
    beside: Path | None = None
    tries: int = TRIES


class News(Struct, frozen=True):
    """What was found or came of a checkpoint: `kind` is `found`, `evaluated`, `retry` or `untold`; one line of words beside it."""

    kind: str
    checkpoint: Checkpoint
    message: str


class Watch:
    """A watch in its folder. One process at a time."""

    def __init__(self, settings: Settings, source: Source, plan: Plan, catalog: Catalog, state: WatchState, lock: IO[bytes]) -> None:
        self.settings, self.state = settings, state
        self._source, self._plan, self._catalog, self._lock = source, plan, catalog, lock
        self._reference: tuple[str, Outcomes] | None = None

    @classmethod
    def open(cls, settings: Settings, source: Source, plan: Plan, catalog: Catalog) -> Self:
        """A new watch, or one that goes on. Raises `AssayError` for a folder that is watched already, or that belongs to another watch."""
        if not (0 <= settings.margin < 1 and 0 < settings.level <= 0.5):
            raise AssayError("margin or error is out of range", fix="Usual values are 5% and 5%.")
        settings.out.mkdir(parents=True, exist_ok=True)
        lock = (settings.out / LOCK).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise AssayError("another process watches into this folder", where=str(settings.out)) from None
        try:
            state = _opened(settings, source, plan)
        except BaseException:
            lock.close()
            raise
        return cls(settings, source, plan, catalog, state, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.close()

    def look(
        self, teller: Teller | None = None, observer: Callable[[Checkpoint], Observer] | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> Iterator[News]:  # fmt: skip
        """One look: what is new is noted, then evaluated in its order, compared and told. Raises `AssayError` where one cannot look at
        all, KeyboardInterrupt when a run was interrupted; what was done until then is kept.
        """
        yield from self._tell(teller)
        found = self._source.look()
        known = len(self.state.checkpoints)
        yield from self._note(found)
        changed = len(self.state.checkpoints) > known or not (self.settings.out / TREND).exists()
        there = {(f.name, f.key): f for f in found}
        for checkpoint in [c for c in self.state.checkpoints if c.status == "found"]:
            yield News("found", checkpoint, f"evaluating {checkpoint.name} (checkpoint {checkpoint.number})")
            done = self._evaluated(checkpoint, there.get((checkpoint.name, checkpoint.key)), observer, progress)
            self._keep(done)
            changed = True
            if done.status == "found":
                yield News("retry", done, message_of(done))
                continue
            yield News("evaluated", done, message_of(done))
            yield from self._tell(teller)
        if changed:
            write_trend(self.settings.out, self.settings.out / TREND, self.state)

    def _note(self, found: list[Found]) -> Iterator[News]:
        """New checkpoints, in their order; the very same under another name is not evaluated again."""
        known = {(c.name, c.key) for c in self.state.checkpoints}
        first = {c.key: c.number for c in reversed(self.state.checkpoints)}
        new: list[Checkpoint] = []
        for each in [f for f in found if (f.name, f.key) not in known][:MOST_NEW]:
            number = len(self.state.checkpoints) + len(new) + 1
            slug = _SLUG.sub("-", each.name).strip("-.")[:40]
            same = first.get(each.key, 0)
            first.setdefault(each.key, number)
            checkpoint = Checkpoint(number, each.name, each.key, _now_ms(), run=f"{number:04d}-{slug}".rstrip("-"))
            if same:
                checkpoint = structs.replace(checkpoint, status="same", like=same, run="", told=True)
            new.append(checkpoint)
        if not new:
            return
        self._save(structs.replace(self.state, checkpoints=(*self.state.checkpoints, *new)))
        yield from (News("evaluated", c, message_of(c)) for c in new if c.status == "same")

    def _evaluated(
        self, checkpoint: Checkpoint, found: Found | None, observer: Callable[[Checkpoint], Observer] | None,
        progress: Callable[[str], None],
    ) -> Checkpoint:  # fmt: skip
        """The checkpoint as it is after one try."""
        folder = self.settings.out / checkpoint.run
        try:
            if found is None:
                if getattr(self._source, "waiting", False):
                    return structs.replace(checkpoint, reason="it is not whole yet")
                raise AssayError("it is not there any more")
            resume = (folder / RUN_NAME).exists()
            result = api.evaluate(
                None if resume else (self._plan, self._catalog), target=None if resume else self._target(found), out=folder,
                key=self.settings.key, resume=resume, beside=self.settings.beside,
                observer=observer(checkpoint) if observer else None, progress=progress,
            )  # fmt: skip
            if result.ended == "interrupted":
                raise KeyboardInterrupt
            done = structs.replace(
                checkpoint, status="done", tries=checkpoint.tries + 1, reason="", verdict=result.decision.verdict, ended=result.ended,
                trials=result.target_calls,
            )  # fmt: skip
            return self._compared(done)
        except AssayError as e:
            tries = checkpoint.tries + 1
            final = tries >= self.settings.tries or isinstance(e, ChangedWeightsError)
            reason = f"{e.what}"[:900]
            return structs.replace(checkpoint, status="failed" if final else "found", tries=tries, reason=reason)

    def _target(self, found: Found) -> TargetSpec:
        """Who answers for a checkpoint. Raises `AssayError`."""
        if self.settings.target:
            if set(found.name) & set("#@{}") and "{name}" in self.settings.target:
                raise AssayError(f"the name '{found.name}' cannot stand in a target's address")
            return parse_target(self.settings.target.replace("{name}", found.name))
        if isinstance(self._source, Endpoint):
            return TargetSpec(kind="http", model=found.name, url=self._source.url, api_key_env=self.settings.api_key_env)
        path = found.path
        if path is not None and path.is_dir():
            weights = sorted(p for p in path.iterdir() if p.suffix.lower() == ".gguf")
            if len(weights) != 1:
                what = f"it holds {len(weights)} GGUF files, and the embedded runtime serves a folder with one"
                raise ModelError(what, fix="Serve it, and give --target http://HOST/v1#{name}.")
            path = weights[0]
        if path is None:
            raise AssayError("it has no weights here, and no --target says who serves it")
        linked = link_weights(path, found.name)
        return TargetSpec(kind="embedded", model=linked.name, digest=linked.digest)

    def _compared(self, done: Checkpoint) -> Checkpoint:
        """With the comparison to the reference, where there is one and the run was complete."""
        reference = self._of_reference()
        if reference is None or done.ended != "complete":
            return done
        name, outcomes, among = reference
        change = compared(
            outcomes, read_outcomes(self.settings.out / done.run), number=self.state.comparisons + 1, level=self.settings.level,
            margin=self.settings.margin, among=among, reference=name,
        )  # fmt: skip
        return structs.replace(done, change=change)

    def _of_reference(self) -> tuple[str, Outcomes, int] | None:
        """Its name and outcomes, and among how many it was chosen by what they showed."""
        baseline = self.settings.baseline
        if baseline not in ("first", "approved"):
            return self._read(Path(baseline).name, Path(baseline), 1)
        whole = [c for c in self.state.checkpoints if c.status == "done" and c.ended == "complete"]
        if not whole:
            return None
        chosen = whole[0]
        if baseline == "approved":
            chosen = next((c for c in reversed(whole) if c.verdict == "approve"), chosen)
        return self._read(chosen.name, self.settings.out / chosen.run, len(whole) if baseline == "approved" else 1)

    def _read(self, name: str, folder: Path, among: int) -> tuple[str, Outcomes, int]:
        if self._reference is None or self._reference[0] != str(folder):
            self._reference = str(folder), read_outcomes(folder)
        return name, self._reference[1], among

    def _tell(self, teller: Teller | None) -> Iterator[News]:
        """Whoever is to hear of a checkpoint hears of it; what could not be told is told at the next look."""
        for checkpoint in self.state.checkpoints:
            if checkpoint.told or checkpoint.status == "found":
                continue
            failures = teller.tell(alert_of(self.state, checkpoint)) if teller and verdict_of(checkpoint) in HEARD else []
            if failures:
                yield News("untold", checkpoint, f"{checkpoint.name}: {'; '.join(failures)}; told again at the next look")
            else:
                self._keep(structs.replace(checkpoint, told=True))

    def _keep(self, checkpoint: Checkpoint) -> None:
        changed = tuple(checkpoint if c.number == checkpoint.number else c for c in self.state.checkpoints)
        self._save(structs.replace(self.state, checkpoints=changed))

    def _save(self, state: WatchState) -> None:
        write_state(self.settings.out, state)
        self.state = state


def plan_digest(plan: Plan) -> str:
    """The plan's identity, whoever the target is."""
    return structs.replace(plan, target=TargetSpec(kind="http", model="any")).digest


def _opened(settings: Settings, source: Source, plan: Plan) -> WatchState:
    """The state there is, if it belongs to this watch; else a new one, which is written."""
    baseline = settings.baseline if settings.baseline in ("first", "approved") else Path(settings.baseline).name
    fresh = WatchState("watch/1", source.about, plan_digest(plan), baseline, settings.level, settings.margin)
    state = read_state(settings.out)
    if state is None:
        write_state(settings.out, fresh)
        return fresh
    for field, what in (("plan", "plan"), ("baseline", "baseline"), ("level", "error"), ("margin", "margin")):
        if getattr(state, field) != getattr(fresh, field):
            fix = "Its error holds over one sequence: give what it was begun with, or choose another --out."
            raise AssayError(f"this watch was begun with another {what} ({getattr(state, field)})", where=str(settings.out), fix=fix)
    return structs.replace(state, source=source.about)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
