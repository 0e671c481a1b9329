"""What happens to an answer on its way to the caller: what is not the caller's goes, content checks read it, canaries mark it, reports of
use that nobody asked for go. `parsed` is the request as it came.

    passing = Passing(checks.answer(asked), parsed, grant, canaries, now)
    if passing.plain or passing.spares(chunk): ...         # nothing to do: pass it on as it is
    await answer.part(await passing.part(chunk)); await answer.part(await passing.end())

Checks read what is to go on, before anything is marked; a stream is taken event by event, however its lines end.
"""

from __future__ import annotations

import re

from assay.access.gate.answertext import AnswerText
from assay.access.gate.editing import Editing
from assay.access.gate.parse import Parsed, texts
from assay.access.gate.upstream import without_usage
from assay.access.model import DeniedError, Grant, Ms
from assay.access.safety.canaries import Canaries, marked_response
from assay.access.safety.checks import Answer, Flag
from assay.access.safety.styled import Styled

ID = re.compile(rb'"id"\s*:\s*"([A-Za-z0-9_.:-]{1,200})"')
MAX_EVENT = 4 << 20


class Passing:
    """One answer. `flags` are what checks have found so far."""

    def __init__(self, check: Answer | None, parsed: Parsed, grant: Grant, canaries: Canaries, at: Ms) -> None:
        self._check, self._stream = check, parsed.stream
        self._text = AnswerText(parsed.route, stream=parsed.stream, known=texts(parsed)) if check is not None else None
        self._strip = parsed.stream and parsed.route == "chat.completions" and not parsed.wants_usage
        self._new_id = canaries.response_id(grant.id, grant.model, at, parsed.route).encode() if "ids" in grant.canaries else b""
        self._old_id = b""
        self._styled = Styled(canaries, grant, parsed)
        own = parsed.value if parsed.route == "responses" and "note" in grant.canaries else None
        self._editing = Editing(stream=parsed.stream, hide=grant.level != "AL3" and parsed.route != "embeddings", own=own)
        self._held = b""
        self.flags: list[Flag] = []
        self._only_edits = check is None and not self._strip and not self._new_id and not self._styled.on
        self.plain = self._only_edits and not self._editing.on

    def spares(self, chunk: bytes) -> bool:
        """Whether a chunk of a stream may go on as it is: whole events after whole events, in which nothing is to be taken out."""
        return self._only_edits and not self._held and chunk.endswith(b"\n\n") and self._editing.spares(chunk)

    async def part(self, chunk: bytes) -> bytes:
        """What of it may go on now. Raises `DeniedError` where a check says that the answer must be cut, or an event does not end."""
        if not self._stream:
            return await self._passed(chunk)
        whole, self._held = _events(self._held + chunk)
        if len(self._held) > MAX_EVENT:
            raise DeniedError("upstream", 502, "the model's answer cannot be read")
        return await self._passed(whole) if whole else b""

    async def end(self) -> bytes:
        """What was held back, once everything has been read."""
        rest, self._held = self._held, b""
        out = b""
        if rest:
            out = await self._passed(rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\n") + b"\n\n")
        if self._check is not None:
            self.flags += await self._check.scan(last=True)
        return out + (self._styled.end() if self._styled.on and self._stream else b"")

    async def _passed(self, data: bytes) -> bytes:
        if self._editing.on:
            data = self._editing.part(data)
        if self._check is not None and self._text is not None:
            for lane, text in self._text.feed(data):
                if self._check.push(text, lane):
                    self.flags += await self._check.scan()
        if self._strip and b'"usage"' in data:
            data = without_usage(data)
        if self._styled.on:
            data = self._styled.part(data)
        if self._new_id:
            if not self._old_id:
                found = ID.search(data)
                self._old_id = found[1] if found else b""
            if self._old_id:
                data = marked_response(data, self._old_id, self._new_id)
        return data


def _events(data: bytes) -> tuple[bytes, bytes]:
    """The events that are whole, their lines ended by line feeds, and the beginning of the next as it came."""
    if b"\r" in data:
        last = b"\r" if data.endswith(b"\r") else b""  # its line feed may come with the next chunk
        data = data[: len(data) - len(last)].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + last
    at = data.rfind(b"\n\n")
    return (data[: at + 2], data[at + 2 :]) if at >= 0 else (b"", data)
