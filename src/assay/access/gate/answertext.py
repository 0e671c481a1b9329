"""The text of an answer, taken out of what the upstream sends as it comes: what content checks read. Bounded, and of no consequence for
what is passed on.

    reading = AnswerText("chat.completions", stream=True)
    for lane, text in reading.feed(chunk): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from assay.access.model import DeniedError, Route

MAX_EVENT = 4 << 20


class AnswerText:
    """One answer. `lane` names what a text belongs to: a choice, a function's arguments, an output item."""

    def __init__(self, route: Route, *, stream: bool) -> None:
        self._route, self._stream = route, stream
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[tuple[str, str]]:
        """The texts that are whole now. Raises `DeniedError` (502) for an event that does not end."""
        if not self._stream:
            yield from _texts("", _read(chunk))
            return
        data = self._rest + chunk
        *events, self._rest = data.split(b"\n\n")
        if len(self._rest) > MAX_EVENT:
            raise DeniedError("upstream", 502, "the model's answer cannot be read")
        for event in events:
            for line in event.split(b"\n"):
                if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                    yield from self._of(_read(line[5:]))

    def _of(self, value: Any) -> Iterator[tuple[str, str]]:
        if self._route == "responses":
            kind, delta = value.get("type", ""), value.get("delta")
            if isinstance(delta, str):
                yield f"{value.get('item_id', '')}/{value.get('content_index', 0)}/{kind}", delta
            return
        for choice in value.get("choices") or ():
            if isinstance(choice, dict):
                delta = choice.get("delta")
                calls = delta.pop("tool_calls", None) if isinstance(delta, dict) else None
                yield from _texts(f"{choice.get('index', 0)}", delta)
                for call in calls if isinstance(calls, list) else ():
                    if isinstance(call, dict):  # parts of several calls come mixed: each says which it is of
                        yield from _texts(f"{choice.get('index', 0)}/call/{call.get('index', 0)}", call.get("function"))


def _read(data: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise DeniedError("upstream", 502, "the model's answer cannot be read") from None
    if not isinstance(value, dict):
        raise DeniedError("upstream", 502, "the model's answer cannot be read")
    return value


def _texts(lane: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield lane, value
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _texts(f"{lane}/{i}", inner)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in ("id", "object", "model", "role", "type", "created", "finish_reason", "usage", "embedding"):
                yield from _texts(f"{lane}/{name}", inner)
