"""Look, evaluate, compare, tell: one step after the other, each noted before the next.

with Watch.open(settings, source, plan, catalog) as watch:
    for news in watch.look():
        print(news.message)
    watch.state.checkpoints[-1].change
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from msgspec import Struct, structs

from assay import api
from assay.catalog import Catalog
from assay.engine import Observer
from assay.errors import AssayError, CatalogError, PlanError, SigningKeyError
from assay.ledger import KeyPlace
from assay.ledger.keychain import KeyringError
from assay.plan import Plan
from assay.targets.models import ChangedWeightsError
from assay.watch.changes import compared
from assay.watch.outcomes import read_outcomes
from assay.watch.reference import References, baseline_of, plan_digest
from assay.watch.serving import CHANGED, require_still, target_of
from assay.watch.sources import Folder, Found, Source
from assay.watch.state import Checkpoint, WatchState, read_state, revived, run_of, write_state
from assay.watch.telling import Teller, alert_of, message_of, outcome_of, words_of
from assay.watch.trend import write_trend

RUN_NAME = "run.db"
LOCK = ".watch.lock"
TREND = "trend.html"
TRIES = 3
EVERY = "all"
HEARD = frozenset({"worse", "better", "unclear", "failed"})
"""Verdicts that somebody is told of."""
COMMON = (SigningKeyError, KeyringError, PlanError, CatalogError)
"""What is wrong with key or plan is so for every checkpoint: it is raised, and is no try of any."""


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
    """What was found or came of a checkpoint: `kind` is `found`, `evaluated`, `retry`, `untold` or `silent` (nothing is known of
    it now); one line of words beside it.
    """

    kind: str
    checkpoint: Checkpoint
    message: str


class Watch:
    """A watch in its folder. One process at a time. `silent` are the names of known ones of which the last look learned nothing."""

    def __init__(self, settings: Settings, source: Source, plan: Plan, catalog: Catalog, state: WatchState, lock: IO[bytes]) -> None:
        self.settings, self.state = settings, state
        self._source, self._plan, self._catalog, self._lock = source, plan, catalog, lock
        self._references = References(settings.out, settings.baseline)
        self._open = {c.number for c in state.checkpoints if c.status == "same" and state.resolved(c).status == "found"}
        self.silent: frozenset[str] = frozenset()
        if isinstance(source, Folder):
            source.recognise((c.name, c.key) for c in state.checkpoints)

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
            state = References(settings.out, settings.baseline).noted(_opened(settings, source, plan))
        except BaseException:
            lock.close()
            raise
        return cls(settings, source, plan, catalog, state, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.close()

    def again(self, name: str) -> None:
        """Have what could not be evaluated tried again at the next look: checkpoints of this name, or `all`. Raises `AssayError`."""
        failed = [c for c in self.state.checkpoints if c.status == "failed"]
        chosen = {c.number for c in failed if name in (c.name, EVERY)}
        if not chosen:
            names = ", ".join(c.name for c in failed)
            raise AssayError(f"no checkpoint '{name}' could not be evaluated", fix=f"Those that could not: {names or 'none'}.")
        anew = (
            structs.replace(c, status="found", tries=0, reason="", told=False) if c.number in chosen else c for c in self.state.checkpoints
        )
        self._save(structs.replace(self.state, checkpoints=tuple(anew)))

    def look(
        self, teller: Teller | None = None, observer: Callable[[Checkpoint], Observer] | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> Iterator[News]:  # fmt: skip
        """One look: what is new is noted, then evaluated in its order, compared and told. Raises `AssayError` where one cannot look at
        all, KeyboardInterrupt when a run was interrupted; what was done until then is kept.
        """
        try:
            yield from self._look(teller, observer, progress)
        except AssayError:
            raise
        except Exception as e:  # what an endpoint or a folder holds ends no watch with a traceback
            raise AssayError(f"this look ended with {type(e).__name__}", where=self._source.about) from e

    def _look(
        self, teller: Teller | None, observer: Callable[[Checkpoint], Observer] | None, progress: Callable[[str], None]
    ) -> Iterator[News]:  # fmt: skip
        yield from self._tell(teller)
        found = self._source.look()
        before = self.state
        self._note(found)
        yield from self._heard(found)
        yield from self._resolved()
        yield from self._tell(teller)
        there = {(f.name, f.key): f for f in found}
        tried: set[int] = set()
        while (checkpoint := self._next(tried)) is not None:
            tried.add(checkpoint.number)
            yield News("found", checkpoint, f"evaluating {checkpoint.name} (checkpoint {checkpoint.number})")
            done = self._evaluated(checkpoint, there, observer, progress)
            self._keep(done)
            if done.status == "found":
                held = "; later ones wait, since it is to be the reference" if self._held(tried) else ""
                yield News("retry", done, message_of(done) + held)
                continue
            yield News("evaluated", done, message_of(done))
            yield from self._resolved()
            yield from self._tell(teller)
        if self.state is not before or not (self.settings.out / TREND).exists():
            write_trend(self.settings.out, self.settings.out / TREND, self.state)

    def _held(self, tried: set[int]) -> bool:
        """Whether what is left waits for one before it that is to be the reference."""
        found = [c.number for c in self.state.checkpoints if c.status == "found"]
        return self._references.waits(self.state) and found != [] and found[0] in tried and any(n not in tried for n in found)

    def _next(self, tried: set[int]) -> Checkpoint | None:
        """The next to be evaluated in this look. Without a reference none overtakes another."""
        left = [c for c in self.state.checkpoints if c.status == "found" and c.number not in tried]
        return left[0] if left and not self._held(tried) else None

    def _note(self, found: list[Found]) -> None:
        """New checkpoints, in their order; the very same under another name is not evaluated again, unless it failed."""
        every = {c.number: c for c in self.state.checkpoints}
        known = {(c.name, c.key) for c in every.values()}
        names = {c.name for c in every.values()}
        unknown = {c.name: c for c in every.values() if c.status == "found" and not c.key}
        first = {c.key: c.number for c in reversed(every.values()) if c.key and c.status in ("found", "done")}
        for each in found:
            if (each.name, each.key) in known or (not each.key and each.name in names):
                continue
            number = len(every) + 1
            new = Checkpoint(number, each.name, each.key, _now_ms(), run=run_of(number, each.name), reason=each.reason[:900])
            if each.key and each.name in unknown:
                new = structs.replace(unknown.pop(each.name), key=each.key, reason="", tries=0)
            if same := first.get(each.key, 0):
                new = structs.replace(new, status="same", like=same, run="")
                self._open.add(new.number)
            elif each.key:
                first[each.key] = new.number
            every[new.number] = new
            known.add((each.name, each.key))
            names.add(each.name)
        if tuple(every.values()) != self.state.checkpoints:
            self._save(structs.replace(self.state, checkpoints=tuple(every.values())))

    def _heard(self, found: list[Found]) -> Iterator[News]:
        """Of what was evaluated before and cannot be identified now, it is said once that nothing is known of it."""
        reasons = {f.name: f.reason for f in found if not f.key}
        known = {c.name: c for c in self.state.checkpoints if c.name in reasons and c.status != "found"}
        for name in sorted(set(known) - self.silent):
            yield News("silent", known[name], f"{name}: nothing is known of it now: {reasons[name]}")
        self.silent = frozenset(known)

    def _resolved(self) -> Iterator[News]:
        """What is the same as an earlier one is news once that one is done."""
        for checkpoint in [c for c in self.state.checkpoints if c.number in self._open]:
            if checkpoint.status != "same":  # what it was the same as failed: it is evaluated itself
                self._open.discard(checkpoint.number)
            elif self.state.resolved(checkpoint).status != "found":
                self._open.discard(checkpoint.number)
                yield News("evaluated", checkpoint, words_of(self.state, checkpoint))

    def _evaluated(
        self, checkpoint: Checkpoint, there: dict[tuple[str, str], Found], observer: Callable[[Checkpoint], Observer] | None,
        progress: Callable[[str], None],
    ) -> Checkpoint:  # fmt: skip
        """The checkpoint as it is after one try."""
        found = there.get((checkpoint.name, checkpoint.key)) or there.get((checkpoint.name, ""))
        if found is None and self._source.settling(checkpoint.name):
            return structs.replace(checkpoint, reason="it is not whole yet")
        try:
            if found is None:
                raise AssayError(CHANGED if any(name == checkpoint.name for name, _ in there) else "it is not there any more")
            if found.reason:
                raise AssayError(found.reason)
            return self._compared(self._run(checkpoint, found, observer, progress))
        except COMMON:
            raise
        except AssayError as e:
            reason, final = e.what, isinstance(e, ChangedWeightsError)
        except Exception as e:  # noqa: BLE001 (of one checkpoint; the others are evaluated all the same)
            reason, final = f"its evaluation ended with {type(e).__name__}", False
        tries = checkpoint.tries + 1
        failed = final or tries >= self.settings.tries
        return structs.replace(checkpoint, status="failed" if failed else "found", tries=tries, reason=reason[:900])

    def _run(
        self, checkpoint: Checkpoint, found: Found, observer: Callable[[Checkpoint], Observer] | None, progress: Callable[[str], None]
    ) -> Checkpoint:  # fmt: skip
        """Its run, begun or gone on with. Raises `AssayError`."""
        settings, folder = self.settings, self.settings.out / checkpoint.run
        resume = (folder / RUN_NAME).exists()
        if resume:
            require_still(found, self._source)
        target = None if resume else target_of(found, self._source, target=settings.target, api_key_env=settings.api_key_env)
        result = api.evaluate(
            None if resume else (self._plan, self._catalog), target=target, out=folder, key=settings.key, resume=resume,
            beside=settings.beside, observer=observer(checkpoint) if observer else None, progress=progress,
        )  # fmt: skip
        if result.ended == "interrupted":
            raise KeyboardInterrupt
        return structs.replace(
            checkpoint, status="done", tries=checkpoint.tries + 1, reason="", verdict=result.decision.verdict, ended=result.ended,
            trials=result.target_calls,
        )  # fmt: skip

    def _compared(self, done: Checkpoint) -> Checkpoint:
        """With the comparison to the reference, if the run was complete; where there is none yet, with the reason if this cannot be it."""
        if done.ended != "complete":
            return done
        reference, newer = self._references.of(self.state), read_outcomes(self.settings.out / done.run)
        if reference is None:
            return structs.replace(done, reason=newer.lacks[0][:900]) if newer.lacks else done
        name, outcomes, among = reference
        change = compared(
            outcomes, newer, number=self.state.comparisons + 1, level=self.settings.level, margin=self.settings.margin, among=among,
            reference=name,
        )  # fmt: skip
        return structs.replace(done, change=change)

    def _tell(self, teller: Teller | None) -> Iterator[News]:
        """Whoever is to hear of a checkpoint hears of it; what could not be told is told at the next look."""
        for checkpoint in self.state.checkpoints:
            if checkpoint.told or self.state.resolved(checkpoint).status == "found":
                continue
            heard = teller is not None and outcome_of(self.state, checkpoint) in HEARD
            failures = teller.tell(alert_of(self.state, checkpoint)) if teller and heard else []
            if failures:
                yield News("untold", checkpoint, f"{checkpoint.name}: {'; '.join(failures)}; told again at the next look")
            else:
                self._keep(structs.replace(checkpoint, told=True))

    def _keep(self, checkpoint: Checkpoint) -> None:
        changed = tuple(checkpoint if c.number == checkpoint.number else c for c in self.state.checkpoints)
        self._save(self._references.noted(structs.replace(self.state, checkpoints=revived(changed))))

    def _save(self, state: WatchState) -> None:
        write_state(self.settings.out, state)
        self.state = state


def _opened(settings: Settings, source: Source, plan: Plan) -> WatchState:
    """The state there is, if it belongs to this watch; else a new one, which is written."""
    baseline = baseline_of(settings.baseline, plan)
    fresh = WatchState("watch/1", source.about, plan_digest(plan), baseline, settings.level, settings.margin)
    state = read_state(settings.out)
    if state is None:
        write_state(settings.out, fresh)
        return fresh
    for field, what in (("plan", "plan"), ("baseline", "baseline"), ("level", "error"), ("margin", "margin")):
        if getattr(state, field) != getattr(fresh, field):
            fix = "Its error holds over one sequence: give what it was begun with, or choose another --out."
            raise AssayError(f"this watch was begun with another {what} ({getattr(state, field)})", where=str(settings.out), fix=fix)
    return structs.replace(state, source=source.about, checkpoints=revived(state.checkpoints))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
