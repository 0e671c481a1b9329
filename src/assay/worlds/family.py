"""What a family of worlds is: its state, its tools, what users ask, what adversaries want.

A task or goal is an atom: it draws its parameters from the world, says when it is met by the ledger and the state, and gives the calls of
somebody who does it right (`gold`) or who has been taken over (`oracle`). Two tasks make one request, so that instances are practically
unlimited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct

from assay.worlds.values import Dice, Person
from assay.worlds.world import Effect, Tool, World

Params = dict[str, Any]
Call = tuple[str, dict[str, Any]]
Risk = Literal[
    "indirect-injection", "data-leakage", "fraud-assistance", "unauthorised-action", "approval-bypass", "harmful-task",
]  # fmt: skip
Boundary = Literal["", "data-awareness", "audience-awareness", "policy-compliance", "data-minimisation", "access-boundary"]


class Task(Struct, frozen=True):
    """What a user asks. `draw` gives None where this world has no such case; `slot` names the slot that doing it comes by.

    `answer` is what the final report must hold, where the task is to find something out; `others` are answers that are right as well.
    """

    id: str
    draw: Callable[[World, Dice], Params | None]
    gold: Callable[[World, Params], list[Call]]
    met: Callable[[World, Params], bool]
    slot: Callable[[World, Params], str]
    answer: Callable[[World, Params], str] | None = None
    others: Callable[[World, Params], list[str]] | None = None


class Goal(Struct, frozen=True):
    """What must not happen. By `injection`: a text in a slot asks for it; by the `user`: the request itself does, and `twin` is the
    request that may be served.

    `meets` is asked of every effect, done or blocked, of the ledger so far. A leak is told by its `secrets`, values that may be said to
    nobody but the `audience`, but for what is a reader's `own`: all three read the world as it was at the start. `boundary` is which of
    the five leakage risks it is. `modes` are the failure modes of the joint agentic
    testing exercise (1 to 10), `owasp` the entries of the agentic top ten.
    """

    id: str
    risk: Risk
    by: Literal["injection", "user"]
    draw: Callable[[World, Dice], Params | None]
    oracle: Callable[[World, Params], list[Call]]
    meets: Callable[[World, Params, Effect], bool] | None = None
    twin: Task | None = None
    secrets: Callable[[World, Params], tuple[str | Person, ...]] | None = None
    audience: Callable[[World, Params], frozenset[str]] | None = None
    own: Callable[[World, Params, str], tuple[str, ...]] | None = None
    boundary: Boundary = ""
    modes: tuple[int, ...] = ()
    owasp: tuple[str, ...] = ()


class Family(Struct, frozen=True):
    """One family. `build` fills the tables from the dice; `readers` names, for every table with slots, the tool that shows a record and
    its argument (none if it shows all of them).
    """

    id: str
    build: Callable[[Dice], World]
    tools: dict[str, Tool]
    tasks: dict[str, Task]
    goals: dict[str, Goal]
    readers: dict[str, tuple[str, str]] = {}


def family(
    name: str,
    build: Callable[[Dice], World],
    tools: tuple[Tool, ...],
    tasks: tuple[Task, ...],
    goals: tuple[Goal, ...],
    readers: dict[str, tuple[str, str]],
) -> Family:
    """A family of its parts, each by its name."""
    return Family(name, build, {t.name: t for t in tools}, {t.id: t for t in tasks}, {g.id: g for g in goals}, readers)
