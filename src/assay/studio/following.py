"""One run as it grows: tallies, requirements and pace, never a trial's text. Reads the run file as any reader does, a slice at a time.

follower = Follower(Path("runs/first/run.db"))
seen = follower.look(since="")           # everything; reads at most a quarter of a second's worth of new trials
seen = follower.look(since=seen.version) # only the cells that changed since

However long a run is, a look costs what is new: trials are counted once, and what is sent is one line for each cell that changed.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from pathlib import Path

import msgspec
from msgspec import Struct

from assay.decision import AverageClaim, Gate, registered_first
from assay.errors import RunFileError
from assay.judges import Outcome, Told, told
from assay.plan import NO_ATTACK, Arm, Plan, Stream
from assay.runs import Opening, read_run
from assay.studio.shelf import cut, printable

SLICE_S = 0.25
RECENT_S = 30
QUIET_S = 20.0
QUIET_TIMES = 20
MOST_INCIDENTS = 12
MOST_REASON = 600
UNDECIDED, HOLDS, HALTS = 1, 2, 3
CACHED = "cached"


class Named(Struct, frozen=True):
    """A hazard or a language: its tag, its name, and the language that the name is in."""

    id: str
    name: str
    lang: str


class Table(Struct, frozen=True):
    """One attack and arm: languages down, hazards across. `cells[row][column]` is the place in the list of cells, -1 for none."""

    arm: Arm
    attack: str
    cells: tuple[tuple[int, ...], ...]


class Shape(Struct, frozen=True):
    """What never changes while a run goes on."""

    hazards: tuple[Named, ...]
    languages: tuple[Named, ...]
    tables: tuple[Table, ...]
    about: str


class Requirement(Struct, frozen=True):
    """One requirement: how many of its claims are settled, and the reason in the decision's own words."""

    id: str
    kind: str
    status: str
    settled: int
    claims: int
    reason: str


class Happening(Struct, frozen=True):
    """What was noted beside the trials."""

    what: str
    at: int
    reason: str


class Seen(Struct, frozen=True):
    """A run at one moment. `counted` of `trials` are in the tallies; `cells` are (place, trials, violations, unscorable, mark) of those
    that changed, where mark is 0 without claims, else 1 undecided, 2 holds, 3 halts. `verdict` is empty until it is final; `left` is the
    most trials that may still come, `rate` trials a second lately. `quiet_s` is 0 while trials come as they did.
    """

    version: str
    whole: bool
    shape: Shape | None
    cells: tuple[tuple[int, int, int, int, int], ...]
    counted: int
    trials: int
    budget: int
    requests: int
    tokens: int
    most_tokens: int
    most_minutes: float
    verdict: str
    decided_at: int
    left: int
    rate: float
    quiet_s: int
    first_at: int
    last_at: int
    requirements: tuple[Requirement, ...]
    happenings: tuple[Happening, ...]


class _Row(Struct, frozen=True):
    """What of a trial is counted; the rest of its leaf is passed over."""

    hazard: str
    language: str
    attack: str
    arm: Arm
    index: int
    outcome: Outcome
    attempts: tuple[tuple[str, int], ...]
    tokens: tuple[int, int]
    at: int


_decode = msgspec.json.Decoder(_Row).decode


