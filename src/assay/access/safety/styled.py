"""An answer of the upstream with its text set in the grant's style: JSON as it is, or events as they come.

    styled = Styled(canaries, grant, parsed)
    if styled.on: data = styled.part(whole_events); ...; data = styled.end()

Only prose that a person reads is set: the content of chat messages, streamed or not, and the output text of a response that is not
streamed. A streamed response (whose later events repeat the text), an answer in JSON form, one with token probabilities, and calls of tools
are left alone, and so is everything that cannot be read.
"""

from __future__ import annotations

from typing import Any

import msgspec

from assay.access.gate.parse import Parsed
from assay.access.model import Grant
from assay.access.safety.canaries import Canaries
from assay.access.safety.style import Styler

MAX_CHOICES = 128


class Styled:
    """One answer."""

    def __init__(self, canaries: Canaries, grant: Grant, parsed: Parsed) -> None:
        value = parsed.value
        form = value.get("response_format") or (value.get("text") or {}).get("format") if isinstance(value.get("text", {}), dict) else "odd"
        prose = form is None or (isinstance(form, dict) and form.get("type") == "text")
        fits = parsed.route == "chat.completions" or (parsed.route == "responses" and not parsed.stream)
        self.on = "style" in grant.canaries and prose and fits and not parsed.logprobs
        self._key = canaries.style_key(grant.id, grant.model) if self.on else b""
        self._stream = parsed.stream
        self._stylers: dict[int, Styler] = {}
        self._last: dict[str, Any] = {}

    def part(self, data: bytes) -> bytes:
        """Whole events of a stream, or the whole answer."""
        if not self._stream:
            return self._whole(data)
        return b"".join([self._event(event) for event in data.splitlines(keepends=True)])

    def end(self) -> bytes:
        """What is still held back, as an event of its own; nothing if the answer ended as answers do."""
        held = {index: text for index, styler in self._stylers.items() if (text := styler.end())}
        self._stylers = {}
        if not held:
            return b""
        choices = [{"index": index, "delta": {"content": text}, "finish_reason": None} for index, text in held.items()]
        return b"data: " + msgspec.json.encode({**self._last, "choices": choices}) + b"\n\n"

    def _event(self, line: bytes) -> bytes:
        if not line.startswith(b"data:"):
            return line
        payload = line[5:].strip()
        if payload == b"[DONE]":
            return self.end() + line
        value = _json(payload)
        if not isinstance(value, dict) or not isinstance(value.get("choices"), list):
            return line
        self._last = {k: v for k, v in value.items() if k not in ("choices", "usage")}
        changed = False
        for choice in value["choices"]:
            if isinstance(choice, dict) and type(index := choice.get("index", 0)) is int:
                changed = self._choice(choice, index) or changed
        return b"data: " + msgspec.json.encode(value) + line[len(line.rstrip(b"\r\n")) :] if changed else line

    def _choice(self, choice: dict[str, Any], index: int) -> bool:
        delta = choice.get("delta")
        given = delta.get("content") if isinstance(delta, dict) else None
        styler = self._stylers.get(index)
        out = ""
        if isinstance(given, str) and given:
            if styler is None:
                if len(self._stylers) >= MAX_CHOICES:
                    return False
                styler = self._stylers[index] = Styler(self._key)
            out = styler.feed(given)
        if styler is not None and choice.get("finish_reason") is not None:
            out += self._stylers.pop(index).end()
        if out == (given or ""):
            return False
        choice["delta"] = {**(delta if isinstance(delta, dict) else {}), "content": out}
        return True

    def _whole(self, data: bytes) -> bytes:
        value = _json(data)
        if not isinstance(value, dict):
            return data
        places = [c.get("message") for c in _dicts(value.get("choices"))]
        parts = [p for item in _dicts(value.get("output")) for p in _dicts(item.get("content")) if p.get("type") == "output_text"]
        for holder, name in [*((m, "content") for m in places), *((p, "text") for p in parts)]:
            if isinstance(holder, dict) and isinstance(holder.get(name), str):
                styler = Styler(self._key)
                holder[name] = styler.feed(holder[name]) + styler.end()
        return msgspec.json.encode(value)


def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []
