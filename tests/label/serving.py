"""The page as a person starts it: the real command in a process of its own, which can be killed."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit


class Page:
    """`assay label RUN` under way. `links` are the personal links by name, `port` stays the same over a restart."""

    def __init__(self, run: Path, *options: str) -> None:
        self.run, self.options = run, options
        self.links: dict[str, str] = {}
        self.port = 0
        self.said = ""
        self.process: subprocess.Popen[str] | None = None
        self.start(*options)

    def start(self, *options: str) -> None:
        command = [sys.executable, "-m", "assay", "label", str(self.run), "--port", str(self.port), *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        assert self.process.stdout is not None
        name = ""
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if found := re.match(r"  (\S.*?)  +(?:labels|decides)", line):
                name = found.group(1)
            if found := re.search(r"(https?://\S+/#t=\S+)", line):
                self.links[name] = found.group(1)
            if "Ctrl-C" in line:
                break
        else:
            raise AssertionError("".join(lines))
        self.said = "".join(lines)
        if self.links:
            self.port = urlsplit(next(iter(self.links.values()))).port or 0

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """As a crash would: no chance to tidy up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def restart(self) -> None:
        """The same command again, without names: the links are still valid."""
        self.start(*[o for o in self.options if o == "--all"])

    def stop(self) -> tuple[int, str]:
        """Ctrl-C; the exit code and what was said last."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=20)
        return self.process.returncode, said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


class Client:
    """A browser without a face: signs in with a link and calls the page's answers."""

    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name
        self.connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)
        token = page.links[name].partition("#t=")[2]
        status, headers, me = self.ask("POST", "/api/sign-in", {"token": token})
        assert status == 200, me
        self.cookie = headers["set-cookie"].partition(";")[0]
        self.set_cookie = headers["set-cookie"]

    cookie = ""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], Any]:
        sent = {"Origin": self.page.origin, "Content-Type": "application/json", "Cookie": self.cookie} | headers
        sent = {k: v for k, v in sent.items() if v}
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        self.connection.request(method, path, data, sent)
        answer = self.connection.getresponse()
        text = answer.read()
        found = {k.lower(): v for k, v in answer.getheaders()}
        value = json.loads(text) if found.get("content-type", "").startswith("application/json") else text.decode()
        return answer.status, found, value

    def work(self, have: tuple[int, ...] = ()) -> Any:
        status, _, value = self.ask("POST", "/api/work", {"who": self.name, "have": have})
        assert status == 200, value
        return value

    def act(self, identifier: str, view: Any, **values: Any) -> tuple[int, Any]:
        act = {"id": identifier, "act": "label", "slot": view["slot"], "transcript": view["transcript"]} | values
        status, _, value = self.ask("POST", "/api/act", {"who": self.name, "act": act})
        return status, value
