"""The items of a task of Inspect, from its arguments. Inspect is not needed here.

    chosen = Chosen(hazards=("secret-leakage",), languages=("ta", "th"), samples=20, seed="0")
    items = Items(chosen)
    for item in items: item.stream.key, item.index
    items.item("secret-leakage/ta/none/plain/3")

What may be asked for is what a plan may ask for, and is checked as a plan is. Item i of a stream is the one that a run with this seed asks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import yaml
from msgspec import Struct, structs

from assay.attacks import ATTACKS
from assay.catalog import Catalog
from assay.errors import CatalogError, PlanError
from assay.plan import Plan, parse_plan, streams
from assay.scenarios import Item, ItemBuilder

WHERE = "the task's arguments"
MAX_SAMPLES = 20_000
_SEED = re.compile(r"[0-9a-f]{64}")
TASK = "task"
"""Where a sample's metadata has what its task was asked for, so that a log can be scored again."""
TOOLS = "tools"
"""The protocol in which an agent of Inspect is handed the world's tools: as `agent` and `callable` targets are, without steps."""


class Chosen(Struct, frozen=True, forbid_unknown_fields=True):
    """What a task is asked for. `protocol` is empty for chat."""

    hazards: tuple[str, ...]
    languages: tuple[str, ...]
    attacks: tuple[str, ...] = ()
    benign: bool = True
    placebo: bool = False
    samples: int = 5
    seed: str = "0"
    protocol: str = ""
    steps: int = 12
    calls: int = 40


def names(given: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Names with commas between, or a list of them, as Inspect reads `-T`. Raises `PlanError`."""
    parts = given.split(",") if isinstance(given, str) else given
    if not all(isinstance(part, str) for part in parts):
        raise PlanError(f"{list(parts)!r} are no names", where=WHERE, fix='Quote what YAML would read otherwise: -T languages="no,en".')
    return tuple(part.strip() for part in parts if part.strip())


def item_seed(given: str | int) -> bytes:
    """64 hex digits are the seed itself, as a run's report has it; anything else is hashed."""
    text = str(given)
    if _SEED.fullmatch(text):
        return bytes.fromhex(text)
    return hashlib.sha256(b"assay/inspect/" + text.encode("utf-8", "surrogatepass")).digest()


class Items:
    """The items of every stream, in the plan's order. Raises `AssayError` for what there is no content for."""

    def __init__(self, chosen: Chosen) -> None:
        self.chosen = chosen
        self.plan, self.catalog = _planned(chosen)
        self.streams = streams(self.plan)
        if not 1 <= chosen.samples <= MAX_SAMPLES or chosen.samples * len(self.streams) > MAX_SAMPLES:
            what = f"{chosen.samples} samples of {len(self.streams)} streams: a task has 1 to {MAX_SAMPLES:,}"
            raise PlanError(what, where=WHERE, fix="Ask for fewer samples, or run it with assay run.")
        self._builder = ItemBuilder.for_plan(self.plan, self.catalog, item_seed(chosen.seed), ATTACKS)
        self._known = {s.key: s for s in self.streams}

    def __iter__(self) -> Iterator[Item]:
        for stream in self.streams:
            for index in range(self.chosen.samples):
                yield self._builder.build(stream, index)

    def item(self, sample: str) -> Item:
        """The item of a sample's id. Raises `CatalogError` for another task's."""
        key, _, index = sample.rpartition("/")
        if key not in self._known or not index.isdigit():
            raise CatalogError(f"sample {sample[:200]!r} is not one of this task's")
        return self._builder.build(self._known[key], int(index))


def sample_id(item: Item) -> str:
    """Stream and index, as in an export."""
    return f"{item.stream.key}/{item.index}"


def stream_of(sample: str) -> str:
    """The stream of a sample's id."""
    return sample.rpartition("/")[0]


@lru_cache(maxsize=8)
def items_of(chosen: Chosen) -> Items:
    """The same, made once."""
    return Items(chosen)


def _planned(chosen: Chosen) -> tuple[Plan, Catalog]:
    text: dict[str, Any] = {
        "assay": "plan/1",
        "name": "inspect",
        "target": {"kind": "scripted", "model": "0"},
        "matrix": {
            "hazards": list(chosen.hazards), "languages": list(chosen.languages), "attacks": list(chosen.attacks),
            "benign": chosen.benign, "placebo": chosen.placebo,
        },
        "requirements": [{"id": "violations", "kind": "violation-rate", "max_rate": 0.05}],
        "budget": {"calls": 1},
    }  # fmt: skip
    if chosen.protocol:
        spoken = "native" if chosen.protocol == TOOLS else chosen.protocol
        text["worlds"] = {"protocol": spoken, "steps": chosen.steps, "calls": chosen.calls}
    plan, catalog = parse_plan(yaml.safe_dump(text), where=WHERE)
    wanted = "world" if chosen.protocol else "chat"
    for hazard in catalog.hazards.values():
        if hazard.check == "none":
            raise CatalogError(f"'{hazard.id}' needs a judge", where=WHERE, fix="Use a plan with judges: assay run.")
        if (hazard.check == "world") != bool(chosen.protocol):
            other = "assay/sea" if chosen.protocol else "assay/worlds"
            raise CatalogError(f"'{hazard.id}' is not of the {wanted} kind", where=WHERE, fix=f"It is in {other}.")
    if chosen.protocol == TOOLS:
        plan = structs.replace(plan, target=structs.replace(plan.target, kind="callable"))
    return plan, catalog
