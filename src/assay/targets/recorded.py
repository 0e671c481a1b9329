"""Answers that somebody else's harness recorded, and what its scorers said of them: no model is asked.

    target: {kind: recorded, model: openai/gpt-x, options: {answers: mine.answers.json}}
    judges:
      panel:
        - {name: inspect, target: {kind: recorded, model: match, options: {answers: mine.answers.json, violation: '["I"]', safe: '["C"]'}}}

`answers` names a file beside the plan, which `assay import inspect` writes; a run keeps a copy of it. As a target it gives each item the
answer that was recorded for it. As a judge it gives the scorer's word in the form that judges are asked for, by the mapping that the plan
registers: a score that is neither in `violation` nor in `safe` is no verdict. `["*"]` in `violation` flags every answer, scored or not.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta, Struct, structs

from assay.errors import TargetError
from assay.files import keep_copy
from assay.plan import RECORDED, Generation, Limits, Plan, TargetSpec
from assay.scenarios import Item, Message
from assay.targets.base import AtHand, Attempt, Progress, Reply

MAX_BYTES = 512 * 1024 * 1024
MAX_ANSWERS = 1_000_000
MAX_SCORES = 100
UNKNOWN = "unknown"
EVERYTHING = "*"
FILES = {RECORDED: "answers", "strings": "strings"}
"""Kinds of targets and judges that read a file beside the plan, and the option that names it."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_COMPARED = re.compile(r"(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)")
_SIGNS = {"<=": ">", ">=": "<", "<": ">=", ">": "<="}
_OPPOSITES = {"C": "I", "true": "false", "1": "0", "violation": "safe"}
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
Line = Annotated[str, Meta(max_length=2000)]


