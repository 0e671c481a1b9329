"""The studio as a person starts it: the real command in a process of its own, a client without a face, and folders to look at."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

from assay.ledger import write_key
from assay.runs import RunFile
from tests.support import KEY, make_bundle, plan_text

MARKUP = "<img src=x onerror=document.title=1>&amp;\"'"


def slow_plan(calls: int = 1200, delay_ms: int = 40) -> str:
    """A plan whose run takes a while: nothing is decided early, and each answer waits."""
    target = {"kind": "scripted", "model": "0.02", "options": {"delay_ms": str(delay_ms)}}
    return plan_text(name="slow", target=target, budget={"calls": calls}, exploration={"plain": calls, "attack": calls, "benign": calls},
                     seed="auto")  # fmt: skip


def fill(folder: Path) -> None:
    """Runs in every state that lies on a disk: finished, gone on, stopped, broken in several ways, evidence alone, and hostile names."""
    for name in ("finished", "older", "forged", "stopped", MARKUP):
        (folder / name).mkdir(parents=True)
        make_bundle(folder / name)
    (folder / "stopped" / "evidence.jsonl").unlink()
    (folder / "stopped" / "run.db.lock").touch()
    whole = (folder / "finished" / "evidence.jsonl").read_bytes()
    lines = (folder / "older" / "evidence.jsonl").read_bytes().splitlines(keepends=True)
    with RunFile.open(folder / "older" / "run.db") as run:
        last = list(run.trials())[-1]
        run.append([type(last)(**{**{f: getattr(last, f) for f in last.__struct_fields__}, "slot": last.slot + 1})])
    (folder / "forged" / "evidence.jsonl").write_bytes(b"".join(lines))
    (folder / "theirs").mkdir()
    (folder / "theirs" / "evidence.jsonl").write_bytes(whole)
    (folder / "garbage").mkdir()
    (folder / "garbage" / "run.db").write_bytes(b"this is no database at all, and never was one\n" * 50)
    (folder / "hollow").mkdir()
    (folder / "hollow" / "run.db").mkdir()
    (folder / "begun").mkdir()
    (folder / "begun" / "run.db.lock").touch()
    (folder / "two\nlines").mkdir()
    (folder / "two\nlines" / "run.db").touch()
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe"))).mkdir()
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe/run.db"))).touch()
    (folder / "not a run").mkdir()
    (folder / "slow.yaml").write_text(slow_plan())
    (folder / "bad.yaml").write_text("assay: plan/1\nname: <b>bad</b>\n")


class Studio:
    """`assay studio FOLDER` under way."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        key = folder.parent / "key.pem"
        if not key.exists():
            write_key(key, KEY, b"")
        self.env = {**os.environ, "PYTHONUNBUFFERED": "1", "ASSAY_KEY": str(key)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "assay", "studio", str(folder), "--port", "0", "--no-open", *options],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.link, lines = "", []
        for line in self.process.stdout:
            lines.append(line)
            if found := re.search(r"http://\S+/#t=\S+", line):
                self.link = found.group(0)
            if "Ctrl-C" in line:
                break
        assert self.link, "".join(lines)
        self.port = urlsplit(self.link).port or 0

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> str:
        """Ctrl-C; what was said last."""
        self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, said
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


class Client:
    """A browser without a face."""

    def __init__(self, studio: Studio, *, enter: bool = True) -> None:
        self.studio = studio
        self.cookie = self.set_cookie = ""
        if enter:
            status, headers, _ = self.ask("POST", "/api/sign-in", {"token": studio.link.partition("#t=")[2]})
            assert status == 200
            self.set_cookie = headers["set-cookie"]
            self.cookie = self.set_cookie.partition(";")[0]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.studio.port, timeout=120)
        sent = {"Origin": self.studio.origin, "Content-Type": "application/json", "Cookie": self.cookie} | headers
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {k: v for k, v in sent.items() if v})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        found = {k.lower(): v for k, v in answer.getheaders()}
        value = json.loads(text) if found.get("content-type", "").startswith("application/json") else text.decode("utf-8", "replace")
        return answer.status, found, value

    def get(self, path: str) -> Any:
        status, _, value = self.ask("GET", path)
        assert status == 200, value
        return value

    def post(self, path: str, **body: Any) -> Any:
        status, _, value = self.ask("POST", f"/api/{path}", body)
        assert status == 200, value
        return value

    def runs(self) -> dict[str, Any]:
        return {r["run"]["shown"]: r["run"] for r in self.get("/api/runs")["runs"]}

    def look(self, name: str, since: str = "") -> Any:
        return self.get(f"/api/run/{quote(name, safe='')}?since={since}")

    def begin(self, plan: str, target: str = "", name: str = "") -> str:
        digest = self.post("forecast", plan=plan, target=target)["digest"]
        return str(self.post("start", plan=plan, target=target, digest=digest, name=name)["name"])

    def until(self, name: str, holds: Callable[[Any], bool], seconds: float = 60) -> Any:
        end = time.monotonic() + seconds
        while not holds(found := self.look(name)):
            assert time.monotonic() < end, found
            time.sleep(0.1)
        return found
