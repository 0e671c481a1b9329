"""Where checkpoints appear: a folder of weights, or an endpoint that lists its models.

    source = Folder(Path("checkpoints"), settle_s=30.0)
    source.look()             # [Found("step-100", "sha256:...", path)], whole ones only
    source = Endpoint("http://127.0.0.1:8000/v1")

A folder's checkpoint counts once it is whole: a marker beside or in it says so, or its files have had the same names, sizes and times for
`settle_s` seconds between two looks. Names that are hidden or end like something under way are passed over. What an endpoint says is not
trusted: it is bounded, and a name that cannot be printed is no model.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import msgspec
from msgspec import Struct

from assay.errors import AssayError, TargetError
from assay.ledger import digest
from assay.version import __version__

WEIGHTS = (".gguf", ".safetensors", ".bin", ".pt", ".pth")
UNDER_WAY = (".partial", ".part", ".tmp", ".temp", ".download", ".crdownload", ".incomplete", ".lock")
MARKERS = (".complete", ".done", "_SUCCESS")
SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
MOST_FILES = 10_000
MOST_FOUND = 1_000
MOST_MODELS = 1_000
MOST_BYTES = 1 << 20
NAME = re.compile(r"[\w][\w ./:@+=-]{0,199}")
SAID = ("id", "root", "parent", "digest", "sha256", "fingerprint", "system_fingerprint", "version", "revision", "meta")
"""What of a model's entry says which model it is. `created` is not among them: servers put the present time there."""
_PIECE = 1 << 22


class Found(Struct, frozen=True):
    """A checkpoint that is there and whole: its name, what identifies it, and its file or folder (None at an endpoint)."""

    name: str
    key: str
    path: Path | None = None


class Source(Protocol):
    """Where one looks. `about` names it, without anything secret."""

    about: str

    def look(self) -> list[Found]:
        """What is there and whole now, oldest name first. Raises `AssayError` where one cannot look at all."""
        ...


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """For sorting names: `step-9` before `step-10`."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)[:64])


class Folder:
    """Weights in a folder: files such as step-100.gguf, and sub-folders that hold weights."""

    def __init__(self, folder: Path, *, settle_s: float, marker: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.about = folder.name or str(folder)
        self._folder, self._settle_s, self._marker, self._clock = folder, settle_s, marker, clock
        self._seen: dict[Path, tuple[tuple[tuple[str, int, int], ...], float]] = {}
        self._keys: dict[Path, tuple[tuple[tuple[str, int, int], ...], str]] = {}

    def look(self) -> list[Found]:
        """Digests what has become whole since the last look. Raises `AssayError`."""
        try:
            entries = sorted((p for p in self._folder.iterdir() if _counts(p)), key=lambda p: natural(p.name))
        except OSError as e:
            raise AssayError(f"cannot look into it: {e.strerror}", where=str(self._folder)) from None
        self._seen = {path: seen for path, seen in self._seen.items() if path in set(entries)}
        found = [each for path in entries[:MOST_FOUND] if (each := self._whole(path)) is not None]
        names = [f.name for f in found]
        return [f if names.count(f.name) == 1 or f.path is None else Found(f.path.name, f.key, f.path) for f in found]

    @property
    def waiting(self) -> bool:
        """Whether something is there that may become whole."""
        return any(path not in self._keys or self._keys[path][0] != state for path, (state, _) in self._seen.items())

    def _whole(self, path: Path) -> Found | None:
        state = _state(path)
        if state is None:
            self._seen.pop(path, None)
            return None
        now, (before, since) = self._clock(), self._seen.get(path, (None, 0.0))
        if state != before:
            self._seen[path] = (state, now)
            since = now
        marked = _marked(path, (self._marker,) if self._marker else MARKERS)
        if not marked and (self._marker or state != before or now - since < self._settle_s):
            return None
        known = self._keys.get(path)
        if known is None or known[0] != state:
            key = _key(path, state)
            if key is None or _state(path) != state:  # it changed while it was read
                self._seen.pop(path, None)
                return None
            known = self._keys[path] = (state, key)
        return Found(path.stem if path.is_file() else path.name, known[1], path)


def _counts(path: Path) -> bool:
    name = path.name
    if name.startswith((".", "_")) or name.lower().endswith(UNDER_WAY) or not NAME.fullmatch(name):
        return False
    return path.is_dir() or (path.suffix.lower() == ".gguf" and not SPLIT.search(name))


def _state(path: Path) -> tuple[tuple[str, int, int], ...] | None:
    """Names, sizes and times of a checkpoint's files; None where there are none, or some are under way."""
    try:
        if path.is_file():
            at = path.stat()
            return ((path.name, at.st_size, at.st_mtime_ns),) if at.st_size else None
        files = sorted(_files(path))
        if not any(f.suffix.lower() in WEIGHTS for f in files) or any(f.name.lower().endswith(UNDER_WAY) for f in files):
            return None
        return tuple((str(f.relative_to(path)), (at := f.stat()).st_size, at.st_mtime_ns) for f in files)
    except OSError:
        return None


