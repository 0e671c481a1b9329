"""What Inspect's outputs and errors are to Assay. Imports Inspect: only for processes that run it.

    answer = read_output(1, await model.generate(...), most=262_144)
    answer = read_error(1, error, model)            # what `model.generate` raised

Words about a failure are Assay's own: a status, or the name of the error. What a provider's error says may quote the request or the key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from inspect_ai.model import Model, ModelOutput, RetryDecision

from assay.targets.base import clean_text
from assay.targets.inspect_wire import MOST_CALLS, Answer, Called

REFUSED_KEY = frozenset({401, 403})
BUSY = frozenset({429, 503, 529})
RETRIED = frozenset({408, 409, 425, 429})
MAX_RETRY_AFTER_S = 60.0
_DEPTH = 8
TIMED_OUT = ("timeout", "timedout")
CONNECTION = ("connect", "network", "remoteprotocol")


def read_output(number: int, output: ModelOutput, most: int) -> Answer:
    """The answer. What the provider's filter stopped, what did not fit the context, what another model served, and what is no text are
    failures: Inspect puts an error's words in the place of the model's own there.
    """
    if output.empty:
        return Answer(number, failure="malformed answer (no choice)", outage=True)
    failure = _no_answer(output)
    usage = output.usage
    prompt = (usage.input_tokens + (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)) if usage else 0
    text, truncated = clean_text(output.message.text, most)
    calls, cut = _calls(output.message.tool_calls or (), most)
    return Answer(
        number, "" if failure else text, finish=clean_text(output.stop_reason, 40)[0], model=clean_text(output.model, 200)[0],
        prompt_tokens=max(0, prompt), answer_tokens=max(0, usage.output_tokens) if usage else 0, truncated=truncated or cut,
        calls=() if failure else calls, failure=failure,
    )  # fmt: skip


def _no_answer(output: ModelOutput) -> str:
    """Why an output is no answer of the model's; empty if it is one."""
    if output.error:
        return "the provider moderated the request"
    match output.stop_reason:
        case "content_filter":
            return "the provider's content filter stopped it"
        case "model_length":
            return "the model's context is too short for it"
    if output.fallback is not None:
        return "another model answered"
    content = output.message.content
    odd = [part.type for part in content if part.type not in ("text", "reasoning")] if isinstance(content, list) else []
    return f"the answer holds content that is no text ({odd[0]})" if odd else ""


def _calls(found: Any, most: int) -> tuple[tuple[Called, ...], bool]:
    """The native calls, and whether they were cut: their arguments together have at most so many characters."""
    calls, left, cut = [], most, len(found) > MOST_CALLS
    for i, call in enumerate(found[:MOST_CALLS]):
        written = call.parse_error or json.dumps(call.arguments, ensure_ascii=False, default=str)
        text, shortened = clean_text(written, left)
        left, cut = left - len(text), cut or shortened
        calls.append(Called(clean_text(str(call.id or f"call-{i}"), 200)[0], clean_text(call.function, 200)[0], text))
    return tuple(calls), cut


def read_error(number: int, error: BaseException, model: Model) -> Answer:
    """What a call that raised came to. An error that nobody knows is taken for the endpoint's: whether it is the item's shows when the
    same item fails again while others are answered.
    """
    chain = list(causes(error))
    cause, status = chain[-1], next((s for e in chain if (s := status_of(e))), 0)
    name = clean_text(type(cause).__name__, 60)[0]
    if status in REFUSED_KEY or status == 404:
        return Answer(number, status=str(status), failure=f"HTTP {status}", fatal=True)
    if any(isinstance(e, Exception) and model.api.is_auth_failure(e) for e in chain):
        return Answer(number, status=name, failure=f"the provider refused the key ({name})", fatal=True)
    again, busy, wait_s = _decided(chain, model)
    words = " ".join(type(e).__name__ for e in chain).casefold()
    if status:
        outage = again or status in RETRIED or status >= 500
        return Answer(
            number, status=str(status), failure=f"HTTP {status}", outage=outage, busy=busy or status in BUSY, retry_after_s=wait_s
        )
    if any(word in words for word in TIMED_OUT):
        return Answer(number, status="timeout", failure="timed out", outage=True)
    if any(word in words for word in CONNECTION):
        unread = any("connecterror" in type(e).__name__.casefold() for e in (*chain, *_contexts(cause)))
        return Answer(number, status=name, failure=f"connection failed ({name})", outage=True, busy=unread)
    return Answer(number, status=name, failure=f"the provider's client failed ({name})", outage=True, busy=busy, retry_after_s=wait_s)


def _decided(chain: list[BaseException], model: Model) -> tuple[bool, bool, float]:
    """What the provider says of an error: whether to try again, whether it was turned away for its rate, and seconds to wait."""
    for error in chain:
        if not isinstance(error, Exception):
            continue
        try:
            said = model.api.should_retry(error)
        except Exception:  # noqa: BLE001, S112 (a provider's own reading of an error that is not its own)
            continue
        if isinstance(said, RetryDecision) and said.retry:
            return True, said.kind == "rate_limit", min(max(said.retry_after or 0.0, 0.0), MAX_RETRY_AFTER_S)
        if said:
            return True, False, 0.0
    return False, False, 0.0


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it was raised from: Inspect wraps those of its providers, and tenacity the last one when it gives up."""
    for _ in range(_DEPTH):
        yield error
        attempt = getattr(error, "last_attempt", None)
        inner = attempt.exception() if attempt is not None else error.__cause__
        if inner is None:
            return
        error = inner


def _contexts(error: BaseException) -> Iterator[BaseException]:
    for _ in range(_DEPTH):
        inner = error.__cause__ or error.__context__
        if inner is None:
            return
        yield inner
        error = inner


def status_of(error: BaseException) -> int:
    """The HTTP status that an error carries, 0 if it carries none."""
    for value in (getattr(error, "status_code", None), getattr(getattr(error, "response", None), "status_code", None)):
        if isinstance(value, int) and 100 <= value <= 599:
            return value
    code = getattr(error, "code", None)
    return code if isinstance(code, int) and 400 <= code <= 599 else 0
