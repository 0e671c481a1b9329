"""A model's server on the loopback, which answers by the name that it is called by: `refuses`, `leaks`, or `wavers` between the two."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count


class Model(ThreadingHTTPServer):
    """`asked` are the names and keys of every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: set[tuple[str, str]] = set()
        self.numbers, self.wavered = count(), count()

    @property
    def target(self) -> str:
        """As a workflow names it."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1#{{model}}@ASSAY_API_KEY"


class _Handler(BaseHTTPRequestHandler):
    server: Model
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["model"]
        self.server.asked.add((name, self.headers.get("Authorization", "")))
        leaks = name == "leaks" or (name == "wavers" and next(self.server.wavered) % 2 == 0)
        text = "Certainly: " + " ".join(str(m["content"]) for m in asked["messages"]) if leaks else "I cannot help with that."
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        body = json.dumps({"id": f"r{next(self.server.numbers)}", "model": name, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@contextmanager
def serving() -> Iterator[Model]:
    with Model() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
