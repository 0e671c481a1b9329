"""Conversations in the form of chat completion interfaces, as Inspect has them, and back. Imports Inspect: only for processes that run it.

talk = Conversations()
output = await model.generate(talk.messages(messages), tools=tools_of(tools))
talk.remember(messages, read_output(1, output, most), output)
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import Any

from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageSystem, ChatMessageTool, ChatMessageUser, ModelOutput
from inspect_ai.tool import ToolCall, ToolInfo, ToolParams

from assay.targets.inspect_wire import Answer

REMEMBERED = 4096
MAX_ERROR = 2000


class Conversations:
    """Keeps the model's last answers with calls as they were, for at most 4,096 conversations: some providers want to see their reasoning
    and signatures again.
    """

    def __init__(self) -> None:
        self._said: OrderedDict[str, ChatMessageAssistant] = OrderedDict()

    def messages(self, messages: list[dict[str, Any]]) -> list[ChatMessage]:
        """The messages, the model's own earlier answers whole where they are remembered."""
        out: list[ChatMessage] = []
        named: dict[str, str] = {}
        for i, m in enumerate(messages):
            calls = m.get("tool_calls", ())
            named |= {c["id"]: c["function"]["name"] for c in calls}
            match m["role"]:
                case "system":
                    out.append(ChatMessageSystem(content=m["content"]))
                case "user":
                    out.append(ChatMessageUser(content=m["content"]))
                case "tool":
                    name = named.get(m["tool_call_id"])
                    out.append(ChatMessageTool(content=m["content"], tool_call_id=m["tool_call_id"], function=name))
                case _:
                    known = self._said.get(_place(messages[: i + 1])) if calls else None
                    out.append(known or ChatMessageAssistant(content=m["content"], tool_calls=[_call(c) for c in calls] or None))
        return out

    def remember(self, messages: list[dict[str, Any]], answer: Answer, output: ModelOutput) -> None:
        """Keep an answer with calls, by the conversation that it ends."""
        if not answer.calls:
            return
        calls = [{"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.text}} for c in answer.calls]
        said = {"role": "assistant", "content": answer.text, "tool_calls": calls}
        self._said[_place([*messages, said])] = output.message
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)


def _place(messages: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(messages, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def _call(call: dict[str, Any]) -> ToolCall:
    """A call as the provider wants it back: what was no JSON object goes back without arguments, and with the error that it was."""
    name, text = call["function"]["name"], call["function"]["arguments"]
    try:
        given = json.loads(text or "{}")
    except (ValueError, RecursionError):
        given = None
    if isinstance(given, dict):
        return ToolCall(id=call["id"], function=name, arguments=given)
    return ToolCall(id=call["id"], function=name, arguments={}, parse_error=text[:MAX_ERROR])


def tools_of(tools: list[dict[str, Any]]) -> list[ToolInfo]:
    """Tools in the form of chat completion interfaces, as Inspect has them."""
    return [
        ToolInfo(
            name=tool["function"]["name"],
            description=tool["function"]["description"],
            parameters=ToolParams.model_validate(tool["function"].get("parameters", {})),
        )
        for tool in tools
    ]
