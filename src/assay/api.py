"""The main job as functions: evaluate, decide, verify. The command line and other programs call these.

import assay
result = assay.evaluate("quick", out="runs/first")
result.decision.verdict, result.bundle
assay.verify(result.bundle).ok

Each has an asynchronous twin: `await assay.evaluate_async(...)`. docs/python.md.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from assay.catalog import Catalog, Opened, Openers, load_catalog, open_banks, read_judge_attacks, with_rubrics
from assay.catalog.sealed import is_sealed
from assay.decision import Decision, Gate
from assay.engine import Committed, Engine, Observer, OnRay, ReplayTarget
from assay.engine.asking import make_attacker, make_judges
from assay.engine.exposing import Counted
from assay.engine.judging import anchors_changed, read_again, steer
from assay.engine.loops import HOME, in_thread, on_interrupt, run_loop
from assay.errors import EvidenceError, RunFileError, SealedBankError, TargetError
from assay.evidence import Recount, Report, Summary, open_run, replay_of, verify_bundle, write_bundle
from assay.evidence import decide as decide_run
from assay.evidence.identity import check_statement, statement_keys
from assay.evidence.log import Log
from assay.evidence.provider import SignedStatement
from assay.judges import Outcome, panel_digests
from assay.judges.calibration import has_changed
from assay.judges.steering import Case, steering_cases
from assay.ledger import KeyPlace, PrivateKey, digest, key_place, load_key, load_or_create_key
from assay.ledger.notes import NoteKey
from assay.plan import (
    NONCE_BYTES,
    RECORDED,
    Calibration,
    Coin,
    Judges,
    JudgeSpec,
    Limits,
    Plan,
    Sealed,
    Stream,
    TargetSpec,
    ViolationRate,
    joint_nonce,
    plan_path,
    read_calibration,
    read_plan,
)
from assay.plan.model import Budget, Matrix
from assay.plan.policy import Policy
from assay.report import Tally, render_judged, render_report
from assay.runs import (
    Ended,
    Heading,
    JudgementFile,
    Opening,
    RunStore,
    Trial,
    check_free,
    create_run,
    folder_of,
    read_judged,
    read_labels,
    read_run,
    reopen_run,
    run_path,
    whole_file,
)
from assay.runs.address import StoreAddress, parse_store
from assay.runs.exposures import note_banks, noted_banks
from assay.runs.reading import untaken
from assay.sources import keep_sources, open_played, source_specs
from assay.targets import CachedTarget, Progress, Target, make_target, parse_target
from assay.targets.callable import AgentFunction, CallableTarget, spec_of
from assay.targets.recorded import found_in, keep_recorded
from assay.telemetry.runs import watched

if TYPE_CHECKING:
    from assay.engine.executors.ray import Crew
    from assay.report.paper import Document

BUNDLE_NAME = "evidence.jsonl"
REPORT_NAME = "report.html"
NO_OPENERS = Openers()


@dataclass(frozen=True, slots=True)
class Result:
    """What an evaluation leaves behind. `bundle` and `report` are None where the run was interrupted.

    `unscorable` counts answers by why they could not be scored, `quoting` those that quote a prompt of a sealed bank.
    """

    decision: Decision
    ended: Ended
    run: Path
    bundle: Path | None
    report: Path | None
    target_calls: int
    unscorable: Counter[str] = field(default_factory=Counter)
    quoting: int = 0

    def __repr__(self) -> str:
        """One line: the verdict, how it ended and the folder. All of the decision is in `decision`."""
        return f"<Result {self.decision.verdict}, {self.ended}, {self.target_calls:,} calls, {str(self.run)!r}>"

    def _repr_html_(self) -> str:
        """As notebooks show it: the verdict, the reasons, the matrix."""
        from assay.report.notebook import run_card

        again = f"Interrupted. To go on: assay.evaluate(resume=True, out={str(self.run)!r})" if self.bundle is None else ""
        counted = f"{self.target_calls:,} calls, {self.unscorable.total():,} answers could not be scored."
        check = f"Next, check it as the other party would: assay.verify({str(self.bundle)!r})" if self.bundle else ""
        return run_card(self.decision, self.bundle, (counted, f"Report: {self.report}" if self.report else "", again, check))


class Silent:
    """An observer that shows nothing."""

    def committed(self, trial: Committed, gate: Gate, phase: str) -> None:
        """Nothing."""

    def restored(self, counts: dict[Stream, list[int]]) -> None:
        """Nothing."""

    def outage(self, reason: str, seconds: float) -> None:
        """Nothing."""


def default_key_path() -> KeyPlace:
    """Where the signing key is: ASSAY_KEY (a path or a PKCS#11 URI), else XDG_CONFIG_HOME/assay/key.pem, else ~/.config/assay/key.pem."""
    if os.environ.get("ASSAY_KEY"):
        return key_place(os.environ["ASSAY_KEY"])
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "assay" / "key.pem"


def evaluate(
    plan: str | Path | tuple[Plan, Catalog] | None = None,
    target: TargetSpec | str | AgentFunction | None = None,
    *,
    out: str | Path | None = None,
    key: str | KeyPlace | None = None,
    resume: bool = False,
    replay: str | Path | None = None,
    cache: str | Path | None = None,
    calibration: str | Path | None = None,
    coin: Coin | None = None,
    policy: Policy | None = None,
    provider: SignedStatement | None = None,
    log: str | Path | None = None,
    witnesses: Sequence[NoteKey] = (),
    wait_s: float = 0.0,
    beside: str | Path | None = None,
    openers: Openers = NO_OPENERS,
    executor: OnRay | None = None,
    store: str | None = None,
    observer: Observer | None = None,
    progress: Progress = lambda _: None,
) -> Result:
    """Run a plan (a file, a built-in name, or what `read_plan` gave) against its target or `target`, decide, sign, report.

    `target` is a spec, what `--target` takes (`"embedded:MODEL"`, `"http://HOST/v1#MODEL@KEY_VARIABLE"`), or a function that is given
    `Access` and returns its last words, awaited if need be. All files go to the folder `out`, which is `runs/PLAN-TIME` unless given.
    `key` is a PEM file or a PKCS#11 URI; the usual key unless given. Where an event loop runs in this thread (a notebook), the run has a
    thread of its own and this call waits.

    With `replay` the transcripts of that run are judged again under its own plan and no target is called. A `cache` file keeps answers for
    the same requests of later runs. With `resume` the run in `out` goes on, with the key that opened it; a plan given beside it must be the
    one it was opened with.
    With a `policy` the run opens only if its plan asks for all that the policy does, and the bundle holds it. With a `log` the run is
    registered there before its first trial, and its end after the last; with the keys of `witnesses`, no trial is made before all of them
    have cosigned the registration, which is waited for `wait_s` seconds. With a `coin`, several parties' seals and nonces, the items come
    from all of them. What a `provider` has signed of what it serves goes into the target's record. Recorded answers that the plan names are
    looked for `beside` it: in that folder, or that of the plan's file. A run that is resumed takes in the labels beside it, and a
    `calibration` of its judges that came after its plan. Sealed banks of the plan need their `openers`; their texts stay in memory.
    With an `executor` workers on Ray do the asking (docs/scale.md); trials, decision and evidence are the same. With a `store`, the
    address of a PostgreSQL database, a new run is kept there, and `out` has a reference to it (docs/store.md). Raises `AssayError`.
    """
    spec, function = _target_of(target)
    loaded = None if resume or replay is not None else _loaded(plan or "quick", spec)
    if out is None and loaded is None:
        raise RunFileError("a run that goes on, or is judged again, needs a folder", where="out", fix="Give out=FOLDER.")
    folder = Path(out) if out is not None else default_out(loaded[0]) if loaded else Path()
    evaluation = _Evaluation(
        folder, key_place(key) if key else default_key_path(), observer or Silent(), progress, Path(cache) if cache else None,
        Path(calibration) if calibration else None, coin, Log.open(Path(log)) if log else None, policy, witnesses, wait_s, provider,
        openers, function, executor, parse_store(store) if store else None,
    )  # fmt: skip
    if replay is not None:
        return run_loop(evaluation.replay(run_path(Path(replay))))
    if loaded is None:
        return run_loop(evaluation.resume(None if plan is None else _loaded(plan, spec, folder)[0]))
    near = Path(beside) if beside is not None else plan_path(str(plan)).parent if isinstance(plan, str | Path) else Path()
    return run_loop(evaluation.start(*loaded, near))


async def evaluate_async(
    plan: str | Path | tuple[Plan, Catalog] | None = None,
    target: TargetSpec | str | AgentFunction | None = None,
    *,
    out: str | Path | None = None,
    key: str | KeyPlace | None = None,
    resume: bool = False,
    replay: str | Path | None = None,
    cache: str | Path | None = None,
    calibration: str | Path | None = None,
    coin: Coin | None = None,
    policy: Policy | None = None,
    provider: SignedStatement | None = None,
    log: str | Path | None = None,
    witnesses: Sequence[NoteKey] = (),
    wait_s: float = 0.0,
    beside: str | Path | None = None,
    openers: Openers = NO_OPENERS,
    executor: OnRay | None = None,
    store: str | None = None,
    observer: Observer | None = None,
    progress: Progress = lambda _: None,
) -> Result:
    """`evaluate` without blocking the loop: the run has a thread of its own, where `observer` and `progress` are called.

    A `target` that is awaited runs on the caller's loop. Cancelled, the run stops as soon as it can, everything done is kept, and
    `evaluate_async(resume=True, out=...)` goes on. Raises `AssayError`.
    """
    return await in_thread(
        partial(
            evaluate, plan, target, out=out, key=key, resume=resume, replay=replay, cache=cache, calibration=calibration, coin=coin,
            policy=policy, provider=provider, log=log, witnesses=witnesses, wait_s=wait_s, beside=beside, openers=openers,
            executor=executor, store=store, observer=observer, progress=progress,
        )
    )  # fmt: skip


def default_out(plan: Plan) -> Path:
    """Where a run of this plan goes if nobody says: `runs/PLAN-TIME`, the time in UTC; numbered where that is taken."""
    name = f"{plan.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    tried = (Path("runs") / (f"{name}-{i}" if i > 1 else name) for i in itertools.count(1))
    return next(path for path in tried if not path.exists())


def _target_of(target: TargetSpec | str | AgentFunction | None) -> tuple[TargetSpec | None, AgentFunction | None]:
    """The spec, and the function where it is one."""
    if target is None or isinstance(target, TargetSpec):
        return target, None
    return (parse_target(target), None) if isinstance(target, str) else (spec_of(target), target)


def _loaded(plan: str | Path | tuple[Plan, Catalog], target: TargetSpec | None, goes_on: Path | None = None) -> tuple[Plan, Catalog]:
    if not isinstance(plan, tuple):
        return read_plan(str(plan), target, registered=registered_content(goes_on) if goes_on else None)
    return (msgspec.structs.replace(plan[0], target=target), plan[1]) if target else plan


def registered_content(run: Path) -> Catalog:
    """The content that a run was opened with. Raises `RunFileError`."""
    with read_run(run) as file:
        return file.opening().catalog


def opened_for(run: Path, openers: Openers) -> Opened | None:
    """The sealed banks of a run (its folder or file), opened; None where it has none, or nothing is given to open them with."""
    catalog = registered_content(run)
    return open_banks(catalog, _found(openers, folder_of(run))) if catalog.sealed and openers else None


def _found(openers: Openers, folder: Path, others: Sequence[Path] = ()) -> Openers:
    """The same, with the files of the banks that are known: as given, as noted beside the run, or `others`."""
    return msgspec.structs.replace(openers, banks=openers.banks or noted_banks(folder) or tuple(others))


def decide(run: str | Path) -> Decision:
    """The decision on the committed trials of a run (its folder, file or address in a store), recomputed. Raises `RunFileError`."""
    with read_run(Path(run)) as file:
        return decide_run(file)


async def decide_async(run: str | Path) -> Decision:
    """`decide` in a thread, so that the loop goes on. Raises `RunFileError`."""
    return await asyncio.to_thread(decide, run)


def verify(
    bundle: str | Path, *, key: str = "", parties: Mapping[str, str] | None = None, openers: Openers = NO_OPENERS
) -> Report:  # fmt: skip
    """Recompute everything in a bundle; `key` is the key id that must have signed it, `parties` names and key ids of those who must have
    sealed the plan. With `openers` the items of sealed banks are rebuilt too.
    """
    path = Path(bundle)
    return verify_bundle(path, expected_key=key, parties=parties or {}, openers=_found(openers, path.parent))


async def verify_async(
    bundle: str | Path, *, key: str = "", parties: Mapping[str, str] | None = None, openers: Openers = NO_OPENERS
) -> Report:  # fmt: skip
    """`verify` in a thread, so that the loop goes on. Cancelled, it is not waited for."""
    return await asyncio.to_thread(partial(verify, bundle, key=key, parties=parties, openers=openers))


def judge_again(
    run: str | Path,
    judges: Judges,
    out: str | Path,
    *,
    openers: Openers = NO_OPENERS,
    key: str | KeyPlace | None = None,
    progress: Progress = lambda _: None,
    told: Callable[[int], None] = lambda _: None,
) -> Judges:
    """Have another panel read the answers of a run that need a judge, and keep what it says in the file `out`; no target is called.

    What is in the file already is kept, so an interrupted reading goes on. Prompts of sealed banks are shown to the judges: they need
    `openers`, and it counts as an exposure, signed with `key`. Returns the panel with its digests. Raises `AssayError`.
    """
    place = key_place(key) if key else default_key_path()
    return run_loop(_judge_again(run_path(Path(run)), judges, Path(out), openers, place, progress, told))


async def _judge_again(
    path: Path, judges: Judges, out: Path, openers: Openers, key: KeyPlace, progress: Progress, told: Callable[[int], None]
) -> Judges:
    with read_run(path) as run:
        plan, catalog = run.opening().plan, with_rubrics(run.opening().catalog)
        hazards = tuple(h.id for h in catalog.hazards.values() if h.check == "none")
        if not hazards:
            raise RunFileError("no hazard of this run needs a judge", where=str(path))
        plan = msgspec.structs.replace(plan, judges=msgspec.structs.replace(judges, hazards=hazards))
        async with opened_judges(plan, progress) as targets:
            panel = pinned_judges(plan, catalog, targets).judges or judges
            heading = Heading("judgements/1", run.digest, panel)
            reading = digest(msgspec.to_builtins(heading))
            openers = _found(openers, path.parent)
            opened = open_banks(catalog, openers) if catalog.sealed else None
            counted = Counted.of(catalog, openers.banks, load_or_create_key(key)) if opened is not None else None
            if counted is not None:
                counted.reserve(reading, 0, _now_ms(), judges=True)
            with JudgementFile.open(out, heading) as file:
                await read_again(run, catalog, panel, targets, file, told, opened)
            if counted is not None:
                counted.settle_judged(run, reading, _now_ms())
    return panel


def steer_judge(
    judges: Judges,
    languages: Sequence[str],
    *,
    answers: int = 3,
    concurrency: int = 8,
    progress: Progress = lambda _: None,
    told: Callable[[int], None] = lambda _: None,
) -> list[tuple[Case, Outcome]]:
    """Have a panel judge the steering set in some languages: answers whose verdict is known, alone and with words that speak to it."""
    return run_loop(_steer_judge(judges, list(steering_cases(read_judge_attacks(), languages, answers)), concurrency, progress, told))


async def _steer_judge(
    judges: Judges, cases: list[Case], concurrency: int, progress: Progress, told: Callable[[int], None]
) -> list[tuple[Case, Outcome]]:
    hazards, languages = sorted({c.item.stream.hazard for c in cases}), sorted({c.language for c in cases})
    catalog = load_catalog(hazards, languages, judged=True)
    plan = Plan(
        "plan/1", "steering", TargetSpec("scripted", "0"), Matrix(tuple(hazards), tuple(languages)),
        (ViolationRate("none", 0.5),), Budget(1),
        judges=msgspec.structs.replace(judges, hazards=tuple(hazards)), limits=Limits(concurrency=concurrency, timeout_s=600),
    )  # fmt: skip
    async with opened_judges(plan, progress) as targets:
        return list(zip(cases, await steer(plan, catalog, targets, cases, told), strict=True))


class _Evaluation:
    def __init__(
        self, folder: Path, key: KeyPlace, observer: Observer, progress: Progress, cache: Path | None, calibration: Path | None = None,
        coin: Coin | None = None, log: Log | None = None, policy: Policy | None = None, witnesses: Sequence[NoteKey] = (),
        wait_s: float = 0.0, provider: SignedStatement | None = None, openers: Openers = NO_OPENERS,
        function: AgentFunction | None = None, executor: OnRay | None = None, store: StoreAddress | None = None,
    ) -> None:  # fmt: skip
        self._executor = executor
        self._store = store
        self._crew: Crew | None = None
        self._function = function
        self._openers = openers
        self._provider = provider
        self._policy = policy
        self._witnesses = witnesses
        self._wait_s = wait_s
        self._coin = coin
        self._log = log
        self._cache = cache
        self._calibration = calibration
        self._folder = folder
        self._key_path = key
        self._observer = observer
        self._progress = progress

    def _target(self, plan: Plan, catalog: Catalog) -> Target:
        if self._executor is not None:
            self._crew = self._made(self._executor, plan, catalog)
            return self._crew
        if self._function is not None:
            if plan.target.kind != "callable" or plan.target.model != spec_of(self._function).model:
                raise TargetError(f"the run was opened with {plan.target.kind}:{plan.target.model}, not with this function", where="target")
            target: Target = CallableTarget(plan.target, plan.limits, self._function, HOME.get())
        else:
            target = make_target(found_in(plan.target, self._folder), plan.generation, plan.limits, self._progress)
        if self._cache and plan.target.kind != RECORDED:
            if any(source_specs(plan)):
                raise TargetError("a cache keeps no samples that another tool plays", where=str(self._cache), fix="Leave --cache out.")
            target = CachedTarget(target, plan.generation, self._cache)
        return open_played(target, plan, self._folder, self._progress)

    def _made(self, how: OnRay, plan: Plan, catalog: Catalog) -> Crew:
        """The target as workers on Ray have it."""
        from assay.engine.executors.ray import Crew

        if self._function is not None:
            raise TargetError("a function of this process cannot be called by workers", fix="Name it: callable:MODULE:FUNCTION.")
        if self._cache:
            raise TargetError(
                "a cache of answers belongs to one process", where=str(self._cache), fix="Leave the cache or the executor out."
            )
        if any(source_specs(plan)):
            raise TargetError("workers on Ray play no samples of another tool's source", fix="Leave the executor out.")
        return Crew(how, plan, catalog, self._progress)

    def _check_place(self) -> None:
        """Whether the run can be kept where it is to be, before anything slow."""
        try:
            check_free(self._folder)
        except RunFileError as e:
            fix = "Go on with --resume (from Python: resume=True), or choose another --out (out=...)."
            raise RunFileError(e.what, where=e.where, fix=fix) from None
        if self._store is not None:
            from assay.runs.stored import prepare_store

            prepare_store(self._store)

    async def replay(self, earlier_path: Path) -> Result:
        self._check_place()
        key = load_or_create_key(self._key_path)
        with read_run(earlier_path) as earlier:
            before = earlier.opening()
            opening = open_run(before.plan, before.catalog, before.target, before.nonce_bytes, key, replayed=before)
            opened, _ = self._opened(before.catalog, key, noted_banks(earlier_path.parent))
            async with ReplayTarget(earlier) as target:
                with create_run(self._folder, opening, self._store) as run:
                    return await self._go(run, target, opening, opened=opened)

    async def start(self, plan: Plan, catalog: Catalog, beside: Path) -> Result:
        self._check_place()
        keep_recorded(plan, beside, self._folder)
        keep_sources(plan, beside, self._folder)
        key = load_or_create_key(self._key_path)
        opened, counted = self._opened(catalog, key, [path for name in plan.content if is_sealed(path := beside / name)])
        sealed: tuple[Sealed, ...] = ()
        if self._coin is not None:
            nonce, sealed = joint_nonce(plan, self._coin.seals, self._coin.nonces)
        else:
            nonce = secrets.token_bytes(NONCE_BYTES) if plan.seed == "auto" else bytes.fromhex(plan.seed)
        async with self._target(plan, catalog) as target, opened_judges(plan, self._progress, self._folder, target) as judges:
            identity = _stated(dict(target.identity), self._provider)
            plan = pinned_judges(pinned(plan, identity), catalog, judges)
            plan = await self._still_calibrated(plan, catalog, judges)
            opening = open_run(plan, catalog, identity, nonce, key, sealed=sealed, policy=self._policy)
            counted.reserve(digest(opening.opened), 0, _now_ms())
            with create_run(self._folder, opening, self._store) as run:
                return await self._go(run, target, opening, judges, opened, counted)

    async def resume(self, plan: Plan | None) -> Result:
        with reopen_run(self._folder) as run:
            opening = run.opening()
            if replay_of(opening.opened):
                raise RunFileError("a replay is not resumed", where=str(run.path), fix="Replay the earlier run again, with another --out.")
            if plan is not None and _same_judges(pinned(plan, opening.target), opening).digest != opening.plan.digest:
                raise RunFileError(
                    f"the run was opened with another plan ({opening.plan.digest[:19]}..., '{opening.plan.name}')",
                    where=str(run.path),
                    fix="Leave the plan out to go on with the run's own, or choose another --out.",
                )
            own = opening.plan
            opened, counted = self._opened(opening.catalog, self._same_key(run))
            calibration = read_calibration(self._calibration) if self._calibration else None
            async with self._target(own, opening.catalog) as target, opened_judges(own, self._progress, self._folder, target) as judges:
                if own.judges and pinned_judges(own, opening.catalog, judges) != own:
                    raise TargetError("a judge is not the one that the run was opened with", fix="Start a new run for another judge.")
                if calibration:
                    await self._check_anchors(own, opening.catalog, calibration, judges)
                self._take(run, calibration)
                counted.reserve(run.digest, len(run.taken()), _now_ms())
                run.note_incident({"what": "resumed", "at": _now_ms(), "trials": run.count()})
                return await self._go(run, target, opening, judges, opened, counted)

    def _same_key(self, run: RunStore) -> PrivateKey:
        """The key that opened the run, without which no trial of it could be signed. Raises `RunFileError`, `SigningKeyError`."""
        key = load_key(self._key_path)
        if key.public.to_json() != run.opening().public_key:
            raise RunFileError(
                "the run was opened with another signing key",
                where=str(run.path),
                fix="Go on with the key that registered the plan (--key).",
            )
        return key

    def _take(self, run: RunStore, calibration: Calibration | None) -> None:
        """Take in what people have said since, and tell what of it is not."""
        labels = read_labels(run)
        taken = run.take(labels, calibration)
        if taken:
            run.note_incident({"what": "labels taken in", "at": _now_ms(), "trials": run.count(), "labels": len(taken.labels)})
        if left := len(untaken(run.taken(), labels)):
            self._progress(f"{left} labels are not taken in: they are on trials that programs judge, or that wait for one before them.")

    async def _still_calibrated(self, plan: Plan, catalog: Catalog, judges: Sequence[Target]) -> Plan:
        """The plan without its calibration if the panel reads the calibration's anchors otherwise than it did then."""
        if plan.judges is None or not plan.judges.calibrated or not await self._changed(plan, catalog, judges):
            return plan
        self._progress("The judges have changed since: the calibration is void, and no judged requirement can be approved with it.")
        return msgspec.structs.replace(plan, judges=msgspec.structs.replace(plan.judges, void=True))

    async def _check_anchors(self, plan: Plan, catalog: Catalog, calibration: Calibration, judges: Sequence[Target]) -> None:
        """Raises `RunFileError` for a calibration whose anchors the panel reads otherwise than then; where the run's own is void, also for
        one without anchors.
        """
        changed = await self._changed(plan, msgspec.structs.replace(catalog, anchors=calibration.anchors), judges)
        void = plan.judges is not None and plan.judges.void
        if changed or (void and changed is None):
            lacking = "the run's calibration is void, and this one has no anchors that show it to be of the judges as they are now"
            what = "the judges have changed since this calibration: it is void" if changed else lacking
            raise RunFileError(what, where=str(self._calibration), fix="Calibrate the judges as they are now.")

    async def _changed(self, plan: Plan, catalog: Catalog, judges: Sequence[Target]) -> bool | None:
        """Whether the panel has changed by a calibration's anchors, which it reads again; None where it cannot be asked any."""
        asked, changed = await anchors_changed(plan, catalog, judges)
        if not asked:
            return None
        self._progress(f"The judges read {asked} anchors of their calibration again: {changed} otherwise than then.")
        return has_changed(asked, changed)

    async def _cosigned(self, log: Log, run: str) -> None:
        """Returns when all witnesses have cosigned the registration. Raises `RunFileError` when they have not in time."""
        if not self._witnesses:
            return
        until, told = time.monotonic() + self._wait_s, False
        while missing := log.awaited(run, self._witnesses):
            if not told:
                self._progress(f"Registered. Waiting until {', '.join(missing)} has cosigned: assay log witness {log.folder}")
                told = True
            if time.monotonic() >= until:
                raise RunFileError(
                    f"{', '.join(missing)} has not cosigned the registration; no trial was made",
                    where=str(log.folder),
                    fix=f"When it has, go on: assay run --resume --out {self._folder} --log {log.folder} --witness-key ...",
                )
            await asyncio.sleep(min(0.5, max(0.01, until - time.monotonic())))

    def _opened(self, catalog: Catalog, key: PrivateKey, others: Sequence[Path] = ()) -> tuple[Opened | None, Counted]:
        """The sealed banks of a plan's content in memory, and the ledgers that count them; `others` are where they may be."""
        if not catalog.sealed:
            return None, Counted(catalog, {}, key)
        if self._cache:
            what = "a cache of answers keeps digests of the prompts, by which a guess can be tried"
            raise SealedBankError(what, where=", ".join(catalog.sealed), fix="Leave --cache out for plans with sealed banks.")
        openers = _found(self._openers, self._folder, others)
        return open_banks(catalog, openers), Counted.of(catalog, openers.banks, key)

    async def _go(
        self, run: RunStore, target: Target, opening: Opening, judges: Sequence[Target] = (), opened: Opened | None = None,
        counted: Counted | None = None,
    ) -> Result:  # fmt: skip
        key = load_or_create_key(self._key_path)
        if counted is not None and opened is not None:
            counted.note(run, _now_ms())
            note_banks(self._folder, counted.paths)
        if self._log is not None:
            self._log.add(run.path)
            if self._witnesses and key.public == self._log.key.public:
                self._log.checkpoint(key)
            await self._cosigned(self._log, digest(opening.opened))
        with watched(self._observer, opening, self._progress) as watch:
            attacker = make_attacker(opening.plan, opening.plan.limits, self._progress)
            crew = self._crew
            engine = Engine(run, target, watch.observer, attacker, judges, opened, crew)
            try:
                with on_interrupt(engine.interrupt):
                    ended = await engine.trials()
            except TargetError as e:
                run.note_incident({"what": "target down", "at": _now_ms(), "reason": e.what})
                again = f"assay run --resume --out {self._folder}{self._executor.options if self._executor else ''}"
                raise TargetError(e.what, where=e.where, fix=f"Go on when it is back: {again}") from None
            finally:
                if crew is not None and crew.deaths:
                    run.note_incident(
                        {"what": "workers died", "at": _now_ms(), "deaths": crew.deaths, "trials leased again": crew.leased_again}
                    )
            decision = engine.decision()
            watch.ended(ended, decision.verdict)
        calls = run.count()
        if ended == "interrupted":
            run.note_incident({"what": "interrupted", "at": _now_ms(), "trials": calls})
            return Result(decision, ended, self._folder, None, None, calls)
        quoting = counted.settle(run, engine.asked, ended, opened, _now_ms()) if counted is not None and opened is not None else 0
        bundle = self._folder / BUNDLE_NAME
        tally: list[Tally] = []

        def counting(opening: Opening, recount: Recount) -> Callable[[Trial], None]:
            tally.append(Tally(opening, recount))
            return tally[0].count

        summary = write_bundle(run, key, ended, bundle, counting)
        if self._log is not None:
            self._log.add(self._folder)
        report = self._folder / REPORT_NAME
        write_report(run, report, summary, ended, tally[0])
        reasons: Counter[str] = Counter()
        for (reason, _), count in tally[0].reasons.items():
            reasons[reason] += count
        return Result(summary.decision, ended, self._folder, bundle, report, calls, reasons, quoting)


def write_report(run: RunStore, path: Path, summary: Any, ended: str, tally: Tally | None = None) -> None:
    """Render the report and put it at `path`, whole or not at all. Raises `RunFileError`."""
    _write_whole(render_report(run, summary=summary, ended=ended, bundle_name=BUNDLE_NAME, tally=tally), path)


def write_judged_report(judged: Path, path: Path) -> None:
    """Render the report of imported trajectories and put it at `path`, whole or not at all. Raises `RunFileError`."""
    _write_whole(render_judged(read_judged(judged)), path)


def write_bundle_report(bundle: Path, path: Path) -> None:
    """Render the report of a run from its bundle alone, every byte of which is what was signed. Raises `EvidenceError`, `RunFileError`."""
    from assay.report.sources import read_source

    source = read_source(bundle)
    signed = source.signed
    summary = Summary(signed.decision, signed.root, source.tally.recount.items, source.tally.trials, signed.ended, bundle)
    _write_whole(render_report(source.run, summary=summary, ended=signed.ended, bundle_name=bundle.name, tally=source.tally), path)


def write_explorer(run: Path, path: Path, language: str = "en") -> None:
    """Write the interactive report of a signed run (its folder or its bundle). Raises `EvidenceError`, `RunFileError`."""
    from assay.report import explorer
    from assay.report.sources import read_source

    explorer.write_explorer(read_source(run), path, language)


def paper_figures(runs: Sequence[Path], language: str = "en") -> dict[str, str]:
    """The figures that a paper's prose may name, as they are printed now. Raises `EvidenceError`."""
    from assay.report.paper import figures_of
    from assay.report.sources import read_sources

    return figures_of(read_sources(runs), language)


def write_paper(
    runs: Sequence[Path], pdf: Path, page: Path, *, about: Path | None = None, language: str = "en", full: bool = False,
    force: bool = False, progress: Progress = lambda _: None,
) -> Document:  # fmt: skip
    """Write the white paper of signed runs (their folders or bundles), as PDF and as a page: both or neither.

    An earlier paper of the same runs is replaced; anything else that is there, only with `force`. With `full` every item and judgement is
    recomputed first. Raises `RunFileError` for what is not replaced, `EvidenceError` for a run that is not what was signed, and
    `PaperError` for a number without evidence, a missing glyph, or authors' text that does not hold.
    """
    from assay.report.charts import warm_up
    from assay.report.paper import About, make_paper, read_about
    from assay.report.paper.page import is_of, render_paper
    from assay.report.paper.typeset import typeset
    from assay.report.sources import read_sources

    told = read_about(about) if about else About()
    warm_up()
    sources = read_sources(runs)
    for source in sources if full else ():
        progress(f"Verifying run {source.letter} ...")
        report = verify_bundle(source.run.path)
        if not report.ok:
            raise EvidenceError(f"run {source.letter} does not hold: {report.findings[0]}", where=str(source.run.path), fix="assay verify")
    document = make_paper(sources, told, language=language, today_ms=_now_ms(), full=full)
    if not force and (pdf.exists() or page.exists()) and not is_of(page, document):
        what = "there is something else here already, and not an earlier paper of these runs"
        raise RunFileError(what, where=str(pdf if pdf.exists() else page), fix="Choose another --out, or replace it with --force.")
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(typeset, document)
        html = render_paper(document)
    _write_whole(made.result(), pdf)
    _write_whole(html, page)
    return document


def _write_whole(data: str | bytes, path: Path) -> None:
    try:
        with whole_file(path) as out:
            out.write(data.encode("utf-8") if isinstance(data, str) else data)
    except OSError as e:
        raise RunFileError(f"cannot write the report: {e.strerror}", where=str(path)) from None


def _stated(identity: dict[str, str], provider: SignedStatement | None) -> dict[str, str]:
    """A target's record with what its provider has signed of it. Raises `TargetError` where that is of another target, or holds no more."""
    if provider is None:
        return identity
    checked = check_statement(provider.envelope, identity, keyid=provider.keyid, times=(_now_ms(),))
    if checked.findings:
        raise TargetError(f"the provider's statement does not fit: {checked.findings[0]}")
    return identity | statement_keys(provider)


def pinned(plan: Plan, identity: dict[str, str]) -> Plan:
    """The plan with its target's digest filled in. Raises `TargetError` where the plan pins another."""
    found = identity.get("digest", "")
    if plan.target.digest and found and plan.target.digest != found:
        raise TargetError(f"the plan pins {plan.target.digest}, the target is {found}", where="target.digest")
    if plan.target.digest and not found:
        raise TargetError("the plan pins a digest, but this kind of target cannot show one", where="target.digest")
    return msgspec.structs.replace(plan, target=msgspec.structs.replace(plan.target, digest=found)) if found else plan


@asynccontextmanager
async def opened_judges(
    plan: Plan, progress: Progress, folder: Path = Path(), target: Target | None = None
) -> AsyncIterator[list[Target]]:  # fmt: skip
    """The plan's judges, open, in the panel's order; none where it has none. What some have recorded lies in `folder`; the scorers of a
    source are those of the `target` that it plays.
    """
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(judge) for judge in make_judges(plan, plan.limits, progress, folder, target)]


