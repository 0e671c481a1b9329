"""What the report says of the banks of a run: which tier, how many items, how often they were exposed, and what the tier cannot protect.

for sentence in bank_sentences(opening, run.incidents()): ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from assay.catalog.exposures import CLOSED, OPENED
from assay.catalog.sealed import CANNOT, WITHHELD
from assay.report.words import count_text
from assay.runs import Opening

Incident = Mapping[str, str | int]


def bank_sentences(opening: Opening, incidents: Sequence[Incident]) -> tuple[str, ...]:
    """One paragraph for each finite bank of the content; none without any."""
    return tuple(_bank(opening, name, incidents) for name, hazard in opening.catalog.hazards.items() if hazard.finite)


def _bank(opening: Opening, name: str, incidents: Sequence[Incident]) -> str:
    bank, live = opening.catalog.sealed.get(name), len(opening.catalog.hazards[name].scenarios)
    if bank is None:
        return f"The bank {name} is public, {count_text(live, 'item', 'items')}. What it cannot protect: {'; '.join(CANNOT['public'])}."
    out = [f"The bank {name} is {bank.tier}: {live:,} of its {len(bank.leaves):,} items were live. Its prompts are shown as “{WITHHELD}”."]
    out += _exposures(name, incidents)
    if bank.retire_after:
        out.append(f"An item is retired after {count_text(bank.retire_after, 'exposure', 'exposures')}.")
    return " ".join([*out, f"What it cannot protect: {'; '.join(bank.cannot)}."])


def _exposures(name: str, incidents: Sequence[Incident]) -> Iterator[str]:
    """As the run noted them when it opened, and when it ended."""
    opened = [i for i in incidents if i.get("what") == OPENED and i.get("bank") == name]
    closed = [i for i in incidents if i.get("what") == CLOSED and i.get("bank") == name]
    if opened:
        before = count_text(_number(opened[0], "exposures before, at most"), "other run", "other runs")
        yield f"The most exposed of them had been shown by {before} before."
    if closed:
        asked, quoting = (_number(closed[-1], key) for key in ("items asked", "answers that quote a prompt"))
        yield f"This run showed {count_text(asked, 'item', 'items')} to the target."
        if quoting:
            yield f"{count_text(quoting, 'trial quotes', 'trials quote')} a prompt, in the answer or in what a judge said of it."
    elif opened:
        yield "The run has not said what it showed, so every live item counts as exposed to it."


def _number(incident: Incident, key: str) -> int:
    found = incident.get(key, 0)
    return found if isinstance(found, int) else 0
