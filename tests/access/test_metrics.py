"""What the gateway counts of itself; whether it lives and may serve; traces."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
import threading
import timeit
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from assay.access.gate.health import Facts, Ready, healthz, missing
from assay.access.gate.metrics import LAYOUT, MAX_RULES, Metrics, MetricsError
from assay.access.gate.metricstext import exposition
from assay.access.gate.traces import open_traces
from tests.access.gate import CHAT, Gate
from tests.access.upstream import Upstream

parser = pytest.importorskip("prometheus_client.parser")


def samples(folder: Path, now: float | None = None) -> dict[str, float]:
    """What Prometheus reads of it: `name{label=value,...}` to value."""
    out = {}
    for family in parser.text_string_to_metric_families(exposition(folder, now).decode()):
        for s in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(s.labels.items()))
            name = f"{s.name}{{{labels}}}"
            assert name not in out
            out[name] = s.value
    return out


CHILD = """
import sys
from pathlib import Path
from assay.access.gate.metrics import Metrics
metrics = Metrics(Path(sys.argv[1]), models=("m7",))
for _ in range(100):
    metrics.decided("m7", "operator", "chat.completions", "allow", "")
metrics.stream_opened("m7")
metrics.added(0.0004, "m7")
metrics.heard(int(sys.argv[3]), 1000.0 + int(sys.argv[2]))
print("ready", flush=True)
sys.stdin.read()
"""


def child(folder: Path, worker: int, epoch: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(folder), str(worker), str(epoch)]
    found = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert found.stdout is not None
    assert found.stdout.readline() == "ready\n"
    return found


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


ALLOWED = "assay_gate_requests_total{decision=allow,model=m7,route=chat.completions,rule=,tier=operator}"


def test_workers_are_summed_and_a_killed_one_keeps_its_counts_but_has_no_streams(tmp_path: Path) -> None:
    first, second = child(tmp_path, 0, 7), child(tmp_path, 1, 5)
    found = samples(tmp_path, now=1003.5)
    assert found[ALLOWED] == 200
    assert found["assay_gate_streams{model=m7}"] == 2
    assert found["assay_gate_epoch{}"] == 5
    assert found["assay_gate_lease_age_seconds{}"] == 3.5
    end(second)
    found = samples(tmp_path, now=1003.5)
    assert found[ALLOWED] == 200
    assert found["assay_gate_streams{model=m7}"] == 1
    assert found["assay_gate_epoch{}"] == 7
    again = child(tmp_path, 1, 9)
    found = samples(tmp_path)
    assert found[ALLOWED] == 300
    assert found["assay_gate_streams{model=m7}"] == 2
    for process in (first, again):
        end(process)


def test_histograms_are_cumulative_and_add_up(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, models=("m7",))
    for seconds in (0.0001, 0.0002, 0.0004, 0.02, 5.0):
        metrics.added(seconds, "m7")
    metrics.fsync(0.0007)
    found = samples(tmp_path)
    name = "assay_gate_added_seconds"
    at = {bound: found[f"{name}_bucket{{le={bound},model=m7}}"] for bound in ("0.0002", "0.0005", "0.025", "1.0", "+Inf")}
    assert at == {"0.0002": 2, "0.0005": 3, "0.025": 4, "1.0": 4, "+Inf": 5}
    assert found[f"{name}_count{{model=m7}}"] == 5
    assert found[f"{name}_sum{{model=m7}}"] == pytest.approx(5.0207)
    assert found["assay_gate_audit_fsync_seconds_bucket{le=0.001}"] == 1
    assert found["assay_gate_audit_fsync_seconds_bucket{le=0.0005}"] == 0


def test_labels_are_bounded_whatever_comes(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, models=("m7",))
    for i in range(5000):
        metrics.decided(f"invented-{i}", f"tier-{i}", f"route-{i}", "deny", "grant")
        metrics.decided("m7", "operator", "embeddings", "deny", f"rule-{i}")
    metrics.decided("m7", "operator", "embeddings", "deny", 'x"}\n evil{a="')
    metrics.quota_denied("Aisyah binti Ahmad", "Aisyah")
    found = [name for name in samples(tmp_path) if name.startswith(("assay_gate_requests", "assay_gate_quota"))]
    assert len(found) <= MAX_RULES + 5
    assert not [name for name in found if "invented" in name or "evil" in name or "Aisyah" in name]
    total = sum(v for k, v in samples(tmp_path).items() if k.startswith("assay_gate_requests_total"))
    assert total == 10_001


def test_everything_that_is_counted_is_there(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, models=("m7",))
    metrics.stream_opened("m7")
    metrics.stream_opened("m7")
    metrics.stream_closed("m7")
    metrics.cut("m7", 3)
    metrics.quota_denied("m7", "operator")
    metrics.upstream_failed("m7")
    metrics.tokens("m7", 11, 5)
    metrics.audit_queue(4)
    metrics.heard(1_700_000_000_000_001, 50.0)
    metrics.release("m7", 90_000)
    metrics.release("unknown", 1)
    metrics.first_token(0.3, "m7")
    found = samples(tmp_path, now=60.0)
    assert {
        "assay_gate_streams{model=m7}": 1.0, "assay_gate_streams_cut_total{model=m7}": 3.0, "assay_gate_audit_queue{}": 4.0,
        "assay_gate_quota_denials_total{model=m7,tier=operator}": 1.0, "assay_gate_upstream_failures_total{model=m7}": 1.0,
        "assay_gate_tokens_total{kind=prompt,model=m7}": 11.0, "assay_gate_tokens_total{kind=answer,model=m7}": 5.0,
        "assay_gate_epoch{}": 1_700_000_000_000_001.0, "assay_gate_lease_age_seconds{}": 10.0,
        "assay_gate_release_expiry_seconds{model=m7}": 30.0, "assay_gate_first_token_seconds_count{model=m7}": 1.0,
    }.items() <= found.items()  # fmt: skip


def test_each_takes_a_file_that_nobody_holds_and_half_a_line_is_no_harm(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, models=("m7",))
    metrics.cut("m7")
    beside = Metrics(tmp_path, models=("m7",))
    beside.cut("m7", 10)
    metrics.close()
    with (tmp_path / f"0-{LAYOUT}.names").open("ab") as file:
        file.write(b'{"name":"assay_gate_str')
    again = Metrics(tmp_path, models=("m7",))
    again.cut("m7")
    again.cut("other model")
    assert sorted(p.name for p in tmp_path.glob("*.names")) == [f"0-{LAYOUT}.names", f"1-{LAYOUT}.names"]
    assert samples(tmp_path)["assay_gate_streams_cut_total{model=m7}"] == 12
    (tmp_path / f"2-{LAYOUT}.names").write_bytes(b"{}\n")
    (tmp_path / f"2-{LAYOUT}.slots").write_bytes(bytes(1 << 20))
    with pytest.raises(MetricsError, match="cannot read"):
        exposition(tmp_path)


def test_answers_are_counted_by_how_they_ended(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, models=("m7",))
    for how in ("complete", "client gone", "upstream 503", "halt stop-1", "the grant has expired"):
        metrics.ended("m7", "operator", "responses", how, 3.0)
    metrics.denied("signature")
    metrics.view(9, 0.5)
    found = samples(tmp_path)
    at = [found[f"assay_gate_answers_total{{model=m7,outcome={how},route=responses,tier=operator}}"] for how in ("complete", "cut")]
    assert at == [1, 2]
    assert found["assay_gate_answer_seconds_bucket{le=5.0,model=m7}"] == 5
    assert found["assay_gate_requests_total{decision=deny,model=other,route=other,rule=signature,tier=other}"] == 1
    assert 0.4 < found["assay_gate_lease_age_seconds{}"] < 10


def test_an_act_takes_under_two_microseconds(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, models=("m7",))
    acts: list[Callable[[], None]] = [
        lambda: metrics.decided("m7", "operator", "chat.completions", "allow", ""),
        lambda: metrics.added(0.0004, "m7"),
        lambda: metrics.first_token(0.2, "m7"),
        lambda: metrics.stream_opened("m7"),
        lambda: metrics.ended("m7", "operator", "responses", "complete", 3.0),
        lambda: metrics.view(7, 0.1),
        lambda: metrics.tokens("m7", 10, 20),
        lambda: metrics.quota_denied("m7", "operator"),
    ]
    for act in acts:
        assert min(timeit.repeat(act, number=2000, repeat=20)) / 2000 < 2e-6


def get(app: Any, method: str = "GET") -> tuple[int, Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(app({"type": "http", "method": method, "path": "/readyz"}, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"]) if sent[1]["body"] else None


GOOD = Facts(store_heard=10_000, lease_ms=2000, audit_writable=True, releases={"m7": 20_000, "m8": 0})


@pytest.mark.parametrize(
    ("facts", "part"),
    [
        (Facts(10_000, 2000, True, {"m7": 20_000}), ""),
        (Facts(8_999, 2000, True, {"m7": 20_000}), "store: not heard of for 2.0 s"),
        (Facts(0, 2000, True, {"m7": 20_000}), "store: never"),
        (Facts(20_000, 2000, True, {"m7": 20_000}), "store: not heard"),
        (Facts(10_000, 2000, False, {"m7": 20_000}), "audit"),
        (Facts(10_000, 2000, True, {"m7": 11_000}), "release"),
        (Facts(10_000, 2000, True, {}), "release"),
    ],
    ids=["all", "late", "never", "ahead", "audit", "expired", "none"],
)
def test_ready_only_with_store_audit_and_a_release(facts: Facts, part: str) -> None:
    found = missing(facts, 11_000)
    assert bool(found) == bool(part)
    assert part in "".join(found)
    status, body = get(Ready(lambda: facts, lambda: 11_000))
    assert (status, body) == (503 if part else 200, {"ready": not part, "missing": list(found)})


def test_probes_answer_whatever_breaks() -> None:
    def broken() -> Facts:
        raise RuntimeError("password=hunter2")

    assert get(Ready(broken)) == (503, {"ready": False, "missing": ["facts: RuntimeError"]})
    assert get(healthz) == (200, {"alive": True})
    assert get(healthz, "HEAD") == (200, None)
    assert get(Ready(lambda: GOOD, lambda: 10_500), "POST")[0] == 405


def test_traces_continue_a_callers_trace_if_it_is_one() -> None:
    export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter = export.InMemorySpanExporter()
    traces = open_traces("", exporter)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with traces.request("chat.completions", parent) as span:
        span.set("assay.decision", "allow")
        onward = span.headers()["traceparent"]
    for bad in ("", "00-" + "0" * 32 + "-b7ad6b7169203331-01", parent + "-x", parent.upper(), "x" * 10_000):
        with traces.request("embeddings", bad):
            pass
    traces.close()
    first, *rest = exporter.get_finished_spans()
    assert format(first.context.trace_id, "032x") == "0af7651916cd43dd8448eb211c80319c"
    assert dict(first.attributes) == {"assay.route": "chat.completions", "assay.decision": "allow"}
    assert onward.startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert "b7ad6b7169203331" not in onward
    assert len(rest) == 5
    assert all(s.parent is None for s in rest)


def test_a_gate_traces_its_requests_and_tells_nothing_that_was_said(tmp_path: Path) -> None:
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    took: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["content-length"]))
            took.append(gzip.decompress(data) if self.headers.get("content-encoding") == "gzip" else data)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def go(gate: Gate, upstream: Upstream) -> list[int]:
        async with gate.client() as client:
            asked = {**CHAT, "messages": [{"role": "user", "content": "the breaker's secret"}]}
            found = [(await client("/v1/chat/completions", asked, traceparent=parent, tracestate="a=b"))[0]]
            found.append((await client("/v1/chat/completions", {**asked, "model": "m8"}))[0])
            client.token = "1.none.e30.AAAA"
            found.append((await client("/v1/chat/completions", asked))[0])
        return found

    async def main() -> tuple[list[int], dict[str, str]]:
        upstream = Upstream()
        port = await upstream.start()
        tracing = {"endpoint": f"http://127.0.0.1:{collector.server_port}/v1/traces", "upstream": True}
        gate = await asyncio.to_thread(Gate, tmp_path / "gate", upstream_port=port, tracing=tracing)
        gate.put(gate.grant())
        await asyncio.to_thread(gate.__enter__)
        try:
            await asyncio.sleep(0.3)
            return await go(gate, upstream), upstream.asked[-1][0]
        finally:
            await asyncio.to_thread(gate.__exit__, None, None, None)
            await upstream.stop()

    statuses, told = asyncio.run(main())
    collector.shutdown()
    assert statuses == [200, 404, 401]
    spans = [
        s
        for data in took
        for r in service.ExportTraceServiceRequest.FromString(data).resource_spans
        for c in r.scope_spans
        for s in c.spans
    ]
    seen = [{a.key: a.value.string_value or a.value.int_value for a in s.attributes} for s in spans]
    known = {"assay.route": "chat.completions", "assay.model": "m7", "assay.tier": "operator"}
    assert seen == [
        {**known, "assay.decision": "allow"},
        {**known, "assay.decision": "deny", "assay.rule": "model", "http.response.status_code": 404},
        {"assay.route": "chat.completions", "assay.decision": "deny", "assay.rule": "credentials.token", "http.response.status_code": 401},
    ]
    assert spans[0].trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert told["traceparent"] == f"00-{spans[0].trace_id.hex()}-{spans[0].span_id.hex()}-01"
    assert "tracestate" not in told
    assert not any(b"secret" in data or b"Tan" in data or b"power" in data for data in took)


def test_without_traces_nothing_is_imported_or_sent_on() -> None:
    code = (
        "import sys\nfrom assay.access.gate.traces import open_traces\nt = open_traces('')\n"
        "with t.request('models', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01') as s:\n"
        "    s.set('assay.decision', 'deny'); assert s.headers() == {}\n"
        "assert not [m for m in sys.modules if m.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
