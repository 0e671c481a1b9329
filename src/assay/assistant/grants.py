"""What an assistant may do: a file that its owner writes and it cannot. Everything that the file does not name is refused.

    grants = read_grants(Path("~/assistant.yaml").expanduser())
    grants.may("start"), grants.reads("nightly-3", mine=False)

    assay: assistant-grants/1
    name: coding-helper
    expires: 2027-06-30
    runs: /home/mei/project/runs
    plans: [quick, /home/mei/plans/clinic.yaml]             # its digest behind it holds it fast: clinic.yaml#sha256:...
    targets: ["scripted:0.01", plan]
    may: [start, stop, verify, compare]
    read: [mine, "nightly-*"]
    each_run: {calls: 500, tokens: any, money: 0}
    each_day: {runs: 5, calls: 2000, tokens: any, money: 0}

The grants of the gate (`assay.access.grants`) are another thing: several administrators sign them, they name persons by their keys,
networks and a model behind the gate, and know no plans, targets or folders. The words for amounts, and the store that counts them, are the
same.
"""

from __future__ import annotations

import datetime as dt
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from assay.catalog.yamlfile import Located
from assay.errors import AssayError
from assay.files import others_may_write
from assay.plan import builtin_plans
from assay.plan.file import BUILTIN

Act = Literal["start", "stop", "verify", "compare", "transcripts"]
ACTS: tuple[Act, ...] = get_args(Act)
"""What has to be granted by name. Lists, progress, decisions and summaries of runs that may be read need no word of their own."""
Amount = Annotated[int, Meta(ge=0, le=10**12)] | Literal["any"]
Money = Annotated[float, Meta(ge=0, le=1e9)] | Literal["any"]
Text = Annotated[str, Meta(min_length=1, max_length=500)]
MINE = "mine"
PIN = re.compile(r"^(.+)#(sha256:[0-9a-f]{64})\Z", re.DOTALL)
"""A plan with the digest that it must have, as `assay mcp check` says it."""
OWN_TARGET = "plan"
"""In `targets`: that which the plan names itself."""


class GrantsError(AssayError):
    """The grants are not valid, not the owner's alone, or have expired."""


class RefusedError(AssayError):
    """An assistant asked for what its grants do not give, or no longer give."""


class EachRun(Struct, frozen=True, forbid_unknown_fields=True):
    """The most of one run: calls, tokens, money. `any` is no limit; it has to be written."""

    calls: Annotated[int, Meta(ge=0, le=10**9)]
    tokens: Amount
    money: Money


class EachDay(Struct, frozen=True, forbid_unknown_fields=True):
    """The most of one day (UTC)."""

    runs: Annotated[int, Meta(ge=0, le=10_000)]
    calls: Annotated[int, Meta(ge=0, le=10**9)]
    tokens: Amount
    money: Money


class Grants(Struct, frozen=True, forbid_unknown_fields=True):
    """See the module. `key` is the signing key of the runs; the usual one unless given. `transcript_characters` bounds one answer."""

    assay: Literal["assistant-grants/1"]
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,40}\Z")]
    expires: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}\Z")]
    runs: Text
    plans: Annotated[tuple[Text, ...], Meta(max_length=100)] = ()
    targets: Annotated[tuple[Text, ...], Meta(max_length=100)] = ()
    may: Annotated[tuple[Act, ...], Meta(max_length=5)] = ()
    read: Annotated[tuple[Text, ...], Meta(max_length=100)] = (MINE,)
    each_run: EachRun = EachRun(0, 0, 0.0)
    each_day: EachDay = EachDay(0, 0, 0, 0.0)
    currency: Annotated[str, Meta(max_length=10)] = "USD"
    at_once: Annotated[int, Meta(ge=1, le=32)] = 1
    calls_per_minute: Annotated[int, Meta(ge=1, le=10_000)] = 120
    transcript_characters: Annotated[int, Meta(ge=1, le=20_000)] = 2_000
    key: Annotated[str, Meta(max_length=2_000)] = ""

    def allows(self, act: Act) -> bool:
        """Whether this act is granted."""
        return act in self.may

    def reads(self, run: str, *, mine: bool) -> bool:
        """Whether a run of this name may be read; `mine` says that the assistant started it."""
        return any((mine and pattern == MINE) or (pattern != MINE and fnmatchcase(run, pattern)) for pattern in self.read)

    def hold(self, today: dt.date) -> bool:
        """Whether they have not expired on this day (UTC); the day itself is the last."""
        return today <= dt.date.fromisoformat(self.expires)


