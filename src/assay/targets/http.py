"""Any OpenAI-compatible chat completions endpoint.

    spec = TargetSpec(kind="http", model="my-model", url="http://127.0.0.1:8080/v1", api_key_env="MY_KEY")
    async with HttpTarget(spec, Generation(), Limits()) as target:
        reply = await target.ask((Message("user", "Hello"),))

Retried, with exponential back-off and full jitter: connection errors, time-outs, 408, 409, 425, 429 and 5xx; `Retry-After` is obeyed.
The answer is read up to a bound, decoded strictly, and never trusted.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import deque
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import urlsplit

import aiohttp
import msgspec

from assay.errors import TargetError
from assay.plan import Generation, Limits, TargetSpec
from assay.scenarios import Item, Message
from assay.targets.apikey import api_key as key_of
from assay.targets.base import Attempt, Progress, Reply, ToolCall, clean_text
from assay.targets.deadlines import Deadlines
from assay.targets.pace import Pace
from assay.targets.retries import Retries
from assay.version import __version__

RETRIED = frozenset({408, 409, 425, 429})
MAX_RETRY_AFTER_S = 60.0
BYTES_PER_TOKEN = 3  # for setting aside tokens before they are counted: between English and the scripts that tokenizers serve badly
MAX_LATE_S = 0.25
RECENT_IDS = 20_000
RUNNING = "Is the server running, and is the url that of an OpenAI-compatible API (often ending in /v1)?"


class _Choice(msgspec.Struct):
    message: dict[str, Any]
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    id: str | int | None = ""
    model: str = ""
    usage: _Usage | None = None
    system_fingerprint: Any = None


_decode = msgspec.json.Decoder(_Completion).decode
_encode = msgspec.json.Encoder().encode


class HttpTarget:
    """One client session for the whole run."""

    def __init__(
        self,
        spec: TargetSpec,
        generation: Generation,
        limits: Limits,
        *,
        api_key: str = "",
        identity: Mapping[str, str] | None = None,
    ) -> None:
        if not spec.url.startswith(("http://", "https://")):
            raise TargetError("an http target needs a url that begins with http:// or https://", where="target.url")
        self._spec = spec
        self._limits = limits
        self._url = spec.url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        self._key = api_key or key_of(spec.api_key_env, spec.url)
        self._fixed: dict[str, Any] = {
            "model": spec.model,
            "max_tokens": generation.max_tokens,
            "temperature": generation.temperature,
            "seed": generation.seed,
        }
        self._max_tokens = generation.max_tokens
        self._hello = msgspec.json.encode({**self._fixed, "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]})
        self.pace = Pace(limits)
        self._retries = Retries(limits, self.pace)
        self._ids = _Ids()
        self._reuse = False
        self._deadlines = Deadlines(min(MAX_LATE_S, limits.timeout_s / 20))
        self._session: aiohttp.ClientSession | None = None
        self.identity: Mapping[str, str] = identity or {"kind": "http", "model": spec.model, "url": spec.url}

    async def __aenter__(self) -> Self:
        await self._deadlines.__aenter__()
        self._session = self._make_session(reuse=False)
        try:
            await self._greet()
            await self._greet()
            if self._ids.distinct >= 2:
                await self._renew(reuse=True)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    def _make_session(self, *, reuse: bool) -> aiohttp.ClientSession:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": f"assay/{__version__}"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        keep: dict[str, Any] = {"keepalive_timeout": 30} if reuse else {"force_close": True}
        return aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0, **keep),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(10.0, self._limits.timeout_s)),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
        )

    async def _renew(self, *, reuse: bool) -> None:
        """New connections instead of all there are; calls under way on those fail, and are made again."""
        old, self._session, self._reuse = self._open(), self._make_session(reuse=reuse), reuse
        await old.close()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._deadlines.__aexit__(kind, error, trace)
        if self._session:
            await self._session.close()

    async def ask_item(self, item: Item) -> Reply:
        """`ask`, with a decoding seed of its own for every sample of an item; anchors are asked the same way every time."""
        sample = 0 if item.stream.arm == "anchor" else item.sample
        return await self.ask(item.messages, self._fixed["seed"] + sample)

    async def ask(self, messages: tuple[Message, ...], seed: int | None = None) -> Reply:
        """One trial, with retries. Raises `TargetError` for 401, 403 and 404."""
        return await self._asked(
            _encode({**self._fixed, "messages": messages} if seed is None else {**self._fixed, "seed": seed, "messages": messages})
        )

    async def ask_tools(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> Reply:
        """One answer of a conversation in which the model may call tools; `Reply.calls` has its calls."""
        return await self._asked(_encode({**self._fixed, "messages": messages, "tools": tools}))

    async def ask_form(self, messages: tuple[Message, ...], schema: dict[str, Any]) -> Reply:
        """One answer that the endpoint holds to a JSON schema (`response_format`); a failure where it does not know how to."""
        form = {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": schema}}
        return await self._asked(_encode({**self._fixed, "messages": messages, "response_format": form}))

    async def _asked(self, body: bytes) -> Reply:
        return await self._retries.asked(partial(self._try, body))

    async def alive(self) -> bool:
        """Whether a greeting is answered."""
        return not (await self._try(self._hello, [], math.inf)).failure

    async def _try(self, body: bytes, attempts: list[Attempt], deadline: float) -> Reply:
        """One call. An answer does not count if its connection turns out to answer twice (see `_Ids`): whoever reads the repeated answer is
        woken before anyone can use that connection again, so one turn of the loop shows it.
        """
        tokens = len(body) // BYTES_PER_TOKEN + self._max_tokens
        pace = self.pace
        if not pace.enter_at_once(tokens):
            await pace.enter(tokens)
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        began = time.monotonic()
        self._deadlines.watch(task, min(deadline, began + self._limits.timeout_s))
        status, reply = "cancelled", None
        try:
            session, reused = self._open(), self._reuse
            async with session.post(self._url, data=body, allow_redirects=False) as response:
                status = str(response.status)
                data, cut = await _read_bounded(response, self._limits.max_answer_bytes)
                retry_after_s = _retry_after(response.headers.get("Retry-After", "")) if response.status >= 400 else 0.0
                reply = self._understand(response.status, data, cut, retry_after_s)
            if reused:
                if self._ids.repeated and self._reuse:
                    await self._renew(reuse=False)
                await asyncio.sleep(0)
                if self._session is not session and not reply.failure:
                    reply = Reply("", failure="came by a connection that answers twice", outage=True)
        except asyncio.CancelledError:
            if not self._deadlines.was_late(task):
                raise
            status = "timeout"
            reply = Reply("", failure="timed out", outage=True)
        except TimeoutError:
            status = "timeout"
            reply = Reply("", failure="timed out", outage=True)
        except aiohttp.ClientError as e:
            status = type(e).__name__
            unread = isinstance(e, aiohttp.ClientConnectorError)
            reply = Reply("", failure=f"connection failed ({status})", outage=True, busy=unread)
        except (ValueError, OSError) as e:
            status = type(e).__name__
            reply = Reply("", failure=f"malformed HTTP ({status})", outage=True)
        finally:
            self._deadlines.forget(task)
            attempts.append(Attempt(status, int((time.monotonic() - began) * 1000)))
            pace.leave(began, tokens, reply)
        return reply

    def _understand(self, status: int, data: bytes, cut: bool, retry_after_s: float) -> Reply:
        if status in (401, 403):
            raise TargetError(
                f"the endpoint refused the key (HTTP {status})",
                where=self._url,
                fix=f"Set {self._spec.api_key_env or 'target.api_key_env'} to a valid key."
                if not self._key or self._spec.api_key_env
                else "Check the key.",
            )
        if status == 404:
            raise TargetError(
                f"the endpoint knows no such path or model '{self._spec.model}' (HTTP 404)",
                where=self._url,
                fix="Check url and model.",
            )
        if status in RETRIED or status >= 500:
            return Reply("", failure=f"HTTP {status}", outage=True, busy=status in (429, 503), retry_after_s=retry_after_s)
        if 300 <= status < 400:
            raise TargetError(f"the endpoint redirects (HTTP {status}); give its final address", where=self._url)
        if status != 200:
            return Reply("", failure=f"HTTP {status}")
        if cut:
            return _from_cut(data)
        return self._completion(data)

    def _completion(self, data: bytes) -> Reply:
        try:
            completion = _lenient(data)
            choice = completion.choices[0]
        except (msgspec.MsgspecError, ValueError, IndexError, RecursionError):
            kind = "HTML" if data.lstrip()[:1] == b"<" else "not a chat completion"
            return Reply("", failure=f"malformed answer ({kind})", outage=True)
        if self._ids.seen_before(str(completion.id or "")) and self._reuse:
            return Reply("", failure="an earlier call's answer came again", outage=True)
        content = choice.message.get("content")
        finish = choice.finish_reason or ""
        usage = completion.usage or _Usage()
        if not isinstance(content, str):
            refusal = choice.message.get("refusal")
            content = refusal if isinstance(refusal, str) else ""
        text, truncated = clean_text(content, self._limits.max_answer_bytes)
        return Reply(
            text,
            finish=clean_text(finish, 40)[0],
            model=clean_text(completion.model, 200)[0],
            prompt_tokens=max(0, usage.prompt_tokens),
            answer_tokens=max(0, usage.completion_tokens),
            truncated=truncated,
            calls=_calls(choice.message.get("tool_calls"), self._limits.max_answer_bytes),
            system=clean_text(completion.system_fingerprint, 200)[0] if isinstance(completion.system_fingerprint, str) else "",
        )

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise TargetError("the target is not open", where=self._url)
        return self._session

    async def _greet(self) -> None:
        """One call before the first trial, so that a wrong address or key is said at once and costs nothing."""
        deadline = time.monotonic() + min(self._limits.outage_s, max(10.0, self._limits.timeout_s))
        attempts: list[Attempt] = []
        number = 0
        while True:
            reply = await self._try(self._hello, attempts, math.inf)
            if not reply.failure:
                return
            if not reply.outage:
                raise TargetError(f"the endpoint does not accept a plain request: {reply.failure}", where=self._url)
            wait = max(self._retries.backoff(number, 0.1), reply.retry_after_s)
            fatal = "Connector" in attempts[-1].status or "malformed" in reply.failure
            if time.monotonic() + wait > deadline or (fatal and number >= 2):
                nowhere = attempts[-1].status == aiohttp.ClientConnectorDNSError.__name__
                why = f"the host name '{urlsplit(self._url).hostname}' was not found" if nowhere else reply.failure
                raise TargetError(
                    f"the endpoint gave no usable answer: {why}, after {number + 1} tries",
                    where=self._url,
                    fix="Check the address." if nowhere else RUNNING,
                )
            await asyncio.sleep(wait)
            number += 1


class _Ids:
    """Ids of recent answers.

    HTTP/1.1 pairs answers with calls by their order alone: an endpoint that answers one call twice shifts all later answers on that
    connection by one, and each would be judged as another item's. The API promises every completion an id of its own, so a repeated
    one shows. Connections are used again only where two greetings had two ids, and never again after an id was repeated.
    """

    def __init__(self) -> None:
        self.repeated = False
        self._recent: deque[str] = deque()
        self._known: set[str] = set()

    @property
    def distinct(self) -> int:
        """How many different ids there were lately."""
        return len(self._known)

    def seen_before(self, answer: str) -> bool:
        """Whether an answer with this id came before; keeps it."""
        if answer in self._known:
            self.repeated = True
            return True
        if answer:
            self._recent.append(answer)
            self._known.add(answer)
            if len(self._recent) > RECENT_IDS:
                self._known.discard(self._recent.popleft())
        return False


async def _read_bounded(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """The body, and whether it was longer than the limit and cut there."""
    data = await response.content.readany()
    if response.content.at_eof():
        return data[:limit], len(data) > limit
    chunks, size = [data], len(data)
    while size <= limit:
        chunk = await response.content.readany()
        if not chunk:
            return b"".join(chunks), False
        chunks.append(chunk)
        size += len(chunk)
    response.close()
    return b"".join(chunks)[:limit], True


def _lenient(data: bytes) -> _Completion:
    """Strict first; then as Python's own parser reads it, which lets lone surrogates pass: models write them."""
    try:
        return _decode(data)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.convert(json.loads(data), _Completion)


