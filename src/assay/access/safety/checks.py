"""Content checks by plug-in, on the request and on the answer. Whatever a check cannot say in time, and validly, is a denial.

    checks = Checks.load(["bounds", "secrets"], Path("checks.yaml"))      # built-in, or an entry point of the group assay.access_checks
    flags = await checks.request(asked, texts)                            # raises CheckDeniedError
    answer = checks.answer(asked)                                         # None where no check looks at answers
    if answer.push(piece):                                                # True: enough has come, look before more goes on
        flags = await answer.scan()                                       # raises CheckDeniedError: cut
    flags = await answer.scan(last=True)

A check says which of its own `reasons` it found, and never what: no content reaches a log or a caller this way. An answer is read in a
window that keeps the last `span` characters of what came before, so a match over a border of chunks is found, and memory is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Literal, Protocol, TypeVar

import msgspec
from msgspec import Meta, Struct

from assay.access.config import GateError
from assay.access.model import Asked, DeniedError, Id
from assay.catalog import Located
from assay.errors import AssayError

GROUP = "assay.access_checks"
MAX_SPAN = 4096
MAX_LANES = 64
MAX_FOUND = 100
MAX_BYTES = 1 << 20

Action = Literal["flag", "deny"]
"""A flag is recorded and gives an alert; a denial turns the request away, or cuts the answer."""
Side = Literal["request", "answer"]
T = TypeVar("T")


class Found(Struct, frozen=True):
    """What a check has found: one of its own reasons, by name."""

    reason: str
    action: Action


class Flag(Struct, frozen=True):
    """What the gate records: which check, on which side, for which reason, with which consequence."""

    check: str
    side: Side
    reason: str
    action: Action

    def __str__(self) -> str:
        return f"{self.check}: {self.reason} ({self.side})"


class Reader(Protocol):
    """Looks at one answer as it comes."""

    async def read(self, lane: str, window: str, fresh: int, *, last: bool) -> Sequence[Found]:
        """`window` is the end of what was read before, at most the check's span, and then what is new, from `fresh` on. `lane` tells the
        parts of an answer apart that come interleaved: choices, tool calls, reasoning.
        """
        ...


class Check(Protocol):
    """A content check. `reasons` are all that it may find, by name, in words that hold no content."""

    name: str
    reasons: Mapping[str, str]
    span: int

    async def request(self, asked: Asked, texts: Sequence[str]) -> Sequence[Found]:
        """Look at all texts of a request."""
        ...

    def reader(self, asked: Asked) -> Reader | None:
        """What looks at the answer; None where the check does not."""
        ...


class CheckDeniedError(DeniedError):
    """A request is turned away, or an answer cut, by a content check; `flags` are all that was found until then."""

    def __init__(self, check: str, what: str, flags: Sequence[Flag] = (), status: int = 403) -> None:
        super().__init__(f"check:{check}", status, what)
        self.check = check
        self.flags = tuple(flags)


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The settings' file. `timeout_ms` bounds all checks of a request, or of one look at an answer, together. `lag` is how many characters
    of an answer may have gone on unread: 0 reads every chunk before it goes on. `checks` has what each check takes.
    """

    assay: Literal["checks/1"] = "checks/1"
    timeout_ms: Annotated[int, Meta(ge=1, le=30_000)] = 500
    lag: Annotated[int, Meta(ge=0, le=65_536)] = 512
    checks: dict[Id, dict[str, Any]] = {}


def read_settings(path: Path) -> Settings:
    """The settings' file (YAML), checked. Raises `GateError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise GateError(f"cannot read the settings of checks: {e.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise GateError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    return Located(data.decode("utf-8", errors="replace"), where=str(path), error=GateError).convert(Settings)


def convert(given: Mapping[str, Any], kind: type[T], check: str) -> T:
    """A check's own settings as its Struct. Raises `GateError`."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as e:
        raise GateError(f"the settings of the check '{check}' are not valid: {e}") from None


