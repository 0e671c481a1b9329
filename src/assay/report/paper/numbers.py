"""The numbers of a signed run as figures: as they are printed, each bound to the bundle's digest.

n = Numbers(source, words)
n.trials, n.of(3), n.rate(3, 120)            # Figure("12,572", ...), Figure("3", ...), Figure("2.5%", ...)
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from msgspec import Struct

from assay.decision import Claim, ParityClaim, RateClaim, percent
from assay.decision.audited_claims import AuditedRateClaim
from assay.decision.judged_claims import JudgedRateClaim
from assay.plan import Stream
from assay.report.pieces import Figure
from assay.report.sources import Source
from assay.report.tally import worst_case_interval
from assay.report.text import visible
from assay.report.words import claim_words, iso_day, language_of, rate_text

HARMFUL = ("plain", "attack", "adapted", "literal")
"""Arms whose violations are the hazard's; anchors repeat items, placebos and twins are harmless."""
DAY_S, HOUR_S, MINUTE_S = 86_400, 3600, 60


class Sum(Struct, frozen=True):
    """Outcomes of several streams together; `single` if they are one trial an item, of one stream.

    Item i is one situation in all languages and under all attacks, so trials of several streams are no independent draws, and neither are
    several samples of an item: no interval holds for their sum.
    """

    n: int
    violations: int
    unscorable: int
    single: bool

    @property
    def interval(self) -> tuple[float, float] | None:
        """Exact 95% interval, widened to both readings of what is unscorable; None where there is none that holds."""
        return worst_case_interval(self.n, self.violations, self.unscorable) if self.single and self.n else None


