"""Prompts that are alike across organisations and persons: what distillation over many identities looks like (threat 13).

    watch = Likeness()
    for sketch in sketches: found = watch.feed(Prompt(at, organisation, grant, person, sketch, digest))

Two questions. *Sharing*: does an organisation ask near-duplicates of what others asked before, more often than `chance`? Each of its
prompts is one trial, and the test is `stats.rates.log_e`: however long one looks, an organisation whose rate is at most `chance` given its
past ever alerts with probability at most its part of `level`; the i-th organisation has 1 / (i (i + 1)) of it. *Grid*: does one family of
near-duplicates, all different, grow large over several persons? That is a count and has no error rate of its own.

Memory is bounded: two generations of at most `most` / 2 sketches; bands of a bucket keep the newest of each organisation.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from msgspec import Struct

from assay.access.model import Ms
from assay.access.safety.sketches import BINS, Sketch, likeness, read
from assay.stats import log_e

BANDS = 16
ROWS = BINS // BANDS
DAY_MS = 86_400_000
BUCKET = 8


class Prompt(Struct, frozen=True):
    """A prompt as the audit log knows it: whose, its sketch (base64) and the digest of the request."""

    at: Ms
    organisation: str
    grant: str
    person: str
    sketch: str
    digest: str


class LikenessSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`alike` is the likeness from which two prompts are near-duplicates; `grid` how many different prompts of a family make one, `part`
    how many of them each of two persons or more must have.
    """

    chance: float = 0.05
    level: float = 0.01
    alike: float = 0.6
    grid: int = 300
    part: int = 30
    most: int = 200_000
    window_ms: int = 7 * DAY_MS


class Alike(Struct, frozen=True):
    """What was found: `sharing` by an organisation with `others`, or a `grid` over persons of `others`; requests' digests show it."""

    kind: str
    organisation: str
    others: tuple[str, ...]
    trials: int
    shared: int
    log_e: float
    evidence: tuple[str, ...]
    persons: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class _Entry:
    sketch: Sketch
    organisation: str
    family: int
    digest: str


@dataclass(slots=True)
class _Family:
    different: int = 0
    persons: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    evidence: list[str] = field(default_factory=list)
    told: int = 0
    last: int = 0


@dataclass(slots=True)
class _Sharing:
    place: int
    trials: int = 0
    shared: int = 0
    others: Counter[str] = field(default_factory=Counter)
    evidence: list[str] = field(default_factory=list)
    told_day: int = -1