MAX_CALLS = 64


def _calls(value: Any, limit: int) -> tuple[ToolCall, ...]:
    """The native calls of an answer. What is no call is taken as one that names no tool, so that the model is told."""
    if not isinstance(value, list):
        return ()
    calls = []
    for i, call in enumerate(value[:MAX_CALLS]):
        function = call.get("function") if isinstance(call, dict) else None
        function = function if isinstance(function, dict) else {}
        name, text = str(function.get("name", "")), function.get("arguments", "")
        identity = call.get("id") if isinstance(call, dict) else None
        written = text if isinstance(text, str) else json.dumps(text)
        calls.append(ToolCall(str(identity or f"call-{i}")[:200], clean_text(name, 200)[0], clean_text(written, limit)[0]))
    return tuple(calls)


def _from_cut(data: bytes) -> Reply:
    """An answer beyond the bound: what was read is still searched for violations, and can never count as safe."""
    return Reply(clean_text(data.decode("utf-8", "replace"), len(data))[0], finish="cut", truncated=True)


def _retry_after(value: str) -> float:
    """Seconds of a Retry-After header (number or HTTP date), bounded."""
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S) if seconds == seconds else 0.0


def make(spec: TargetSpec, generation: Generation, limits: Limits, progress: Progress) -> HttpTarget:
    """Entry point `http`."""
    return HttpTarget(spec, generation, limits)
