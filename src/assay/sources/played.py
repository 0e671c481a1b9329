"""A plan's target, played by another tool: Assay draws the sample, the tool plays and scores it, the target answers, Assay keeps the words.

    target = Played(inner, spec, limits, folder, progress)       # `spec` is the plan's judge of the kind `source`
    reply = await target.ask_item(item)                          # its turns are what the target was shown and said
    judge = target.scorer(spec)                                  # gives the scorer's word on what was played

What the target said is recorded here, where it was asked; the worker's word is taken for the scores alone. A sample that errs, takes too
long or too much, or loses its worker or its target after the target has answered is a failure, which is never safe and never played again:
a second answer might be another one, and an answer that breaks the tool would go uncounted. A worker that dies is started anew, and what
the target had not answered yet is played again; a sample that was there when one died is played in a worker of its own, and has failed if
that dies, too.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from assay.errors import AssayError, TargetError
from assay.plan import Plan, TargetSpec
from assay.scenarios import Item, Message
from assay.sources.adapters import find_adapter
from assay.sources.conversation import Conversation, text_of
from assay.sources.file import SourceFile, read_source_file, source_name, source_specs
from assay.sources.lines import AskLine, PlayedLine, odd_call
from assay.sources.lines import Score as ScoreLine
from assay.sources.scorer import Scorer
from assay.sources.worker import TOOK, DiedError, Opening, Said, Worker
from assay.targets.base import Asked, Attempt, Progress, Reply, Target, ToolTarget, at_once
from assay.targets.recorded import Meaning
from assay.worlds import call_line

KEPT = 10_000
GRACE_S = 20
MOST_DEATHS = 5
CUT_OFF = frozenset({"length", "max_tokens", "MAX_TOKENS"})


class _Sample:
    """One sample while it is played. `answered` once the target has; `attempts` and `tokens` are those of all its plays."""

    def __init__(self, name: str, file: SourceFile) -> None:
        self.name = name
        self.attempts: tuple[Attempt, ...] = ()
        self.tokens = [0, 0]
        self.begin(file)

    def begin(self, file: SourceFile) -> None:
        """Play it, or play it again."""
        self.said = Conversation(file.bounds.characters)
        self.until = 0.0
        self.calls = 0
        self.answered = False
        self.last = Reply("")
        self.failed: Reply | None = None


class Played:
    """Wraps the plan's target. Items of the source's banks are played; a plan has no others."""

    def __init__(self, target: Target, plan: Plan, folder: Path, progress: Progress, python: str = "") -> None:
        specs = list(source_specs(plan))
        names = {source_name(spec) for spec in specs}
        if len(names) != 1:
            raise TargetError(f"a plan has one source, and this one names {len(names)}", where="judges")
        self._name = names.pop()
        self._target, self._limits, self._progress = target, plan.limits, progress
        self.file, self.digest = read_source_file(folder / self._name)
        if other := next((h for h in plan.matrix.hazards if h not in self.file.banks), ""):
            raise TargetError(
                f"'{other}' is no bank of the source '{self._name}'", where="matrix.hazards", fix="Give it a plan of its own."
            )
        for spec in specs:
            _check_spec(spec, self.file)
        self._adapter = find_adapter(self.file.source)
        self._adapter.check(self.file.options)
        self._interpreter = self._adapter.interpreter(python)
        self._parallel = min(plan.limits.concurrency, self._adapter.most_parallel)
        self._places = asyncio.Semaphore(self._parallel)
        self._keys = key_names(plan)
        self._worker: Worker | None = None
        self._starting, self._alone = asyncio.Lock(), asyncio.Lock()
        self._deaths = 0
        self._scores: OrderedDict[str, tuple[str, Mapping[str, ScoreLine]]] = OrderedDict()
        self.patient: Asked = at_once
        """How a call is made once the target has answered in its sample: at once, unless a run lends its patience."""
        self.identity: Mapping[str, str] = {}

    async def __aenter__(self) -> Self:
        await self._target.__aenter__()
        try:
            await self._running()
        except BaseException:
            await self._target.__aexit__(None, None, None)
            raise
        self.identity = {**self._target.identity, **identity_of(self.file, self.digest)}
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._worker is not None:
                await self._worker.__aexit__(kind, error, trace)
        finally:
            await self._target.__aexit__(kind, error, trace)

    async def alive(self) -> bool:
        """Whether the target is."""
        return await self._target.alive()

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """Only samples are played."""
        raise TargetError("a source plays its samples: no attack, strategy or world can ask for others")

    async def ask_item(self, item: Item) -> Reply:
        """Play an item's sample; what was said as turns, or a failure."""
        if item.scenario not in self.file.banks.get(item.stream.hazard, ()) or item.stream.attack != "none":
            raise TargetError(f"{item.stream.key} item {item.index} is no sample of the source '{self._name}'")
        played, sample = await self._play(item.scenario)
        if played is None:
            return _failure(_failed(sample, "the sample was not played"))
        reply = self._reply(sample, played)
        if not reply.failure:
            self._scores[item.digest] = (reply.text, played.scores)
            self._scores.move_to_end(item.digest)
            if len(self._scores) > KEPT:
                self._scores.popitem(last=False)
        return reply

    def scorer(self, spec: TargetSpec) -> Scorer:
        """The judge that gives one scorer's word on what was played."""
        return Scorer(spec, self._scores, self.digest)

    async def _play(self, name: str) -> tuple[PlayedLine | None, _Sample]:
        """Play a sample, anew if its worker dies before the target has answered; None where there is a failure in its place."""
        suspect, sample = False, _Sample(name, self.file)
        while True:
            sample.begin(self.file)
            try:
                if suspect:
                    async with self._alone, self._new_worker(1) as worker:
                        return await self._within(worker, sample), sample
                async with self._places:  # what only queues in a worker would run out of time there
                    worker = await self._running()
                    played = await self._within(worker, sample)
                if not worker.dead:
                    self._deaths = 0
                return played, sample
            except TimeoutError:
                worker.dead = worker.dead or f"{TOOK} too long"
                worker.kill()
                return None, _failed(sample, f"the sample took longer than {self.file.bounds.sample_s} s")
            except DiedError as e:
                if sample.failed is not None or suspect:
                    return None, _failed(sample, "the worker died of this sample")
                if sample.answered:  # another answer might spare the tool: this one stands
                    return None, _failed(sample, "the worker died after the target had answered")
                self._progress(f"The worker of {self.file.title} has died ({e}); what was not answered yet is asked again.")
                suspect = not str(e).startswith(TOOK)

    async def _within(self, worker: Worker, sample: _Sample) -> PlayedLine:
        sample.until = time.monotonic() + self.file.bounds.sample_s  # a worker that has yet to start is not the sample's doing
        async with asyncio.timeout(self.file.bounds.sample_s + GRACE_S):
            return await worker.play(sample.name, lambda line: self._asked(sample, line))

    async def _running(self) -> Worker:
        """The worker, started if there is none that lives. Raises `TargetError` when it dies again and again."""
        async with self._starting:
            if self._worker is not None and not self._worker.dead:
                return self._worker
            if self._worker is not None:
                dead, self._worker = self._worker, None
                self._deaths += 1
                await dead.__aexit__(None, None, None)
                if self._deaths >= MOST_DEATHS:
                    raise TargetError(f"the worker of {self.file.title} died {self._deaths} times running ({dead.dead})", where=self._name)
            worker = await self._new_worker(self._parallel).__aenter__()
            try:
                check_samples(self.file, worker, self._name)
            except TargetError:
                await worker.__aexit__(None, None, None)
                raise
            self._worker = worker
            return worker

    def _new_worker(self, parallel: int) -> Worker:
        file = self.file
        bounds, environment = file.bounds, file.environment
        opening = Opening(file.task, file.options, parallel, bounds.sample_s, bounds.memory_mb, environment, keys=self._keys)
        return Worker(self._adapter, opening, self._interpreter)

    async def _asked(self, sample: _Sample, line: AskLine) -> Said:
        """What the target says to a call of the tool. What cannot be asked is the sample's failure, and ends nothing else."""
        try:
            return await self._say(sample, line)
        except AssayError:
            raise
        except Exception as e:  # noqa: BLE001 (a tool's odd words must not end the run, each time that it goes on)
            why = f"a call that cannot be asked ({type(e).__name__})"
            _failed(sample, why)
            return Said("", failure=why)

    async def _say(self, sample: _Sample, line: AskLine) -> Said:
        sample.calls += 1
        over = sample.calls > self.file.bounds.calls
        if over or sample.said.full or sample.failed is not None or time.monotonic() > sample.until:
            why = f"more than {self.file.bounds.calls} calls of the target" if over else "beyond what a sample may take"
            _failed(sample, why)
            return Said("", failure=why)
        if odd := odd_call(line):
            _failed(sample, odd)
            return Said("", failure=odd)
        shown = sample.said.shown(line.messages)
        reply = sample.last = await self._replied(sample, line)
        sample.attempts += reply.attempts
        sample.tokens = [sample.tokens[0] + reply.prompt_tokens, sample.tokens[1] + reply.answer_tokens]
        if reply.failure:
            sample.failed = reply
            return Said("", failure=reply.failure[:1000])
        sample.answered = True
        calls = [call_line(call.name, call.given) for call in reply.calls]
        sample.said.answered(shown, reply.text, calls, truncated=reply.truncated or reply.finish in CUT_OFF)
        native = tuple({"id": c.id, "name": c.name, "text": c.text} for c in reply.calls)
        return Said(reply.text, native, reply.finish, (reply.prompt_tokens, reply.answer_tokens))

    async def _replied(self, sample: _Sample, line: AskLine) -> Reply:
        """The target's reply. Before its first the whole sample may be played again; after it, what it said stands, so this one call is
        asked again, and whatever ends that is the sample's failure.
        """
        if not sample.answered:
            return await self._answer(line)
        try:
            return await self.patient(lambda: self._answer(line))
        except TargetError as e:
            return Reply("", failure=e.what)

    async def _answer(self, line: AskLine) -> Reply:
        plain = not line.tools and all(m.get("role") in ("system", "user", "assistant") and not m.get("tool_calls") for m in line.messages)
        if plain:
            return await self._target.ask(tuple(Message(m["role"], text_of(m)) for m in line.messages))
        if not isinstance(self._target, ToolTarget):
            raise TargetError(
                f"{self.file.title} gives its model tools, and this target makes no native tool calls", fix="Test one behind --target http."
            )
        return await self._target.ask_tools(line.messages, line.tools)

    def _reply(self, sample: _Sample, played: PlayedLine) -> Reply:
        """The sample as one trial's reply. The target's own failure comes before whatever the tool made of it."""
        turns = tuple(sample.said.turns)
        if sample.failed is None and sample.said.full:
            _failed(sample, f"a transcript of more than {self.file.bounds.characters:,} characters")
        if sample.failed is None and (played.failure or not turns):
            _failed(sample, played.failure or "the sample ended without a word of the target")
        if sample.failed is not None:
            return _failure(sample)
        last = sample.last
        return Reply(
            turns[-1].answer, finish=last.finish, model=last.model, prompt_tokens=sample.tokens[0], answer_tokens=sample.tokens[1],
            attempts=sample.attempts, truncated=turns[-1].truncated, turns=turns, system=last.system,
        )  # fmt: skip


