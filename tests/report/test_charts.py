"""Charts: their numbers against an independent count, their pictures as safe and legible SVG."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest
from scipy.stats import binomtest

from assay import api
from assay.catalog import Catalog
from assay.decision import Gate
from assay.evidence import open_run, write_bundle
from assay.judges import Outcome
from assay.plan import Calibrated, Plan, Stream
from assay.report.charts import Chart, absent_of, charts_of
from assay.report.charts.checkpoints import checkpoints
from assay.report.charts.cost import _bars, cost, sizes
from assay.report.charts.drawing import WIDTH, draw, label_expression, stretched, text_width
from assay.report.charts.effects import effects
from assay.report.charts.funnel import funnel
from assay.report.charts.growth import growth
from assay.report.charts.headroom import FLOOR, headroom
from assay.report.charts.intervals import gaps, paired
from assay.report.charts.lettering import lifted
from assay.report.charts.making import Setting
from assay.report.charts.matrix import heat_cells
from assay.report.charts.palette import CATEGORIES, HEAT, HEAT_INK, OUTLINE, PAPER, QUIET
from assay.report.charts.parity import parity_rows
from assay.report.charts.reading import Reading, Seen, read
from assay.report.charts.reliability import reliability, reliability_chart
from assay.report.charts.wording import WORDS, Words, wrapped
from assay.report.sources import Source, read_source
from assay.runs import RunFile
from assay.stats.sequences import difference_sequence
from assay.web.languages import INTERFACE, read_words
from tests.engine.test_judging import JUDGED
from tests.report.making import HAZARDS, plan_in, run_in
from tests.support import KEY, NONCE, plan_text, run_plan
from tests.worlds.test_play import plan_of

pytest.importorskip("vl_convert")

RATES = {"violation": "0.1", "violation.ta": "0.5", "refusal": "0.1", "failure": "0.15"}
SVG = "{http://www.w3.org/2000/svg}"
Row = dict[str, Any]


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own picture, and that it parses is what is asked


def source_of(run: RunFile, folder: Path, letter: str = "A") -> Source:
    folder.mkdir(parents=True, exist_ok=True)
    write_bundle(run, KEY, "complete", folder / "evidence.jsonl")
    return read_source(folder / "evidence.jsonl", letter)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFile:
    return run_in(tmp_path_factory.mktemp("run"), hazards=HAZARDS, options=RATES, placebo=True)


@pytest.fixture(scope="module")
def source(run: RunFile, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return source_of(run, tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def reading(source: Source) -> Reading:
    return read(source)


@pytest.fixture(scope="module")
def charts(source: Source) -> dict[str, Chart]:
    return {c.id: c for c in charts_of([source], "en")}


@pytest.fixture(scope="module")
def rows(run: RunFile) -> list[Row]:
    """The trials as plain JSON, read without any of the charts' code."""
    return [json.loads(leaf) for _, leaf in run.leaves()]


def of(rows: list[Row], **wanted: str) -> list[Row]:
    return [r for r in rows if all(r[k] == v for k, v in wanted.items())]


def exact(k: int, n: int) -> tuple[float, float]:
    interval = binomtest(k, n).proportion_ci(method="exact")
    return interval.low, interval.high


# Numbers


def test_every_cell_of_the_heat_map_equals_a_recount(source: Source, rows: list[Row]) -> None:
    cells = heat_cells(source)
    assert len(cells) == 3 * 3 * 3  # hazards, languages; plain, attack and benign
    assert any(c.unscorable for c in cells)
    for c in cells:
        mine = of(rows, hazard=c.stream.hazard, language=c.stream.language, attack=c.stream.attack, arm=c.stream.arm)
        bad, doubtful = len(of(mine, outcome="violation")), len(of(mine, outcome="unscorable"))
        assert (c.n, c.violations, c.unscorable) == (len(mine), bad, doubtful)
        assert c.low == pytest.approx(exact(bad, len(mine))[0])
        assert c.high == pytest.approx(exact(bad + doubtful, len(mine))[1])


