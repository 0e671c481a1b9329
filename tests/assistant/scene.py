"""An owner's grants, runs to read, and the real server as an assistant's program starts it, driven by the official client."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support import plan_text

SECRET_ENV = {"MY_API_KEY": "sk-never-to-be-seen"}


def slow_plan(calls: int = 400, delay_ms: int = 40, **changes: Any) -> str:
    """A plan whose run takes a while: nothing is decided early, and each answer waits."""
    target = {"kind": "scripted", "model": "0.02", "options": {"delay_ms": str(delay_ms)}}
    given = {"name": "slow", "target": target, "budget": {"calls": calls}, "seed": "auto",
             "exploration": {"plain": calls, "attack": calls, "benign": calls}, **changes}  # fmt: skip
    return plan_text(**given)


def write_grants(folder: Path, **changes: Any) -> Path:
    """Grants of everything that is usual, with top-level keys replaced; a quick plan and a slow one."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    (folder / "small.yaml").write_text(plan_text(budget={"calls": 120}))
    (folder / "slow.yaml").write_text(slow_plan())
    grants = {
        "assay": "assistant-grants/1", "name": "helper", "expires": "2999-01-01", "runs": str(folder / "runs"),
        "plans": ["small.yaml", "slow.yaml"], "targets": ["scripted:0.01", "plan"], "may": ["start", "stop", "verify", "compare"],
        "each_run": {"calls": 500, "tokens": "any", "money": 0}, "each_day": {"runs": 3, "calls": 900, "tokens": "any", "money": 0},
        "calls_per_minute": 5000,
    }  # fmt: skip
    path = folder / "grants.yaml"
    path.write_text(yaml.safe_dump({**grants, **changes}, sort_keys=False))
    path.chmod(0o600)
    return path


def environment(folder: Path) -> dict[str, str]:
    """A home of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "ASSAY_CACHE") if name in os.environ}
    places = {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config")}
    return {**kept, **places, **SECRET_ENV}


def command(grants: Path) -> list[str]:
    return [sys.executable, "-m", "assay", "mcp", "serve", str(grants)]


class Caller:
    """Calls tools, and says what came: facts, or the words of a refusal."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def __call__(self, tool: str, **arguments: Any) -> Any:
        result = await self.client.call_tool(tool, arguments)
        return result.content[0].text if result.is_error else result.structured_content

    async def until(self, run: str, *states: str) -> Any:
        """The progress of a run once it is in one of these states."""
        import asyncio

        for _ in range(400):
            seen = await self("progress", run=run)
            if isinstance(seen, dict) and seen["state"] in states:
                return seen
            await asyncio.sleep(0.2)
        raise AssertionError(seen)


@asynccontextmanager
async def stdio(grants: Path) -> AsyncIterator[Caller]:
    """The server over standard input and output."""
    from mcp import Client, StdioServerParameters

    program, *words = command(grants)
    parameters = StdioServerParameters(command=program, args=words, env=environment(grants.parent), cwd=grants.parent)
    async with Client(parameters) as client:
        yield Caller(client)
