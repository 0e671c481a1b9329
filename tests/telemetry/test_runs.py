"""OpenTelemetry for runs: a collector on loopback hears of phases, trials and counts, never of texts; nobody hears anything unasked."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from assay import api
from assay.errors import AssayError
from assay.runs import RunFile
from tests.support import plan_text

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector(ThreadingHTTPServer):
    """Keeps what is posted, by path."""

    def __init__(self) -> None:
        self.took: dict[str, list[bytes]] = {}

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # noqa: N805
                data = handler.rfile.read(int(handler.headers["content-length"]))
                data = gzip.decompress(data) if handler.headers.get("content-encoding") == "gzip" else data
                self.took.setdefault(handler.path, []).append(data)
                handler.send_response(200)
                handler.end_headers()

            def log_message(handler, *_: Any) -> None:  # noqa: N805
                return

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def value(attribute: Any) -> Any:
    return attribute.value.string_value or attribute.value.int_value


def evaluate(folder: Path, **plan: Any) -> api.Result:
    path = folder / "plan.yaml"
    path.write_text(plan_text(**{"budget": {"calls": 60}, **plan}))
    return api.evaluate(path, out=folder / "run", key=folder / "k.pem")


def test_a_collector_hears_of_the_run_its_phases_and_trials_and_of_no_text(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="the extra otel is not installed")
    metrics = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
    monkeypatch.setenv("ASSAY_TRACE_SHARE", "1")
    monkeypatch.setenv("TRACEPARENT", PARENT)
    result = evaluate(tmp_path)
    sent = [traces.ExportTraceServiceRequest.FromString(data) for data in collector.took["/v1/traces"]]
    spans = [s for request in sent for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
    by_name: dict[str, list[Any]] = {}
    for span in spans:
        by_name.setdefault(span.name, []).append(span)
    run = by_name["assay.run"][0]
    said = {a.key: value(a) for a in run.attributes}
    assert (run.trace_id.hex(), run.parent_span_id.hex()) == (PARENT[3:35], PARENT[36:52])
    assert (said["assay.verdict"], said["assay.ended"], said["assay.trials"]) == (result.decision.verdict, "complete", result.target_calls)
    phases = {s.span_id: s for name, found in by_name.items() if name.startswith("assay.phase ") for s in found}
    assert phases
    assert all(s.parent_span_id == run.span_id for s in phases.values())
    with RunFile.read(tmp_path / "run" / "run.db") as file:
        trials = {t.slot: t for t in file.trials()}
    told = {a["assay.slot"]: (s, a) for s in by_name["assay.trial"] for a in [{a.key: value(a) for a in s.attributes}]}
    assert set(told) == set(trials)
    for slot, (span, a) in told.items():
        trial = trials[slot]
        assert span.parent_span_id in phases
        assert (a["assay.outcome"], a["assay.hazard"], a["assay.language"]) == (trial.outcome, trial.hazard, trial.language)
        assert (a["gen_ai.usage.input_tokens"], a["gen_ai.usage.output_tokens"]) == trial.tokens
        assert span.end_time_unix_nano == trial.at * 1_000_000
    found = metrics.ExportMetricsServiceRequest.FromString(collector.took["/v1/metrics"][-1])
    points = {m.name: m for r in found.resource_metrics for s in r.scope_metrics for m in s.metrics}
    counted = {tuple(value(a) for a in p.attributes): p.as_int for p in points["assay.trials"].sum.data_points}
    assert sum(counted.values()) == len(trials)
    assert counted["plain", "safe"] == sum((t.arm, t.outcome) == ("plain", "safe") for t in trials.values())
    assert points["gen_ai.client.token.usage"].histogram.data_points
    everything = b"".join(data for parts in collector.took.values() for data in parts)
    for trial in trials.values():
        assert len(trial.answer) < 12 or trial.answer.encode() not in everything


def test_a_share_of_the_trials_is_a_share(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    traces = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="the extra otel is not installed")
    monkeypatch.setenv("ASSAY_TRACE_SHARE", "0.2")
    evaluate(tmp_path, budget={"calls": 300}, exploration={"plain": 100})
    sent = [traces.ExportTraceServiceRequest.FromString(data) for data in collector.took["/v1/traces"]]
    names = [s.name for request in sent for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
    assert 30 <= names.count("assay.trial") <= 90


@pytest.mark.parametrize("share", ["1.5", "-0.1", "nan", "much"])
def test_a_share_that_is_none_is_refused_before_a_trial(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch, share: str
) -> None:
    monkeypatch.setenv("ASSAY_TRACE_SHARE", share)
    with pytest.raises(AssayError, match="0 to 1"):
        evaluate(tmp_path)
    assert not collector.took


def test_a_collector_that_is_down_changes_nothing_and_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    said: list[str] = []
    (tmp_path / "plan.yaml").write_text(plan_text(budget={"calls": 40}))
    result = api.evaluate(tmp_path / "plan.yaml", out=tmp_path / "run", key=tmp_path / "k.pem", progress=said.append)
    assert result.ended == "complete"
    assert api.verify(str(result.bundle)).ok
    assert any("did not take everything" in line for line in said)


@pytest.mark.parametrize("variables", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}])
def test_unasked_nothing_is_imported(tmp_path: Path, variables: dict[str, str]) -> None:
    (tmp_path / "plan.yaml").write_text(plan_text(budget={"calls": 20}))
    code = (
        "import sys\nfrom assay import api\napi.evaluate('plan.yaml', out='run', key='k.pem')\n"
        "assert not [m for m in sys.modules if m.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={"PATH": "/usr/bin", **variables})