class Checks:
    """The checks of a gate, in the order of its file."""

    def __init__(self, checks: Sequence[Check], settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._checks = tuple(checks)
        self._timeout = self.settings.timeout_ms / 1000
        self._inline = _inline(checks)
        for check in checks:
            if not 0 <= check.span <= MAX_SPAN:
                raise GateError(f"the check '{check.name}' wants {check.span} characters of an answer; {MAX_SPAN} at most")

    @classmethod
    def load(cls, names: Sequence[str], settings: Path | None = None, *, context: Any = None) -> Checks:
        """Checks by name: built-in ones, then entry points, which are called with their settings. `context` (the gate's `Canaries`) goes to
        built-in checks only. Raises `GateError` for one that is missing, ambiguous or does not start: the gate then does not open.
        """
        from assay.access.safety.builtin_checks import BUILT_IN

        read = read_settings(settings) if settings else Settings()
        unused = sorted(read.checks.keys() - set(names))
        if unused:
            raise GateError(f"settings for '{unused[0]}', which is not among the gate's checks", where=str(settings))
        if len(set(names)) < len(names):
            raise GateError("a check is named twice")
        folder = settings.parent if settings else Path()
        made: list[Check] = []
        for name in names:
            given = read.checks.get(name, {})
            if name in BUILT_IN:
                made.append(BUILT_IN[name](given, folder, context))
            else:
                made.append(_plugged(name, given))
        return cls(made, read)

    def __len__(self) -> int:
        return len(self._checks)

    async def request(self, asked: Asked, texts: Sequence[str]) -> list[Flag]:
        """What all checks find in a request. Raises `CheckDeniedError` where one denies, fails, or is late."""
        flags: list[Flag] = []
        name = ""
        try:
            async with _AT_ONCE if self._inline else asyncio.timeout(self._timeout):
                for check in self._checks:
                    name = check.name
                    began = perf_counter()
                    found = await check.request(asked, texts)
                    if perf_counter() - began > self._timeout:
                        raise TimeoutError  # one that never gave way: what it says comes too late
                    if found:
                        _take(check, found, "request", flags)
        except CheckDeniedError:
            raise
        except TimeoutError:
            raise CheckDeniedError(name, f"the check '{name}' did not end in time", flags, 503) from None
        except Exception:  # noqa: BLE001 (whatever a plug-in raises is a denial, and may quote content)
            raise CheckDeniedError(name, f"the check '{name}' failed", flags, 503) from None
        return flags

    def answer(self, asked: Asked) -> Answer | None:
        """What reads one answer; None where no check looks at answers. Raises `CheckDeniedError`."""
        readers = []
        for check in self._checks:
            try:
                reader = check.reader(asked)
            except Exception:  # noqa: BLE001
                raise CheckDeniedError(check.name, f"the check '{check.name}' failed", (), 503) from None
            if reader is not None:
                readers.append((check, reader))
        return Answer(readers, self.settings) if readers else None


class Answer:
    """One answer, read as it comes. Holds at most the lag and one chunk unread, and each lane's window."""

    def __init__(self, readers: Sequence[tuple[Check, Reader]], settings: Settings) -> None:
        self._readers = readers
        self._timeout = settings.timeout_ms / 1000
        self._lag = settings.lag
        self._span = max(check.span for check, _ in readers)
        self._inline = _inline([check for check, _ in readers])
        self._pending: dict[str, list[str]] = {}
        self._kept: dict[str, str] = {}
        self._unread = 0
        self._seen: set[Flag] = set()

    def push(self, text: str, lane: str = "") -> bool:
        """Take a piece of the answer's text. True: `scan` before it goes on."""
        if not text:
            return False
        pending = self._pending.get(lane)
        if pending is None:
            self._pending[lane] = [text]
        else:
            pending.append(text)
        self._unread += len(text)
        return self._unread > self._lag

    async def scan(self, *, last: bool = False) -> list[Flag]:
        """What is newly found in what came since the last look. Raises `CheckDeniedError`: the answer must be cut."""
        flags: list[Flag] = []
        pending, self._pending, self._unread = self._pending, {}, 0
        lanes = {**dict.fromkeys(self._kept, ()), **pending} if last else pending
        name = ""
        try:
            async with _AT_ONCE if self._inline else asyncio.timeout(self._timeout):
                for lane, parts in lanes.items():
                    before = self._kept.get(lane)
                    if before is None:
                        before = ""
                        if len(self._kept) >= MAX_LANES:
                            raise CheckDeniedError("window", "the answer has more parts than can be read", flags)
                    window = before + "".join(parts)
                    for check, reader in self._readers:
                        name = check.name
                        start = max(0, len(before) - check.span)
                        began = perf_counter()
                        found = await reader.read(lane, window[start:] if start else window, len(before) - start, last=last)
                        if perf_counter() - began > self._timeout:
                            raise TimeoutError
                        if found:
                            _take(check, found, "answer", flags)
                    self._kept[lane] = window[-self._span :] if self._span else ""
        except CheckDeniedError:
            raise
        except TimeoutError:
            raise CheckDeniedError(name, f"the check '{name}' did not end in time", flags, 503) from None
        except Exception:  # noqa: BLE001
            raise CheckDeniedError(name, f"the check '{name}' failed", flags, 503) from None
        new = [flag for flag in dict.fromkeys(flags) if flag not in self._seen]
        self._seen.update(new)
        return new


_AT_ONCE = contextlib.nullcontext()


def _inline(checks: Sequence[Check]) -> bool:
    """Whether none of them waits for anything: those in the box, which need no timer (a timer costs more than they do)."""
    return all(type(check).__module__ == "assay.access.safety.builtin_checks" for check in checks)


def _take(check: Check, found: Sequence[Found], side: Side, flags: list[Flag]) -> None:
    """Add what was found to the flags; raise where one denies, or where a check says what it may not say."""
    if not isinstance(found, (list, tuple)) or len(found) > MAX_FOUND:
        raise CheckDeniedError(check.name, f"the check '{check.name}' gave no valid result", flags, 503)
    for one in found:
        if not isinstance(one, Found) or one.reason not in check.reasons or one.action not in ("flag", "deny"):
            raise CheckDeniedError(check.name, f"the check '{check.name}' gave no valid result", flags, 503)
        flags.append(Flag(check.name, side, one.reason, one.action))
    for one in found:
        if one.action == "deny":
            raise CheckDeniedError(check.name, f"stopped by the check '{check.name}': {check.reasons[one.reason]}", flags)


def _plugged(name: str, given: Mapping[str, Any]) -> Check:
    points = tuple(entry_points(group=GROUP, name=name))
    if len(points) != 1:
        what = f"there is no content check '{name}'" if not points else f"{len(points)} packages have a content check '{name}'"
        raise GateError(what, fix=f"Install one package with the entry point '{name}' in the group {GROUP}.")
    try:
        check: Check = points[0].load()(dict(given))
        valid = check.name == name and isinstance(check.reasons, Mapping) and isinstance(check.span, int)
    except AssayError:
        raise
    except Exception as e:  # noqa: BLE001
        raise GateError(f"the content check '{name}' does not start: {type(e).__name__}") from None
    if not valid:
        raise GateError(f"the content check '{name}' is not one: it has another name, or no reasons, or no span")
    return check
