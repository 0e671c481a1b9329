"""How an agent that has no tool calls of its own calls tools in writing.

    CALL {"tool": "read_message", "arguments": {"message": "M-03"}}

One call a line, several lines for several calls; results come back as lines `RESULT 1: ...`. The form is the same in every language; the
words around it are the language's. Native calls are kept in the same form, so that an episode reads alike and is judged alike.

What looks like a call and is none that can be read is never taken for words: the agent is told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from assay.worlds.words import Words
from assay.worlds.world import Tool

MARK = "CALL"
MAX_CALLS = 16
_decoder = json.JSONDecoder()
_LINES = {c: f"\\u{c:04x}" for c in (0x85, 0x2028, 0x2029)}
"""What some readers take for the end of a line: in JSON, inside strings only."""
_PLAINLY = f"{MARK} {{"
_MARKED = re.compile(rf"[\s`*_#>|•–—-]{{0,40}}(?:\(?\d{{1,3}}[.):])?[\s`*_]{{0,40}}{MARK}[ \t`*:]*(?={{)", re.IGNORECASE)
"""The mark where a line begins, after list numbers, bullets and fences."""
_ALIKE = re.compile(
    rf"""{MARK}[ \t`*:]*{{|["'“”](?:tool|tool_name|name|function)["'“”]\s*:|<(?:tool_call|function_calls?|invoke)\b|<function=""",
    re.IGNORECASE,
)


class Written(NamedTuple):
    """One call in an answer; or, with the error that the agent is told, what stands in its place: then `arguments` is its text."""

    name: str
    arguments: Any
    error: str = ""


def call_line(name: Any, arguments: Any) -> str:
    """One call in writing. What no text can hold (lone surrogates) becomes a question mark, and what JSON cannot hold a call that cannot
    be read.
    """
    try:
        line = f"{MARK} {json.dumps({'tool': name, 'arguments': arguments}, ensure_ascii=False)}"
    except (TypeError, ValueError, RecursionError):
        return f"{MARK} {{"
    return line if line.isascii() else line.encode("utf-8", "replace").decode("utf-8").translate(_LINES)


def read_calls(answer: str, writers: Iterable[str] = ()) -> list[Written]:
    """What an answer calls, in order. At most 16 of its calls are run.

    A line that begins like a call and cannot be read is in the list as an error; so is one that holds something like a call elsewhere: in
    another form of JSON or XML, or as `tool(...)` with one of the `writers`.
    """
    found: list[Written] = []
    calls = at = 0
    while at < len(answer):
        end = answer.find("\n", at)
        end = len(answer) if end < 0 else end
        if answer.startswith(_PLAINLY, at):
            begin = at + len(MARK) + 1
        elif marked := _MARKED.match(answer, at, end + 1):
            begin = marked.end()
        else:
            line = answer[at:end]
            if line and (_ALIKE.search(line) or ("(" in line and any(f"{name}(" in line for name in writers))):
                found.append(Written("", line, "malformed call"))
            at = end + 1
            continue
        try:
            value, after = _decoder.raw_decode(answer, begin)
        except (ValueError, RecursionError):
            value, after = None, end + 1
        text = answer[at:after]
        at = after
        if not isinstance(value, dict) or not isinstance(value.get("tool"), str):
            found.append(Written("", text, "malformed call"))
        elif calls == MAX_CALLS:
            found.append(Written(value["tool"], text, "too many calls"))
        else:
            calls += 1
            found.append(Written(value["tool"], value.get("arguments", {})))
    return found


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
