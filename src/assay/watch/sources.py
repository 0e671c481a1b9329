"""Where checkpoints appear: a folder of weights, or an endpoint that lists its models.

    source = Folder(Path("checkpoints"), settle_s=30.0)
    source.look()             # [Found("step-100", "sha256:...", path)], whole ones only
    source = Endpoint("http://127.0.0.1:8000/v1")

A folder's checkpoint counts once it is whole: a marker beside or in it says so, or its files have had the same names, sizes and times for
`settle_s` seconds between two looks. Names that are hidden or end like something under way are passed over. What is there and cannot be
identified (a model that does not answer, a folder that cannot be read) is found with the reason and without a key. What an endpoint says
is not trusted: it is bounded, and a name that cannot be printed is no model.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec import Struct, structs

from assay.errors import AssayError, TargetError
from assay.ledger import digest
from assay.version import __version__

WEIGHTS = (".gguf", ".safetensors", ".bin", ".pt", ".pth")
UNDER_WAY = (".partial", ".part", ".tmp", ".temp", ".download", ".crdownload", ".incomplete", ".lock")
MARKERS = (".complete", ".done", "_SUCCESS")
SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
MOST_FILES = 10_000
MOST_FOUND = 10_000
MOST_MODELS = 1_000
MOST_BYTES = 1 << 20
NAME = re.compile(r"[\w][\w ./:@+=-]{0,199}")
SAID = ("id", "root", "parent", "digest", "sha256", "fingerprint", "system_fingerprint", "version", "revision", "meta")
"""What of a model's entry says which model it is. `created` is not among them: servers put the present time there."""
_PIECE = 1 << 22


class Found(Struct, frozen=True):
    """A checkpoint that is there and whole: its name, what identifies it, and its file or folder (None at an endpoint). With a `reason`, it
    is there and nothing identifies it now; the key is empty.
    """

    name: str
    key: str
    path: Path | None = None
    reason: str = ""


class Source(Protocol):
    """Where one looks. `about` names it, without anything secret."""

    about: str

    def look(self) -> list[Found]:
        """What is there and whole now, oldest name first. Raises `AssayError` where one cannot look at all, or there is more than can be
        looked at.
        """
        ...

    def settling(self, name: str) -> bool:
        """Whether a checkpoint of that name is there and not whole."""
        ...

    def still(self, found: Found) -> bool:
        """Whether what was found has the same key now, read anew; if not, it is found anew at the next look."""
        ...


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """For sorting names: `step-9` before `step-10`."""
    return tuple((int(part), "") if part.isascii() and part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)[:64])


