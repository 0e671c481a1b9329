"""What a run tells a collector: a span for it, one for each phase, one for a share of its trials, and counts. Never a text or a key.

    with watched(observer, opening, progress) as watch:      # the same observer where no collector is named: costs nothing
        engine = Engine(run, target, watch.observer)
        ...
        watch.ended("complete", "approve")

Names are those of OpenTelemetry's conventions for generative AI where there is one (`gen_ai.request.model`, `gen_ai.usage.input_tokens`,
`gen_ai.client.operation.duration` ...), else begin with `assay.`. Trials that a resumed run already had are not told again.
A collector that does not answer slows no trial and changes no outcome; that something was lost is said at the end.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol

from assay.engine import Committed, Observer
from assay.errors import AssayError
from assay.telemetry.setup import TRACEPARENT, TelemetryError, meter_provider, tracer_provider, wanted

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace.export import SpanExporter

    from assay.decision import Gate
    from assay.plan import Stream
    from assay.runs import Opening

SERVICE = "assay"
SHARE = "ASSAY_TRACE_SHARE"
USUAL_SHARE = 0.05
Told = Callable[[str], None]


class Watch(Protocol):
    """A run that is watched: the observer to give to the engine, and how it ended."""

    observer: Observer

    def ended(self, how: str, verdict: str) -> None:
        """The run is over; both are words of few kinds."""
        ...


class _Unwatched:
    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def ended(self, how: str, verdict: str) -> None:
        return


@contextmanager
def watched(
    observer: Observer, opening: Opening, told: Told, exporter: SpanExporter | None = None, reader: MetricReader | None = None
) -> Iterator[Watch]:
    """Watch a run for a collector, if the environment (or an exporter) names one; without the extra `otel` it is said, and the run goes on.

    Raises `AssayError` for a share of trials that is no share.
    """
    if exporter is None and not wanted():
        yield _Unwatched(observer)
        return
    share = _share()
    warned = _Warnings()
    with warned.kept():  # from the beginning: what the exporters say of their settings can quote a header, which holds a secret
        try:
            watching: _Watching | None = _Watching(observer, opening, share, exporter, reader)
        except TelemetryError as e:
            told(f"A collector is named in the environment, but {e.what}: the run is not traced. {e.fix}")
            watching = None
        if watching is None:
            yield _Unwatched(observer)
            return
        try:
            yield watching
        except BaseException:
            watching.ended("failed", "")
            raise
        finally:
            watching.close()
    if warned.count:
        told("The collector did not take everything that was to be sent to it; the run itself has all.")


class _Warnings(logging.Handler):
    """Counts what the exporters complain of, so that it does not run over the live picture."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """One more."""
        self.count += 1

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While this lasts, the exporters speak to nobody else."""
        logger = logging.getLogger("opentelemetry")
        before = logger.propagate
        logger.addHandler(self)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.propagate = before


