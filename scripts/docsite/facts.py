"""Facts that pages show and that would go stale if somebody typed them: what is in the catalogue, which models come along.

marked()["content"]
"""

from __future__ import annotations

from collections import Counter

from scripts.docsite.house import house


def marked() -> dict[str, str]:
    """What stands for each mark `<!-- name -->` of a page."""
    return {"house": house(), "models": models(), "content": content()}


def models() -> str:
    """The embedded models, as a table."""
    from assay.targets.models import MODELS

    rows = [f"| {m.name} | {m.size / 1e6:.0f} MB | {m.license} | {m.note} | `{m.digest}` |" for m in MODELS.values()]
    return "\n".join(["| model | weights | licence | note | digest |", "|---|---|---|---|---|", *rows])


def content() -> str:
    """What the catalogue has, counted."""
    from assay.attacks import ATTACKS
    from assay.catalog import load_everything
    from assay.catalog.files import read_answers

    catalog, answers = load_everything(), read_answers()
    kinds = Counter(h.kind for h in catalog.hazards.values())
    texts = Counter(tag for by_language in catalog.texts.values() for tag in by_language)
    whole = max(texts.values())
    full = sorted(tag for tag, n in texts.items() if n == whole)
    begun = sorted(set(texts) - set(full))
    rows = [
        ("hazards", ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))),
        ("scenarios", str(sum(len(h.scenarios) for h in catalog.hazards.values()))),
        ("languages with every hazard", ", ".join(full)),
        ("languages with a start", ", ".join(begun)),
        ("attacks", str(len(ATTACKS))),
        ("families of agent worlds", str(len(catalog.worlds))),
        ("labelled answers", f"{sum(map(len, answers.values())):,} in {len(answers)} languages"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