def test_a_halted_cell_is_the_one_that_the_decision_halted(source: Source) -> None:
    halted = {
        streams[0] for r in source.signed.decision.requirements for c in r.claims for streams in [c.streams] if c.status == "halt"
    }  # fmt: skip
    assert halted
    assert {c.stream.key for c in heat_cells(source) if c.status == "halt"} == halted


def pairs_of(rows: list[Row], first: dict[str, str], second: dict[str, str]) -> tuple[int, int, int]:
    """Pairs by hazard and index; how many are worse, how many better."""
    one, two = ({(r["hazard"], r["index"]): r["outcome"] == "violation" for r in of(rows, **w)} for w in (first, second))
    both = set(one) & set(two)
    return len(both), sum(one[k] and not two[k] for k in both), sum(two[k] and not one[k] for k in both)


def test_parity_pairs_items_of_both_languages(source: Source, rows: list[Row]) -> None:
    found = parity_rows(source)
    assert found is not None
    assert (found.reference, found.margin) == ("en", 0.20)
    assert [r.language for r in found.rows] == sorted((r.language for r in found.rows), key=lambda t: -difference_of(rows, t))
    for r in found.rows:
        n, worse, better = pairs_of(rows, {"language": r.language, "arm": "plain"}, {"language": "en", "arm": "plain"})
        assert (r.pairs.n, r.pairs.worse, r.pairs.better) == (n, worse, better)
        assert r.low < r.pairs.difference < r.high
    assert found.rows[0].language == "ta"


def difference_of(rows: list[Row], tag: str) -> float:
    n, worse, better = pairs_of(rows, {"language": tag, "arm": "plain"}, {"language": "en", "arm": "plain"})
    return (worse - better) / n


def test_effects_pair_attack_and_placebo(source: Source, rows: list[Row]) -> None:
    found = effects(source)
    assert len(found) == 3
    for e in found:
        n, worse, better = pairs_of(rows, {"language": e.language, "arm": "attack"}, {"language": e.language, "arm": "placebo"})
        assert (e.pairs.n, e.pairs.worse, e.pairs.better) == (n, worse, better)


def test_what_could_not_be_scored_is_read_both_ways(source: Source) -> None:
    """By hand: codes are 0 safe, 1 violation, 2 not scorable."""
    tally = source.tally
    first, second = Stream("x", "en", "none", "plain"), Stream("x", "ta", "none", "plain")
    counts = type(next(iter(tally.streams.values())))
    tally.streams[first], tally.streams[second] = (
        counts(outcomes=bytearray([1, 0, 2, 1, 2])),
        counts(outcomes=bytearray([0, 1, 1, 2, 0, 1])),
    )
    pairs = paired(tally, [(first, second)])
    del tally.streams[first], tally.streams[second]
    assert (pairs.n, pairs.worse, pairs.better, pairs.unscorable) == (5, 2, 2, 3)
    assert pairs.cautious == (3, 1, 1)
    assert pairs.lenient == (1, 2, 2)
    low, high = gaps([pairs])[0]
    assert low == pytest.approx(float(difference_sequence(1, 2, 2, 0.025)[0]))
    assert high == pytest.approx(float(difference_sequence(3, 1, 1, 0.025)[1]))


def tally_of(samples: int, streams: dict[Stream, Sequence[int]]) -> Any:
    """What `paired` reads of a tally."""
    counts = {stream: SimpleNamespace(outcomes=bytearray(codes)) for stream, codes in streams.items()}
    return SimpleNamespace(streams=counts, opening=SimpleNamespace(plan=SimpleNamespace(samples=samples)))


@pytest.mark.parametrize(("attacks", "samples"), [(30, 1), (1, 10)])
def test_an_item_is_one_observation_under_however_many_attacks_and_samples(attacks: int, samples: int) -> None:
    """Both languages are equally safe and the situation decides, whatever the attack: leaving out zero more often than said is an error."""
    rng, repeats, wrong = np.random.default_rng(30), 60, 0
    for _ in range(repeats):
        sides = [np.repeat(rng.random(30) < 0.3, samples).astype(int).tolist() for _ in range(2)]
        pairs = [(Stream("h", "ta", f"a{i}", "attack"), Stream("h", "en", f"a{i}", "attack")) for i in range(attacks)]
        found = paired(tally_of(samples, {s: sides[k] for pair in pairs for k, s in enumerate(pair)}), pairs)
        assert (found.items, found.n) == (30, 30 * attacks * samples)
        ((low, high),) = gaps([found])
        assert low <= found.difference <= high
        wrong += low > 0 or high < 0
    assert wrong <= repeats * 0.05 + 2.6 * np.sqrt(repeats * 0.05 * 0.95)


