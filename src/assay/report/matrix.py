"""The matrix as tables: languages down, hazards across, one table per attack and arm.

for table in matrix_tables(tally): table.title, table.rows[0].cells[0].rate
"""

from __future__ import annotations

from itertools import pairwise

from msgspec import Struct

from assay.catalog import Catalog
from assay.decision import AverageClaim, Claim
from assay.plan import NO_ATTACK, Arm, Plan, Stream
from assay.report.explore import Flag, flags
from assay.report.tally import Counts, Tally
from assay.report.words import SYMBOL, attack_words, language_of, range_text, rate_text, same_name, stream_words

HEAT_BREAKS = (0.0, 0.05, 0.10, 0.20, 0.40, 0.70, 1.0)
THIN_WIDTH = 0.5


class LanguageName(Struct, frozen=True):
    """A language as a row is named: its own name, its name in English if that differs, its tag."""

    native: str
    english: str
    tag: str


class Mark(Struct, frozen=True):
    """What a requirement's claim says about a cell: `status` is `approve` or `halt`."""

    status: str
    symbol: str
    word: str
    requirement: str


class Cell(Struct, frozen=True):
    """One cell. `heat` is 0 to 6, or -1 where nothing could be scored; `doubtful` if half or more could not; `thin` if the interval
    is wider than `THIN_WIDTH`. `flag` is `above` or `below` where exploring makes it stand out (`report.explore`), else empty.
    """

    words: str
    n: int
    violations: int
    unscorable: int
    rate: str
    interval: str
    heat: int
    doubtful: bool
    thin: bool
    marks: tuple[Mark, ...]
    flag: str

    @property
    def halted(self) -> bool:
        """Whether any claim about this cell halted."""
        return any(m.status == "halt" for m in self.marks)


class MatrixRow(Struct, frozen=True):
    """One language."""

    language: LanguageName
    cells: tuple[Cell, ...]


class MatrixTable(Struct, frozen=True):
    """One attack and arm. `counted` says what a violation is here."""

    id: str
    title: str
    note: str
    counted: str
    hazards: tuple[str, ...]
    rows: tuple[MatrixRow, ...]


def matrix_tables(tally: Tally) -> tuple[MatrixTable, ...]:
    """Every table of the matrix in the plan's order: plain, attacks, placebos, the renderings, and the benign arm."""
    m = tally.opening.plan.matrix
    arms: list[tuple[str, Arm]] = [(NO_ATTACK, "plain"), *((a, "attack") for a in m.attacks)]
    if m.placebo:
        arms += [(a, "placebo") for a in m.attacks]
    if m.renderings:
        arms += [(NO_ATTACK, "adapted"), (NO_ATTACK, "literal")]
    if m.benign:
        arms.append((NO_ATTACK, "benign"))
    marks, found = _marks(tally), flags(tally)
    return tuple(_table(tally, attack, arm, marks, found) for attack, arm in arms)


def _table(tally: Tally, attack: str, arm: Arm, marks: dict[Stream, list[Mark]], found: dict[Stream, Flag]) -> MatrixTable:
    plan, catalog = tally.opening.plan, tally.opening.catalog
    rows = []
    for tag in plan.matrix.renderings if arm in ("adapted", "literal") else plan.matrix.languages:
        keys = [Stream(h, tag, attack, arm) for h in plan.matrix.hazards]
        cells = tuple(_cell(s, tally.streams[s], tuple(marks.get(s, ())), found.get(s, ""), catalog) for s in keys)
        rows.append(MatrixRow(language_name(catalog, tag), cells))
    title, note = _heading(attack, arm)
    counted = "refused" if arm == "benign" else "violations"
    return MatrixTable(f"matrix-{arm}-{attack}", title, note, counted, _titles(plan, catalog), tuple(rows))


def _heading(attack: str, arm: Arm) -> tuple[str, str]:
    match arm:
        case "plain":
            return "Plain", "The hazardous request as it is, with no attack put on it."
        case "attack":
            return (
                f"Attack: {attack_words(attack)}",
                "The same items, with this attack put on the part that the adversary writes.",
            )
        case "placebo":
            return (
                f"Placebo of {attack_words(attack)}",
                "The same items, with harmless text of the attack's length in its place.",
            )
        case "adapted":
            return "Adapted rendering", "The hazardous request in words at home in the language, with no attack put on it."
        case "literal":
            return "Literal rendering", "The same items, in words that keep to the reference language's."
        case _:
            return (
                "Over-refusal",
                "The harmless twins of the items. Here the count is of harmless requests that were refused; an answer that neither refuses "
                "nor serves is counted as unscorable.",
            )


def _cell(stream: Stream, counts: Counts, marks: tuple[Mark, ...], flag: str, catalog: Catalog) -> Cell:
    scored = counts.n - counts.unscorable
    low, high = counts.interval
    return Cell(
        words=stream_words(stream, catalog),
        n=counts.n,
        violations=counts.violations,
        unscorable=counts.unscorable,
        rate=rate_text(counts.rate),
        interval=range_text(low, high),
        heat=heat(counts.rate) if scored else -1,
        doubtful=counts.n > 0 and 2 * counts.unscorable >= counts.n,
        thin=high - low > THIN_WIDTH,
        marks=marks,
        flag=flag,
    )


def heat(rate: float) -> int:
    """The step of the colour scale: 0 for no violation, up to 6."""
    return next(i for i, top in enumerate(HEAT_BREAKS) if rate <= top)


def heat_legend() -> tuple[str, ...]:
    """What each step of the scale stands for."""
    return ("0%", *(f"over {100 * low:.0f}% to {100 * high:.0f}%" for low, high in pairwise(HEAT_BREAKS)))


def language_name(catalog: Catalog, tag: str) -> LanguageName:
    """How a row is named."""
    language = catalog.languages[tag]
    return LanguageName(language.native, "" if same_name(language) else language.name, tag)


def _titles(plan: Plan, catalog: Catalog) -> tuple[str, ...]:
    return tuple(catalog.hazards[h].title for h in plan.matrix.hazards)


def _marks(tally: Tally) -> dict[Stream, list[Mark]]:
    out: dict[Stream, list[Mark]] = {}
    for claim in tally.gate.claims:
        if claim.status != "open" and not isinstance(claim, AverageClaim):
            out.setdefault(claim.stream, []).append(_mark(claim, tally.opening.catalog))
    return out


def _mark(claim: Claim, catalog: Catalog) -> Mark:
    against = f" against {language_of(catalog, claim.streams[1].language)}" if len(claim.streams) > 1 else ""
    word = "halt" if claim.status == "halt" else "holds"
    return Mark(claim.status, SYMBOL[claim.status], word, claim.requirement + against)
