"""The same items and the same answers, by Assay's engine and by Inspect: the same outcome, for the same reason."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from assay.engine.worlds import Player
from assay.exchange.inspect_tasks.items import Items, sample_id
from assay.judges import Answer, verdict_on
from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Item
from assay.targets import Target, make_target
from tests.exchange.golden import ALL, golden_endpoint, golden_items

LIMITS = Limits(concurrency=16, retries=0, timeout_s=60)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each path says: `http` and `target` by the engine's own steps, `inspect` by Inspect's log."""
    from importlib.util import find_spec

    if find_spec("inspect_ai") is None:
        pytest.skip("the extra 'inspect' is not installed")
    folder = tmp_path_factory.mktemp("golden")
    items = golden_items()
    with golden_endpoint(items) as url:
        command = [sys.executable, "-m", "tests.exchange.inspect_golden", url, str(folder)]
        with subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True) as inspect:
            http = asyncio.run(judged(TargetSpec("http", "m", url), items))
            target = asyncio.run(judged(TargetSpec("inspect", "openai-api/loop/m", url, "GOLDEN_KEY"), items))
            _, said = inspect.communicate(timeout=300)
        assert inspect.returncode == 0, said[-3000:]
    return {"http": http, "target": target, "inspect": json.loads((folder / "golden.json").read_text())}


@pytest.fixture(scope="module", autouse=True)
def key() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOLDEN_KEY", "sk-golden-key")
        yield


async def judged(spec: TargetSpec, sets: dict[str, list[Item]]) -> dict[str, Any]:
    """Ask and judge every item as the engine does, all at once."""
    out: dict[str, Any] = {}
    async with make_target(spec, Generation(), LIMITS, lambda _: None) as target:
        for name, items in sets.items():
            if name == "tools":
                continue  # an agent of Inspect's own: it is not the engine that plays it
            catalog = Items(ALL[name]).catalog
            told = await asyncio.gather(*(one(item, target, catalog) for item in items))
            out[name] = {sample_id(item): verdict for item, verdict in zip(items, told, strict=True)}
    return out


async def one(item: Item, target: Target, catalog: Any) -> list[Any]:
    reply = await Player(catalog, target).play(item) if item.world else await target.ask_item(item)  # type: ignore[attr-defined]
    verdict, _ = verdict_on(item, Answer(reply.text, reply.failure, reply.truncated), reply.turns, catalog)
    return [verdict.outcome, verdict.reason, item.digest, verdict.kind, verdict.how, verdict.useful]


@pytest.mark.parametrize("name", ["sea", "attacks", "native", "text"])
@pytest.mark.parametrize("path", ["target", "inspect"])
def test_both_paths_judge_every_item_alike(paths: dict[str, dict[str, Any]], name: str, path: str) -> None:
    found = paths[path][name]
    assert (found["samples"] if path == "inspect" else found) == paths["http"][name]


def test_the_golden_answers_reach_every_outcome_for_many_reasons(paths: dict[str, dict[str, Any]]) -> None:
    told = [verdict for each in paths["http"].values() for verdict in each.values()]
    outcomes = Counter(verdict[0] for verdict in told)
    for name in ("native", "text"):
        assert {"completed", "exposed"} <= {verdict[4] for verdict in paths["http"][name].values()}
    assert min(outcomes[word] for word in ("violation", "safe", "unscorable")) >= 10, outcomes
    assert len({verdict[1] for verdict in told}) >= 8
    assert {key.split("/")[0] for key in paths["http"]["sea"]} == set(ALL["sea"].hazards)


def test_an_agent_of_inspect_that_is_handed_the_tools_is_judged_by_the_ledger(paths: dict[str, dict[str, Any]]) -> None:
    samples = paths["inspect"]["tools"]["samples"]
    assert {v[0] for v in samples.values()} >= {"violation", "safe"}
    assert any(v[4] == "completed" for v in samples.values())


def test_no_rate_counts_what_cannot_be_scored_as_safe(paths: dict[str, dict[str, Any]]) -> None:
    from assay.stats.exact import clopper_pearson

    for told in paths["inspect"].values():
        metrics = told["metrics"]
        counts = Counter((key.rpartition("/")[0], v[0]) for key, v in told["samples"].items())
        assert told["status"] == "success"
        assert metrics["trials"] == len(told["samples"])
        assert metrics["unscorable"] == sum(n for (_, word), n in counts.items() if word == "unscorable")
        for stream in {key.rpartition("/")[0] for key in told["samples"]}:
            bad, unread = counts[stream, "violation"], counts[stream, "unscorable"]
            trials = bad + unread + counts[stream, "safe"]
            assert metrics[f"{stream} unscorable"] == unread
            assert metrics[f"{stream} low"] == pytest.approx(clopper_pearson(bad, trials)[0])
            assert metrics[f"{stream} high"] == pytest.approx(clopper_pearson(bad + unread, trials)[1])
            assert metrics.get(f"{stream} rate") == (pytest.approx(bad / (trials - unread)) if trials > unread else None)


def test_the_log_says_that_it_decides_nothing(paths: dict[str, dict[str, Any]]) -> None:
    assert all("decides nothing" in told["note"] and "assay run" in told["note"] for told in paths["inspect"].values())
    assert "inspect_ai" not in sys.modules
