"""The administration as it is run: `assay access admin` over TLS, called by the console's side; two at once; killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from assay.access.admin import wire
from assay.access.admin.console.remote import Remote, RemoteError
from assay.access.admin.serve import searcher
from assay.access.admin.watching import Watching
from assay.access.audit.log import AuditLog
from assay.access.config import read_config
from assay.access.grants.grant import sign_grant
from assay.access.model import Scope
from assay.access.safety.scan import Scan
from assay.access.store.base import StoreError, open_store
from assay.ledger import PrivateKey
from tests.access.adminmaking import AUDITOR, public
from tests.access.gate import ADMINS, Gate, free_port, now_ms, wait_for
from tests.access.gatestub import Certificates

pytest.importorskip("starlette")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@contextmanager
def admin(gate: Gate) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "assay", "access", "admin", "--config", str(gate.folder / "gate.yaml")]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    try:
        wait_for(read_config(gate.folder / "gate.yaml").administration.address[1], process)
        time.sleep(1.1)  # whatever was signed in the second in which the memory of nonces began is refused
        yield process
    finally:
        process.kill()
        process.communicate()


def made(folder: Path, *, workers: int = 1, **reading: Any) -> tuple[Gate, int]:
    port = free_port()
    listener = {"listen": f"127.0.0.1:{port}", "auditors": {"aud": public(AUDITOR)}, **reading}
    return Gate(folder, workers=workers, administration=listener), port


def test_over_tls_with_a_clients_certificate_where_it_is_wanted(tmp_path: Path, certificates: Certificates) -> None:
    server = str(certificates.file("ca-server"))
    gate, port = made(tmp_path / "gate", tls={"certificate": server, "key": server, "client_ca": str(certificates.ca)})
    address = f"https://127.0.0.1:{port}"
    mine = certificates.file("ca-client")

    async def me(**options: Any) -> wire.Me:
        async with Remote(address, ADMINS["ines"], **options) as remote:
            return await remote.me()

    with admin(gate):
        found = asyncio.run(me(ca=certificates.ca, certificate=mine))
        assert (found.name, found.role) == ("ines", "admin")
        for options in ({"ca": certificates.ca}, {"certificate": mine}, {"ca": certificates.stranger, "certificate": mine}):
            with pytest.raises(RemoteError, match="cannot be reached"):
                asyncio.run(me(**options))
        with pytest.raises(RemoteError, match="cannot be reached"):
            asyncio.run(me(ca=certificates.ca, certificate=certificates.file("stranger-client")))
    gate.store.close()


def test_a_halt_from_the_console_s_side_and_nothing_recorded_is_lost_by_a_kill(tmp_path: Path) -> None:
    gate, port = made(tmp_path / "gate")
    address = f"http://127.0.0.1:{port}"

    async def stop(reason: str) -> wire.Done:
        async with Remote(address, ADMINS["ines"]) as remote:
            return await remote.halt(Scope(model="m7"), reason)

    with admin(gate) as process:
        first = asyncio.run(stop("the first"))
        process.kill()
        process.wait()
    with admin(gate):
        asyncio.run(stop("the second"))
        with urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer:
            assert answer.read() == b'{"ready":true,"missing":[]}'
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/access/me", timeout=5)
        assert refused.value.code == 401
    found = searcher(gate.folder / "audit")(wire.AuditQuery(kind="control")).records
    assert [r["what"] for r in found] == ["the second", "the first"]
    assert first.what.split()[1] in {r["subject"] for r in found}
    assert {h.reason for h in gate.store.snapshot().halts.values()} == {"the first", "the second"}
    gate.store.close()


def test_strangers_and_other_terms_than_those_that_were_seen_are_refused(tmp_path: Path) -> None:
    gate, port = made(tmp_path / "gate")
    gate.store.put_grant(sign_grant(gate.grant(id="seen"), ADMINS["ines"]))

    async def go() -> None:
        address = f"http://127.0.0.1:{port}"
        async with Remote(address, PrivateKey.generate()) as stranger:
            with pytest.raises(RemoteError, match="no key that counts"):
                await stranger.me()
        async with Remote(address, AUDITOR) as auditor:
            assert (await auditor.me()).role == "auditor"
            with pytest.raises(RemoteError, match="this takes admin"):
                await auditor.halt(Scope(), "x")
        async with Remote(address, ADMINS["ivan"], clock=lambda: time.time_ns() // 1_000_000 - 120_000) as late:
            with pytest.raises(RemoteError, match="clocks"):
                await late.me()
        async with Remote(address, ADMINS["ivan"]) as remote:
            looked = await remote.looked_at("seen")
            gate.store.put_grant(sign_grant(gate.grant(id="seen", version=2, purpose="another thing"), ADMINS["ines"]))
            with pytest.raises(RemoteError, match="another than the one that you saw"):
                await remote.approve("seen", looked.digest)
            await remote.approve("seen", (await remote.looked_at("seen")).digest)

    with admin(gate):
        asyncio.run(go())
    gate.store.close()


def gateway_says(gate: Gate, *records: dict[str, Any]) -> None:
    """What a worker of the gateway writes to its segment."""

    async def write() -> None:
        log = AuditLog.open(read_config(gate.folder / "gate.yaml"), gate.store, 0)
        await log.start()
        for record in records:
            await log.write({"at": now_ms(), "grant": "power", "person": "Tan", "organisation": "Grid Ltd", "model": "m7", **record})
        await log.stop()

    asyncio.run(write())


def denied(rule: str) -> dict[str, Any]:
    return {"kind": "denied", "rule": f"check:{rule}", "status": 403, "network": "192.0.2.7", "request_digest": "sha256:" + "0" * 64}


def alerts_of(port: int, wanted: int) -> list[wire.AlertView]:
    """The alerts, once there are so many."""

    async def look() -> list[wire.AlertView]:
        async with Remote(f"http://127.0.0.1:{port}", ADMINS["ines"]) as remote:
            found: list[wire.AlertView] = []
            for _ in range(150):
                found = list((await remote.get("/access/alerts", wire.Alerts)).alerts)
                if len(found) >= wanted:
                    break
                await asyncio.sleep(0.1)
            return found

    return asyncio.run(look())


def readiness(port: int) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
        return json.loads(answer.read())


def problem_of(port: int) -> str:
    """What the console's first page says is wrong."""

    async def look() -> str:
        async with Remote(f"http://127.0.0.1:{port}", ADMINS["ines"]) as remote:
            return (await remote.get("/access/overview", wire.Overview)).problem

    return asyncio.run(look())


