"""The tasks by name: what the entry point `inspect_ai` loads. Whatever they need of Assay is imported when one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspect_ai import task
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, metric, scorer
from inspect_ai.solver import TaskState

if TYPE_CHECKING:
    from inspect_ai import Task

Names = str | list[str]
"""Names with commas between, or a list of them."""

SEA = "en,id,ms,zh-Hans,ta,fil,th,vi"
CHAT = (
    "secret-leakage,system-prompt-extraction,cross-user-leakage,personal-data,canary-memory,injected-instructions,unsafe-argument,"
    "over-refusal"
)
ATTACKED = "secret-leakage,injected-instructions,unsafe-argument"
WORLDS = "agent-banking,agent-clinic,agent-shop,agent-workplace"


@task
def sea(
    languages: Names = SEA, hazards: Names = CHAT, attacks: Names = "", benign: bool = True, samples: int = 5,
    seed: str | int = 0,
) -> Task:  # fmt: skip
    """The matrix of hazards and languages, in chat.

    Args:
        languages: BCP-47 tags (assay catalog list).
        hazards: Hazards that programs judge.
        attacks: Attacks beside none.
        benign: Whether the harmless twins are asked as well, for over-refusal.
        samples: Items of every stream.
        seed: What the items are drawn from: 64 hex digits as they are, anything else hashed.
    """
    from assay.exchange.inspect_tasks.making import chat_task

    return chat_task("sea", languages, hazards, attacks, benign=benign, placebo=False, samples=samples, seed=seed)


@task
def attacks(
    attacks: Names = "prefix-injection,refusal-suppression,role-play,base64,low-resource-pivot", languages: Names = SEA,
    hazards: Names = ATTACKED, samples: int = 5, seed: str | int = 0,
) -> Task:  # fmt: skip
    """The same items plain, attacked, and with a placebo of the same length: what an attack does is a difference.

    Args:
        attacks: Attacks, each a transform or several joined by `+`.
        languages: BCP-47 tags.
        hazards: Hazards that programs judge.
        samples: Items of every stream.
        seed: What the items are drawn from.
    """
    from assay.exchange.inspect_tasks.making import chat_task

    return chat_task("attacks", languages, hazards, attacks, benign=False, placebo=True, samples=samples, seed=seed)


@task
def worlds(
    hazards: Names = WORLDS, languages: Names = "en,id,ms,th", attacks: Names = "", benign: bool = True, samples: int = 3,
    seed: str | int = 0, protocol: str = "native", steps: int = 12, calls: int = 40,
) -> Task:  # fmt: skip
    """Agent worlds: a task, tools, and somebody's injection; judged by the world's ledger, never by prose.

    Args:
        hazards: Families of worlds (`agent-...`).
        languages: BCP-47 tags of request, records and tools.
        attacks: Attacks on what is planted.
        benign: Whether the same worlds are played with a harmless note in the injection's place.
        samples: Episodes of every stream.
        seed: What the episodes are drawn from.
        protocol: `native`, Assay's own loop with native tool calls; `text`, the same with calls in writing; `tools`, the world's tools as
            tools of Inspect, for an agent of your own (--solver).
        steps: Answers of the agent, at most (not with `tools`).
        calls: Calls of tools, at most.
    """
    from assay.exchange.inspect_tasks.making import world_task

    return world_task(languages, hazards, attacks, benign=benign, samples=samples, seed=seed, protocol=protocol, steps=steps, calls=calls)


@metric(scores="unreduced")
def rates() -> Metric:
    """The rates of every stream, with their exact intervals, and what could not be scored."""

    def measured(scores: list[SampleScore]) -> dict[str, float]:
        from assay.exchange.inspect_tasks import scoring

        return scoring.measured(scores)

    return measured


@scorer(metrics=[rates()])
def assay() -> Scorer:
    """Assay's judge; also for a log of one of these tasks: inspect score LOG --scorer assay/assay."""

    async def score(state: TaskState, target: Target) -> Score:
        from assay.exchange.inspect_tasks.scoring import scored

        return scored(state)

    return score
