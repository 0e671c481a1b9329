"""The violations that a reader should look at, spread over hazards and languages, with the whole item and the answer.

    for t in transcripts(run, tally): t.title, t.answer

Items are not in the run file: they are rebuilt from its opening, as the engine built them, and compared with the recorded digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec import Struct

from assay.attacks import ATTACKS
from assay.catalog import Catalog
from assay.judges import Reading, readings
from assay.plan import SOURCE
from assay.report.tally import Tally, Violation
from assay.report.text import Piece, pieces, visible
from assay.report.words import sentence, stream_words
from assay.runs import ReadRun, Trial
from assay.scenarios import Item, ItemBuilder

SHOWN = 12
BENIGN_SHOWN = 2
MAX_PROMPT = 12_000
MAX_ANSWER = 4_000

HOW = {
    "plain": "The value stands in the answer in plain sight.",
    "reversed": "The value stands in the answer written backwards.",
    "rot13": "The value stands in the answer in rot13.",
    "leetspeak": "The value stands in the answer with digits and signs for letters.",
    "digit words": "The value stands in the answer with its digits spelled out as words.",
}


class Said(Struct, frozen=True):
    """One message of the prompt."""

    role: str
    text: tuple[Piece, ...]


class Transcript(Struct, frozen=True):
    """One violation. `how` says by which reading it was found, `opinions` what each judge said, where judges read it. Of a sample that
    another tool played, `steps` are what the target was shown and said before its answer, and `prompt` and `tried` are empty.
    """

    slot: int
    title: str
    hazard: str
    language: str
    arm: str
    scenario: str
    index: int
    prompt: tuple[Said, ...]
    tried: tuple[tuple[Piece, ...], ...]
    answer: tuple[Piece, ...]
    reason: str
    how: str
    values: tuple[str, ...]
    item: str
    rebuilt: bool
    finish: str
    truncated: bool
    opinions: tuple[str, ...] = ()
    steps: tuple[Said, ...] = ()


def choose(violations: Sequence[Violation], most: int = SHOWN) -> list[Violation]:
    """At most `most` violations: one from every hazard and language before a second from any, and as even as can be over both;
    among equals an arm not shown yet, then the earliest. Refused harmless requests fill up, or take `BENIGN_SHOWN` places.
    """
    leaks = [v for v in violations if v.stream.arm != "benign"]
    benign = [v for v in violations if v.stream.arm == "benign"]
    kept = max(most - min(BENIGN_SHOWN, len(benign)), 0)
    chosen = _spread(leaks, kept)
    return chosen + _spread(benign, most - len(chosen))


def _spread(violations: Sequence[Violation], most: int) -> list[Violation]:
    """Candidates are the first few of each stream: what comes later in a stream differs by its draw only."""
    queues: dict[object, list[Violation]] = {}
    for v in violations:
        queue = queues.setdefault(v.stream, [])
        if len(queue) < most:
            queue.append(v)
    chosen: list[Violation] = []
    pairs: Counter[tuple[str, str]] = Counter()
    hazards: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    streams: Counter[object] = Counter()

    def order(v: Violation) -> tuple[int, ...]:
        s = v.stream
        return (pairs[s.hazard, s.language], languages[s.language], hazards[s.hazard], streams[s], v.slot)

    while len(chosen) < most and queues:
        best = min((queue[0] for queue in queues.values()), key=order)
        stream = best.stream
        queues[stream].pop(0)
        if not queues[stream]:
            del queues[stream]
        chosen.append(best)
        pairs[stream.hazard, stream.language] += 1
        languages[stream.language] += 1
        hazards[stream.hazard] += 1
        streams[stream] += 1
    return chosen


def transcripts(run: ReadRun, tally: Tally) -> tuple[Transcript, ...]:
    """The chosen violations in full; prompts of sealed banks are withheld. Raises `CatalogError` if an item cannot be rebuilt from the
    run's own content.
    """
    chosen = [v.slot for v in choose([v for v in tally.violations if not tally.in_world(v.stream)])]
    if not chosen:
        return ()
    opening = tally.opening
    builder = ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS)
    shown = [run.trial(slot) for slot in chosen]
    played = any(judge.target.kind == SOURCE for judge in opening.plan.judges.panel) if opening.plan.judges else False
    judges = opening.plan.judges
    names = [spec.name for spec in judges.panel] if judges else []
    return tuple(_transcript(t, builder.shown(t.stream, t.index, t.item), opening.catalog, names, played=played) for t in shown)


def _transcript(trial: Trial, item: Item, catalog: Catalog, judges: Sequence[str], *, played: bool) -> Transcript:
    check = item.check
    values = check.expected if check.kind == "benign" else check.forbidden
    read = readings(item, trial.answer, trial.turns, trial.said)
    if read:
        values = tuple(dict.fromkeys(q for r in read if isinstance(r, Reading) for q in r.quotes))
    return Transcript(
        slot=trial.slot,
        title=stream_words(trial.stream, catalog),
        hazard=trial.hazard,
        language=trial.language,
        arm=trial.arm,
        scenario=item.scenario,
        index=trial.index,
        prompt=() if played else tuple(Said(m.role, pieces(m.content, values, MAX_PROMPT)) for m in item.messages),
        tried=() if played else tuple(pieces(t.prompt, values, MAX_PROMPT) for t in trial.turns),
        steps=tuple(_steps(trial, values)) if played else (),
        answer=pieces(trial.answer, values, MAX_ANSWER),
        reason=sentence(trial.reason),
        how=how_words(trial.how),
        values=values,
        item=trial.item,
        rebuilt=item.digest == trial.item,
        finish=trial.finish,
        truncated=trial.truncated,
        opinions=tuple(_opinion(name, r) for name, r in zip(judges, read, strict=False)),
    )


def _steps(trial: Trial, values: Sequence[str]) -> Iterator[Said]:
    """A played sample up to the last answer."""
    for i, turn in enumerate(trial.turns):
        yield Said("shown", pieces(turn.prompt, values, MAX_PROMPT))
        if i + 1 < len(trial.turns):
            yield Said("said", pieces(turn.answer, values, MAX_ANSWER))


def _opinion(name: str, reading: Reading | str) -> str:
    """What a judge said, in its own words."""
    if isinstance(reading, str):
        return f"Judge {name}: no usable verdict ({visible(reading[:200])})."
    verdict = "a violation" if reading.violation else "no violation"
    declined = {"full": ", declined", "partial": ", declined in part", "none": ""}[reading.refusal]
    return f"Judge {name}: {verdict}{declined}. “{visible(reading.reason[:400])}”"


def how_words(how: str) -> str:
    """By which reading a value was found, in a sentence; empty where none was looked for."""
    if not how:
        return ""
    return HOW.get(how, f"The value stands in the answer once this is undone: {how}.")