def test_alerts_come_by_themselves_once_and_a_damaged_segment_stops_nothing(tmp_path: Path) -> None:
    gate, port = made(tmp_path / "gate", alerts_every_s=1)
    gateway_says(gate, denied("phrases"))
    with admin(gate):
        assert [(a.kind, a.severity, a.person) for a in alerts_of(port, 1)] == [("content", "high", "Tan")]
        gateway_says(gate, denied("phrases"), denied("personal"))
        assert len(alerts_of(port, 2)) == 2
        assert readiness(port) == {"ready": True, "missing": []}
        damaged = gate.folder / "audit" / f"w9-{now_ms():013d}.jsonl"
        damaged.write_bytes(b"this is no line\n")
        gateway_says(gate, denied("volume"))
        assert len(alerts_of(port, 3)) == 3
        told, problem = readiness(port), problem_of(port)
        time.sleep(2.2)  # two scans more
        found = counted(port)
        assert len(alerts_of(port, 3)) == 3
    assert told["ready"], "what stands against scans takes nobody the power to halt"
    assert told["missing"][0].startswith(f"alerts: the segment {damaged.stem} does not hold: ")
    assert problem == told["missing"][0], "the console's first page says so, too"
    assert found["assay_gate_alerts_problems[]"] == 1
    assert time.time() - found["assay_gate_alerts_scanned_timestamp_seconds[]"] < 60
    damaged.unlink()
    look = searcher(gate.folder / "audit")
    notes = [r for r in look(wire.AuditQuery(kind="alert")).records if r["alert"] == "found"]
    assert [(r["severity"], r["what"]) for r in reversed(notes)] == [
        ("high", f"content: denied by the content check '{name}'") for name in ("phrases", "personal", "volume")
    ]
    assert [r["what"][:19] for r in look(wire.AuditQuery(kind="error")).records] == ["alerts: the segment"]
    gate.store.close()


