"""How a web room reads what a browser sends and answers it: JSON both ways, and files from a fixed list.

asked = await read_body(request, Asked)          # 422 where it is not one
return answer({"name": "ada"})
Starlette(..., exception_handlers={HTTPException: said})
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

T = TypeVar("T")
SHARED = Path(__file__).parent / "static"
"""Files of the house that every room's page uses."""
KINDS = {
    ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}  # fmt: skip


async def read_body(request: Request, kind: type[T]) -> T:
    """What was sent. Raises `HTTPException` 422 where it is no `kind` in JSON."""
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise HTTPException(422, str(e)) from None


def answer(value: object, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def said(request: Request, error: Exception) -> Response:
    """What an `HTTPException` says, as JSON."""
    assert isinstance(error, HTTPException)  # noqa: S101 (what it is registered for)
    return answer({"error": error.detail}, error.status_code)


def file_answer(path: Path | None) -> Response:
    """A file of the page. Raises `HTTPException` 404 for none, and for kinds that a page does not have."""
    if path is None or path.suffix not in KINDS:
        raise HTTPException(404, "not here")
    return Response(_bytes(path), media_type=KINDS[path.suffix])


@cache
def _bytes(path: Path) -> bytes:
    return path.read_bytes()
