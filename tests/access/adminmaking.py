"""The administration's API for tests: a gate's folder, its application without a network, and people who sign."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from assay.access.admin.serve import open_admin
from assay.access.admin.signedhttp import sign_request
from assay.access.config import read_config
from assay.ledger import PrivateKey
from tests.access.gate import ADMINS, Gate, free_port

AUDITOR, VIEWER = PrivateKey.generate(), PrivateKey.generate()
PEOPLE = {**ADMINS, "aud": AUDITOR, "vic": VIEWER}


def public(key: PrivateKey) -> str:
    return base64.b64encode(key.public.raw).decode()


class Api:
    """The application, with its lifespan under way."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        reading = {"listen": f"127.0.0.1:{self.port}", "auditors": {"aud": public(AUDITOR)}, "viewers": {"vic": public(VIEWER)}}
        self.gate = Gate(folder, administration=reading)
        self.config = read_config(folder / "gate.yaml")
        self.app = open_admin(self.config)
        self.origin = f"http://127.0.0.1:{self.port}"
        self.runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._said: asyncio.Queue[Any] = asyncio.Queue()
        self._orders: asyncio.Queue[Any] = asyncio.Queue()
        loop = self.runner.get_loop()
        self._life = loop.create_task(self.app({"type": "lifespan", "asgi": {"version": "3.0"}}, self._orders.get, self._said.put))
        self._orders.put_nowait({"type": "lifespan.startup"})
        started = self.runner.run(self._wait())
        assert started["type"] == "lifespan.startup.complete", started
        time.sleep(1.1)  # whatever was signed in the second in which the memory of nonces began is refused
        return self

    async def _wait(self) -> Any:
        return await self._said.get()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._orders.put_nowait({"type": "lifespan.shutdown"})
        self.runner.run(self._wait())
        self.runner.close()
        self.gate.store.close()

    def ask(self, who: str, method: str, path: str, body: Any = None, **changes: Any) -> tuple[int, Any]:
        """A signed call; status and what was answered."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = sign_request(PEOPLE[who], method, f"{self.origin}{path}", data, now_s=int(time.time()), nonce=secrets.token_urlsafe(24))
        status, _, value = self.send(method, path, data, {**sent, **changes})
        return status, value

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Any = (), client: str = "127.0.0.1"
    ) -> tuple[int, dict[str, str], Any]:
        """Any call at all."""
        return self.runner.run(self._send(method, path, body, dict(headers), client))

    async def _send(self, method: str, path: str, body: bytes, headers: dict[str, str], client: str) -> tuple[int, dict[str, str], Any]:
        plain, _, query = path.partition("?")
        given = {"Host": f"127.0.0.1:{self.port}", "Content-Type": "application/json", **headers}
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": plain,
            "raw_path": plain.encode(), "query_string": query.encode(), "root_path": "", "client": (client, 5000),
            "server": ("127.0.0.1", self.port), "headers": [(n.lower().encode(), v.encode()) for n, v in given.items() if v],
        }  # fmt: skip
        messages: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        await self.app(scope, receive, send)
        found = {n.decode(): v.decode() for n, v in messages[0]["headers"]}
        text = b"".join(m.get("body", b"") for m in messages[1:])
        value = json.loads(text) if found.get("content-type", "").startswith("application/json") else text.decode()
        return messages[0]["status"], found, value

    def controls(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """What stands in the audit log of acts: what was done, to what, by whom."""
        status, found = self.ask("aud", "GET", "/access/audit?kind=control")
        assert status == 200, found
        return [(r["did"], r["subject"], tuple(r["by"])) for r in reversed(found["records"])]
