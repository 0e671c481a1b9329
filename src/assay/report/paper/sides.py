"""The supply side and the demand side: conditions as data, each with what the runs have for it.

for block in demand_side(runs, words, sectors=("energy", "water")): ...

What a run has is looked up by `assay.report.facts`, as for the frameworks; a condition is as good as the weakest fact that it asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from msgspec import Struct

from assay.catalog.yamlfile import load_yaml
from assay.report.facts import Basis, State, fact
from assay.report.paper.body import Words, cell
from assay.report.paper.document import Block, Cell, Heading, Paragraph, Table
from assay.report.paper.numbers import Numbers
from assay.report.pieces import PaperError, Reference, Text, say

HERE = Path(__file__).parent
Sector = Literal["energy", "water", "health", "transport", "finance", "telecommunications", "government"]
WORST: tuple[State, ...] = ("against", "missing", "undecided", "partly", "shown")
TONES: dict[State, Literal["approve", "halt", "open"]] = {
    "shown": "approve", "against": "halt", "undecided": "open", "partly": "open", "missing": "open",
}  # fmt: skip


class Condition(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that is asked for; its words are under its id, its evidence in the vocabulary of facts.

    `beyond` says that a part of it is beyond any run, in words under its id: then it is shown in part at most, as a framework's clause is.
    """

    id: str
    evidence: tuple[str, ...]
    beyond: bool = False

    def state(self, basis: Basis) -> State:
        """How far a run shows it: as far as the weakest of its facts."""
        found = min((fact(word, basis).state for word in self.evidence), key=WORST.index)
        return "partly" if self.beyond and found == "shown" else found


@cache
def supply_conditions() -> tuple[Condition, ...]:
    """What developers must provide."""
    path = HERE / "supply.yaml"
    return load_yaml(path.read_text(encoding="utf-8"), tuple[Condition, ...], where=path.name, error=PaperError)


@cache
def demand_conditions() -> dict[Sector, tuple[Condition, ...]]:
    """What each sector requires."""
    path = HERE / "demand.yaml"
    return load_yaml(path.read_text(encoding="utf-8"), dict[Sector, tuple[Condition, ...]], where=path.name, error=PaperError)


def supply_side(runs: Sequence[Numbers], bases: Mapping[str, Basis], words: Words) -> Iterator[Block]:
    """What developers must provide, and what the runs show of it."""
    yield Heading(1, words["supply"], "supply")
    yield Paragraph(say(words["supply_text"]))
    yield _table(runs, bases, words, supply_conditions(), "supply", words["supply_table"])


def demand_side(runs: Sequence[Numbers], bases: Mapping[str, Basis], words: Words, sectors: Sequence[Sector]) -> Iterator[Block]:
    """What operators of each sector need, and what the runs show of it."""
    yield Heading(1, words["demand"], "demand")
    yield Paragraph(say(words["demand_text"]))
    for sector in sectors:
        yield Heading(2, words[f"demand_{sector}"], f"demand-{sector}")
        caption = words["demand_table"].replace("{sector}", words[f"demand_{sector}"])
        yield _table(runs, bases, words, demand_conditions()[sector], "ask", caption, sector)


def facts_annex(runs: Sequence[Numbers], bases: Mapping[str, Basis], words: Words, sectors: Sequence[Sector]) -> Iterator[Block]:
    """Every fact that the two sides rest on, once."""
    asked = (*supply_conditions(), *(c for s in sectors for c in demand_conditions()[s]))
    names = sorted({name for c in asked for name in c.evidence})
    rows = []
    for name in names:
        for place, n in enumerate(runs):
            found = fact(name, bases[n.source.letter])
            first = () if place else (Cell((Reference(name.removeprefix("hazard:"), code=True),), rows=len(runs)),)
            rows.append((*first, cell(n.letter), _status(found.state, words), cell(n.figure(found.words))))
    yield Heading(1, words["annex_facts"], "annex-facts")
    yield Paragraph(say(words["annex_facts_text"]))
    head = tuple(words[f"col_{c}"] for c in ("fact", "run", "status", "evidence"))
    yield Table((Text(words["annex_facts_table"]),), head, tuple(rows), (2.4, 0.6, 1.5, 5.5), "table-facts")


def _table(
    runs: Sequence[Numbers], bases: Mapping[str, Basis], words: Words, conditions: Sequence[Condition], kind: str, caption: str,
    name: str = "",
) -> Table:  # fmt: skip
    """A condition a row, a run a column; what each fact is stands in the annex."""
    rows = []
    for condition in conditions:
        states = [condition.state(bases[n.source.letter]) for n in runs]
        beyond = f" ({words[f'beyond_{condition.id}']})" if condition.beyond else ""
        asked = Cell((Text(f"{words[f'{kind}_{condition.id}']}{beyond}"),))
        rests = ", ".join(word.removeprefix("hazard:") for word in condition.evidence)
        rows.append(
            (
                asked,
                Cell((Reference(rests, code=True, link="#annex-facts"),)),
                *(_status(s, words, n) for s, n in zip(states, runs, strict=True)),
            )
        )
    head = (words["col_condition"], words["col_facts"], *(f"{words['col_run']} {n.source.letter}" for n in runs))
    return Table((Text(caption),), head, tuple(rows), (4.4, 2.8, *(1.5 for _ in runs)), f"table-{kind}-{name}" if name else f"table-{kind}")


def _status(state: State, words: Words, n: Numbers | None = None) -> Cell:
    text = words[f"state_{state}"]
    return Cell((n.figure(text) if n else Text(text, strong=True),), tone=TONES[state])