def _files(folder: Path) -> Iterator[Path]:
    for number, path in enumerate(folder.rglob("*")):
        if number > MOST_FILES:
            raise OSError(f"more than {MOST_FILES:,} files")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts) and path.name not in MARKERS:
            yield path


def _marked(path: Path, markers: tuple[str, ...]) -> bool:
    """`NAME.done` beside it, or `done`, `.done` in it."""
    beside = [path.with_name(path.name + (m if m.startswith(".") else f".{m}")) for m in markers]
    return any(p.exists() for p in (*beside, *((path / m for m in markers) if path.is_dir() else ())))


def _key(path: Path, state: tuple[tuple[str, int, int], ...]) -> str | None:
    """A file's digest; of a folder, the digest of its files' names and digests. None for what cannot be read any more."""
    try:
        if path.is_file():
            return _sha256(path)
        return digest([[name, _sha256(path / name)] for name, _, _ in state])
    except OSError:
        return None


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    return "sha256:" + found.hexdigest()


class Endpoint:
    """The models that an OpenAI-compatible endpoint lists. With `greet` each known model is asked for one token a look: what the endpoint
    then says of its serving system tells another model behind the same name.
    """

    def __init__(self, url: str, *, key: str = "", models: str = "*", greet: bool = True, timeout_s: float = 20.0) -> None:
        self.url = url.rstrip("/")
        self.about = self.url
        self._key, self._models, self._greet, self._timeout_s = key, models, greet, timeout_s

    def look(self) -> list[Found]:
        """One request, and one short call for each model with `greet`. Raises `TargetError` where the endpoint does not answer."""
        return asyncio.run(self._look())

    async def _look(self) -> list[Found]:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        headers["User-Agent"] = f"assay/{__version__}"
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            listed = await _json(session, "GET", f"{self.url}/models")
            entries = listed.get("data") if isinstance(listed, dict) else None
            if not isinstance(entries, list):
                raise TargetError("what it lists is no list of models", where=self.url)
            known = {str(e["id"]): e for e in entries[:MOST_MODELS] if isinstance(e, dict) and _is_name(e.get("id"))}
            found = []
            for name in sorted((n for n in known if fnmatchcase(n, self._models)), key=natural):
                said = {k: known[name][k] for k in SAID if k in known[name]}
                if self._greet:
                    system = await self._system(session, name)
                    if system is None:
                        continue  # it does not answer now: nothing is known of it at this look
                    said["answers"] = system
                found.append(Found(name, digest(_plain(said))))
            return found

    async def _system(self, session: aiohttp.ClientSession, name: str) -> dict[str, str] | None:
        """What an answer says of the model and its serving system; None where there is no answer."""
        body = {"model": name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "temperature": 0}
        try:
            answer = await _json(session, "POST", f"{self.url}/chat/completions", body)
        except TargetError:
            return None
        if not isinstance(answer, dict) or not answer.get("choices"):
            return None
        return {k: str(answer.get(k) or "")[:200] for k in ("model", "system_fingerprint")}


async def _json(session: aiohttp.ClientSession, method: str, url: str, body: Any = None) -> Any:
    """An answer's JSON, bounded. Raises `TargetError`."""
    try:
        async with session.request(method, url, json=body, allow_redirects=False) as answer:
            if answer.status != 200:
                raise TargetError(f"it answers {answer.status}", where=url)
            parts, size = [], 0
            async for piece in answer.content.iter_chunked(1 << 16):
                parts.append(piece)
                size += len(piece)
                if size > MOST_BYTES:
                    raise TargetError(f"it answers with more than {MOST_BYTES:,} bytes", where=url)
        return msgspec.json.decode(b"".join(parts))
    except (aiohttp.ClientError, TimeoutError, OSError) as e:
        raise TargetError(f"it does not answer ({type(e).__name__})", where=url) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        raise TargetError("its answer is no JSON", where=url) from None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _plain(value: Any, depth: int = 0) -> Any:
    """As JSON that can be digested: numbers as texts, and nothing nested deeply."""
    if depth > 8:
        return ""
    if isinstance(value, dict):
        return {str(k): _plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v, depth + 1) for v in value]
    return value if isinstance(value, str | bool) or value is None else str(value)
