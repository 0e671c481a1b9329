"""What happens to an answer on its way to the caller: content checks read it, canaries mark it, reports of use that nobody asked for go.

passing = Passing(checks.answer(asked), parsed, grant, canaries, now)
if passing.plain: ...                      # nothing to do: pass chunks on as they are
await answer.part(await passing.part(chunk)); await answer.part(await passing.end())
"""

from __future__ import annotations

import re

from assay.access.answertext import AnswerText
from assay.access.canaries import Canaries, marked_response
from assay.access.checks import Answer, Flag
from assay.access.model import Grant, Ms
from assay.access.parse import Parsed
from assay.access.upstream import without_usage

ID = re.compile(rb'"id"\s*:\s*"((?:chatcmpl|resp|cmpl|embd|[A-Za-z0-9_])[A-Za-z0-9_.:-]{0,200})"')


class Passing:
    """One answer."""

    def __init__(self, check: Answer | None, parsed: Parsed, grant: Grant, canaries: Canaries, at: Ms) -> None:
        self._check, self._parsed = check, parsed
        self._text = AnswerText(parsed.route, stream=parsed.stream) if check is not None else None
        self._strip = parsed.stream and parsed.route == "chat.completions" and not parsed.wants_usage
        self._new_id = canaries.response_id(grant.id, grant.model, at, parsed.route).encode() if "id" in grant.canaries else b""
        self._old_id = b""
        self._held = b""
        self.flags: list[Flag] = []
        self.plain = check is None and not self._strip and not self._new_id

    async def part(self, chunk: bytes) -> bytes:
        """What of it may go on now. Raises `DeniedError` where a check says that the answer must be cut."""
        if self._parsed.stream:
            whole, self._held = _whole_events(self._held + chunk)
        else:
            whole = chunk
        if not whole:
            return b""
        if self._check is not None and self._text is not None:
            for lane, text in self._text.feed(whole):
                if self._check.push(text, lane):
                    self.flags += await self._check.scan()
        return self._marked(whole)

    async def end(self) -> bytes:
        """What was held back, once everything has been read."""
        rest, self._held = self._held, b""
        if self._check is not None:
            self.flags += await self._check.scan(last=True)
        return self._marked(rest) if rest else b""

    def _marked(self, data: bytes) -> bytes:
        if self._strip and b'"usage"' in data:
            data = without_usage(data)
        if self._new_id:
            if not self._old_id:
                found = ID.search(data)
                self._old_id = found[1] if found else b""
            if self._old_id:
                data = marked_response(data, self._old_id, self._new_id)
        return data


def _whole_events(data: bytes) -> tuple[bytes, bytes]:
    """The events that are complete, and the beginning of the next."""
    at = data.rfind(b"\n\n")
    return (data[: at + 2], data[at + 2 :]) if at >= 0 else (b"", data)