def test_only_items_that_every_attack_has_are_paired() -> None:
    ta, en = ([Stream("h", t, a, "attack") for a in "xy"] for t in ("ta", "en"))
    tally = tally_of(1, {ta[0]: [1, 1, 1, 1], en[0]: [0, 0, 1], ta[1]: [1, 0], en[1]: [0, 2, 1]})
    found = paired(tally, list(zip(ta, en, strict=True)))
    assert (found.items, found.n, found.worse, found.unscorable) == (2, 4, 3, 1)
    assert found.cautious == (1, 1, 0, 0, 0)
    assert found.lenient == (1, 0, 1, 0, 0)
    other = Stream("g", "ta", "x", "attack")
    tally.streams[other] = tally.streams[ta[0]]
    with pytest.raises(ValueError, match="as many pairs"):
        paired(tally, [(ta[0], en[0]), (ta[1], en[1]), (other, en[0])])


def test_how_many_attacks_are_shown_to_be_worse_shares_its_error(source: Source, charts: dict[str, Chart]) -> None:
    found = effects(source)
    assert [(e.low, e.high) for e in found] == gaps([e.pairs for e in found], 0.05 / len(found))
    assert "hold at 95% for all rows together" in charts["effects"].caption


def test_growth_ends_where_the_gate_ended(reading: Reading) -> None:
    courses = growth(reading)
    tally = reading.source.tally
    assert {c.requirement for c in courses} == {r.id for r in tally.opening.plan.requirements}
    for course in courses:
        claims = [c for c in tally.gate.claims if c.requirement == course.requirement]
        halted = [c.at for c in claims if c.status == "halt"]
        assert course.claims == len(claims)
        assert course.status == ("halt" if halted else "open" if any(c.status == "open" for c in claims) else "approve")
        assert course.at == (min(halted) if halted else course.at)
        assert course.places[-1].open == sum(c.status == "open" for c in claims)
        uppers = [p.upper for p in course.places if p.upper is not None]
        assert all(u > course.threshold for u in uppers)  # while a claim is open, it is not shown to hold
        assert sorted(p.lower for p in course.places) == [p.lower for p in course.places]
        assert (course.places[-1].lower > course.threshold) == bool(halted)