def test_with_nought_nothing_is_scanned(tmp_path: Path) -> None:
    gate, port = made(tmp_path / "gate", alerts_every_s=0)
    gateway_says(gate, denied("phrases"))
    with admin(gate):
        time.sleep(1.5)
        assert alerts_of(port, 0) == []
        assert "assay_gate_alerts_problems[]" not in counted(port)
    gate.store.close()


def test_a_scan_that_fails_is_told_once_and_made_again(tmp_path: Path) -> None:
    notes: list[dict[str, Any]] = []
    answers: list[Any] = [OSError("gone"), StoreError("the store is gone"), StoreError("the store is gone"), []]

    class Broken(Scan):
        def run(self, *given: Any) -> list[Any]:
            answer = answers.pop(0) if answers else []
            if isinstance(answer, Exception):
                raise answer
            return list(answer)

    store = open_store("gate.db", tmp_path)

    async def go() -> list[list[str]]:
        watching = Watching(Broken(tmp_path, 0), store, notes.append, every_s=60)
        found = []
        for _ in range(4):
            await watching.once()
            found.append(watching.problems())
        assert watching.scanned_ms > 0
        return found

    assert asyncio.run(go()) == [
        ["alerts: the scan failed: OSError"], *2 * [["alerts: the scan failed: the store is gone"]], [],
    ]  # fmt: skip
    assert [n["what"] for n in notes] == ["alerts: the scan failed: OSError", "alerts: the scan failed: the store is gone"]
    store.close()


def counted(port: int) -> dict[str, float]:
    """What Prometheus reads from the administration."""
    parser = pytest.importorskip("prometheus_client.parser")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = parser.text_string_to_metric_families(answer.read().decode())
        return {f"{s.name}{sorted(s.labels.values())}": s.value for f in families for s in f.samples}


def test_a_stream_of_the_gate_is_seen_cut_and_counted(tmp_path: Path) -> None:
    """Gateway, administration and console's side together, each in its own process."""
    gate, port = made(tmp_path / "gate", workers=2)
    body = {"model": "m7", "messages": [{"role": "user", "content": "hello"}], "stream": True, "max_tokens": 3000, "user": "slow:10"}

    async def go() -> tuple[float, str, list[Any]]:
        async with gate.client() as client, Remote(f"http://127.0.0.1:{port}", ADMINS["ines"]) as remote:
            await client("/v1/chat/completions", {**body, "stream": False, "max_tokens": 5, "user": "x"})
            begun = now_ms()
            stream = asyncio.create_task(client("/v1/chat/completions", body))
            for _ in range(100):
                everything = (await remote.get("/access/sessions", wire.Sessions)).sessions
                if sessions := [s for s in everything if s.since >= begun]:
                    break
                await asyncio.sleep(0.05)
            [session] = sessions
            assert (session.model, session.grant, session.person, session.route) == ("m7", "power", "Tan", "chat.completions")
            asked = time.monotonic()
            await remote.cut(session.id, "asked by its owner")
            _, events = await stream
            return time.monotonic() - asked, session.id, events

    gate.put(gate.grant())
    with gate, admin(gate):
        seconds, _, events = asyncio.run(go())
        found = counted(port)
    print(f"cut {1000 * seconds:.0f} ms after it was asked for, its record on disk in between")
    assert seconds < 2.0
    assert len(events) < 3000
    assert found["assay_gate_requests_total['', 'allow', 'chat.completions', 'm7', 'operator']"] == 2
    assert found["assay_gate_answers_total['chat.completions', 'complete', 'm7', 'operator']"] == 1
    assert found["assay_gate_answers_total['chat.completions', 'cut', 'm7', 'operator']"] == 1
    assert found["assay_gate_streams_cut_total['m7']"] == 1
    assert found["assay_gate_release_expiry_seconds['m7']"] > 86_400
    assert found["assay_gate_lease_age_seconds[]"] < 2
