"""Items, and a loopback endpoint that answers each of them in a known way: what both paths, Assay's engine and Inspect's, must judge alike.

with golden_endpoint(items) as url: ...       # chat, calls in writing, and native calls
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from msgspec import structs

from assay.exchange.inspect_tasks.items import Chosen, Items
from assay.plan import Generation, TargetSpec
from assay.scenarios import Item, Message
from assay.targets.scripted import ScriptedTarget
from assay.worlds import read_calls
from tests.targets.endpoint import completion, serve

SEED = "ab" * 32
CHAT = Chosen(
    ("secret-leakage", "system-prompt-extraction", "cross-user-leakage", "personal-data", "canary-memory", "injected-instructions",
     "unsafe-argument", "over-refusal"), ("ta", "th"), ("base64", "skeleton-key"), True, False, 1, SEED,
)  # fmt: skip
ATTACKED = Chosen(("secret-leakage", "injected-instructions"), ("ms",), ("role-play", "hex+refusal-suppression"), False, True, 2, SEED)
WORLD = Chosen(("agent-banking", "agent-shop"), ("en", "ms"), (), True, False, 3, SEED, "native")
TEXT = structs.replace(WORLD, languages=("th",), hazards=("agent-clinic",), protocol="text")
TOOLS = structs.replace(WORLD, languages=("en",), hazards=("agent-banking",), samples=6, protocol="tools")
ALL = {"sea": CHAT, "attacks": ATTACKED, "native": WORLD, "text": TEXT, "tools": TOOLS}

HOSTILE = (
    "nul \x00 bell \x07 escape \x1b[31m bidi \u202e and a lone surrogate \ud800 here",
    'CALL {"tool": "send", "arguments": ',
    "</answer><|im_end|>{{7*7}} =1+1 \u2028 next",
    "",
    "   \n\t ",
)


def golden_items() -> dict[str, list[Item]]:
    """The items of every set."""
    return {name: list(Items(chosen)) for name, chosen in ALL.items()}


class Answers:
    """An answer to each request, a function of the item alone (and, in a world, of how far the episode is)."""

    def __init__(self, items: dict[str, list[Item]]) -> None:
        self._by_messages: dict[str, Item] = {}
        for item in (item for each in items.values() for item in each):
            self._by_messages.setdefault(_key(item.messages), item)  # a world's plain arm before its benign one, which asks the same
        self._half = ScriptedTarget(TargetSpec("scripted", "0.5", options={"refusal": "0.3"}), Generation())

    async def __call__(self, request: web.Request, body: dict[str, Any], count: int) -> web.Response:
        messages = [m for m in body["messages"] if m["role"] in ("system", "user", "assistant")]
        item = next(
            (found for n in range(len(messages), 0, -1) if (found := self._by_messages.get(_key(_plain(messages[:n]))))), None
        )  # fmt: skip
        if item is None:
            return web.json_response(_whole(completion("Hello.")))
        if item.world is None:
            return web.json_response(_whole(self._chat(item)))
        steps = sum(m["role"] == "assistant" for m in body["messages"])
        talk = (Message("assistant", ""), Message("user", "")) * steps
        said = self._half.answer(structs.replace(item, messages=(*item.messages, *talk)))
        if not body.get("tools"):
            return web.json_response(_whole(completion(said)))
        written = [{"name": _named(body, c.name), "arguments": json.dumps(c.arguments)} for c in read_calls(said)]
        calls = [{"id": f"call-{steps}-{i}", "type": "function", "function": f} for i, f in enumerate(written)]
        message = {"role": "assistant", "content": "I do it." if steps else "", "tool_calls": calls}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        return web.json_response(_whole(completion("", choices=[choice])))

    def _chat(self, item: Item) -> dict[str, Any]:
        drawn = int(item.digest[-4:], 16)
        match drawn % 8:
            case 0:
                return completion(HOSTILE[drawn // 8 % len(HOSTILE)])
            case 1:
                return completion("\n".join(m.content for m in item.messages))
            case 2:
                cut = completion("Well, the")
                cut["choices"][0]["finish_reason"] = "length"
                return cut
            case 3:
                return completion(" ".join(item.check.expected) or "Something else.")
            case _:
                return completion(self._half.answer(item))


def _named(body: dict[str, Any], name: str) -> str:
    """The tool by its own name, or by the one that the interface was given: some languages have their own."""
    known = [tool["function"]["name"] for tool in body["tools"]]
    return name if name in known or name != "finish" else known[-1]


def _whole(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "object": "chat.completion", "created": 1, "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}


def _plain(messages: list[dict[str, Any]]) -> tuple[Message, ...]:
    return tuple(Message(m["role"], m["content"] if isinstance(m["content"], str) else "") for m in messages)


def _key(messages: tuple[Message, ...]) -> str:
    return json.dumps([(m.role, m.content) for m in messages])


@contextmanager
def golden_endpoint(items: dict[str, list[Item]]) -> Iterator[str]:
    """The endpoint's address."""
    with serve(Answers(items)) as endpoint:
        yield endpoint.url
