"""What Assay takes of one sample of a log: requests, answers, scores, as bounded text. The same for a sample that Inspect read and for one
that `direct.py` did; Inspect is not needed here.

    taken = take(sample)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from assay.exchange.inspect_log.direct import Message
from assay.exchange.inspect_log.samples import MAX_FIELDS, MAX_TEXT, LogSample, LogScore

Seen = Any
"""Of Inspect (`EvalSample`, `ChatMessage`), or of `direct.py`, which has the same names for what is looked at."""


def take(s: Seen) -> LogSample:
    """All that is taken of a sample."""
    prompt, unfit = _request(s)
    answer, odd = _said(s)
    usage = s.output.usage
    before = [m for m in s.messages if m.role != "assistant"]
    return LogSample(
        id=clean(str(s.id)), epoch=s.epoch, prompt=prompt[:MAX_TEXT], unfit=unfit, answer=answer[:MAX_TEXT],
        failure=short(_failure(s) or odd), finish=short(s.output.stop_reason if s.output.choices else "", 40),
        truncated=len(answer) > MAX_TEXT,
        tokens=(usage.input_tokens, usage.output_tokens) if usage else (0, 0),
        scores=dict(_scores(s)), fields=dict(_fields(s.metadata)), began=_began(s),
        cached=any(e.event == "model" and e.cache == "read" for e in s.events),
        more=[m.text for m in before] != [prompt] if not unfit else False,
        uuid=short(s.uuid or "", 100),
    )  # fmt: skip


def _began(s: Seen) -> int:
    """When it was begun: the earliest time of the sample and of its events; 0 where it does not say."""
    if not s.started_at:
        return 0
    times = [e.timestamp for e in s.events]
    if all(isinstance(t, str) for t in times):
        first = min((t[:19] for t in times), default="")
        times = [ms(t) for t in times if t.startswith(first)]
    else:
        times = [round(t.timestamp() * 1000) for t in times]
    return max(0, min(int(t) for t in (ms(s.started_at), *times)))


def _request(s: Seen) -> tuple[str, str]:
    """The input as one text; or why it is none."""
    messages: list[Seen] = [Message("user", s.input)] if isinstance(s.input, str) else list(s.input)
    if len(messages) != 1 or messages[0].role != "user":
        return "", f"{len(messages)} messages ({', '.join(m.role for m in messages[:6])})"
    text, odd = _text(messages[0])
    return (text.strip(), "" if text.strip() else "no text") if not odd else ("", odd)


def _said(s: Seen) -> tuple[str, str]:
    """All that the model said and called, in order, and its output last; or why that is no text."""
    parts: list[str] = []
    for message in s.messages:
        if message.role == "assistant" and message.source != "input":
            text, odd = _text(message)
            if odd:
                return "", f"the answer holds {odd}"
            calls = [_call(c.function, c.arguments) for c in message.tool_calls or ()]
            parts += [part for part in (text, *calls) if part.strip()]
    last = clean(s.output.completion)
    if last.startswith("attachment://"):  # Inspect puts attachments back into messages, not into the output, which repeats the last one
        if not parts:
            return "", "the answer is an attachment that the log does not have"
        last = ""
    if last.strip() and last.strip() not in (p.strip() for p in parts[-1:]):
        parts.append(last)
    return "\n".join(parts), ""


def _text(message: Seen) -> tuple[str, str]:
    """A message's text, what a server's own tools were asked included, reasoning left out; or what in it is no text."""
    if isinstance(message.content, str):
        text = clean(message.content)
        return ("", "an attachment that the log does not have") if text.startswith("attachment://") else (text, "")
    parts = []
    for content in message.content:
        if content.type == "text":
            parts.append(clean(content.text))
        elif content.type == "tool_use":
            parts.append(_call(content.name, content.arguments))
        elif content.type != "reasoning":
            return "", f"content that is no text ({content.type})"
    if any(part.startswith("attachment://") for part in parts):
        return "", "an attachment that the log does not have"
    return "\n".join(parts), ""


def _call(name: str, arguments: Any) -> str:
    """A call in the form in which Assay writes calls."""
    return clean(f"CALL {json.dumps({'tool': name, 'arguments': arguments}, ensure_ascii=False, default=str)}")


def _failure(s: Seen) -> str:
    """Why a sample has no answer that can be scored."""
    if s.error is not None:
        return f"errored in the log: {s.error.message}"
    if s.invalidation is not None:
        return "invalidated in the log"
    if s.limit is not None:
        return f"stopped by a limit in the log ({s.limit.type})"
    if s.output.error:
        return f"the model's call failed in the log: {s.output.error}"
    if s.started_at and not s.completed_at:
        return "not completed in the log"
    return ""


def _scores(s: Seen) -> Iterator[tuple[str, LogScore]]:
    """Every score by its scorer's name; of a score with several values each, by `scorer.value`."""
    for name, score in list((s.scores or {}).items())[:MAX_FIELDS]:
        edited = f"(edited {len(score.history)} times) " if score.history else ""
        explanation, odd = short(edited + (score.explanation or "")), short(score.reason or "")
        values: Iterable[tuple[str, Any]] = [("", score.value)]
        if isinstance(score.value, dict):
            values = [(f".{k}", v) for k, v in score.value.items()]
        elif isinstance(score.value, list):
            values = [(f".{i}", v) for i, v in enumerate(score.value)]
        for key, value in list(values)[:MAX_FIELDS]:
            yield short(name + key, 200), LogScore(_value(value), explanation, odd)


def _value(value: Any) -> str:
    """A plain value as text: `true`, `1` (also for 1.0), `0.25`, a word."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return short(str(value), 1000)


def _fields(metadata: dict[str, Any]) -> Iterator[tuple[str, str]]:
    plain = [(k, v) for k, v in metadata.items() if isinstance(v, str | int | float | bool)]
    for key, value in plain[:MAX_FIELDS]:
        yield short(key, 200), _value(value)


def ms(when: str | None) -> int:
    """Unix milliseconds of an ISO time; 0 where there is none."""
    if not when:
        return 0
    time = datetime.fromisoformat(when)
    return max(0, round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000))


def clean(text: str) -> str:
    """A text that can be kept: lone surrogates become question marks."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


def short(text: str, most: int = 2000) -> str:
    """The same, cut."""
    return clean(text)[:most]
