"""The console for tests: a gate's folder with things in it, `assay access admin` and `assay access console` as processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from assay.access.gate.sessions import Session, publish
from assay.access.grants.grant import sign_grant, thumbprint
from assay.access.grants.quota import Quotas
from assay.access.model import Grant, Person, Quota
from assay.access.safety.alerts import Alert, alert_id, keep
from assay.access.store.base import Amounts
from assay.ledger import PrivateKey, write_key
from tests.access.adminmaking import AUDITOR, VIEWER, public
from tests.access.gate import ADMINS, Gate, free_port, now_ms, wait_for

MARKUP = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
HOSTILE = f"{MARKUP} & 'quotes' \"too\" التحكم {'long' * 30}"


def person(name: str) -> Person:
    return Person(name, thumbprint(PrivateKey.generate().public))


class Scene:
    """Processes and what they are about."""

    def __init__(self, folder: Path) -> None:
        self.port, self.console_port = free_port(), free_port()
        reading = {"listen": f"127.0.0.1:{self.port}", "auditors": {"aud": public(AUDITOR)}, "viewers": {"vic": public(VIEWER)}}
        self.gate = Gate(folder, administration=reading)
        self.folder, self.store = folder, self.gate.store
        write_key(folder / "aud.pem", AUDITOR, b"")
        write_key(folder / "vic.pem", VIEWER, b"")
        self.link = ""
        self._processes: list[subprocess.Popen[str]] = []

    def fill(self) -> None:
        gate, now = self.gate, now_ms()
        quotas = (Quota("day", 5000, 2_000_000, 0), Quota("total", 100_000, 40_000_000, 0))
        power = gate.put(
            gate.grant(id="power-grid", organisation="Singapore Power Grid", purpose="harden substation relays", quotas=quotas,
                       persons=(person("Tan Wei Ming"), person("Aisyah Rahman")))
        )  # fmt: skip
        water = gate.grant(id="water-works", organisation="Selangor Water", sector="water", jurisdiction="MY", persons=(person("Devi"),))
        gate.put(msgspec.structs.replace(water, purpose="test the pumps' control", quotas=quotas))
        hospital = gate.grant(id="hospital", organisation=HOSTILE[:300], sector="health", purpose=HOSTILE[:300])
        gate.put(msgspec.structs.replace(hospital, persons=(person(HOSTILE[:300]),)))
        self.pending = self.grant("rail-control", organisation="Rail Operations", sector="transport", purpose="review of signalling code")
        self.store.put_grant(sign_grant(self.pending, ADMINS["ines"]))
        reserve = Quotas(self.store)
        reserve.settle(reserve.reserve(power, "Tan Wei Ming", Amounts(300, 150_000, 0), now), Amounts(300, 150_000, 0))
        gate.stop_all("stop-th", jurisdiction="TH")
        what = "Tan Wei Ming came from a network that was not seen before"
        who = ("Singapore Power Grid", "power-grid", "Tan Wei Ming")
        seen = Alert(alert_id("network", "power-grid", "1"), "network", "medium", what, now - 9 * 60_000, *who)
        much = Alert(alert_id("volume", "hospital"), "volume", "high", HOSTILE[:500], now - 3_600_000, HOSTILE[:300], "hospital")
        keep(self.store, [seen, much])
        self.say_sessions()

    def grant(self, name: str, **changes: Any) -> Grant:
        return self.gate.grant(id=name, persons=(person("Lee Kok Wai"),), quotas=(Quota("day", 1000, 500_000, 0),), **changes)

    def say_sessions(self) -> None:
        now = now_ms()
        live = [
            Session("req_a1", "m7", "power-grid", "Singapore Power Grid", "Tan Wei Ming", "chat.completions", now - 754_000, 48_210),
            Session("req_b2", "m7", "hospital", HOSTILE[:300], HOSTILE[:300], "responses", now - 4000, 310),
        ]
        publish(self.store, "0", live, now + 3_600_000)  # as of a worker that will say so for as long as the test takes

    def start(self, who: str) -> str:
        """Both processes; the link that opens the console."""
        self._admin = self._run("admin", "--config", str(self.folder / "gate.yaml"))
        wait_for(self.port, self._admin)
        time.sleep(1.1)  # whatever was signed in the second in which the memory of nonces began is refused
        self.link, _ = self.console(who, self.console_port, self.port)
        return self.link

    def console(self, who: str, port: int, gate: int) -> tuple[str, subprocess.Popen[str]]:
        """Somebody's console; its link."""
        key = str(self.folder / f"{who}.pem")
        process = self._run("console", "--gate", f"http://127.0.0.1:{gate}", "--key", key, "--port", str(port))
        assert process.stdout is not None
        link = next(found.group(1) for line in process.stdout if (found := re.search(r"(http://\S+/#t=\S+)", line)))
        wait_for(port, process)
        return link, process

    def _run(self, *options: str) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHONUNBUFFERED": "1", "UPSTREAM_KEY": "upstream-secret-key"}
        command = [sys.executable, "-m", "assay", "access", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
        self._processes.append(process)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        self.store.close()
