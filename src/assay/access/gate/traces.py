"""OpenTelemetry traces of requests, where they are wanted: a span for each, with model, route and decision, never with what was said.

    traces = open_traces("https://collector.example:4318/v1/traces")     # "" is none: nothing is imported, nothing sent
    with traces.request("chat.completions", headers.get("traceparent", "")) as span:
        span.set("assay.decision", "allow")
        upstream_headers |= span.headers()                               # W3C traceparent, for an upstream that is to have it

Needs the extra `otel`. The caller's trace is continued only if its `traceparent` is one by the W3C's grammar; `tracestate` and baggage are
never taken over, since anything can stand in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

from assay.telemetry.setup import TRACEPARENT, tracer_provider

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

Attribute = Literal["assay.model", "assay.tier", "assay.route", "assay.decision", "assay.rule", "http.response.status_code"]
"""What a span may say: labels of bounded number. Grants, persons and texts are no attributes."""


class Span(Protocol):
    """One request."""

    def set(self, name: Attribute, value: str | int) -> None:
        """Say something of it."""
        ...

    def headers(self) -> dict[str, str]:
        """`traceparent` for the next in line; nothing without traces."""
        ...


class Traces(Protocol):
    """Where spans go."""

    def request(self, route: str, traceparent: str) -> Any:
        """A context manager that gives a `Span`."""
        ...

    def close(self) -> None:
        """Send what is left."""
        ...


class _NoSpan:
    def set(self, name: Attribute, value: str | int) -> None:
        return

    def headers(self) -> dict[str, str]:
        return {}

    def __enter__(self) -> _NoSpan:
        return self

    def __exit__(self, *error: object) -> None:
        return


class _NoTraces:
    """Costs a call."""

    _span = _NoSpan()

    def request(self, route: str, traceparent: str) -> _NoSpan:
        return self._span

    def close(self) -> None:
        return


def open_traces(endpoint: str, exporter: SpanExporter | None = None) -> Traces:
    """Traces to an OTLP/HTTP endpoint, or to an exporter; none without either. Raises `TelemetryError` if the extra is not installed."""
    return _Otel(endpoint, exporter) if endpoint or exporter is not None else _NoTraces()


class _OtelSpan:
    def __init__(self, span: Any) -> None:
        self._span = span

    def set(self, name: Attribute, value: str | int) -> None:
        self._span.set_attribute(name, value)

    def headers(self) -> dict[str, str]:
        context = self._span.get_span_context()
        return {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"}


class _Otel:
    def __init__(self, endpoint: str, exporter: SpanExporter | None) -> None:
        self._provider = tracer_provider("assay-gate", endpoint, exporter)
        self._tracer = self._provider.get_tracer("assay.access")

    @contextmanager
    def request(self, route: str, traceparent: str) -> Iterator[Span]:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        known = {"traceparent": traceparent} if TRACEPARENT.match(traceparent) else {}
        context = TraceContextTextMapPropagator().extract(known)
        with self._tracer.start_as_current_span(
            f"gate {route}", context=context, kind=SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as span:
            span.set_attribute("assay.route", route)
            yield _OtelSpan(span)

    def close(self) -> None:
        self._provider.shutdown()
