"""The gateway: raw ASGI. Every request passes, in this order: route and host, credentials, grant, decision and halts, rules, checks,
quota, the audit record on disk; only then does it go upstream, and what comes back is cut the moment that it may not go on.

    app = Gateway(config, store, worker=0)        # uvicorn runs it; see serve.py

Whatever is missing, late, malformed or unreachable is a denial. A denial says by which rule, and nothing of what lies behind the gate.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from contextlib import suppress
from typing import Any, Literal

import msgspec

from assay.access.audit.log import AuditLog
from assay.access.audit.records import shown
from assay.access.config import Config
from assay.access.credentials.secretfile import read_secrets
from assay.access.credentials.tls import peer_certificate
from assay.access.credentials.tokens import Proven, Tokens, holder
from assay.access.gate.live import Live, Registry
from assay.access.gate.metrics import Metrics
from assay.access.gate.parse import Parsed, parse, texts
from assay.access.gate.passing import Passing
from assay.access.gate.recording import BELIEVED, Outcome, Records, RefusedError, Strangers, now_ms
from assay.access.gate.reply import JSON_HEADERS, STREAM_HEADERS, Receive, Reply, Scope, Send, body_of, network_of
from assay.access.gate.sessions import Session, Telling
from assay.access.gate.teeth import Teeth, View
from assay.access.gate.traces import Span, open_traces
from assay.access.gate.upstream import Upstream, usage_in
from assay.access.gate.wire import Answer
from assay.access.grants.quota import Quotas, Reservation
from assay.access.model import Asked, DeniedError, Grant, Person, Route
from assay.access.rules.decide import Ruled, Rules
from assay.access.safety.canaries import Canaries, with_note
from assay.access.safety.checks import CheckDeniedError, Checks
from assay.access.safety.sketches import Sketcher, last_words
from assay.access.store.base import Amounts, Store
from assay.errors import AssayError

ROUTES: dict[tuple[str, bytes], Route] = {
    ("POST", b"/v1/chat/completions"): "chat.completions",
    ("POST", b"/v1/responses"): "responses",
    ("POST", b"/v1/embeddings"): "embeddings",
    ("GET", b"/v1/models"): "models",
}
ONCE = frozenset({b"host", b"authorization", b"content-type", b"content-length", b"transfer-encoding", b"dpop"})
MAX_SYSTEM = 300
HOURS = "hours"
MAX_RULED = 20_000
MAX_ANSWER = 64 << 20
NOTHING = Amounts(0, 0, 0)
METRICS = "metrics"
TOKEN = b"/access/token"
MOST_PROBLEMS = 20


class Gateway:
    """One worker's application."""

    def __init__(self, config: Config, store: Store, worker: int) -> None:
        self._config = config
        self._store = store
        self._hosts = frozenset(h.encode() for h in config.hosts)
        self._tokens = Tokens.read(config)
        self._teeth = Teeth(config, store)
        self._rules = Rules.load(config.path(config.policies) if config.policies else None)
        self._canaries = Canaries(read_secrets(config.path(config.canary_secret or config.secret))[0].value)
        self._sketcher = Sketcher(read_secrets(config.path(config.canary_secret or config.secret))[0].value)
        self._checks = Checks.load(
            config.checks, config.path(config.check_settings) if config.check_settings else None, context=self._canaries
        )
        self._quotas = Quotas(store)
        self._audit = AuditLog.open(config, store, worker)
        self._upstream = Upstream(config)
        self.metrics = Metrics(config.path(METRICS), models=tuple(config.models))
        self._records = Records(self._audit, self.metrics)
        self._strangers = Strangers(self._audit.note)
        self._traces = open_traces(config.tracing.endpoint)
        self.live = Registry(config.bounds.streams)
        self._ruled: dict[Any, Ruled] = {}
        self._ruled_epoch = self._followed = -1
        self._ids = _Ids()
        self._running = False
        self._telling = Telling(store)
        self._problems: set[str] = set()
        self._ticking: asyncio.Task[None] | None = None

    # Life

    async def start(self) -> None:
        """Read what holds, open the log and the connections. Raises `AssayError` if any of it cannot be had: the gate stays shut."""
        await self._audit.start()
        await self._teeth.start(self._changed)
        self._audit.observe = self._observed
        self._quotas.follow(self._teeth.view.grants)
        self._ticking = asyncio.create_task(self._tick())
        self._running = True

    async def stop(self) -> None:
        """Take nothing more, cut what is under way, give quotas back, and close the log."""
        self._running = False
        self.live.cut(lambda _: "the gate is closing")
        for _ in range(200):
            if not len(self.live):
                break
            await asyncio.sleep(0.01)
        if self._ticking is not None:
            self._ticking.cancel()
        await self._teeth.stop()
        self._upstream.stop()
        await asyncio.to_thread(self._traces.close)
        await asyncio.to_thread(self._quotas.close)
        await self._audit.stop()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._note_problem(self._teeth.problem)
            with suppress(AssayError):
                await asyncio.to_thread(self._quotas.tick, now_ms())
            with suppress(AssayError):
                under_way = [
                    Session(x.id, x.grant.model, x.grant.id, x.grant.organisation, x.person, x.route, x.since, x.events) for x in self.live
                ]
                await asyncio.to_thread(self._telling.publish, under_way, now_ms())

    def _note_problem(self, problem: str) -> None:
        """Why the store cannot be read is for the log: it may name the store's address and user, and /readyz answers anybody."""
        if not problem:
            self._problems.clear()
        elif problem not in self._problems and len(self._problems) < MOST_PROBLEMS:
            self._problems.add(problem)
            self._audit.note({"kind": "error", "at": now_ms(), "what": shown(f"store: {problem}")})

    def _observed(self, seconds: float, waiting: int) -> None:
        self.metrics.fsync(seconds)
        self.metrics.audit_queue(waiting)

    def _changed(self) -> None:
        """Something in the store is other than before: cut what may not go on. Without a lease, that is everything."""
        now = now_ms()
        try:
            view = self._teeth.view
        except DeniedError as e:
            why = e.what
            self.live.cut(lambda _: why)
            return
        if view.epoch != self._followed:
            self._followed = view.epoch
            self._quotas.follow(view.grants)
        self.live.cut(lambda live: view.closed(live.grant.id, live.grant.version, live.person, now) or view.cut.get(live.id, ""))
        self.metrics.view(view.epoch, self._teeth.age)
        for model, decided in view.decided.items():
            self.metrics.release(model, decided.until if decided.verdict != "none" else 0)

    # ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's request, or the server's start and stop."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except (AssayError, OSError) as e:
                    await send({"type": "lifespan.startup.failed", "message": str(e)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        answer = Reply(send, scope.get("assay.connection"), self._config.bounds.slow_s)
        path, method = bytes(scope["raw_path"]), str(scope["method"])
        route = ROUTES.get((method, path))
        try:
            headers = self._headers(scope)
            if path in (b"/healthz", b"/readyz") and method == "GET":
                await self._health(path, answer)
                return
            if scope["query_string"]:
                raise DeniedError("route", 404, "there is nothing at this address")
            if (method, path) == ("POST", TOKEN):
                await self._token(scope, headers, receive, answer)
                return
            if route is None:
                raise DeniedError("route", 404, "there is nothing at this address")
            traceparent = headers.get(b"traceparent", b"").decode("latin-1")
            with self._traces.request(route, traceparent) as span:
                try:  # here, and not in a coroutine of its own: every part of a stream would pass through it
                    await self._serve(route, scope, headers, receive, answer, started, span)
                except DeniedError as e:
                    span.set("assay.decision", "deny")
                    span.set("assay.rule", shown(e.rule))
                    span.set("http.response.status_code", e.status)
                    raise
        except DeniedError as e:
            if not answer.known:
                self.metrics.denied(e.rule)
                if not _asks_for_nonce(e, scope):
                    self._strangers.denied(e, route or "", network_of(scope), now_ms())
            await answer.denied(e, self._tokens.challenge(now_ms()) if e.status == 401 else [])
        except asyncio.CancelledError:
            if not answer.cut:
                raise
        except AssayError as e:  # log or store: nothing may be done that is not recorded and counted
            self._audit.note({"kind": "error", "at": now_ms(), "what": shown(f"{type(e).__name__}: {e.what}")})
            self.metrics.denied("unavailable")
            await answer.denied(DeniedError("unavailable", 503, "the gate cannot record requests now"))
        except Exception as e:  # noqa: BLE001 (whatever went wrong here, nobody is let through by it, and nothing of it is told)
            self._audit.note({"kind": "error", "at": now_ms(), "what": type(e).__name__})
            self.metrics.denied("error")
            await answer.denied(DeniedError("error", 500, "the gate has failed on this request"))

    def _headers(self, scope: Scope) -> dict[bytes, bytes]:
        """The headers; those that decide something stand once. The host is one of the gate's own names."""
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in found and (name in ONCE or name.startswith(b"x-assay-")):
                raise DeniedError("request", 400, f"the header {name.decode('latin-1')} stands twice")
            found[name] = value
        if not scope["query_string"] and bytes(scope.get("assay.target", scope["raw_path"])) != bytes(scope["raw_path"]):
            raise DeniedError("route", 404, "there is nothing at this address")
        if found.get(b"host", b"").lower() not in self._hosts:
            raise DeniedError("host", 421, "this is not the address of this gate")
        if not self._running:
            raise DeniedError("closing", 503, "the gate is closed")
        return found

    async def _health(self, path: bytes, answer: Reply) -> None:
        problems = []
        if path == b"/readyz":
            problems = [*self._audit.problems(), *(["store: what holds cannot be read"] if self._teeth.problem else [])]
            try:
                view = self._teeth.view
                if all(view.verdict(m, now_ms()) == "none" for m in self._config.models):
                    problems.append("no model has a release that holds")
            except DeniedError as e:
                problems.append(e.what)
        await answer.json(503 if problems else 200, {"ok": not problems, "problems": problems})

    async def _token(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, answer: Reply) -> None:
        """A short-lived token for whoever proves to have a key that a live grant names."""
        body = await body_of(receive, 16_384)
        now = now_ms()
        asked = self._tokens.asked(headers, body, now, certificate=peer_certificate(scope))
        grant = self._teeth.view.grants.get(asked.grant)
        person = next((p for p in grant.persons if p.key == asked.key and asked.person in ("", p.name)), None) if grant else None
        if grant is None or person is None or not grant.starts <= now < grant.expires:
            raise DeniedError("credentials.grant", 401, "no grant that holds now names this key")
        reply = self._tokens.issue(grant.id, grant.version, person.name, person.key, now, by=asked.by, until=grant.expires)
        await self._audit.write(
            {"kind": "token", "at": now, "grant": grant.id, "version": grant.version, "person": person.name, "network": network_of(scope)},
            nonce=(asked.nonce, asked.expires),
        )
        await answer.json(200, reply)

    # The pipeline

    async def _serve(
        self, route: Route, scope: Scope, headers: dict[bytes, bytes], receive: Receive, answer: Reply, started: float, span: Span
    ) -> None:  # fmt: skip
        self._tokens.known(headers, now_ms())  # nobody sends a body that has no token of this gate
        body = b"" if route == "models" else await body_of(receive, self._config.bounds.body_bytes)
        now = now_ms()
        digest = hashlib.sha256(body).digest()
        certificate = peer_certificate(scope)
        proven = self._tokens.check(headers, str(scope["method"]), bytes(scope["raw_path"]), digest, now, certificate=certificate)
        view = self._teeth.view
        grant = view.grants.get(proven.grant)
        person = holder(proven, grant)
        if grant is None:
            raise DeniedError("credentials.grant", 401, "the token's grant is not in force any more")
        span.set("assay.model", grant.model)
        span.set("assay.tier", grant.tier)
        request = self._records.facts(route, scope, grant, person, view, now)
        answer.known = True
        if route == "models":
            await self._models(scope, grant, person, proven, view, now, answer, request)
            return
        served = self._config.models.get(grant.model)
        try:
            if (
                headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json"
                or b"content-encoding" in headers
            ):
                raise DeniedError("request", 415, "requests are JSON, as it is")
            parsed = parse(route, body, served.longest_answer if served else 1)
            if served is None or parsed.model != grant.model or served.digest != grant.digest:
                raise DeniedError("model", 404, "the grant is for another model")
            asked = self._asked(route, scope, headers, grant, person, parsed, served.digest, now)
            request |= {"system": asked.system, "tools": list(parsed.tools), "stream": parsed.stream}
            ruled = self._decide(asked, view)
            flags = await self._checks.request(asked, list(texts(parsed))) if len(self._checks) else []
            prices = served.prices
            most = Amounts(1, parsed.most_tokens, _money(parsed.text_bytes, parsed.answer_tokens, prices.prompt, prices.answer))
            reservation = await self._reserved(grant, person.name, most, now, view)
            if self.live.full:
                self._settle(reservation, NOTHING)
                raise DeniedError("streams", 503, "too much is under way")
        except DeniedError as e:
            if isinstance(e, CheckDeniedError):
                self._records.flagged(e.flags, grant, person.name, "")
            self._records.refused(e, request, now, proven)
            if e.rule == "quota":
                self.metrics.quota_denied(grant.model, grant.tier)
            raise
        task = asyncio.current_task()
        if task is None:
            raise DeniedError("error", 500, "the gate has failed on this request")
        live = Live(self._ids.next(), grant, person.name, route, now, task)
        used = NOTHING  # nothing has gone upstream yet
        outcome = Outcome()
        outcome.flags += flags
        outcome.sketch = self._sketcher.sketch(last_words(parsed.value))
        try:
            self.metrics.stream_opened(grant.model)
            with self.live.entered(live), answer.of(live):
                await self._audit.write(
                    {
                        "kind": "decided", "at": now, "id": live.id, **request, "rules": list(ruled.rules),
                        "request_digest": self._audit.content("request", live.id, body, digest),
                        "reserved": [most.requests, most.tokens, most.money],
                    },
                    nonce=(proven.nonce, proven.expires),
                )  # fmt: skip
                closed = self._teeth.view.closed(grant.id, grant.version, person.name, now_ms())
                if closed:
                    raise DeniedError("halt", 403, closed)
                self.metrics.decided(grant.model, grant.tier, route, "allow", "")
                self.metrics.added(time.perf_counter() - started, grant.model)
                span.set("assay.decision", "allow")
                used = most  # what is not known to be less counts in full
                used = await self._forward(live, asked, parsed, answer, outcome, most, started, span)
        except asyncio.CancelledError:
            if not live.reason:
                outcome.how = "client gone"
                raise
            outcome.how = live.reason
            await answer.cut_off(live.reason, stream=parsed.stream)
        except DeniedError as e:
            outcome.how = e.what
            if used is NOTHING:
                self.metrics.decided(grant.model, grant.tier, route, "deny", e.rule)
            if e.rule == "upstream":
                self.metrics.upstream_failed(grant.model)
            if isinstance(e, CheckDeniedError):
                outcome.flags += e.flags
            raise
        finally:
            self.metrics.stream_closed(grant.model)
            self._settle(reservation, used)
            self._records.ended(live, outcome, used, started)

    async def _forward(
        self, live: Live, asked: Asked, parsed: Parsed, answer: Reply, outcome: Outcome, most: Amounts, started: float, span: Span
    ) -> Amounts:  # fmt: skip
        """Ask upstream and pass on what comes; what was used."""
        grant, served = live.grant, self._config.models[live.grant.model]
        sent = parsed
        if "note" in grant.canaries:
            noted = with_note(parsed.value, parsed.route, self._canaries.note(grant.id, grant.model, asked.at))
            sent = msgspec.structs.replace(parsed, value=noted)
        onward = span.headers() if self._config.tracing.upstream else {}
        response = await self._upstream.post(grant.model, parsed.route, sent.rewritten(served.upstream_model), onward)
        try:
            if response.status != 200:
                theirs = 400 <= response.status < 500
                outcome.how = f"upstream {response.status}"
                what = "refused the request" if theirs else "has failed"
                raise DeniedError("upstream", 400 if theirs else 502, f"the model's server {what} ({response.status})")
            streams = response.content_type.startswith("text/event-stream")
            if streams != parsed.stream or response.encoding not in ("", "identity"):
                raise DeniedError("upstream", 502, "the model's server answered in another form than was asked for")
            passing = outcome.passing = Passing(self._checks.answer(asked), parsed, grant, self._canaries, asked.at)
            if streams:
                live.chunks = outcome.chunks
                await answer.start(200, STREAM_HEADERS, live.id)
                async for chunk in response.chunks():
                    if outcome.first_ms < 0:
                        outcome.first_ms = int((time.perf_counter() - started) * 1000)
                    outcome.chunks.append(chunk)
                    outcome.size += len(chunk)
                    if outcome.size > MAX_ANSWER:
                        raise DeniedError("upstream", 502, "the model's answer is too long")
                    part = chunk if passing.plain or passing.spares(chunk) else await passing.part(chunk)
                    if response.at_end:
                        await answer.end(part if passing.plain else part + await passing.end())
                    elif part:
                        await answer.part(part)
                if not answer.ended:
                    await answer.end(b"" if passing.plain else await passing.end())
            else:
                data = await _whole(response, MAX_ANSWER)
                outcome.chunks.append(data)
                if not passing.plain:
                    data = await passing.part(data) + await passing.end()
                await answer.start(200, JSON_HEADERS, live.id)
                await answer.end(data)
            outcome.how = "complete"
            if outcome.first_ms >= 0:
                self.metrics.first_token(outcome.first_ms / 1000, grant.model)
        except OSError:
            if not answer.started:
                raise DeniedError("upstream", 502, "the model's server broke off") from None
            outcome.how = "upstream broke off"
            await answer.cut_off("the model's server broke off", stream=parsed.stream)
        finally:
            response.close()
        prices = served.prices
        found = usage_in(outcome.chunks, stream=parsed.stream) if outcome.how == "complete" else None
        if found is None:
            return most
        prompt, completion = found
        money = min(_money(prompt, completion, prices.prompt, prices.answer), BELIEVED * most.money)
        if prompt + completion > BELIEVED * most.tokens:
            self._records.beyond(live, prompt + completion, most.tokens)
            prompt = min(prompt, BELIEVED * most.tokens)
            completion = BELIEVED * most.tokens - prompt
        self.metrics.tokens(grant.model, prompt, completion)
        return Amounts(1, prompt + completion, money)

    def _settle(self, reservation: Reservation | None, used: Amounts) -> None:
        if reservation is not None:
            self._quotas.settle(reservation, used)

    async def _reserved(self, grant: Grant, person: str, most: Amounts, now: int, view: View) -> Reservation:
        """What was set aside; where an administrator has lifted the grant's own quotas for this hour, all but those, which is recorded."""
        try:
            return await self._quotas.reserve_soon(grant, person, most, now)
        except DeniedError as e:
            lifts = view.exceptions.lifts(grant, "quota", now)
            if (e.rule, e.status) != ("quota", 429) or not lifts:  # a store that fails is no quota that is spent
                raise
            others = msgspec.structs.replace(grant, quotas=())  # the parent's, and the person's minute
            reservation = await self._quotas.reserve_soon(others, person, most, now)
            self._lifted(grant, person, "quota", now, view)
            return reservation

    def _lifted(self, grant: Grant, person: str, what: Literal["hours", "quota"], now: int, view: View) -> bool:
        """Whether an exception lifts it; its use is recorded."""
        exception = view.exceptions.lifts(grant, what, now)
        if exception:
            self._audit.note(
                {
                    "kind": "break-glass", "at": now, "state": "used", "by": exception, "reason": what, "grant": grant.id, "person": person,
                    "organisation": grant.organisation, "model": grant.model,
                }
            )  # fmt: skip
        return bool(exception)

    def _asked(
        self, route: Route, scope: Scope, headers: dict[bytes, bytes], grant: Grant, person: Person, parsed: Parsed | None,
        digest: str, now: int,
    ) -> Asked:  # fmt: skip
        system = headers.get(b"x-assay-system", b"")
        if len(system) > MAX_SYSTEM:
            raise DeniedError("request", 400, "the system's name is too long")
        return Asked(
            grant, person, route, parsed.tools if parsed else (), parsed.stream if parsed else False, parsed.logprobs if parsed else False,
            network_of(scope), shown(system.decode("utf-8", errors="replace")), now, parsed.model if parsed else grant.model, digest,
            parsed.reasoning if parsed else False,
        )  # fmt: skip

    def _decide(self, asked: Asked, view: View) -> Ruled:
        """What the rules say, kept for as long as nothing that they depend on changes."""
        if self._ruled_epoch != view.epoch or len(self._ruled) > MAX_RULED:
            self._ruled.clear()
            self._ruled_epoch = view.epoch
        verdict = view.verdict(asked.grant.model, asked.at)
        halted = bool(view.halted(asked.grant, asked.person.name))
        parent = not asked.grant.parent or asked.grant.parent in view.grants
        key = self._rules.key(asked, verdict, halted, parent)
        ruled = self._ruled.get(key)
        if ruled is None or asked.at > ruled.valid_until:
            ruled = self._rules.decide(asked, verdict, halted, parent)
            if ruled.rules == (HOURS,) and not ruled.errors and self._lifted(asked.grant, asked.person.name, "hours", asked.at, view):
                at_any_hour = msgspec.structs.replace(asked, grant=msgspec.structs.replace(asked.grant, hours=()))
                ruled = self._rules.decide(at_any_hour, verdict, halted, parent)
                if ruled.allowed:
                    return ruled
            if not ruled.allowed:
                raise RefusedError(self._rules.refusal(ruled), ruled)
            self._ruled[key] = ruled
        return ruled

    async def _models(
        self, scope: Scope, grant: Grant, person: Person, proven: Proven, view: View, now: int, answer: Reply, request: dict[str, Any]
    ) -> None:  # fmt: skip
        served = self._config.models.get(grant.model)
        asked = self._asked("models", scope, {}, grant, person, None, served.digest if served else "", now)
        try:
            ruled = self._decide(asked, view)
        except DeniedError as e:
            self._records.refused(e, request, now, proven)
            raise
        try:
            await self._audit.write(
                {"kind": "decided", "at": now, "id": self._ids.next(), **request, "rules": list(ruled.rules)},
                nonce=(proven.nonce, proven.expires),
            )
            closed = self._teeth.view.closed(grant.id, grant.version, person.name, now_ms())
            if closed:
                raise DeniedError("halt", 403, closed)
        except DeniedError as e:
            self.metrics.decided(grant.model, grant.tier, "models", "deny", e.rule)
            raise
        self.metrics.decided(grant.model, grant.tier, "models", "allow", "")
        listed = {"id": grant.model, "object": "model", "created": grant.starts // 1000, "owned_by": "assay"}
        await answer.json(200, {"object": "list", "data": [listed]})


class _Ids:
    """Ids of requests: 96 random bits, drawn for many at once."""

    def __init__(self) -> None:
        self._drawn = b""

    def next(self) -> str:
        if not self._drawn:
            self._drawn = os.urandom(12 * 256)
        mine, self._drawn = self._drawn[:12], self._drawn[12:]
        return f"req_{mine.hex()}"


def _asks_for_nonce(e: DeniedError, scope: Scope) -> bool:
    """Whether it is how every client begins: without a proof of its key, or with one that lacks the gate's nonce, to be told that."""
    proofless = scope["raw_path"] == TOKEN and not any(name == b"dpop" for name, _ in scope["headers"])
    return e.rule == "credentials.nonce" or (e.rule == "credentials.proof" and proofless)


async def _whole(response: Answer, most: int) -> bytes:
    parts, size = [], 0
    async for chunk in response.chunks():
        size += len(chunk)
        if size > most:
            raise DeniedError("upstream", 502, "the model's answer is too long")
        parts.append(chunk)
    return b"".join(parts)


def _money(prompt: int, answer: int, price_prompt: float, price_answer: float) -> int:
    """Millionths of the currency, rounded up; prices are those of a million tokens, so a token costs that many millionths."""
    return -int(-(prompt * price_prompt + answer * price_answer) // 1)