def pinned_judges(plan: Plan, catalog: Catalog, judges: Sequence[Target]) -> Plan:
    """The plan with its judges' digests filled in, and the panel's identity for every judged hazard and language. Raises `TargetError`."""
    if plan.judges is None:
        return plan
    panel = []
    for spec, target in zip(plan.judges.panel, judges, strict=True):
        found = target.identity.get("digest", "")
        if spec.target.digest and found != spec.target.digest:
            raise TargetError(f"the plan pins {spec.target.digest} for the judge '{spec.name}', it is {found or 'without a digest'}")
        panel.append(msgspec.structs.replace(spec, target=msgspec.structs.replace(spec.target, digest=found)))
    return _with_panel(plan, plan.judges, catalog, tuple(panel))


def _with_panel(plan: Plan, judges: Judges, catalog: Catalog, panel: tuple[JudgeSpec, ...]) -> Plan:
    named = msgspec.structs.replace(plan, judges=msgspec.structs.replace(judges, panel=panel))
    return msgspec.structs.replace(plan, judges=msgspec.structs.replace(judges, panel=panel, digests=panel_digests(named, catalog)))


def _same_judges(plan: Plan, opening: Opening) -> Plan:
    """A plan as it is written, with the digests of the judges that the run was opened with, so that the two can be compared."""
    opened = opening.plan.judges
    if plan.judges is None or opened is None or len(plan.judges.panel) != len(opened.panel):
        return plan
    panel = tuple(
        msgspec.structs.replace(spec, target=msgspec.structs.replace(spec.target, digest=spec.target.digest or was.target.digest))
        for spec, was in zip(plan.judges.panel, opened.panel, strict=True)
    )
    return _with_panel(plan, plan.judges, opening.catalog, panel)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