class Numbers:
    """Figures of one run."""

    def __init__(self, source: Source, words: dict[str, str]) -> None:
        self.source, self.words = source, words
        self.tally, self.opening = source.tally, source.tally.opening
        self.plan, self.catalog = self.opening.plan, self.opening.catalog
        self.decision = source.signed.decision

    def figure(self, value: int | str, *, strong: bool = False) -> Figure:
        """A number, or words out of the run, as a figure."""
        return Figure(f"{value:,}" if isinstance(value, int) else visible(value), (self.source.bundle,), strong)

    def rate(self, events: int, n: int) -> Figure:
        """A share as a percentage."""
        return self.figure(rate_text(events / n) if n else "–")

    def between(self, low: float, high: float) -> Figure:
        """An interval of rates."""
        return self.figure(self.words["span"].format(low=rate_text(low), high=rate_text(high)))

    @cached_property
    def letter(self) -> Figure:
        """The run's letter."""
        return self.figure(self.source.letter)

    @cached_property
    def model(self) -> Figure:
        """The target's name."""
        return self.figure(self.source.model)

    @cached_property
    def trials(self) -> Figure:
        """Committed trials."""
        return self.figure(self.tally.trials)

    @cached_property
    def when(self) -> Figure:
        """The days of the first and the last answer, as ISO 8601 dates."""
        first, last = (
            iso_day(self.tally.first_at or self.source.signed.opened_at),
            iso_day(self.tally.last_at or self.source.signed.closed_at),
        )
        return self.figure(first if first == last else f"{first} – {last}")

    def cell(self, stream: Stream) -> Figure:
        """A stream by the names of its hazard, language and attack."""
        attack = "" if stream.attack == "none" else f", {stream.attack}"
        return self.figure(f"{self.catalog.hazards[stream.hazard].title}, {language_of(self.catalog, stream.language)}{attack}")

    def claim(self, claim: Claim) -> Figure:
        """A claim by the names of its cells."""
        return self.figure(claim_words(claim, self.catalog))

    def total(self, streams: Iterable[Stream] | None = None) -> Sum:
        """Outcomes over these streams; over all that are hazardous if none are given."""
        chosen = [self.tally.streams[s] for s in (self.hazardous if streams is None else streams)]
        single = len(chosen) == 1 and self.plan.samples == 1
        return Sum(sum(c.n for c in chosen), sum(c.violations for c in chosen), sum(c.unscorable for c in chosen), single)

    @cached_property
    def hazardous(self) -> list[Stream]:
        """Streams whose violations are the hazard's."""
        return [s for s in self.tally.streams if s.arm in HARMFUL]

    @cached_property
    def harmless(self) -> list[Stream]:
        """Streams of harmless twins."""
        return [s for s in self.tally.streams if s.arm == "benign"]

    @cached_property
    def worst(self) -> Stream | None:
        """The hazardous stream with the highest rate of violations; among equals the one with more trials."""
        tried = [s for s in self.hazardous if self.tally.streams[s].violations]
        return max(tried, key=lambda s: (self.tally.streams[s].rate, self.tally.streams[s].n), default=None)

    def claims(self, status: str) -> list[Claim]:
        """The claims of a status: `approve`, `halt` or `open`."""
        return [c for c in self.tally.gate.claims if c.status == status]

    @cached_property
    def gravest(self) -> RateClaim | None:
        """Of the rate claims that do not hold, the one with the highest rate; where judges read, of what people confirmed."""
        failed = [c for c in self.claims("halt") if isinstance(c, RateClaim) and c.n]
        return max(failed, key=lambda c: (_confirmed(c) / c.n, c.n), default=None)

    def found(self, claim: RateClaim) -> Figure:
        """What a claim counts against its threshold: violations; of what judges read, those that people confirmed, with what is flagged."""
        if not isinstance(claim, JudgedRateClaim | AuditedRateClaim):
            return self.figure(claim.violations)
        counts = {"flagged": claim.violations, "awaiting": claim.awaiting}
        if isinstance(claim, AuditedRateClaim):
            counts |= {"confirmed": claim.flagged, "audited": claim.audited, "awaiting": claim.awaiting + claim.awaiting_audited}
            template = self.words["exec_audited"]
        else:
            counts |= {"confirmed": claim.confirmed}
            template = self.words["exec_confirmed"]
        return self.figure(template.format_map({name: f"{n:,}" for name, n in counts.items()}))

    @cached_property
    def judged(self) -> bool:
        """Whether judges read any of it."""
        return self.plan.judges is not None and bool(self.plan.judges.hazards)

    @cached_property
    def narrowest(self) -> tuple[RateClaim, float] | None:
        """Of the rate claims that hold, the one whose upper bound is nearest to its threshold, with the bound."""
        held = {_alike(c): c for c in reversed(self.claims("approve")) if isinstance(c, RateClaim) and c.n}
        bounds = [(c, c.interval()[1]) for c in held.values()]
        return min(bounds, key=lambda pair: (pair[0].tau - pair[1], -pair[0].n), default=None)

    @cached_property
    def farthest(self) -> tuple[RateClaim, float, float] | None:
        """Of the open rate claims, the one with the widest interval, with its ends."""
        still = {_alike(c): c for c in reversed(self.claims("open")) if isinstance(c, RateClaim) and c.n}
        bounds = [(c, *c.interval()) for c in still.values()]
        return max(bounds, key=lambda found: (found[2] - found[1], found[0].tau), default=None)

    def threshold(self, claim: Claim) -> Figure:
        """What a claim allows."""
        return self.figure(percent(claim.margin if isinstance(claim, ParityClaim) else claim.tau))

    @cached_property
    def duration(self) -> Figure:
        """From the registration to the last answer."""
        seconds = max(0, (self.tally.last_at or self.source.signed.closed_at) - self.source.signed.opened_at) / 1000
        for most, unit, name in ((2 * MINUTE_S, 1, "seconds"), (2 * HOUR_S, MINUTE_S, "minutes"), (2 * DAY_S, HOUR_S, "hours")):
            if seconds < most:
                return self.figure(self.words[f"duration_{name}"].replace("{n}", f"{seconds / unit:,.0f}"))
        return self.figure(self.words["duration_days"].replace("{n}", f"{seconds / DAY_S:,.0f}"))


def _confirmed(claim: RateClaim) -> float:
    """The violations that a claim rests on; each one found among the drawn stands for as many as the share hides."""
    if isinstance(claim, AuditedRateClaim):
        return claim.flagged + claim.audited / claim.share
    return claim.confirmed if isinstance(claim, JudgedRateClaim) else claim.violations


def _alike(claim: RateClaim) -> tuple[object, ...]:
    """Claims of the same counts have the same interval, which need not be computed again."""
    return (*claim.counts().items(), claim.tau, claim.approve_level, claim.halt_level, type(claim))
