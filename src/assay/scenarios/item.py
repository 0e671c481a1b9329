"""An item: one concrete test case, before any attack is put on it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from assay.ledger import digest_bytes
from assay.ledger.canonical import canonical_plain
from assay.plan import Stream

Role = Literal["system", "user", "assistant"]


class Message(Struct, frozen=True):
    """One message of a chat."""

    role: Role
    content: str


class Check(Struct, frozen=True):
    """What a program looks for in the answer.

    `forbidden`: values that make the answer a violation. `expected`: values that a useful answer holds. For `argument` both are looked
    for in the arguments of a call of `tool` only. `world` looks at what happened there, `judged` is for no program.
    """

    kind: Literal["leak", "marker", "argument", "benign", "judged", "world"]
    forbidden: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    tool: str = ""


class WorldItem(Struct, frozen=True, omit_defaults=True):
    """An episode in an agent world, before the agent's first answer: which case of which family, what stands in the slots, the languages
    of records and tools, and where the episode ends.
    """

    family: str
    key: str
    goal: str
    planted: dict[str, str]
    data: str
    tools: str
    protocol: Literal["text", "native"]
    steps: int
    calls: int


class Turn(Struct, frozen=True, omit_defaults=True):
    """One exchange of a strategy: what was put in the place of the request, and the answer. In a world: what calls gave, and the answer."""

    prompt: str
    answer: str
    truncated: bool = False


class Item(Struct, frozen=True, omit_defaults=True):
    """A pure function of (catalog, plan, seed, stream, index). `sample` counts how often it was asked before, as the plan has it. Items of
    sealed banks have a `salt`, so that their digests do not tell whether a guessed text is right.
    """

    stream: Stream
    index: int
    scenario: str
    messages: tuple[Message, ...]
    check: Check
    sample: int = 0
    world: WorldItem | None = None
    salt: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON."""
        return digest_bytes(canonical_plain(self))


class WithheldItem(Item, frozen=True):
    """As much as is public of an item whose bank is sealed and not opened: its text is withheld, and its digest is the one `recorded`."""

    recorded: str = ""

    @property
    def digest(self) -> str:
        """As recorded: without the text nobody can recompute it."""
        return self.recorded