def read_grants(path: Path) -> tuple[Grants, dict[str, str]]:
    """The grants, with paths made whole, and its plans: name, where they are. Raises `GrantsError`."""
    owners_alone(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise GrantsError(f"cannot read the grants: {getattr(e, 'strerror', '') or 'not UTF-8'}", where=str(path)) from None
    located = Located(text, where=str(path), error=GrantsError)
    data = located.data
    if isinstance(data, dict) and isinstance(data.get("expires"), dt.date):
        data["expires"] = data["expires"].isoformat()[:10]  # YAML reads a day as one
    grants: Grants = located.convert(Grants)
    try:
        dt.date.fromisoformat(grants.expires)
    except ValueError:
        raise GrantsError(f"'{grants.expires}' is no day", where=f"{path} expires") from None
    folder = path.absolute().parent
    grants = msgspec.structs.replace(grants, runs=str(folder / Path(grants.runs).expanduser()))
    _bounded(grants, str(path))
    return grants, _plans(folder, grants, f"{path} plans")


def pins(grants: Grants) -> dict[str, str]:
    """The digests that plans must have, by their names."""
    return {Path(file).stem: pin for file, pin in map(_pinned, grants.plans) if pin}


def _bounded(grants: Grants, where: str) -> None:
    """What has a limit for a day needs one for a run, or nothing could be set aside for it."""
    for name in ("tokens", "money"):
        day, run = getattr(grants.each_day, name), getattr(grants.each_run, name)
        if run == "any" and day != "any":
            raise GrantsError(
                f"each_run.{name} is `any`, and each_day.{name} is {day}: a run without a limit could use more than the day has",
                where=where, fix=f"Give each_run.{name} a number, or let each_day.{name} be `any`.",
            )  # fmt: skip


def _plans(folder: Path, grants: Grants, where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for given in grants.plans:
        name, path = _plan(folder, _pinned(given)[0], where)
        if name in found:
            raise GrantsError(f"two plans have the name '{name}'", where=where, fix="Rename one of the files.")
        found[name] = path
    return found


def _pinned(given: str) -> tuple[str, str]:
    """A plan as it stands in the grants, and the digest that it must have; empty for any."""
    match = PIN.match(given)
    return (match[1], match[2]) if match else (given, "")


def _plan(folder: Path, given: str, where: str) -> tuple[str, str]:
    """A plan's name for the assistant, and its file. A built-in name is never a file beside."""
    if given in builtin_plans():
        return given, str(BUILTIN / f"{given}.yaml")
    found = folder / Path(given).expanduser()
    if not found.is_file():
        raise GrantsError(f"there is no plan '{given}'", where=where, fix=f"Built in: {', '.join(builtin_plans())}.")
    owners_alone(found)
    return found.stem, str(found.resolve())


def owners_alone(path: Path) -> None:
    """The file, and the folder that it is in (and is named in, where it is a link), are for their owner to write. Raises `GrantsError`."""
    try:
        part = others_may_write(path)
    except OSError as e:
        raise GrantsError(f"cannot be read: {e.strerror}", where=str(e.filename)) from None
    if part is not None:
        raise GrantsError("others may write it, so it grants nothing", where=str(part), fix=f"chmod go-w {part}")
