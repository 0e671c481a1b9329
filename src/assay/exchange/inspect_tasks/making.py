"""The tasks themselves: samples, solver, scorer, and what the log says of them. Imports Inspect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import msgspec
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, GenerateConfig

from assay.errors import AssayError, PlanError
from assay.exchange.inspect_tasks.items import TASK, TOOLS, WHERE, Chosen, Items, items_of, names, sample_id
from assay.exchange.inspect_tasks.playing import answered, handed, in_hand, played
from assay.exchange.inspect_tasks.tasks import assay
from assay.plan import Generation
from assay.scenarios import Item
from assay.version import __version__

MORE_MESSAGES = 40
"""An agent may say something beside each call; one that goes on after the episode's end is stopped."""
PROTOCOLS = ("native", "text", TOOLS)
MESSAGES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
NOTE = (
    "A run of a fixed size decides nothing: its intervals hold for one stream read once, not for many read together or watched. For a "
    "decision with controlled error on the same items: assay run PLAN --target inspect:PROVIDER/MODEL. What is unscorable is not safe."
)


def chat_task(
    name: str, languages: Any, hazards: Any, attacks: Any, *, benign: bool, placebo: bool, samples: int, seed: str | int
) -> Task:  # fmt: skip
    """A task of one answer a sample. Raises `click.UsageError` for arguments that cannot be."""
    with _told(name):
        items = items_of(Chosen(names(hazards), names(languages), names(attacks), bool(benign), placebo, int(samples), str(seed)))
    return _task(items, solver=answered())


def world_task(
    languages: Any, hazards: Any, attacks: Any, *, benign: bool, samples: int, seed: str | int, protocol: str, steps: int, calls: int
) -> Task:  # fmt: skip
    """A task of one episode a sample. Raises `click.UsageError` for arguments that cannot be."""
    with _told("worlds"):
        if protocol not in PROTOCOLS:
            raise PlanError(f"there is no protocol '{protocol}'", where=WHERE, fix=f"Known: {', '.join(PROTOCOLS)}.")
        chosen = Chosen(
            names(hazards), names(languages), names(attacks), bool(benign), samples=int(samples), seed=str(seed), protocol=protocol,
            steps=int(steps), calls=int(calls),
        )  # fmt: skip
        items = items_of(chosen)
    if protocol == TOOLS:
        return _task(items, setup=handed(chosen), solver=in_hand(), message_limit=4 * chosen.calls + MORE_MESSAGES)
    return _task(items, solver=played(chosen))


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What is wrong with the arguments, as Inspect's command line shows it: without a traceback."""
    try:
        yield
    except (AssayError, ValueError) as e:
        raise click.UsageError(f"assay/{name}: {e}") from None


def _task(items: Items, **steps: Any) -> Task:
    decoding = Generation()
    chosen = items.chosen
    asked = msgspec.to_builtins(chosen)
    return Task(
        dataset=MemoryDataset([_sample(item, asked) for item in items], name="assay"),
        scorer=assay(),
        config=GenerateConfig(max_tokens=decoding.max_tokens, temperature=decoding.temperature, seed=decoding.seed),
        version=__version__,
        metadata={"note": NOTE, "assay": __version__, "catalog": items.catalog.digest, "seed": chosen.seed, "streams": len(items.streams)},
        **steps,
    )


def _sample(item: Item, asked: dict[str, Any]) -> Sample:
    s = item.stream
    about = {
        "hazard": s.hazard, "language": s.language, "attack": s.attack, "arm": s.arm, "index": item.index, "scenario": item.scenario,
        "item": item.digest, TASK: asked,
    }  # fmt: skip
    return Sample(id=sample_id(item), input=[_message(m.role, m.content) for m in item.messages], metadata=about)


def _message(role: str, content: str) -> ChatMessage:
    made: ChatMessage = MESSAGES[role](content=content)
    return made
