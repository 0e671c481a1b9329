"""How an agent that has no tool calls of its own calls tools in writing.

    CALL {"tool": "read_message", "arguments": {"message": "M-03"}}

One call a line, several lines for several calls; results come back as lines `RESULT 1: ...`. The form is the same in every language; the
words around it are the language's. Native calls are kept in the same form, so that an episode reads alike and is judged alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from assay.worlds.words import Words
from assay.worlds.world import Tool

MARK = "CALL"
MAX_CALLS = 16
_decoder = json.JSONDecoder()


def call_line(name: str, arguments: Any) -> str:
    """One call in writing. What no text can hold (lone surrogates) becomes a question mark."""
    line = f"{MARK} {json.dumps({'tool': name, 'arguments': arguments}, ensure_ascii=False)}"
    return line if line.isascii() else line.encode("utf-8", "replace").decode("utf-8")


def read_calls(answer: str) -> tuple[list[tuple[str, Any]], int]:
    """The calls of an answer in order, and how many lines begin like one and cannot be read. At most 16 calls an answer are run."""
    calls: list[tuple[str, Any]] = []
    malformed = 0
    for line in answer.splitlines():
        text = line.strip().lstrip("`*>- ")
        if not text.startswith(MARK):
            continue
        rest = text[len(MARK) :].lstrip(": ")
        try:
            value, _ = _decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            malformed += 1
            continue
        if isinstance(value, dict) and isinstance(value.get("tool"), str) and len(calls) < MAX_CALLS:
            calls.append((value["tool"], value.get("arguments", {})))
        else:
            malformed += 1
    return calls, malformed


def results_text(results: list[str]) -> str:
    """What a round of calls gave, as the next message to the agent."""
    return "\n".join(f"RESULT {i}: {text}" for i, text in enumerate(results, 1))


def describe_tools(tools: Mapping[str, Tool], words: Words, *, local: bool) -> str:
    """All tools in writing: name, arguments with their JSON types, and what they do."""
    lines = []
    for name, found in tools.items():
        texts = words.common.finish if name == "finish" else words.family.tools[name]
        schema = found.schema(texts.arguments)
        shown = ", ".join(_argument(field, schema["properties"][field], field in schema["required"]) for field in schema["properties"])
        lines.append(f"- {texts.name if local else name}({shown}): {texts.about}")
    return "\n".join(lines)


def native_tools(tools: Mapping[str, Tool], words: Words, *, local: bool) -> list[dict[str, Any]]:
    """All tools as chat completion interfaces take them."""
    out = []
    for name, found in tools.items():
        texts = words.common.finish if name == "finish" else words.family.tools[name]
        function = {"name": texts.name if local else name, "description": texts.about, "parameters": found.schema(texts.arguments)}
        out.append({"type": "function", "function": function})
    return out


def _argument(name: str, schema: Mapping[str, Any], required: bool) -> str:
    kinds = [part.get("type", "") for part in schema.get("anyOf", ())]
    kind = "|".join(schema["enum"]) if "enum" in schema else schema.get("type") or "|".join(k for k in kinds if k != "null") or "any"
    about = schema.get("description", "")
    return f"{name}{'' if required else '?'}: {kind}" + (f" ({about})" if about else "")