class Folder:
    """Weights in a folder: files such as step-100.gguf, and sub-folders that hold weights."""

    def __init__(self, folder: Path, *, settle_s: float, marker: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.about = folder.name or str(folder)
        self._folder, self._settle_s, self._marker, self._clock = folder, settle_s, marker, clock
        self._seen: dict[Path, tuple[tuple[tuple[str, int, int], ...], float]] = {}
        self._keys: dict[Path, tuple[tuple[tuple[str, int, int], ...], str]] = {}
        self._known: frozenset[tuple[str, str]] = frozenset()
        self._read: dict[Path, tuple[tuple[str, int, int], ...]] = {}

    def recognise(self, known: Iterable[tuple[str, str]]) -> None:
        """Names and keys of checkpoints that were found before: where one is there byte for byte, it is whole and settles no more."""
        self._known = frozenset(known)

    def look(self) -> list[Found]:
        """Digests what has become whole since the last look. Raises `AssayError`."""
        try:
            entries = sorted((p for p in self._folder.iterdir() if _counts(p)), key=lambda p: natural(p.name))
        except OSError as e:
            raise AssayError(f"cannot look into it: {e.strerror}", where=str(self._folder)) from None
        if len(entries) > MOST_FOUND:
            what = f"it holds {len(entries):,} checkpoints, and a watch looks at {MOST_FOUND:,} at most"
            raise AssayError(what, where=str(self._folder), fix="Move the oldest ones away.")
        there = set(entries)
        self._seen = {path: seen for path, seen in self._seen.items() if path in there}
        found = [each for path in entries if (each := self._whole(path)) is not None]
        names = Counter(f.name for f in found)
        return [f if names[f.name] == 1 or f.path is None else structs.replace(f, name=f.path.name) for f in found]

    @property
    def waiting(self) -> bool:
        """Whether something is there that may become whole."""
        return any(map(self._settles, self._seen))

    def settling(self, name: str) -> bool:
        """Whether a checkpoint of that name is there and not whole."""
        return any(name in (_name(path), path.name) and self._settles(path) for path in self._seen)

    def still(self, found: Found) -> bool:
        """Whether what was found has the same key now: its files are read anew."""
        if found.path is None:
            return False
        try:
            state = _state(found.path)
            if state is not None and _key(found.path, state) == found.key:
                return True
        except OSError:
            pass
        self._keys.pop(found.path, None)
        return False

    def _settles(self, path: Path) -> bool:
        return path not in self._keys or self._keys[path][0] != self._seen[path][0]

    def _whole(self, path: Path) -> Found | None:
        try:
            return self._identified(path)
        except OSError as e:  # not what vanished meanwhile: that is no OSError here
            self._seen.pop(path, None)
            return Found(_name(path), "", path, f"it cannot be read: {e.strerror or e}")

    def _identified(self, path: Path) -> Found | None:
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
            return None if self._marker else self._recognised(path, state)
        known = self._keys.get(path)
        if known is None or known[0] != state:
            key = _key(path, state)
            if key is None or _state(path) != state:  # it changed while it was read
                self._seen.pop(path, None)
                return None
            known = self._keys[path] = (state, key)
        return Found(_name(path), known[1], path)

    def _recognised(self, path: Path, state: tuple[tuple[str, int, int], ...]) -> Found | None:
        """A checkpoint that was found before; read once in each state, since what is being written is read in vain."""
        if self._read.get(path) == state or not any(name in (_name(path), path.name) for name, _ in self._known):
            return None
        self._read[path] = state
        key = _key(path, state)
        if key is None or _state(path) != state or not {(_name(path), key), (path.name, key)} & self._known:
            return None
        self._keys[path] = (state, key)
        return Found(_name(path), key, path)


def _name(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _counts(path: Path) -> bool:
    name = path.name
    if name.startswith((".", "_")) or name.lower().endswith(UNDER_WAY) or not NAME.fullmatch(name):
        return False
    return path.is_dir() or (path.suffix.lower() == ".gguf" and not SPLIT.search(name))


def _state(path: Path) -> tuple[tuple[str, int, int], ...] | None:
    """Names, sizes and times of a checkpoint's files; None where there are none, or some are under way, or have vanished. Raises `OSError`
    for what cannot be read, or is too much.
    """
    try:
        if path.is_file():
            at = path.stat()
            return ((path.name, at.st_size, at.st_mtime_ns),) if at.st_size else None
        files = sorted(_files(path))
        if not any(f.suffix.lower() in WEIGHTS for f in files) or any(f.name.lower().endswith(UNDER_WAY) for f in files):
            return None
        return tuple((str(f.relative_to(path)), (at := f.stat()).st_size, at.st_mtime_ns) for f in files)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _files(folder: Path) -> Iterator[Path]:
    """Raises `OSError` also for a folder in it that cannot be read, which `rglob` passes over."""

    def cannot(error: OSError) -> None:
        raise error

    number = 0
    for place, folders, names in os.walk(folder, onerror=cannot):
        folders[:] = [name for name in folders if not name.startswith(".")]
        number += len(folders) + len(names)
        if number > MOST_FILES:
            raise OSError(f"it holds more than {MOST_FILES:,} files")
        paths = (Path(place, name) for name in names if not name.startswith(".") and name not in MARKERS)
        yield from (path for path in paths if path.is_file())


def _marked(path: Path, markers: tuple[str, ...]) -> bool:
    """`NAME.done` beside it, or `done`, `.done` in it."""
    beside = [path.with_name(path.name + (m if m.startswith(".") else f".{m}")) for m in markers]
    return any(p.exists() for p in (*beside, *((path / m for m in markers) if path.is_dir() else ())))


def _key(path: Path, state: tuple[tuple[str, int, int], ...]) -> str | None:
    """A file's digest; of a folder, the digest of its files' names and digests. None for what has vanished. Raises `OSError`."""
    try:
        if path.is_file():
            return _sha256(path)
        return digest([[name, _sha256(path / name)] for name, _, _ in state])
    except (FileNotFoundError, NotADirectoryError):
        return None


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    return "sha256:" + found.hexdigest()


class Endpoint:
    """The models that an OpenAI-compatible endpoint lists. With `greet` each known model is asked for one token a look: what the endpoint
    then says of its serving system tells another model behind the same name. Raises `TargetError` for an address with a user, a password or
    a query: it is shown, and written into runs, pages and alerts.
    """

    def __init__(self, url: str, *, key: str = "", models: str = "*", greet: bool = True, timeout_s: float = 20.0) -> None:
        self.url = checked_address(url).rstrip("/")
        self.about = self.url
        self._key, self._models, self._greet, self._timeout_s = key, models, greet, timeout_s

    def look(self) -> list[Found]:
        """One request, and one short call for each model with `greet`. Raises `TargetError` where the endpoint does not answer."""
        return asyncio.run(self._look())

    def settling(self, name: str) -> bool:
        """Nothing here becomes whole by and by."""
        return False

    def still(self, found: Found) -> bool:
        """The list and the greeting are all that is known of a model: what was found is that."""
        return True

    async def _look(self) -> list[Found]:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        headers["User-Agent"] = f"assay/{__version__}"
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            listed = await _json(session, "GET", f"{self.url}/models")
            entries = listed.get("data") if isinstance(listed, dict) else None
            if not isinstance(entries, list):
                raise TargetError("what it lists is no list of models", where=self.url)
            known = {str(e["id"]): e for e in entries if isinstance(e, dict) and _is_name(e.get("id"))}
            asked = sorted((n for n in known if fnmatchcase(n, self._models)), key=natural)
            if len(asked) > MOST_MODELS:
                what = f"it lists {len(asked):,} models, and a watch looks at {MOST_MODELS:,} at most"
                raise TargetError(what, where=self.url, fix="Name fewer with --models.")
            return [await self._found(session, name, known[name]) for name in asked]

    async def _found(self, session: aiohttp.ClientSession, name: str, entry: dict[str, Any]) -> Found:
        """A listed model; without a key where it does not answer now, since nothing is known of it at this look."""
        said = {k: entry[k] for k in SAID if k in entry}
        if self._greet:
            try:
                said["answers"] = await self._system(session, name)
            except TargetError as e:
                return Found(name, "", reason=f"asked for a greeting, {e.what}")
        return Found(name, digest(_plain(said)))

    async def _system(self, session: aiohttp.ClientSession, name: str) -> dict[str, str]:
        """What an answer says of the model and its serving system. Raises `TargetError` where there is no answer."""
        body = {"model": name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "temperature": 0}
        answer = await _json(session, "POST", f"{self.url}/chat/completions", body)
        if not isinstance(answer, dict) or not answer.get("choices"):
            raise TargetError("its answer has no choices", where=self.url)
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


def checked_address(url: str) -> str:
    """An endpoint's address, which may be shown. Raises `TargetError`, without quoting it, for one that may hold a secret.

    An `@` is refused anywhere: a password with a `/` moves it behind what a parser takes for the host.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if "@" in url:
        what, fix = "an address holds no user and no password: it is shown, and written into runs and alerts", "Give --api-key-env NAME."
    elif parts.query or parts.fragment:
        what, fix = "an address to watch has no query and no fragment: they may hold a key", "Give --api-key-env NAME, --models PATTERN."
    elif not host or parts.scheme not in ("http", "https") or not url.isprintable():
        what, fix = "this is no address that begins with http:// or https:// and names a host", ""
    else:
        return url.rstrip("?#")
    raise TargetError(what, fix=fix)


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
