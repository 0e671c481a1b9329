"""Providers of OpenTelemetry over OTLP/HTTP: imported and made only where somebody wants them. Needs the extra `otel`.

provider = tracer_provider("assay-gate", endpoint="https://collector.example:4318/v1/traces")
tracer = provider.get_tracer("assay.access")
provider.shutdown()

Without an endpoint, the exporters take theirs from the standard variables (OTEL_EXPORTER_OTLP_ENDPOINT and its kin).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from assay.errors import AssayError

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

TRACEPARENT = re.compile(r"^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
TIMEOUT_S = 5
EVERY_MS = 15_000


class TelemetryError(AssayError):
    """Traces or metrics are wanted and cannot be made."""


def wanted() -> bool:
    """Whether the environment names a collector, and does not switch the SDK off."""
    return any(os.environ.get(name) for name in ENDPOINTS) and os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"


def tracer_provider(service: str, endpoint: str = "", exporter: SpanExporter | None = None) -> TracerProvider:
    """Spans in batches, sent by a thread. Raises `TelemetryError` if the extra is not installed."""
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(endpoint=endpoint or None, timeout=TIMEOUT_S)
    except ImportError as e:
        raise TelemetryError(f"traces need {e.name}", fix="pip install 'assay[otel]'") from None
    except ValueError as e:
        raise TelemetryError(f"the collector's settings are not valid ({type(e).__name__})", fix="Look at the variables OTEL_...") from None
    provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def meter_provider(service: str, reader: MetricReader | None = None) -> MeterProvider:
    """Metrics, sent every 15 seconds and at the end. Raises `TelemetryError` if the extra is not installed."""
    try:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource

        if reader is None:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

            reader = PeriodicExportingMetricReader(OTLPMetricExporter(timeout=TIMEOUT_S), export_interval_millis=EVERY_MS)
    except ImportError as e:
        raise TelemetryError(f"metrics need {e.name}", fix="pip install 'assay[otel]'") from None
    except ValueError as e:
        raise TelemetryError(f"the collector's settings are not valid ({type(e).__name__})", fix="Look at the variables OTEL_...") from None
    return MeterProvider(metric_readers=[reader], resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