def test_growth_is_what_a_gate_says_after_that_many_trials(reading: Reading) -> None:
    course = growth(reading)[0]
    place = course.places[len(course.places) // 3]
    opening = reading.source.tally.opening
    gate = Gate(opening.plan, opening.seed)
    narrowest: dict[int, float] = {}
    wanted = {p.trials for p in course.places}
    for seen in reading.trials[: place.trials]:
        gate.add(seen.stream, seen.index, seen.outcome)
        if gate.committed in wanted:
            for i, claim in enumerate(gate.claims):
                if claim.requirement == course.requirement:
                    narrowest[i] = min(narrowest.get(i, 1.0), claim.interval()[1] if claim.n else 1.0)
    still = [narrowest[i] for i, c in enumerate(gate.claims) if i in narrowest and c.status == "open"]
    assert place.open == len(still)
    assert place.upper == pytest.approx(max(still), abs=1e-6)


def test_headroom_adds_up_the_languages(source: Source, rows: list[Row]) -> None:
    found = headroom(source)
    assert {r.group for r in found} == {"plain", "attacks", "benign"}
    for r in found:
        mine = of(rows, hazard=r.hazard, arm={"plain": "plain", "attacks": "attack", "benign": "benign"}[r.group])
        bad, doubtful = len(of(mine, outcome="violation")), len(of(mine, outcome="unscorable"))
        assert (r.n, r.violations, r.unscorable) == (len(mine), bad, doubtful)
        assert r.high == pytest.approx(exact(bad + doubtful, len(mine))[1])
        assert (r.standing == "floor") == (r.high <= FLOOR)


def test_cost_counts_calls_tokens_and_failures(reading: Reading, rows: list[Row]) -> None:
    found = cost(reading)
    assert sum(r.trials for r in found) == len(rows)
    assert sum(r.calls for r in found) == sum(len(r["attempts"]) for r in rows)
    assert sum(r.failed for r in found) == sum(status != "200" for r in rows for status, _ in r["attempts"])
    assert sum(r.tokens for r in found) == sum(sum(r["tokens"]) for r in rows)
    one = found[0]
    assert one.trials == len(of(rows, language=one.language, hazard=one.hazard))
    assert sizes(reading.source.tally).made == len(rows)


def test_a_table_holds_the_numbers_that_are_drawn(source: Source, charts: dict[str, Chart]) -> None:
    table = charts["matrix"].table
    assert all(len(row) == len(c.table.columns) for c in charts.values() for row in c.table.rows)
    rate = table.columns.index("Rate")
    assert [row[rate] for row in table.rows] == [c.rate for c in heat_cells(source)]


def test_agents_are_counted_stage_by_stage(tmp_path: Path) -> None:
    with run_plan(tmp_path / "run.db", *plan_of()) as agents:
        raw = [json.loads(leaf) for _, leaf in agents.leaves()]
        source = source_of(agents, tmp_path / "bundle")
    found = funnel(read(source))
    assert sum(r.completed for r in found) > 0
    for r in found:
        mine = [t for t in raw if (t["hazard"], t["attack"]) == (r.hazard, r.attack) and t["arm"] in ("plain", "attack")]
        hows = [t["how"] for t in mine]
        assert r.episodes == len(mine)
        assert (r.blocked, r.completed) == (hows.count("blocked"), hows.count("completed"))
        assert r.exposed == sum(h in ("exposed", "blocked", "completed") for h in hows)
        assert r.attempted <= r.exposed <= r.episodes
    (chart,) = (c for c in charts_of([source], "en") if c.id == "funnel")
    assert "which the interval does not allow for" in chart.caption, "families are counted over all languages"


def test_judges_are_drawn_with_the_labels_behind_them(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(plan_text(**{**JUDGED, "exploration": {"plain": 10, "benign": 5}, "budget": {"calls": 60}}))
    source = read_source(api.evaluate(plan, out=tmp_path / "run", key=tmp_path / "key.pem").run / "evidence.jsonl")
    assert [a.reason for a in absent_of([source], "en") if a.id == "reliability"] == [Words.of("en").say("reliability_absent_labels")]
    opening = source.tally.opening
    judges = opening.plan.judges
    assert judges is not None
    rows = (
        Calibrated(judges.digests["hate/en"], "hate", "en", "benign", 9, 1, 2, 18),
        Calibrated(judges.digests["hate/en"], "hate", "en", "plain", 1, 0),
        Calibrated("sha256:" + "0" * 64, "hate", "ms", "benign", 5, 5, 5, 5),
    )  # fmt: skip
    calibrated = msgspec.structs.replace(judges, calibrated=rows)
    source.tally.opening = msgspec.structs.replace(opening, plan=msgspec.structs.replace(opening.plan, judges=calibrated))
    source.tally.gate._claims.clear()
    english, malay = reliability(source)
    assert (english.language, english.caught, english.missed, english.passed, english.alarms) == ("en", 10, 1, 18, 2)
    assert english.sensitivity == pytest.approx((10 / 11, *exact(10, 11)))
    assert english.specificity == pytest.approx((0.9, *exact(18, 20)))
    assert (malay.sensitivity, malay.specificity) == (None, None), "another panel's labels say nothing of this one"
    chart = reliability_chart(source, Setting(Words.of("en"), many=False))
    assert isinstance(chart, Chart)
    shown = {"".join(t.itertext()) for t in parsed(chart.svg).iter(f"{SVG}text")}
    assert {"10/11", "18/20", "no labels"} <= shown
    source.tally.opening = msgspec.structs.replace(
        opening, plan=msgspec.structs.replace(opening.plan, judges=msgspec.structs.replace(calibrated, void=True))
    )
    assert not any(r.sensitivity or r.specificity for r in reliability(source)), "the panel has changed since"


def one_stream(source: Source, letter: str, outcome: Outcome, n: int) -> Reading:
    """A reading of one stream whose items all came out the same."""
    trials = (Seen("secret-leakage", "en", "none", "plain", i, f"item {i}", (0, 1), (("200", 1),), outcome, "") for i in range(n))
    return Reading(dataclasses.replace(source, letter=letter), tuple(trials))


def test_a_run_that_got_worse_is_told_from_one_that_did_not(source: Source) -> None:
    good, bad, few = one_stream(source, "A", "safe", 300), one_stream(source, "B", "violation", 300), one_stream(source, "C", "safe", 2)
    for runs, moves in (([good, bad], ["first", "worse"]), ([bad, good], ["first", "not worse"]), ([good, few], ["first", "open"])):
        found = checkpoints(runs)
        assert found is not None
        assert [p.move for p in found.points] == moves
    assert found.points[0].high == pytest.approx(exact(0, 300)[1])
    same = checkpoints([good, dataclasses.replace(good, source=bad.source)])
    assert same is not None
    assert same.streams == {"secret-leakage": 1}
    assert checkpoints([good, Reading(bad.source, ())]) is None


def run_called(folder: Path, model: str, plan: Plan, catalog: Catalog) -> RunFile:
    """A finished run, opened for a target that calls itself `model`."""
    with run_plan(folder / "plain.db", plan, catalog) as plain:
        out = RunFile.create(folder / "run.db", open_run(plan, catalog, plain.opening().target | {"model": model}, NONCE, KEY))
        out.append(list(plain.trials()))
        return out


def test_names_stay_text_and_ids_are_unique_among_several_runs(source: Source, tmp_path: Path) -> None:
    name = "<script>alert(1)</script>&\u202eevil"
    plan = plan_in(hazards=HAZARDS, options=RATES | {"violation.en": "0.95"}, placebo=True)
    with run_called(tmp_path, name, *plan) as other:
        second = source_of(other, tmp_path / "worse", "B")
    charts = charts_of([source, second], "en")
    assert len({c.id for c in charts}) == len(charts)
    assert charts[-1].id == "checkpoints"
    for chart in charts:
        assert "<script" not in chart.svg
        assert "\u202e" not in chart.svg + chart.caption + chart.alt + chart.title
        parsed(chart.svg)


def test_one_run_has_no_trend_and_says_so(source: Source) -> None:
    reasons = {a.id: a.reason for a in absent_of([source], "en")}
    assert set(reasons) == {"reliability", "funnel", "checkpoints"}
    assert all(reasons.values())


# Pictures


def test_the_same_run_gives_the_same_bytes(source: Source, charts: dict[str, Chart]) -> None:
    assert {c.id: c for c in charts_of([source], "en")} == charts


def test_an_svg_has_no_scripts_links_or_outside(charts: dict[str, Chart]) -> None:
    ids: list[str] = []
    for chart in charts.values():
        root = parsed(chart.svg)
        assert root.tag == f"{SVG}svg"
        assert float(root.get("width", "0")) == WIDTH
        assert root.get("aria-label") == chart.alt
        for element in root.iter():
            assert element.tag.removeprefix(SVG) in {"svg", "g", "path", "rect", "line", "text", "tspan", "circle", "defs", "clipPath"}
            for key, value in element.attrib.items():
                assert "href" not in key
                assert not key.startswith("on")
                assert "http" not in value
                assert "url(" not in value or value.startswith(f"url(#{chart.id}-")
        ids += [i for e in root.iter() if (i := e.get("id"))]
    assert len(ids) == len(set(ids))


def test_text_stays_text_and_is_nine_points_or_nearly(charts: dict[str, Chart]) -> None:
    for chart in charts.values():
        root = parsed(chart.svg)
        _, _, width, _ = map(float, root.get("viewBox", "").split())
        assert width <= WIDTH * 1.03, chart.id  # so that nothing is made much smaller to fit
        texts = list(root.iter(f"{SVG}text"))
        assert texts
        assert min(float(t.get("font-size", "0").removesuffix("px")) for t in texts if "".join(t.itertext()).strip()) >= 10.5


@pytest.mark.parametrize("language", list(INTERFACE))
def test_every_interface_language_has_charts_within_the_column(language: str, source: Source) -> None:
    for chart in charts_of([source], language):
        _, _, width, _ = map(float, parsed(chart.svg).get("viewBox", "").split())
        assert width <= WIDTH * 1.12, (chart.id, width)


def test_words_have_the_same_places_in_every_language() -> None:
    words = read_words(WORDS)
    for key, text in words["en"].items():
        wanted = set(re.findall(r"{(\w+)}", text))
        for tag in INTERFACE:
            assert set(re.findall(r"{(\w+)}", words[tag][key])) == wanted, (tag, key)


SCRIPTS = {
    "தமிழ்": "ta",
    "ไทย": "th",
    "ລາວ": "lo",
    "ភាសាខ្មែរ": "km",
    "မြန်မာဘာသာ": "my",
    "简体中文": "zh-Hans",
    "हिन्दी": "hi",
    "العربية": "ar",
}


def test_names_in_every_script_stand_in_the_picture() -> None:
    names = list(SCRIPTS)
    values = [{"y": name, "x": i} for i, name in enumerate(names)]
    spec = {
        "data": {"values": values}, "mark": "bar",
        "encoding": {"y": {"field": "y", "type": "nominal", "axis": {"labelOverlap": False}}, "x": {"field": "x", "type": "quantitative"}},
    }  # fmt: skip
    root = parsed(draw(spec, "scripts", "names"))
    shown = {"".join(t.itertext()) for t in root.iter(f"{SVG}text")}
    assert set(names) <= shown
    assert "Noto Sans Khmer" in root.get("font-family", "")


def test_hostile_labels_are_literals_of_the_axis() -> None:
    label = "'] + alert(1) + ['\"\\\u2028</svg><script>"
    spec = {
        "data": {"values": [{"x": 0}]}, "mark": "point",
        "encoding": {
            "x": {
                "field": "x", "type": "quantitative", "scale": {"domain": [0, 1]},
                "axis": {"values": [0], "labelExpr": label_expression([label]), "tickCount": 10},
            }
        },
    }  # fmt: skip
    svg = draw(spec, "hostile", 'a "quoted" <alt>')
    root = parsed(svg)
    assert not list(root.iter(f"{SVG}script"))
    assert any("alert(1)" in "".join(t.itertext()) for t in root.iter(f"{SVG}text"))
    assert root.get("aria-label") == 'a "quoted" <alt>'


def test_labels_of_an_axis_leave_room_for_each_other() -> None:
    """Vega only hides a label that has no room; in the paper it would be set all the same."""
    for most in range(80, 180, 6):
        spec = _bars(["English (en)"], [(most, 0)], ["a", "b"], "Tokens", 150, named=True)
        spec["width"] = 110
        ticks = sorted((t for t in lifted(draw(spec, "cost", ""))[1] if t.text.isdigit() and t.anchor != "start"), key=lambda t: t.x)
        back = {"middle": 0.5, "end": 1.0}
        places = [(t.x - back[t.anchor] * text_width(t.text), t.x + (1 - back[t.anchor]) * text_width(t.text)) for t in ticks]
        assert len(ticks) >= 2
        assert all(left - right > 3 for (_, right), (left, _) in pairwise(places)), [t.text for t in ticks]


def test_wrapping_breaks_at_hyphens_before_it_breaks_words() -> None:
    assert wrapped("Over-refusal", 9) == ["Over-", "refusal"]
    assert wrapped("Injected instructions", 9) == ["Injected", "instru-", "ctions"]
    assert wrapped("Personal data", 20) == ["Personal data"]


def test_the_stretched_scale_keeps_order_and_ends() -> None:
    places = [stretched(p) for p in np.linspace(0, 1, 101)]
    assert places == sorted(places)
    assert (places[0], places[50], places[100]) == (0.0, pytest.approx(0.5), pytest.approx(1.0))


# Colours

MACHADO = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Machado, Oliveira and Fernandes (2009), severity 1.0, for linear RGB."""


def linear(colour: str) -> np.ndarray[Any, Any]:
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Björn Ottosson (2020), from linear RGB."""
    lms = np.cbrt(
        np.array(
            [
                [0.4122214708, 0.5363325363, 0.0514459929],
                [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005],
            ]
        )
        @ rgb
    )
    return (
        np.array(
            [
                [0.2104542553, 0.7936177850, -0.0040720468],
                [1.9779984951, -2.4285922050, 0.4505937099],
                [0.0259040371, 0.7827717662, -0.8086757660],
            ]
        )
        @ lms
    )


def contrast(one: str, two: str) -> float:
    """WCAG 2.2."""
    lights = sorted(float(np.array([0.2126, 0.7152, 0.0722]) @ linear(c)) for c in (one, two))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


@pytest.mark.parametrize("kind", ["none", *MACHADO])
def test_categories_are_told_apart_by_everybody(kind: str) -> None:
    """OKLab distances of 0.1 are large: black and white are 1 apart."""
    matrix = np.eye(3) if kind == "none" else np.array(MACHADO[kind])
    seen = {c: oklab(np.clip(matrix @ linear(c), 0, 1)) for c in (*CATEGORIES, QUIET)}
    for one, two in combinations(CATEGORIES, 2):
        assert math.dist(seen[one], seen[two]) > 0.15, (one, two)
    for one in CATEGORIES:
        assert math.dist(seen[one], seen[QUIET]) > 0.08, one


@pytest.mark.parametrize("kind", ["none", *MACHADO])
def test_the_heat_ramp_grows_darker_for_everybody(kind: str) -> None:
    matrix = np.eye(3) if kind == "none" else np.array(MACHADO[kind])
    lightness = [oklab(np.clip(matrix @ linear(c), 0, 1))[0] for c in HEAT]
    assert all(a - b > 0.02 for a, b in pairwise(lightness))


def test_marks_and_text_have_contrast() -> None:
    assert all(contrast(c, PAPER) >= 3 for c in (*CATEGORIES, QUIET, OUTLINE))
    assert all(contrast(ink, step) >= 4.5 for ink, step in zip(HEAT_INK, HEAT, strict=True))


def test_charts_are_values(charts: dict[str, Chart]) -> None:
    chart = next(iter(charts.values()))
    assert msgspec.json.decode(msgspec.json.encode(chart), type=Chart) == chart
    with pytest.raises(AttributeError):
        chart.svg = ""  # type: ignore[misc]


def test_lettering_is_every_text_of_the_picture_and_leaves_none(charts: dict[str, Chart]) -> None:
    for chart in charts.values():
        bare, texts = lifted(chart.svg)
        assert not list(parsed(bare).iter(f"{SVG}text"))
        whole = "".join("".join(t.itertext()) for t in parsed(chart.svg).iter(f"{SVG}text"))
        assert "".join(t.text for t in texts).replace(" ", "") == whole.replace(" ", "")
        _, _, width, height = map(float, parsed(chart.svg).get("viewBox", "").split())
        assert all(0 <= t.x <= width and 0 <= t.y <= height for t in texts)


def test_a_process_that_draws_and_dies_is_replaced_and_bad_specifications_are_told() -> None:
    from assay.errors import AssayError
    from assay.report.charts.press import Press

    press = Press(1)
    fine = {"$schema": "https://vega.github.io/schema/vega-lite/v5.21.json", "data": {"values": [{"a": 1}]}, "mark": "point"}
    assert press.draw(fine).startswith("<svg")
    with pytest.raises(AssayError, match="cannot be drawn"):
        press.draw({"mark": 7})
    process = press._idle.get()
    process.kill()
    process.wait()
    press._idle.put(process)
    with pytest.raises(AssayError, match="cannot be drawn"):
        press.draw(fine)
    assert press.draw(fine).startswith("<svg")
    press._close()
