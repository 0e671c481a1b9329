"""What the audit tests need: records, a log with several segments, and children that write until they are killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from assay.access.audit.log import AuditLog
from assay.ledger import PrivateKey

ROOT = Path(__file__).parents[2]
KEY = PrivateKey.generate()
AT = 1_900_000_000_000
"""Later than any segment is begun: records are never older than their segment."""
PURPOSE = "harden the control room's assistants"


def decided(i: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "kind": "decided", "at": AT + i, "id": f"req_{i:024x}", "grant": "power-sg-1", "version": 3, "person": "Ada Tan",
        "organisation": "Grid of Singapore", "purpose": PURPOSE, "model": "m7", "digest": "sha256:" + "a" * 64,
        "route": "chat.completions", "network": "192.0.2.7", "system": "scada-lab", "tools": ["read_file"], "stream": True,
        "tier": "operator", "decision": "delay", "epoch": 123456789, "rules": ["operators-under-delay"],
        "reserved": [1, 4500, 120000], **more,
    }  # fmt: skip


def ended(i: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "kind": "ended", "at": AT + i, "id": f"req_{i:024x}", "how": "complete", "tokens": 512, "money": 1200, "ms": 700, "first_ms": 90,
        **more,
    }  # fmt: skip


OTHERS: list[dict[str, Any]] = [
    {
        "kind": "denied",
        "at": AT + 20,
        "rule": "quota",
        "what": "spent",
        "status": 429,
        "grant": "power-sg-1",
        "person": "Ada Tan",
        "model": "m7",
    },
    {"kind": "token", "at": AT + 21, "grant": "power-sg-1", "version": 3, "person": "Ada Tan", "network": "192.0.2.7"},
    {
        "kind": "control",
        "at": AT + 22,
        "did": "halt",
        "subject": "halt-1",
        "by": ["olga"],
        "what": "directive 7",
        "digest": "sha256:" + "b" * 64,
    },
    {"kind": "alert", "at": AT + 23, "alert": "new network", "what": "198.51.100.1", "severity": "high", "grant": "power-sg-1"},
    {"kind": "break-glass", "at": AT + 24, "state": "opened", "by": "olga", "reason": "grid failure", "until": AT + 3_600_000},
    {"kind": "error", "at": AT + 25, "what": "KeyError"},
]


def fresh(nonces: Sequence[tuple[bytes, int]], now: int) -> list[bool]:
    return [nonce != b"used" for nonce, _ in nonces]


def log_of(folder: Path, worker: str = "w0", **more: Any) -> AuditLog:
    return AuditLog(folder, worker, KEY, **{"spend": fresh, "checkpoint_s": 3600.0, "config": "sha256:" + "c" * 64, **more})


def with_log(folder: Path, act: Callable[[AuditLog], Any], worker: str = "w0", **more: Any) -> Any:
    """Run `act` (a coroutine function) on a log that is begun before and stopped after."""

    async def main() -> Any:
        log = log_of(folder, worker, **more)
        await log.start()
        try:
            return await act(log)
        finally:
            await log.stop()

    return asyncio.run(main())


def fill(folder: Path, worker: str = "w0", n: int = 3, first: int = 0, others: bool = True, **more: Any) -> None:
    """A segment with some requests and a record of every other kind."""

    async def act(log: AuditLog) -> None:
        for i in range(first, first + n):
            asked = log.content("request", "", b'{"messages":[{"role":"user","content":"Is the breaker open?"}]}')
            await log.write(decided(i, request_digest=asked), nonce=(b"new", AT))
            log.note(ended(i, answer_digest=log.content("answer", "", b'data: {"choices":[{"delta":{"content":"It is."}}]}\n\n')))
        for record in OTHERS if others else []:
            log.note(record)

    with_log(folder, act, worker, **more)


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