def _failed(sample: _Sample, why: str) -> _Sample:
    if sample.failed is None:
        line = "".join(c if c.isprintable() else " " for c in why)[:300]
        sample.failed = Reply("", failure=line)
    return sample


def _failure(sample: _Sample) -> Reply:
    """The failed sample as one trial's reply, with all that it took. It is nobody's outage once the target has answered in it."""
    failed = sample.failed or Reply("", failure="the sample was not played")
    failed.outage, failed.busy = failed.outage and not sample.answered, failed.busy and not sample.answered
    failed.attempts, (failed.prompt_tokens, failed.answer_tokens) = sample.attempts, sample.tokens
    return failed


def key_names(plan: Plan) -> tuple[str, ...]:
    """The variables that hold the keys of the plan's target, attacker and judges."""
    specs = [plan.target, *([plan.attacker.target] if plan.attacker else [])]
    specs += [judge.target for judge in (plan.judges.panel if plan.judges else ())]
    return tuple(sorted({spec.api_key_env for spec in specs} - {""}))


def _check_spec(spec: TargetSpec, file: SourceFile) -> None:
    """A judge's options, and that the tool has such a scorer. Raises `TargetError`."""
    unknown = set(spec.options) - {"source", "violation", "safe"}
    if unknown:
        raise TargetError(f"unknown option '{min(unknown)}'", where="judges.target.options", fix="Known: source, violation, safe.")
    if Meaning.of(spec.options).everything:
        return
    if not any(spec.model == name or spec.model.startswith(f"{name}.") for name in file.scorers):
        fix = f"Scorers: {', '.join(file.scorers) or 'none'}."
        raise TargetError(f"no scorer '{spec.model}' in {file.title}", where="judges.target.model", fix=fix)


