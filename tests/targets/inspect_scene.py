"""A loopback endpoint that answers by what it is asked, as OpenAI's interface does: every kind of failure, native calls, and how often it
was asked what.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from aiohttp import web

from tests.targets.endpoint import completion

SECRET = "sk-loopback-0123456789abcdef"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def error(status: int, code: str = "", headers: dict[str, str] | None = None) -> web.Response:
    body = {"error": {"message": f"something with {SECRET} in it", "type": "invalid_request_error", "code": code or None}}
    return web.json_response(body, status=status, headers=headers)


def whole(**more: Any) -> web.Response:
    return web.json_response({**completion("Fine.", usage=USAGE, object="chat.completion", created=1), **more})


class Scene:
    """The first user message says what comes back."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.bodies: dict[str, dict[str, Any]] = {}
        self.keys: set[str] = set()
        self.held = asyncio.Event()

    async def __call__(self, request: web.Request, body: dict[str, Any], count: int) -> web.StreamResponse:
        what = next(str(m["content"]) for m in body["messages"] if m["role"] == "user")
        self.asked[what] += 1
        self.bodies[what] = body
        self.keys.add(request.headers.get("Authorization", ""))
        match what:
            case "busy":
                return error(429, headers={"Retry-After": "7"})
            case "down":
                return error(503)
            case "broken":
                return error(500)
            case "bad":
                return error(400)
            case "filtered":
                return error(400, "content_filter")
            case "too long":
                return error(400, "context_length_exceeded")
            case "no key":
                return error(401)
            case "slow":
                await asyncio.sleep(30)
            case "no json":
                return web.Response(text="<html>", content_type="text/html")
            case "nothing":
                return whole(choices=[])
            case "cut":
                return whole(choices=[{"index": 0, "message": {"role": "assistant", "content": "Well"}, "finish_reason": "length"}])
            case "odd":
                text = "nul \x00 and a lone surrogate \ud800"
                return web.Response(
                    text=json.dumps(json.loads(whole().text or "") | {"choices": [_choice(text)]}), content_type="application/json"
                )
            case "long":
                return whole(choices=[_choice("y" * 5000)])
            case "call" if body["messages"][-1]["role"] == "user":
                good = {"id": "c-1", "type": "function", "function": {"name": "look", "arguments": '{"at": "M-1"}'}}
                bad = {"id": "c-2", "type": "function", "function": {"name": "look", "arguments": '{"at": '}}
                message = {"role": "assistant", "content": "I look.", "tool_calls": [good, bad]}
                return whole(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])
        return whole()


def _choice(text: str) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
