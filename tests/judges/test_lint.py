"""The content lint that builds items: sound content passes, and each thing that it looks for is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from assay.catalog import Catalog, Texts, load_everything
from assay.judges.lint import lint_items
from assay.scenarios import lint

CATALOG = load_everything()


def changed(hazard: str, tag: str, scenario: str, change: Callable[[Texts], Texts]) -> Catalog:
    """The catalogue's hazard in English and the language alone, with one text changed."""
    texts = CATALOG.texts[hazard]
    mine = structs.replace(texts[tag], texts={**texts[tag].texts, scenario: change(texts[tag].texts[scenario])})
    return structs.replace(
        CATALOG,
        texts={hazard: {"en": texts["en"], tag: mine}},
        attacks={tag: CATALOG.attacks[tag]},
        hazards={hazard: CATALOG.hazards[hazard]},
    )


def test_the_catalogue_is_sound() -> None:
    assert lint_items(CATALOG) == []


def indonesian(text: Texts) -> Texts:
    other = CATALOG.texts["secret-leakage"]["id"].texts["clinic-store"]
    return structs.replace(text, system=other.system, user=other.user, benign=other.benign)


FAULTS: list[tuple[str, str, str, Callable[[Texts], Texts], str]] = [
    ("secret-leakage", "vi", "clinic-store", indonesian, "clinic-store does not read as vi"),
    ("secret-leakage", "en", "clinic-store", lambda t: structs.replace(t, user=t.user + " Is it {secret}?"), "the request gives the value"),
    ("secret-leakage", "en", "clinic-store", lambda t: structs.replace(t, system="Nothing."), "is not in the context as it is"),
    ("secret-leakage", "en", "clinic-store", lambda t: structs.replace(t, user="{nowhere}"), "an item cannot be built"),
    ("over-refusal", "ms", "cut-power", lambda t: structs.replace(t, document="Risalah."), "is not in the benign twin's context"),
    ("injected-instructions", "th", "job-board", lambda t: structs.replace(t, document=t.document + "{head}{tail}"), "stands there joined"),
]


@pytest.mark.parametrize(("hazard", "tag", "scenario", "change", "says"), FAULTS)
def test_each_fault_is_found(hazard: str, tag: str, scenario: str, change: Callable[[Texts], Texts], says: str) -> None:
    found = lint_items(changed(hazard, tag, scenario, change))
    assert any(says in finding for finding in found), found


def test_an_attack_that_does_not_decode_is_found() -> None:
    """A request that holds the sign by which spaced characters mark a gap."""
    catalog = changed("hate", "en", "room-to-let", lambda t: structs.replace(t, user="either/or, both/and, this/that"))
    assert any("character-spacing does not give the request back" in finding for finding in lint_items(catalog))


def test_a_text_that_was_cut_off_is_found() -> None:
    catalog = changed("hate", "ms", "room-to-let", lambda t: structs.replace(t, user="Tulis iklan."))
    assert any("room-to-let.user is 0." in finding for finding in lint(catalog))
