"""Nothing is sent anywhere but to the target: the system calls of a whole run, report and verification included."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import plan_text
from tests.targets.endpoint import serve


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_every_connection_goes_to_the_target(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with serve() as endpoint:
        plan = tmp_path / "plan.yaml"
        plan.write_text(plan_text(target={"kind": "http", "model": "m", "url": endpoint.url}, budget={"calls": 30}))
        run = f"{sys.executable} -m assay run {plan} --out {tmp_path}/run --quiet; {sys.executable} -m assay verify {tmp_path}/run"
        command = ["strace", "-f", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(trace), "sh", "-c", run]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=os.environ)
        if "ptrace" in done.stderr:
            pytest.skip("this machine does not let processes be traced")
    assert done.returncode == 0, done.stderr
    calls = [row for row in trace.read_text().splitlines() if "sa_family=AF_INET" in row]
    assert calls, "the trace shows no call to the endpoint: it is blind"
    port = re.search(r":(\d+)/", endpoint.url)
    assert port is not None
    strangers = [row for row in calls if f"sin_port=htons({port.group(1)})" not in row or '"127.0.0.1"' not in row]
    assert strangers == []