class Follower:
    """Follows one run, in its file or in a store. Raises `RunFileError` where it is damaged. Close it when nobody looks any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = read_run(path)
        try:
            self._opening = self._file.opening()
            self._shape, self._places = _shape(self._opening)
            self._begin()
        except BaseException:
            self._file.close()
            raise

    def _begin(self) -> None:
        taken = self._file.taken()
        known = told(taken, self._opening.plan.labels.people)
        plan, target, seals = self._opening.plan, self._opening.target, self._opening.seals
        self._taken = len(taken)
        self._gate = Gate(
            plan, self._opening.seed, known[-1][1] if known else Told(), registration=registered_first(plan, target, seals)
        )  # fmt: skip
        self._next = self._requests = self._tokens = self._first_at = self._last_at = 0
        self._recent: deque[list[int]] = deque(maxlen=RECENT_S)  # [second, trials in it], for seconds that had any
        self._generation = secrets.token_hex(4)
        self._step = 0
        self._cells: list[tuple[int, int, int, int]] = [(0, 0, 0, 0)] * len(self._places)
        self._changed = [0] * len(self._places)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def look(self, since: str = "", *, running: bool = True, slice_s: float = SLICE_S) -> Seen:
        """Count what is new, for at most `slice_s` seconds, and say what changed since the version that was seen last."""
        if len(self._file.taken()) != self._taken:
            self._begin()
        self._read(slice_s)
        self._mark()
        generation, _, step = since.partition(".")
        known = int(step) if generation == self._generation and step.isdigit() and len(step) < 12 else -1
        waiting = self._file.count(self._next)
        plan, gate = self._opening.plan, self._gate
        rate = self._rate(running=running)
        return Seen(
            version=f"{self._generation}.{self._step}", whole=known < 0, shape=self._shape if known < 0 else None,
            cells=tuple((i, *self._cells[i]) for i in range(len(self._cells)) if self._changed[i] > known or (known < 0)),
            counted=self._next, trials=self._next + waiting, budget=plan.budget.calls, requests=self._requests, tokens=self._tokens,
            most_tokens=plan.budget.tokens or 0, most_minutes=float(plan.budget.minutes or 0), verdict=gate.verdict if gate.final else "",
            decided_at=gate.decided_at, left=_left(plan, gate), rate=rate, quiet_s=self._quiet(rate) if running else 0,
            first_at=self._first_at, last_at=self._last_at, requirements=_requirements(gate), happenings=self._happenings(),
        )  # fmt: skip

    def _read(self, slice_s: float) -> None:
        until = time.monotonic() + slice_s
        for slot, leaf in self._file.leaves(self._next):
            if slot != self._next:
                return  # a gap: what lies behind it is not committed yet
            try:
                row = _decode(leaf)
            except msgspec.MsgspecError as e:
                raise RunFileError(f"trial {slot} cannot be read: {e}", where=str(self.path)) from None
            self._gate.add(Stream(row.hazard, row.language, row.attack, row.arm), row.index, row.outcome)
            self._next += 1
            self._requests += sum(status != CACHED for status, _ in row.attempts)
            self._tokens += sum(row.tokens)
            self._first_at = min(self._first_at or row.at, row.at)
            self._last_at = max(self._last_at, row.at)
            second = row.at // 1000
            if self._recent and second <= self._recent[-1][0]:
                self._recent[-1][1] += 1
            else:
                self._recent.append([second, 1])
            if time.monotonic() > until:
                return

    def _mark(self) -> None:
        """Take up what changed in the cells."""
        marks: dict[Stream, int] = {}
        for claim in self._gate.claims:
            if isinstance(claim, AverageClaim):
                continue
            mark = {"halt": HALTS, "open": UNDECIDED}.get(claim.status, HOLDS)
            marks[claim.stream] = _together(marks.get(claim.stream, 0), mark)
        self._step += 1
        for stream, place in self._places.items():
            n, violations, unscorable = self._gate.counts.get(stream, (0, 0, 0))
            now = (n, violations, unscorable, marks.get(stream, 0))
            if now != self._cells[place]:
                self._cells[place], self._changed[place] = now, self._step

    def _rate(self, *, running: bool) -> float:
        """Trials a second over the last 30 seconds that had any; while a run goes on and nothing comes, up to now."""
        if len(self._recent) < 2:
            return 0.0
        last = self._recent[-1][0]
        if running:
            now = _now_ms() // 1000
            last = now if now - last > QUIET_S else last
        return (sum(n for _, n in self._recent) - self._recent[0][1]) / max(1, last - self._recent[0][0])

    def _quiet(self, rate: float) -> int:
        """For how many seconds no trial has come, if that is far longer than usual."""
        if not self._last_at:
            return 0
        quiet = (_now_ms() - self._last_at) / 1000
        return int(quiet) if quiet > max(QUIET_S, QUIET_TIMES / rate if rate else QUIET_S) else 0

    def _happenings(self) -> tuple[Happening, ...]:
        return tuple(
            Happening(printable(str(i.get("what", ""))), int(i.get("at", 0)), printable(str(i.get("reason", ""))))
            for i in self._file.incidents()[-MOST_INCIDENTS:]
        )


def _together(one: int, other: int) -> int:
    """What several claims about a cell come to: one that halts counts most, then one that is undecided."""
    return HALTS if HALTS in (one, other) else UNDECIDED if UNDECIDED in (one, other) else max(one, other)


def _left(plan: Plan, gate: Gate) -> int:
    """The most trials that may still come: what the budget leaves, or, once the verdict is final, what the map lacks."""
    most = max(0, plan.budget.calls - gate.committed)
    if gate.final:
        most = min(most, sum(max(0, plan.exploration.floor(s.arm) - c[0]) for s, c in gate.counts.items()))
    return most


def _requirements(gate: Gate) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(
            r.id, r.kind, r.status, sum(c.status != "open" for c in r.claims), len(r.claims),
            r.reason if len(r.reason) <= MOST_REASON else r.reason[: MOST_REASON - 1] + "…",
        )
        for r in gate.decision().requirements
    )  # fmt: skip


def _shape(opening: Opening) -> tuple[Shape, dict[Stream, int]]:
    """The matrix of a plan, and where each stream's cell is."""
    plan, catalog = opening.plan, opening.catalog
    m = plan.matrix
    arms: list[tuple[str, Arm]] = [(NO_ATTACK, "plain"), *((a, "attack") for a in m.attacks)]
    if m.placebo:
        arms += [(a, "placebo") for a in m.attacks]
    if m.benign:
        arms.append((NO_ATTACK, "benign"))
    if m.renderings:
        arms += [(NO_ATTACK, "adapted"), (NO_ATTACK, "literal")]
    places: dict[Stream, int] = {}
    known = frozenset(Gate(plan, opening.seed).counts)
    tables = []
    for attack, arm in arms:
        rows = []
        for language in m.languages:
            keys = [Stream(hazard, language, attack, arm) for hazard in m.hazards]
            rows.append(tuple(places.setdefault(k, len(places)) if k in known else -1 for k in keys))
        tables.append(Table(arm, attack, tuple(rows)))
    hazards = tuple(Named(h, cut(catalog.hazards[h].title), "en") for h in m.hazards)
    languages = tuple(Named(tag, cut(catalog.languages[tag].native), tag) for tag in m.languages)
    return Shape(hazards, languages, tuple(tables), cut(plan.about.strip())), places


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