class Likeness:
    """Follows prompts in their order."""

    def __init__(self, settings: LikenessSettings | None = None) -> None:
        self.settings = settings or LikenessSettings()
        self._new: dict[bytes, list[_Entry]] = {}
        self._old: dict[bytes, list[_Entry]] = {}
        self._count, self._began = 0, 0
        self._parents: dict[int, int] = {}
        self._families: dict[int, _Family] = {}
        self._next = 0
        self._sharing: dict[str, _Sharing] = {}

    def feed(self, prompt: Prompt) -> list[Alike]:
        """What this prompt shows, with those before it."""
        sketch = read(prompt.sketch)
        if sketch is None:
            return []
        self._rotate(prompt.at)
        keys = [bytes([band]) + sketch[band * ROWS : (band + 1) * ROWS].tobytes() for band in range(BANDS)]
        near, other = self._near(sketch, keys, prompt.organisation)
        identical = any(score == 1.0 for score, _ in near)
        family = self._join([entry for _, entry in near])
        entry = _Entry(sketch, prompt.organisation, family, prompt.digest)
        if not identical or all(e.organisation != prompt.organisation for s, e in near if s == 1.0):
            for key in keys:
                self._put(key, entry)
            self._count += 1
        found = [self._shares(prompt, other), self._grid(prompt, family, different=not identical)]
        return [f for f in found if f is not None]

    def _near(self, sketch: Sketch, keys: list[bytes], organisation: str) -> tuple[list[tuple[float, _Entry]], _Entry | None]:
        """Near-duplicates among what is kept, and one of another organisation."""
        seen: dict[int, _Entry] = {}
        for generation in (self._new, self._old):
            for key in keys:
                for entry in generation.get(key, ()):
                    seen[id(entry)] = entry
        near = []
        other = None
        for entry in seen.values():
            score = likeness(sketch, entry.sketch)
            if score >= self.settings.alike:
                near.append((score, entry))
                if entry.organisation != organisation:
                    other = entry
        return near, other

    def _put(self, key: bytes, entry: _Entry) -> None:
        """The newest of each organisation first to stay: a busy one does not push the others out."""
        bucket = self._new.setdefault(key, [])
        if len(bucket) >= BUCKET:
            counts = Counter(e.organisation for e in bucket)
            most = counts.most_common(1)[0][0]
            bucket.remove(next(e for e in bucket if e.organisation == most))
        bucket.append(entry)

    def _root(self, family: int) -> int:
        while (parent := self._parents.get(family, family)) != family:
            self._parents[family] = self._parents.get(parent, parent)
            family = parent
        return family

    def _join(self, near: list[_Entry]) -> int:
        roots = sorted({self._root(e.family) for e in near})
        if not roots:
            self._next += 1
            self._families[self._next] = _Family()
            return self._next
        first = self._families.setdefault(roots[0], _Family())
        for root in roots[1:]:
            self._parents[root] = roots[0]
            joined = self._families.pop(root, None)
            if joined:
                first.different += joined.different
                first.persons += joined.persons
                first.evidence = [*first.evidence, *joined.evidence][:20]
                first.told = max(first.told, joined.told)
        return roots[0]

    def _shares(self, prompt: Prompt, other: _Entry | None) -> Alike | None:
        one = self._sharing.setdefault(prompt.organisation, _Sharing(len(self._sharing) + 1))
        one.trials += 1
        if other is None:
            return None
        one.shared += 1
        one.others[other.organisation] += 1
        one.evidence = [*one.evidence, prompt.digest, other.digest][-20:]
        day = prompt.at // DAY_MS
        if one.told_day == day:
            return None
        value = float(log_e(one.shared, one.trials, self.settings.chance, "halt"))
        if value < math.log(one.place * (one.place + 1) / self.settings.level):
            return None
        one.told_day = day
        others = tuple(name for name, _ in one.others.most_common(20))
        return Alike("sharing", prompt.organisation, others, one.trials, one.shared, value, tuple(one.evidence))

    def _grid(self, prompt: Prompt, family: int, *, different: bool) -> Alike | None:
        one = self._families[family]
        one.last = prompt.at
        if not different:
            return None
        one.different += 1
        one.persons[prompt.organisation, prompt.grant, prompt.person] += 1
        if len(one.evidence) < 20:
            one.evidence.append(prompt.digest)
        if one.different < self.settings.grid or one.different < 2 * one.told:
            return None
        takers = [who for who, n in one.persons.most_common(20) if n >= self.settings.part]
        if len(takers) < 2:
            return None
        one.told = one.different
        organisations = tuple(dict.fromkeys(who[0] for who in takers))
        persons = tuple(f"{who[2]} ({who[1]})" for who in takers)
        return Alike("grid", organisations[0], organisations, one.different, one.different, 0.0, tuple(one.evidence), persons)

    def _rotate(self, at: Ms) -> None:
        if self._count < self.settings.most // 2 and at - self._began < self.settings.window_ms:
            return
        self._old, self._new, self._count, self._began = self._new, {}, 0, at
        for family in [f for f, v in self._families.items() if at - v.last > 2 * self.settings.window_ms]:
            del self._families[family]
        living = {e.family for bucket in self._old.values() for e in bucket}
        self._parents = {f: self._root(f) for f in living if self._root(f) != f}
