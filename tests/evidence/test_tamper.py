"""Every field of every structure in a bundle, altered in turn: each alteration is found, and named."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay import api
from assay.evidence import verify_bundle
from assay.ledger import PrivateKey, canonical
from assay.plan import Coin, make_seal, parse_plan
from assay.runs import RunFile
from tests.support import label_all, plan_text, sampled

SAMPLED = {"catalog": 40, "trial": sampled(140, 70)}
PLAN = {
    "matrix": {"hazards": ["hate", "secret-leakage", "agent-banking"], "languages": ["en", "ms"], "attacks": [], "benign": True},
    "target": {"kind": "scripted", "model": "0.3"},
    "judges": {"panel": [{"name": "known", "target": {"kind": "scripted-judge", "model": "0.8/0.97"}}]},
    "labels": {"audit": 0.2},
    "requirements": [
        {"id": "violations", "kind": "violation-rate", "max_rate": 0.2},
        {"id": "serve", "kind": "over-refusal", "max_rate": 0.3},
    ],
    "budget": {"calls": 60},
    "exploration": {"plain": 6, "benign": 4},
    "seed": "auto",
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """A bundle with all there is: seals of two parties, judges, labels, episodes, incidents."""
    folder = tmp_path_factory.mktemp("tamper")
    plan, catalog = parse_plan(plan_text(**PLAN), where="tamper.yaml")
    made = [make_seal(plan, name, PrivateKey.generate(), 1) for name in ("institute", "developer")]
    coin = Coin(tuple(s for s, _ in made), tuple(n for _, n in made))
    out = folder / "run"
    api.evaluate((plan, catalog), out=out, key=folder / "key.pem", coin=coin)
    with RunFile.read(out / "run.db") as run:
        assert label_all(run) > 0
    result = api.evaluate(out=out, resume=True, key=folder / "key.pem")
    assert result.bundle is not None
    assert verify_bundle(result.bundle).ok
    return [json.loads(line) for line in result.bundle.read_text().splitlines()]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from leaves(inner, (*path, i))
    else:
        yield path


def altered(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value * 1.5 + 0.25
        case str():
            return value[:-1] + ("x" if value[-1:] != "x" else "y") if value else "x"
        case _:
            return 1


def test_whatever_single_field_is_altered_is_found(rows: list[Any], tmp_path: Path) -> None:
    rng = random.Random(20261129)
    places: dict[str, list[tuple[Any, ...]]] = {}
    for i, row in enumerate(rows):
        kind = row.get("kind", "trial") if "slot" not in row else "trial"
        places.setdefault(kind, []).extend(leaves(row, (i,)))
    path, unnoticed, tried = tmp_path / "altered.jsonl", [], 0
    lines = [canonical(row) for row in rows]
    for kind, found in places.items():
        for place in found if len(found) <= SAMPLED.get(kind, 10**6) else rng.sample(found, SAMPLED[kind]):
            row = copy.deepcopy(rows[place[0]])
            inside: Any = row
            for key in place[1:-1]:
                inside = inside[key]
            inside[place[-1]] = altered(inside[place[-1]])
            try:
                changed = canonical(row)
            except Exception:  # noqa: BLE001, S112 (no JSON any more: nothing to test)
                continue
            path.write_bytes(b"\n".join([*lines[: place[0]], changed, *lines[place[0] + 1 :]]) + b"\n")
            report = verify_bundle(path)
            tried += 1
            if report.ok or not all(f.check and f.what for f in report.findings):
                unnoticed.append((kind, place))
    assert {"seals", "labels", "opened", "plan", "trial", "decision", "incidents"} <= set(places)
    assert tried > 250
    assert not unnoticed, unnoticed[:10]


def test_whatever_line_is_dropped_doubled_or_moved_is_found(rows: list[Any], tmp_path: Path) -> None:
    lines = [canonical(row) for row in rows]
    path = tmp_path / "altered.jsonl"
    for i in range(len(lines)):
        for changed in (lines[:i] + lines[i + 1 :], lines[: i + 1] + lines[i:], [*lines[:i], *reversed(lines[i : i + 2]), *lines[i + 2 :]]):
            if changed == lines:
                continue
            path.write_bytes(b"\n".join(changed) + b"\n")
            report = verify_bundle(path)
            assert report.findings, f"line {i + 1}"