def check_samples(file: SourceFile, worker: Worker, where: str) -> None:
    """That the tool has the very samples and versions that the plan is pinned to. Raises `TargetError`."""
    fix = "Import the task anew, or install what it was imported with."
    for name, wanted in file.packages.items():
        if (found := worker.ready.packages.get(name, "none")) != wanted:
            raise TargetError(f"the plan is pinned to {name} {wanted}, here is {found[:100]}", where=where, fix=fix)
    for name, digest in file.code.items():
        if worker.ready.code.get(name) != digest:
            raise TargetError(f"{name} has changed since the plan was made", where=where, fix=fix)
    changed = [i for i, digest in file.samples.items() if i not in worker.samples or worker.samples[i].digest != digest]
    if changed:
        what = f"{len(changed):,} of {len(file.samples):,} samples are others than those the plan was made for, such as {changed[0]!r}"
        raise TargetError(what, where=where, fix=fix)


def identity_of(file: SourceFile, digest: str) -> dict[str, str]:
    """What a target's record says of the tool that plays."""
    packages = ", ".join(f"{name} {number}" for name, number in sorted(file.packages.items()))
    options = ", ".join(f"{name}={value}" for name, value in sorted(file.options.items()))
    return {"source": file.source, "source_task": file.title, "source_options": options[:500], "source_packages": packages[:500],
            "source_samples": digest}  # fmt: skip


def scorer_of(target: Target | None, spec: TargetSpec) -> Scorer:
    """The judge of the kind `source` beside its target. Raises `TargetError` where nothing is played."""
    if not isinstance(target, Played):
        raise TargetError(
            "a source's scorer judges what is played in the same run, and nothing else", where="judges", fix="Name another judge."
        )
    return target.scorer(spec)
