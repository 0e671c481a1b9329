"""Items: pure functions of seed, stream and index; paired across arms, attacks and languages; never shown what they protect."""

from __future__ import annotations

import random
import re

import pytest
from msgspec import structs

from assay.attacks import ATTACKS
from assay.catalog import Catalog, load_everything
from assay.errors import CatalogError
from assay.judges.normalise import fold
from assay.plan import NO_ATTACK, Stream
from assay.scenarios import Item, ItemBuilder, Prf, distinct_items, lint
from tests.support import sampled

SEED = bytes(range(32))


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    everything = load_everything()
    written = {h for h, texts in everything.texts.items() if texts}
    return structs.replace(everything, hazards={h: v for h, v in everything.hazards.items() if h in written})


@pytest.fixture(scope="module")
def builder(catalog: Catalog) -> ItemBuilder:
    return ItemBuilder(catalog, SEED, ATTACKS)


def test_the_content_passes_its_lint(catalog: Catalog) -> None:
    assert lint(catalog) == []
    assert set(catalog.kinds) == set(ATTACKS)


WRITTEN = ("en", "en-SG", "zh-Hans", "ms", "id", "ta", "th", "vi", "fil", "my", "km", "lo")


def test_every_scenario_is_written_in_every_language(catalog: Catalog) -> None:
    for hazard in [h for h in catalog.hazards.values() if h.check != "world"]:
        assert len(hazard.scenarios) >= {"verifiable": 12, "judged": 10, "imported": 0}[hazard.kind]
        for tag in WRITTEN:
            if hazard.scenarios:
                assert set(catalog.texts[hazard.id][tag].texts) == {s.id for s in hazard.scenarios}, (hazard.id, tag)


def test_a_verifiable_cell_has_a_million_distinct_items(catalog: Catalog) -> None:
    cells = {
        (h.id, tag): distinct_items(catalog, h.id, tag)
        for h in catalog.hazards.values()
        if h.kind == "verifiable" and h.check != "world"
        for tag in WRITTEN
    }
    assert min(cells.values()) >= 10**6, min(cells.items(), key=lambda c: c[1])


def all_streams(catalog: Catalog) -> list[Stream]:
    out = []
    for hazard in catalog.hazards:
        for tag in catalog.texts[hazard]:
            out += [Stream(hazard, tag, NO_ATTACK, "plain"), Stream(hazard, tag, NO_ATTACK, "benign")]
            out += [Stream(hazard, tag, a, arm) for a in catalog.attacks_in(tag, hazard) for arm in ("attack", "placebo")]
    return out


def test_the_same_arguments_give_the_same_item_in_any_order(catalog: Catalog, builder: ItemBuilder) -> None:
    streams = all_streams(catalog)
    random.Random(7).shuffle(streams)
    wanted = [(s, i) for s in streams[:: sampled(1, 5)] for i in range(2)]
    first = {(s, i): builder.build(s, i).digest for s, i in wanted}
    random.Random(3).shuffle(wanted)
    other = ItemBuilder(catalog, SEED, ATTACKS)
    assert {(s, i): other.build(s, i).digest for s, i in wanted} == first
    elsewhere = ItemBuilder(catalog, bytes(32), ATTACKS)
    fresh = [(s, i) for s, i in wanted if catalog.hazards[s.hazard].kind == "verifiable"]  # judged items have few slots: some come again
    assert all(elsewhere.build(s, i).digest != first[s, i] for s, i in fresh)


def test_item_i_is_the_same_situation_in_every_language_attack_and_arm(catalog: Catalog, builder: ItemBuilder) -> None:
    for hazard in catalog.hazards:
        for i in range(sampled(5, 1)):
            items = [builder.build(s, i) for s in all_streams(catalog) if s.hazard == hazard]
            assert len({item.scenario for item in items}) == 1
            assert len({item.check.expected for item in items if item.stream.arm == "benign"}) == 1


CALL_FORM = re.compile(r'CALL \{"tool": "[a-z_]+", "arguments": \{("[a-z]+": "\.\.\."(, )?)+\}\}')


def user_text(item: Item) -> str:
    return "\n".join(m.content for m in item.messages if m.role == "user")


def test_no_text_is_left_unfilled(catalog: Catalog, builder: ItemBuilder) -> None:
    for stream in all_streams(catalog):
        for i in range(sampled(3, 1)):
            for message in builder.build(stream, i).messages[1 if catalog.hazards[stream.hazard].check == "world" else 0 :]:
                said = CALL_FORM.sub("", message.content) if catalog.hazards[stream.hazard].check == "argument" else message.content
                assert not re.search(r"[{}]", said), said
                assert message.content == message.content.strip() != ""


def test_the_marker_never_stands_in_the_item_itself(catalog: Catalog, builder: ItemBuilder) -> None:
    """Else quoting the document would count as obeying it."""
    for stream in all_streams(catalog):
        if stream.hazard == "injected-instructions" and stream.arm != "benign":
            for i in range(20):
                item = builder.build(stream, i)
                assert all(fold(v) not in fold(user_text(item)) for v in item.check.forbidden)


def test_the_harmless_twin_holds_its_fact_and_not_the_injection(catalog: Catalog, builder: ItemBuilder) -> None:
    for hazard in [h.id for h in catalog.hazards.values() if h.kind == "verifiable" and h.check != "world"]:
        for tag in catalog.texts[hazard]:
            for i in range(10):
                item = builder.build(Stream(hazard, tag, NO_ATTACK, "benign"), i)
                whole = "\n".join(m.content for m in item.messages)
                assert item.check.expected
                assert all(v in whole for v in item.check.expected)


def test_items_do_not_wear_out(catalog: Catalog, builder: ItemBuilder) -> None:
    stream = Stream("secret-leakage", "en", NO_ATTACK, "plain")
    assert len({builder.build(stream, i).digest for i in range(2000)}) == 2000


def test_the_placebo_is_about_as_long_as_the_attack_and_keeps_the_request(catalog: Catalog, builder: ItemBuilder) -> None:
    step = sampled(1, 2)
    for hazard in catalog.hazards:
        for n, tag in enumerate(catalog.texts[hazard]):
            longest = max(map(len, catalog.languages[tag].neutral))
            plain = builder.build(Stream(hazard, tag, NO_ATTACK, "plain"), 1)
            for attack in catalog.attacks_in(tag, hazard)[n % step :: step]:
                a = builder.build(Stream(hazard, tag, attack, "attack"), 1)
                p = builder.build(Stream(hazard, tag, attack, "placebo"), 1)
                said_a, said_p, said = (sum(len(m.content) for m in item.messages) for item in (a, p, plain))
                assert said_p == said >= said_a or abs(said_a - said_p) <= longest + 8, (hazard, tag, attack)


def test_the_keyed_function_is_uniform_and_separates_labels() -> None:
    prf = Prf(SEED)
    counts = [0] * 7
    for i in range(7000):
        counts[prf.below(7, "x", i)] += 1
    assert max(counts) < 1150
    assert min(counts) > 850
    assert prf.integer("ab", "c") != prf.integer("a", "bc")
    assert prf.integer("a", 1) == prf.integer("a", "1")


def test_missing_content_is_named(catalog: Catalog, builder: ItemBuilder) -> None:
    with pytest.raises(CatalogError, match="no content for secret-leakage/xx"):
        builder.build(Stream("secret-leakage", "xx", NO_ATTACK, "plain"), 0)
