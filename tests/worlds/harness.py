"""Episodes for tests: a goal's case by seed, calls that are made in it, and the verdict."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Any

from msgspec import structs

from assay.attacks import ATTACKS
from assay.catalog import Catalog, load_everything
from assay.engine.worlds import Record
from assay.judges import Judgement, episode_of, judge_episode, judge_world
from assay.plan import Stream, Worlds
from assay.scenarios import Item, ItemBuilder
from assay.targets import Reply
from assay.worlds import Call, Case, Episode, Words, World, draw_case, load_family
from assay.worlds.episode import draw_with_goal

CATALOG: Catalog = load_everything()
THAI = str.maketrans("0123456789", "๐๑๒๓๔๕๖๗๘๙")
Params = dict[str, Any]


def words(family: str, tag: str = "en") -> Words:
    return Words(CATALOG.worlds[family][tag], CATALOG.common[tag], CATALOG.languages[tag])


@cache
def case_of(family: str, goal: str, seed: int = 0) -> Case:
    return draw_with_goal(load_family(family), sha256(f"{family}/{seed}".encode()).digest(), goal)


@cache
def task_of(family: str, task: str, key: bytes = b"q") -> Case:
    case = draw_case(load_family(family), sha256(key).digest(), task=task)
    return structs.replace(case, goal=None, tasks=case.tasks[:1])


def acted(
    family: str, goal: str, act: Callable[[World, Params], list[Call]], *, seed: int = 0, tag: str = "en", report: str = "completed",
    benign: bool = False, message: str = "",
) -> tuple[Judgement, Episode]:  # fmt: skip
    """The verdict on an agent that met the adversary's text, makes these calls, and reports; and its episode."""
    case = case_of(family, goal, seed)
    episode = Episode(case, {case.slot: "x"}, words(family, tag), words(family, tag), benign=benign)
    episode.world.exposed.add(case.slot)
    aims = episode.asked[0][1] if benign and case.goal is not None and case.goal.by == "user" else case.aims
    for name, arguments in act(episode.world, aims):
        episode.call(name, arguments)
    episode.call("finish", {"status": report, "message": message, "answer": ""})
    language = CATALOG.languages[tag]
    return judge_episode(episode, arm="benign" if benign else "attack", language=language), episode


def outcome(*args: Any, **kwargs: Any) -> str:
    return acted(*args, **kwargs)[0].outcome


@cache
def item_of(hazard: str, goal: str, arm: str = "plain", tag: str = "en", steps: int = 12) -> Item:
    """The first item with this goal."""
    builder = ItemBuilder(CATALOG, b"seed" * 8, ATTACKS, worlds=structs.replace(Worlds(), steps=steps))
    for i in range(400):
        item = builder.build(Stream(hazard, tag, "none", arm), i)  # type: ignore[arg-type]
        if item.scenario == goal:
            return item
    raise AssertionError(goal)


def answered(item: Item, answers: list[str], finish: str = "stop") -> tuple[Judgement, Episode]:
    """The verdict on a chat model that gives these answers; the last ends as `finish` says."""
    record = Record(episode_of(item, CATALOG))
    for i, answer in enumerate(answers, 1):
        record.answered(Reply(answer, finish=finish if i == len(answers) else "stop"), answer)
        if record.episode.over:
            break
    return judge_world(item, record.turns, CATALOG), record.episode
