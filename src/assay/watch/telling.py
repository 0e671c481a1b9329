"""Alerts: a command and a webhook hear of every checkpoint that changed, is unclear, or could not be evaluated.

    teller = Teller(command=("notify-me",), webhook="https://hooks.example.org/x")
    teller.tell(alert_of(state, checkpoint))

The command gets the alert in its environment, as ASSAY_ALERT (JSON), ASSAY_ALERT_VERDICT, ASSAY_ALERT_CHECKPOINT, ASSAY_ALERT_RUN and
ASSAY_ALERT_MESSAGE; no shell is involved, and nothing that a model's maker chose becomes an argument. A webhook is reached over https, or
on this machine. An alert holds names, counts and rates, and no text of a prompt or an answer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from assay.errors import AssayError
from assay.version import __version__
from assay.watch.changes import Move
from assay.watch.state import Checkpoint, WatchState

COMMAND_S = 60.0
WEBHOOK_S = 10.0
TRIES = 3
MOST_MOVES = 20


def alert_of(state: WatchState, checkpoint: Checkpoint) -> dict[str, Any]:
    """What is told of a checkpoint, as JSON."""
    of = state.resolved(checkpoint)
    change = of.change
    return {
        "event": "checkpoint", "source": state.source, "checkpoint": checkpoint.name, "number": checkpoint.number, "key": checkpoint.key,
        "run": of.run, "status": checkpoint.status, "decision": of.verdict, "reason": of.reason,
        "verdict": outcome_of(state, checkpoint), "reference": change.reference if change else "",
        "comparison": change.number if change else 0,
        "level": change.level if change else 0.0, "moves": [_move(m) for m in change.moves[:MOST_MOVES]] if change else [],
        "message": words_of(state, checkpoint),
    }  # fmt: skip


def outcome_of(state: WatchState, checkpoint: Checkpoint) -> str:
    """One word, as `verdict_of`; what is the same as an earlier one is what that one is, and `same` only as the reference itself."""
    of = state.resolved(checkpoint)
    if of.status == "same":
        return "unclear"  # what it is the same as is not there
    verdict = verdict_of(of)
    return "same" if checkpoint is not of and verdict == "reference" else verdict


def words_of(state: WatchState, checkpoint: Checkpoint) -> str:
    """One line, as `message_of`, and of what is the same as an earlier one what was said of that."""
    of = state.resolved(checkpoint)
    return message_of(checkpoint) + ("" if checkpoint is of else f": {message_of(of)}")


def verdict_of(checkpoint: Checkpoint) -> str:
    """One word of a checkpoint by itself: reference, worse, better, no change, unclear, failed, same, waiting."""
    if checkpoint.status == "found":
        return "waiting"
    if checkpoint.status != "done":
        return checkpoint.status
    if checkpoint.change:
        return checkpoint.change.verdict
    return "unclear" if checkpoint.ended != "complete" or checkpoint.reason else "reference"


def message_of(checkpoint: Checkpoint) -> str:
    """One line."""
    change, verdict = checkpoint.change, verdict_of(checkpoint)
    if verdict == "failed":
        return f"{checkpoint.name} could not be evaluated: {checkpoint.reason}"
    if verdict == "same":
        return f"{checkpoint.name} is checkpoint {checkpoint.like} again"
    if verdict == "waiting":
        return f"{checkpoint.name} waits to be evaluated{f' ({checkpoint.reason})' if checkpoint.reason else ''}"
    if change is None and checkpoint.ended != "complete":
        return f"{checkpoint.name}: its run ended early ({checkpoint.ended})"
    if change is None:
        return f"{checkpoint.name} is {f'not taken as the reference: {checkpoint.reason}' if checkpoint.reason else 'the reference'}"
    told = {
        "worse": "got worse than", "better": "got better than", "no change": "shows no change from",
        "unclear": "cannot be told from",
    }[verdict]  # fmt: skip
    moves = "; ".join(said(m) for m in sorted(change.moves, key=lambda m: (m.direction, -m.at_least))[:3])
    more = f", and {len(change.doubts) - 2} more" if len(change.doubts) > 2 else ""
    lost = f" ({'; '.join(change.doubts[:2])}{more})" if verdict == "unclear" and change.doubts else ""
    return f"{checkpoint.name} {told} {change.reference}{lost}{f': {moves}' if moves else ''}"


def said(move: Move) -> str:
    """One move in words."""
    what = "harmless requests not served" if move.what == "harmless requests" else f"violations of {move.what}"
    at_least = f" (at least {100 * move.at_least:.1f}% of the items, net)" if move.at_least > 0 else ""
    return f"{what} {move.direction} from {move.older[0]}/{move.older[1]} to {move.newer[0]}/{move.newer[1]}{at_least}"


def _move(move: Move) -> dict[str, Any]:
    return {
        "what": move.what, "direction": move.direction, "older": list(move.older), "newer": list(move.newer),
        "at_least": round(move.at_least, 6),
    }  # fmt: skip


def checked_webhook(url: str) -> str:
    """An https address, or one on this machine. Raises `AssayError`."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port
    except ValueError:
        host, port, parts = "", 0, urlsplit("")
    local = host == "localhost" or _is_loopback(host)
    if not host or port == 0 or parts.username or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not local):
        raise AssayError("a webhook is an https address, or http on this machine, without a user", where="--webhook")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Teller:
    """Whom to tell. `secret` names variables that the command must not see."""

    def __init__(self, command: Sequence[str] = (), webhook: str = "", secret: Sequence[str] = ()) -> None:
        if command and shutil.which(command[0]) is None:
            raise AssayError(f"there is no command '{command[0]}'", where="--alert-command")
        self._command, self._webhook, self._secret = tuple(command), checked_webhook(webhook) if webhook else "", frozenset(secret)

    def tell(self, alert: dict[str, Any]) -> list[str]:
        """Tell all; what failed, in words, without the webhook's path."""
        failures = [self._run(alert)] if self._command else []
        if self._webhook:
            failures.append(asyncio.run(self._post(alert)))
        return [f for f in failures if f]

    def _run(self, alert: dict[str, Any]) -> str:
        values = {"ASSAY_ALERT": json.dumps(alert, ensure_ascii=True)}
        for name in ("verdict", "checkpoint", "run", "message"):
            values[f"ASSAY_ALERT_{name.upper()}"] = "".join(c if c.isprintable() else "?" for c in str(alert[name]))
        environment = {k: v for k, v in os.environ.items() if k not in self._secret} | values
        try:
            done = subprocess.run(  # noqa: S603 (the user's own command, and no shell)
                self._command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                timeout=COMMAND_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"the alert command took longer than {COMMAND_S:g} s"
        except OSError as e:
            return f"the alert command did not start: {e.strerror}"
        return f"the alert command ended with {done.returncode}" if done.returncode else ""

    async def _post(self, alert: dict[str, Any]) -> str:
        host = urlsplit(self._webhook).hostname
        headers = {"User-Agent": f"assay/{__version__}"}
        why = ""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WEBHOOK_S), headers=headers) as session:
            for attempt in range(TRIES):
                try:
                    async with session.post(self._webhook, json=alert, allow_redirects=False) as answer:
                        if 200 <= answer.status < 300:
                            return ""
                        why = f"answers {answer.status}"
                except (aiohttp.ClientError, TimeoutError, OSError) as e:
                    why = f"does not answer ({type(e).__name__})"
                if attempt < TRIES - 1:
                    await asyncio.sleep(0.5 * 2**attempt)
        return f"the webhook at {host} {why}"