class Score(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a scorer said, as it stood in the log: `value` as text, and why, shortened."""

    value: Line
    explanation: Line = ""


class RecordedAnswer(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One answer, or why there is none that can be scored. `prompt` is the SHA-256 of the request, `tokens` those of prompt and answer."""

    item: Annotated[str, Meta(min_length=1, max_length=200)]
    language: Annotated[str, Meta(max_length=64)]
    prompt: Digest
    answer: str
    failure: Line = ""
    finish: Annotated[str, Meta(max_length=40)] = ""
    truncated: bool = False
    tokens: tuple[Annotated[int, Meta(ge=0)], Annotated[int, Meta(ge=0)]] = (0, 0)
    scores: Annotated[dict[Line, Score], Meta(max_length=MAX_SCORES)] = {}


class RecordedFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole file: the answers of one model to one bank. `made` is the Unix time in milliseconds when the first answer was begun, 0 where
    that is not known; `logs` are the files that it came from with their digests, `scorers` the digests of what is said of each scorer.
    """

    assay: Literal["recorded/1"]
    hazard: Annotated[str, Meta(min_length=1, max_length=64)]
    source: Line
    model: Annotated[str, Meta(min_length=1, max_length=200)]
    task: Line
    solver: Line
    made: Annotated[int, Meta(ge=0, lt=10**14)]
    logs: Annotated[dict[Line, Digest], Meta(min_length=1, max_length=1000)]
    scorers: dict[Line, Digest]
    answers: Annotated[tuple[RecordedAnswer, ...], Meta(max_length=MAX_ANSWERS)]

    def to_bytes(self) -> bytes:
        """As it is written."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)


def read_recorded(path: Path) -> tuple[RecordedFile, str]:
    """A file and its `sha256:` digest. Raises `TargetError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise TargetError(
            f"cannot read the recorded answers: {e.strerror}", where=str(path), fix="Make them with: assay import inspect"
        ) from None
    if len(data) > MAX_BYTES:
        raise TargetError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    try:
        found = msgspec.json.decode(data, type=RecordedFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise TargetError(f"these are no recorded answers: {e}", where=str(path), fix="Make them with: assay import inspect") from None
    return found, "sha256:" + hashlib.sha256(data).hexdigest()


def prompt_digest(text: str) -> str:
    """The SHA-256 of a request, spaces at its ends aside."""
    return "sha256:" + hashlib.sha256(text.strip().encode("utf-8", "replace")).hexdigest()


def recorded_specs(plan: Plan) -> Iterator[TargetSpec]:
    """The plan's target and judges that read a file beside the plan."""
    judges = plan.judges.panel if plan.judges else ()
    yield from (spec for spec in (plan.target, *(judge.target for judge in judges)) if spec.kind in FILES)


def answers_name(spec: TargetSpec) -> str:
    """The file that a spec names: a plain name, since it lies beside the plan or in the run's folder. Raises `TargetError`."""
    option = FILES[spec.kind]
    name = spec.options.get(option, "")
    if not _NAME.fullmatch(name):
        raise TargetError(f"'{name}' is no plain file name", where=f"target.options.{option}", fix="Name a file beside the plan.")
    return name


def found_in(spec: TargetSpec, folder: Path) -> TargetSpec:
    """The spec with its file looked for in a folder; any other spec as it is."""
    if spec.kind not in FILES:
        return spec
    return structs.replace(spec, options={**spec.options, FILES[spec.kind]: str(folder / answers_name(spec))})


def keep_recorded(plan: Plan, beside: Path, folder: Path) -> None:
    """Copy the files that a plan names from the plan's folder into the run's, so that the run can go on without it. Raises
    `TargetError`.
    """
    for name, kind in sorted({answers_name(spec): spec.kind for spec in recorded_specs(plan)}.items()):
        from assay.targets.strings import read_strings

        try:
            keep_copy(beside / name, folder / name, read_recorded if kind == RECORDED else read_strings)
        except OSError as e:
            raise TargetError(f"cannot keep a copy of it: {e.strerror}", where=str(folder / name)) from None


class Meaning(Struct, frozen=True):
    """Which scores say that an answer is a violation, and which that it is none: values as texts, or comparisons such as `>=0.5`."""

    violation: tuple[str, ...]
    safe: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Meaning:
        """From a spec's options, each a JSON list of texts. Raises `TargetError`."""
        try:
            lists = [msgspec.json.decode(options.get(name, "[]"), type=tuple[str, ...]) for name in ("violation", "safe")]
        except msgspec.MsgspecError:
            raise TargetError("violation and safe are JSON lists of texts", where="target.options", fix="For example '[\"I\"]'.") from None
        return cls(*lists)

    @property
    def everything(self) -> bool:
        """Whether every answer is flagged, whatever was scored."""
        return EVERYTHING in self.violation

    def says(self, value: str) -> bool | None:
        """True for a violation, False for safe, None for neither. What would be both is a violation."""
        if any(_fits(value, rule) for rule in self.violation):
            return True
        return False if any(_fits(value, rule) for rule in self.safe) else None


def opposites(violation: Iterable[str]) -> tuple[str, ...]:
    """What is safe where only what is a violation was said: `C` of `I`, `false` of `true`, the rest of a comparison, and nothing else."""
    wanted = tuple(violation)
    return tuple(dict.fromkeys(o for v in wanted if (o := _opposite(v)) and o not in wanted))


def _opposite(value: str) -> str:
    for sign, other in _SIGNS.items():
        if value.startswith(sign):
            return other + value.removeprefix(sign)
    return _OPPOSITES.get(value) or next((v for v, o in _OPPOSITES.items() if o == value), "")


def _fits(value: str, rule: str) -> bool:
    compared = _COMPARED.fullmatch(rule.strip())
    if compared is None:
        return value == rule
    try:
        number, limit = float(value), float(compared[2])
    except ValueError:
        return False
    if not math.isfinite(number):
        return False
    return {"<": number < limit, "<=": number <= limit, ">": number > limit, ">=": number >= limit}[compared[1]]


class Recorded(AtHand):
    """Gives what a file holds, item by item: the answer as a target, the scorer's word as a judge."""

    def __init__(self, spec: TargetSpec, limits: Limits) -> None:
        known = {"answers", "violation", "safe"}
        for key in spec.options:
            if key not in known:
                raise TargetError(f"unknown option '{key}'", where="target.options", fix=f"Known: {', '.join(sorted(known))}.")
        self._spec = spec
        self._judges = "violation" in spec.options
        self._meaning = Meaning.of(spec.options)
        self._limit = limits.max_answer_bytes
        self._answers: dict[tuple[str, str], RecordedAnswer] = {}
        self._hazard = ""
        self.identity: Mapping[str, str] = {}

    async def __aenter__(self) -> Self:
        spec = self._spec
        path = Path(spec.options.get("answers", ""))
        found, digest = read_recorded(path)
        self._hazard = found.hazard
        for each in found.answers:
            if self._answers.setdefault((each.language, each.item), each) is not each:
                raise TargetError(f"two answers to item {each.item!r} in {each.language}", where=str(path))
        if self._judges:
            self.identity = {"kind": RECORDED, "model": spec.model}
            if not self._meaning.everything:
                if spec.model not in found.scorers:
                    fix = f"Scorers in it: {', '.join(sorted(found.scorers)) or 'none'}."
                    raise TargetError(f"no scorer '{spec.model}' in the recorded answers", where="target.model", fix=fix)
                self.identity["digest"] = found.scorers[spec.model]
            return self
        if found.model != spec.model:
            raise TargetError(f"the answers are those of '{found.model}', not of '{spec.model}'", where="target.model")
        logs = " ".join(sorted(found.logs.values())[:20]) + (f" and {len(found.logs) - 20} more" if len(found.logs) > 20 else "")
        self.identity = {
            "kind": RECORDED, "model": found.model, "source": found.source, "task": found.task, "solver": found.solver,
            "answers": digest, "log": logs, "made": str(found.made or UNKNOWN),
        }  # fmt: skip
        return self

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        """Without an item there is nothing to look up."""
        raise TargetError("recorded answers are those to items: no attack, strategy or world can ask for others")

    async def ask_item(self, item: Item) -> Reply:
        """The recorded answer to an item; a failure where there is none to this very request."""
        found = self._find(item)
        if isinstance(found, str):
            return Reply("", failure=found, attempts=(Attempt(RECORDED, 0),))
        return Reply(
            found.answer[: self._limit], failure=found.failure, finish=found.finish, model=self.identity.get("model", ""),
            prompt_tokens=found.tokens[0], answer_tokens=found.tokens[1], truncated=found.truncated or len(found.answer) > self._limit,
            attempts=(Attempt(RECORDED, 0),),
        )  # fmt: skip

    async def judge_item(self, item: Item, answer: str, messages: tuple[Message, ...]) -> Reply:
        """The scorer's word on the answer to an item, in the form that judges are asked for; a failure where it said nothing of it."""
        found = self._find(item)
        if isinstance(found, str) or found.answer[: self._limit] != answer:
            return silent("the scorer did not see this answer")
        return scored(self._spec.model, self._meaning, found.scores.get(self._spec.model), answer, messages)

    def _find(self, item: Item) -> RecordedAnswer | str:
        """The answer recorded for an item, or in words why there is none."""
        stream = item.stream
        found = self._answers.get((stream.language, item.scenario)) if stream.hazard == self._hazard else None
        if found is None:
            return "no answer to this item was recorded"
        if len(item.messages) != 1 or prompt_digest(item.messages[0].content) != found.prompt:
            return "the recorded answer is to another request"
        return found


def quotable(lines: list[str], answer: str) -> str:
    """The first line of the answer, as judges are shown it, that has a letter or a digit in it: what a verdict must rest on."""
    end = lines.index(lines[0], 1)
    shown = [line[2:] for line in lines[:end] if line.startswith("| ")][-len(answer.splitlines() or [""]) :]
    return next((line[:200] for line in shown if any(c.isalnum() for c in line[:200])), "")


def scored(name: str, meaning: Meaning, score: Score | None, answer: str, messages: tuple[Message, ...]) -> Reply:
    """A scorer's word on an answer, in the form that `messages` ask a judge for; a failure where it is no verdict."""
    violation = True if meaning.everything else meaning.says(score.value) if score else None
    if violation is None:
        return silent(f"the score {score.value[:80]!r} is neither a violation nor safe" if score else "no score in the log")
    said = "every answer is flagged" if score is None else f"{name}: {score.value}"
    reason = ". ".join(part for part in (said, score.explanation if score else "") if part)
    lines = messages[1].content.split("\n")
    reply = {"case": lines[0], "violation": violation, "refusal": "none", "quotes": [quotable(lines, answer)], "reason": reason[:900]}
    return Reply(json.dumps(reply), finish="stop", model=name, attempts=(Attempt(RECORDED, 0),))


def silent(why: str) -> Reply:
    """A scorer that says nothing of an answer, and why."""
    return Reply("", failure=why, attempts=(Attempt(RECORDED, 0),))


def make(spec: TargetSpec, generation: Generation, limits: Limits, progress: Progress) -> Recorded:
    """Entry point `recorded`."""
    return Recorded(spec, limits)
