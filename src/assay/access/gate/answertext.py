"""The text of an answer, taken out of what the upstream sends as it comes: what content checks read. Bounded, and of no consequence for
what is passed on.

    reading = AnswerText("responses", stream=True, known=texts(parsed))
    for lane, text in reading.feed(chunk): ...
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from assay.access.model import DeniedError, Route

MAX_EVENT = 4 << 20
WORD = re.compile(r"[A-Za-z0-9_.:/+=@-]{0,200}\Z")
LABELS = frozenset({"id", "object", "model", "role", "type", "status", "finish_reason", "item_id", "call_id", "obfuscation"})
"""Names under which a single word is no text of the answer; anything else there is read."""


class AnswerText:
    """One answer. `lane` names what a text belongs to: a choice, a function's arguments, an output item.

    `known` are texts of the request: where a streamed response says them again, or what its parts have said before, they are left out.
    """

    def __init__(self, route: Route, *, stream: bool, known: Iterable[str] = ()) -> None:
        self._route, self._stream = route, stream
        self._rest = b""
        self._said = {_digest(text) for text in known} if stream and route == "responses" else set()
        self._saying: dict[str, Any] = {}

    def feed(self, chunk: bytes) -> Iterator[tuple[str, str]]:
        """The texts that are whole now. Raises `DeniedError` (502) for what cannot be read, or an event that does not end."""
        if not self._stream:
            yield from _texts("", _read(chunk), vectors=self._route == "embeddings")
            return
        data = self._rest + chunk
        *events, self._rest = data.split(b"\n\n")
        if len(self._rest) > MAX_EVENT:
            raise DeniedError("upstream", 502, "the model's answer cannot be read")
        for event in events:
            for line in event.split(b"\n"):
                if line.startswith(b"data:"):
                    if line[5:].strip() != b"[DONE]":
                        yield from self._of(_read(line[5:]))
                elif line:
                    yield from _beside(line)

    def _of(self, value: dict[str, Any]) -> Iterator[tuple[str, str]]:
        return self._response(value) if self._route == "responses" else _chunk(value)

    def _response(self, value: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """An event of a response: a piece of a text, or what was said already in pieces, or anything else."""
        kind, delta = value.get("type", ""), value.get("delta")
        if isinstance(delta, str):
            del value["delta"]
            lane = f"{value.get('item_id', '')}/{value.get('content_index', 0)}/{kind}"
            saying = self._saying.get(lane)
            if saying is None:
                saying = self._saying[lane] = hashlib.sha256()
            saying.update(delta.encode())
            yield lane, delta
        rest = [text for _, text in _texts("", value)]
        if rest:
            self._said |= {saying.digest() for saying in self._saying.values()}
            for text in rest:
                digest = _digest(text)
                if digest not in self._said:
                    self._said.add(digest)
                    yield "events", text


def _chunk(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A chunk of a chat's answer."""
    choices = value.pop("choices", None)
    for choice in choices if isinstance(choices, list) else [choices]:
        if not isinstance(choice, dict):
            yield from _texts("choices", choice)
            continue
        lane, delta = f"{choice.pop('index', 0)}", choice.pop("delta", None)
        calls = delta.pop("tool_calls", None) if isinstance(delta, dict) else None
        yield from _texts(lane, delta)
        for call in calls if isinstance(calls, list) else [calls]:  # parts of several calls come mixed: each says which it is of
            yield from _texts(f"{lane}/call/{call.get('index', 0)}" if isinstance(call, dict) else f"{lane}/call", call)
        if len(choice) > 1 or "finish_reason" not in choice:
            yield from _texts(f"{lane}/beside", choice)
    yield from _texts("beside", value)


def _beside(line: bytes) -> Iterator[tuple[str, str]]:
    """A line of a stream that is no data: a comment, a name, or what no client should read, and some may."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise DeniedError("upstream", 502, "the model's answer cannot be read") from None
    name, _, rest = text.partition(":")
    if name not in ("event", "id", "retry") or not WORD.match(rest.strip()):
        yield "lines", text


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _read(data: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise DeniedError("upstream", 502, "the model's answer cannot be read") from None
    if not isinstance(value, dict):
        raise DeniedError("upstream", 502, "the model's answer cannot be read")
    return value


def _texts(lane: str, value: Any, *, vectors: bool = False) -> Iterator[tuple[str, str]]:
    """Every text in a value, but for labels, for token probabilities (which repeat the text token by token) and an embedding's numbers."""
    if isinstance(value, str):
        yield lane, value
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            if inner.__class__ is not float and inner.__class__ is not int:
                yield from _texts(f"{lane}/{i}", inner, vectors=vectors)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name == "logprobs" or (vectors and name == "embedding") or (isinstance(inner, str) and name in LABELS and WORD.match(inner)):
                continue
            if inner.__class__ is str or inner.__class__ is list or inner.__class__ is dict:
                yield from _texts(f"{lane}/{name}", inner, vectors=vectors)
