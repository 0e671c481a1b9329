"""What is taken out of an answer, and what is put back, before anybody reads it: hidden reasoning for grants below AL3, and the caller's
own instructions, where a response says the request's again and the gate has put a record before them.

    editing = Editing(stream=True, hide=True, own={"instructions": "Be brief."})
    data = editing.part(whole_events)           # of a stream; or the whole answer

Hidden reasoning is whatever stands under a name, or has a type, that begins with `reasoning`, `thinking` or `thought`: its text, its
summary, what is encrypted of it; numbers (how many tokens it took) stay. Items that follow one that was left out are numbered anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from assay.access.model import DeniedError

HIDDEN = ("reasoning", "thinking", "thought", "redacted_thinking")
OWN = b'"instructions"'
AS_ASKED = frozenset({"tools", "tool_choice", "metadata", "text", "instructions", "arguments"})
"""Where a response says what was asked, or a call what its function is given: the caller's own names."""


class Editing:
    """One answer."""

    def __init__(self, *, stream: bool, hide: bool, own: Mapping[str, Any] | None) -> None:
        self._stream, self._hide, self._own = stream, hide, own
        self._left_out: set[int] = set()
        self.on = hide or own is not None

    def part(self, data: bytes) -> bytes:
        """Whole events, or the whole answer. Raises `DeniedError` (502) for what cannot be read, and so not be edited."""
        if self.spares(data):
            return data
        if not self._stream:
            value = _read(data)
            return msgspec.json.encode(value) if self._edited(value, value) else data
        return b"".join([self._event(event + b"\n\n") for event in data.split(b"\n\n") if event])

    def spares(self, data: bytes) -> bool:
        """Whether whole events may go on as they are. This is asked of every chunk: three searches cost less than a pattern's one."""
        return not self._left_out and not self._concerns(data)

    def _concerns(self, data: bytes) -> bool:
        if self._own is not None and OWN in data:
            return True
        return self._hide and (b"reasoning" in data or b"thinking" in data or b"thought" in data)

    def _event(self, event: bytes) -> bytes:
        """An event as it may go on; nothing of one that is about what was left out."""
        if self.spares(event):
            return event
        lines = event.rstrip(b"\n").split(b"\n")
        said = b"\n".join([line[5:] for line in lines if line.startswith(b"data:")])
        beside = [line for line in lines if line.startswith((b"event:", b"id:", b"retry:"))]
        odd = any(line and line not in beside and not line.startswith(b"data:") for line in lines)
        if not said.strip() or said.strip() == b"[DONE]":
            return event if not self._concerns(event) else b""
        value = _read(said)
        if self._hide and self._is_left_out(value):
            return b""
        edited = self._edited(value, value.get("response"))
        if self._renumbered(value) or edited or odd:
            return b"\n".join([*beside, b"data: " + msgspec.json.encode(value)]) + b"\n\n"
        return event

    def _is_left_out(self, value: dict[str, Any]) -> bool:
        """Whether an event of a response begins, goes on with, or ends a hidden item or part."""
        kind, place = value.get("type"), value.get("output_index")
        if isinstance(value.get("item"), dict) and _is_hidden(value["item"]):
            if isinstance(place, int):
                self._left_out.add(place)
            return True
        named = isinstance(kind, str) and kind.removeprefix("response.").startswith(HIDDEN)
        return named or _is_hidden(value.get("part")) or place in self._left_out

    def _renumbered(self, value: dict[str, Any]) -> bool:
        place = value.get("output_index")
        before = sum(1 for n in self._left_out if isinstance(place, int) and n < place)
        if before:
            value["output_index"] -= before
        return bool(before)

    def _edited(self, value: dict[str, Any], response: Any) -> bool:
        """Edit it where it stands; whether anything was changed. `response` says the request's instructions again, if anything does."""
        changed = self._hide and _without_hidden(value)
        if self._own is not None and isinstance(response, dict) and "instructions" in response:
            response["instructions"] = self._own.get("instructions")
            changed = True
        return changed


def _is_hidden(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str) and value["type"].startswith(HIDDEN)


def _without_hidden(value: Any) -> bool:
    changed = False
    if isinstance(value, list):
        kept = [inner for inner in value if not _is_hidden(inner)]
        changed = len(kept) < len(value)
        value[:] = kept
        for inner in kept:
            changed = _without_hidden(inner) or changed
    elif isinstance(value, dict):
        for name, inner in list(value.items()):
            if name.startswith(HIDDEN) and not (inner is None or isinstance(inner, (int, float))):
                del value[name]
                changed = True
            elif isinstance(inner, (dict, list)) and name not in AS_ASKED:
                changed = _without_hidden(inner) or changed
    return changed


def _read(data: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise DeniedError("upstream", 502, "the model's answer cannot be read")
    return value
