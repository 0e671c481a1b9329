"""What the target was shown and what it said, as turns: Assay's own record of a sample that another tool plays.

    said = Conversation(most=1_000_000)
    shown = said.shown([{"role": "user", "content": "Pay the bill."}])
    said.answered(shown, "I pay it.", ["CALL {...}"], truncated=False)
    said.turns

A turn's prompt holds the messages that are new since the target's last answer in that conversation: the whole of it where the tool changed
what was there before, or began another. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from assay.scenarios import Turn

MOST_THREADS = 16
NO_WORDS = "(no words)"
"""What stands for an answer in which nothing was said and nothing called."""


class Shown(Struct, frozen=True):
    """The messages of one call: in short form, to know them again, and the text of those that are new."""

    seen: tuple[tuple[str, str], ...]
    prompt: str


class Conversation:
    """The turns of one sample, in the order of the answers; `full` if there is more than `most` characters."""

    def __init__(self, most: int) -> None:
        self.turns: list[Turn] = []
        self.full = False
        self._left = most
        self._threads: deque[tuple[tuple[str, str], ...]] = deque(maxlen=MOST_THREADS)

    def shown(self, messages: list[dict[str, Any]]) -> Shown:
        """What a call shows the target."""
        seen = tuple(_short(m) for m in messages)
        known = max((len(t) for t in self._threads if len(t) < len(seen) and seen[: len(t)] == t), default=0)
        new = messages[known:]
        if len(new) == 1 and new[0].get("role") == "user":
            return Shown(seen, text_of(new[0]))
        return Shown(seen, "\n\n".join(_block(m) for m in new))

    def answered(self, shown: Shown, words: str, calls: Sequence[str], *, truncated: bool) -> None:
        """What the target said to it, and its calls as lines."""
        prompt, answer = _storable(shown.prompt), _storable("\n".join(part for part in (words, *calls) if part))
        self._left -= len(prompt) + len(answer)
        if self._left < 0:
            self.full = True
            return
        self._threads.append((*shown.seen, ("assistant", _squeezed(words))))
        self.turns.append(Turn(prompt, answer if answer.strip() else NO_WORDS, truncated))


def _short(message: dict[str, Any]) -> tuple[str, str]:
    """A message as it is known again: spaces do not count, which tools strip."""
    return str(message.get("role", "")), _squeezed(text_of(message))


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def text_of(message: dict[str, Any]) -> str:
    """A message's text; parts that are texts, one below the other."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _block(message: dict[str, Any]) -> str:
    calls = [f"{f.get('name', '')} {f.get('arguments', '')}" for c in message.get("tool_calls") or () if (f := c.get("function") or {})]
    return "\n".join([f"[{message.get('role', '')}]", *([text] if (text := text_of(message)) else []), *calls])


def _storable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