class _Watching:
    """An observer that passes everything on, and tells."""

    def __init__(
        self, observer: Observer, opening: Opening, share: float, exporter: SpanExporter | None, reader: MetricReader | None
    ) -> None:
        self.observer: Observer = self
        self._inner = observer
        self._below = int(share * 2**32)
        self._spans = tracer_provider(SERVICE, exporter=exporter)
        self._meters = meter_provider(SERVICE, reader)
        self._tracer = self._spans.get_tracer("assay.engine")
        target = opening.target
        self._common = {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": target.get("kind", ""),
            "gen_ai.request.model": target.get("model", ""),
        }  # fmt: skip
        self._trials: Counter[tuple[str, str]] = Counter()
        self._calls: Counter[str] = Counter()
        self._outage_s = 0.0
        self._gate: Gate | None = None
        self._phase = ""
        self._phase_span: Any = None
        self._over = False
        self._begin(opening)
        self._instruments()

    def _begin(self, opening: Opening) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = os.environ.get("TRACEPARENT", "")
        context = TraceContextTextMapPropagator().extract({"traceparent": parent} if TRACEPARENT.match(parent) else {})
        plan = opening.plan
        self._client, self._within = SpanKind.CLIENT, set_span_in_context
        self._run = self._tracer.start_span(
            "assay.run", context=context, attributes={**self._common, "assay.plan.name": plan.name, "assay.plan.digest": plan.digest}
        )

    def _instruments(self) -> None:
        from opentelemetry.metrics import Observation

        meter = self._meters.get_meter("assay.engine")

        def seen(values: Callable[[], Iterable[tuple[float, dict[str, str]]]]) -> Callable[[CallbackOptions], Iterable[Observation]]:
            return lambda _: [Observation(value, attributes) for value, attributes in values()]

        meter.create_observable_counter("assay.trials", [seen(self._by_outcome)], "{trial}", "Committed trials, by arm and outcome.")
        meter.create_observable_counter("assay.calls", [seen(self._by_status)], "{call}", "Calls of the target, by status.")
        meter.create_observable_gauge("assay.outage", [seen(self._silence)], "s", "How long the target has not answered.")
        meter.create_observable_gauge("assay.claims", [seen(self._by_claim)], "{claim}", "Claims of the plan, by how they stand.")
        self._tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}", "Tokens of a trial.")
        self._seconds = meter.create_histogram("gen_ai.client.operation.duration", "s", "The last call of a trial.")
        self._in = {**self._common, "gen_ai.token.type": "input"}
        self._out = {**self._common, "gen_ai.token.type": "output"}

    def _by_outcome(self) -> Iterable[tuple[float, dict[str, str]]]:
        return [(n, {"assay.arm": arm, "assay.outcome": outcome}) for (arm, outcome), n in list(self._trials.items())]

    def _by_status(self) -> Iterable[tuple[float, dict[str, str]]]:
        return [(n, {"assay.status": status}) for status, n in list(self._calls.items())]

    def _silence(self) -> Iterable[tuple[float, dict[str, str]]]:
        return [(self._outage_s, {})]

    def _by_claim(self) -> Iterable[tuple[float, dict[str, str]]]:
        counts = Counter(claim.status for claim in self._gate.claims) if self._gate else Counter[str]()
        return [(counts[status], {"assay.claim.status": status}) for status in ("open", "approve", "halt")]

    def committed(self, trial: Committed, gate: Gate, phase: str) -> None:
        """See `Observer`."""
        self._inner.committed(trial, gate, phase)
        self._gate = gate
        if phase != self._phase:
            self._enter(phase)
        if trial.resumed:
            return
        self._outage_s = 0.0
        self._trials[trial.stream.arm, trial.outcome] += 1
        for status, _ in trial.attempts:
            self._calls[status] += 1
        if trial.attempts:
            status, ms = trial.attempts[-1]
            self._seconds.record(ms / 1000, self._common if status == "200" else {**self._common, "error.type": status})
        self._tokens.record(trial.tokens[0], self._in)
        self._tokens.record(trial.tokens[1], self._out)
        if trial.slot * 2654435761 & 0xFFFFFFFF < self._below:
            self._one(trial)

    def _one(self, trial: Committed) -> None:
        took_ms = sum(ms for _, ms in trial.attempts)
        s = trial.stream
        status = trial.attempts[-1][0] if trial.attempts else ""
        attributes: dict[str, str | int] = {
            **self._common, "assay.slot": trial.slot, "assay.hazard": s.hazard, "assay.language": s.language, "assay.attack": s.attack,
            "assay.arm": s.arm, "assay.index": trial.index, "assay.outcome": trial.outcome, "assay.status": status,
            "assay.attempts": len(trial.attempts), "gen_ai.usage.input_tokens": trial.tokens[0],
            "gen_ai.usage.output_tokens": trial.tokens[1],
        }  # fmt: skip
        span = self._tracer.start_span(
            "assay.trial", context=self._within(self._phase_span), kind=self._client, attributes=attributes,
            start_time=(trial.at - took_ms) * 1_000_000, record_exception=False, set_status_on_exception=False,
        )  # fmt: skip
        span.end(trial.at * 1_000_000)

    def _enter(self, phase: str) -> None:
        if self._phase_span is not None:
            self._phase_span.end()
        self._phase = phase
        self._phase_span = self._tracer.start_span(f"assay.phase {phase}", context=self._within(self._run))

    def restored(self, counts: dict[Stream, list[int]]) -> None:
        """See `Observer`."""
        self._inner.restored(counts)
        self._run.add_event("restored", {"assay.trials": sum(n for n, *_ in counts.values())})

    def outage(self, reason: str, seconds: float) -> None:
        """See `Observer`. The reason may quote the endpoint and is not told."""
        self._inner.outage(reason, seconds)
        if not self._outage_s:
            self._run.add_event("outage")
        self._outage_s = max(seconds, 1e-3)

    def ended(self, how: str, verdict: str) -> None:
        """See `Watch`."""
        if not self._over:
            self._over = True
            self._run.set_attributes({"assay.ended": how, "assay.verdict": verdict, "assay.trials": sum(self._trials.values())})

    def close(self) -> None:
        """End the spans and send what is left, for as long as the exporters' time-outs."""
        if self._phase_span is not None:
            self._phase_span.end()
        self._run.end()
        metrics = Thread(target=self._meters.shutdown)
        metrics.start()
        self._spans.shutdown()
        metrics.join()


def _share() -> float:
    """The share of trials that have a span."""
    text = os.environ.get(SHARE, "") or str(USUAL_SHARE)
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise AssayError("the share of trials to trace is a number from 0 to 1", where=SHARE)
    return share
