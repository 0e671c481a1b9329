"""Everything that a watch knows, in one file that is written whole after every step: `watch.json`.

    state = read_state(Path("watched"))          # None where nothing was watched yet
    write_state(Path("watched"), state)

A checkpoint is noted before it is evaluated, its run goes on where it was, and its alert is noted after it was told: so a kill at any time
loses nothing, and evaluates nothing twice. Only an alert may be told twice, if the kill comes between telling and noting.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, structs

from assay.errors import AssayError
from assay.runs import whole_file
from assay.watch.changes import Change

NAME = "watch.json"
MOST_BYTES = 256 * 1024 * 1024
_SLUG = re.compile(r"[^A-Za-z0-9._-]+")
Status = Literal["found", "done", "same", "failed"]


class Checkpoint(Struct, frozen=True, forbid_unknown_fields=True):
    """One checkpoint in its order. `key` identifies it; `run` is its folder beside `watch.json`, empty where it was not evaluated.

    `status`: `found` and to be evaluated (or tried again), `done`, the `same` as an earlier one (whose number `like` is), or `failed` for
    good, with the `reason`. `verdict` is its run's decision. The `change` is None for the reference itself and for what is not done; with a
    `reason`, a run that is done is no reference. The `key` is empty while nothing identifies it. `told` says that whoever is to hear of it
    has.
    """

    number: Annotated[int, Meta(ge=1)]
    name: Annotated[str, Meta(max_length=200)]
    key: Annotated[str, Meta(max_length=100)]
    found_ms: int
    run: Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,99})?$")] = ""
    status: Status = "found"
    like: int = 0
    tries: int = 0
    reason: Annotated[str, Meta(max_length=1000)] = ""
    verdict: Annotated[str, Meta(max_length=20)] = ""
    ended: Annotated[str, Meta(max_length=40)] = ""
    trials: int = 0
    change: Change | None = None
    told: bool = False


class Reference(Struct, frozen=True, forbid_unknown_fields=True):
    """The checkpoint that `first` is, by its number and its run's digest: noted when it is taken, and never another one."""

    number: Annotated[int, Meta(ge=1)]
    run: str


class WatchState(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole watch: where it looks, the digest of its plan (without the target), baseline, level and margin, and its checkpoints.

    `baseline` is `first`, `approved` or the digest of a run.
    """

    assay: Literal["watch/1"]
    source: str
    plan: str
    baseline: str
    level: float
    margin: float
    checkpoints: tuple[Checkpoint, ...] = ()
    reference: Reference | None = None

    @property
    def comparisons(self) -> int:
        """How many were made."""
        return sum(c.change is not None for c in self.checkpoints)

    def resolved(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint whose run speaks for this one: the earlier one that it is the same as, else itself."""
        if checkpoint.status != "same":
            return checkpoint
        return next((c for c in self.checkpoints if c.number == checkpoint.like and c.status != "same"), checkpoint)


def run_of(number: int, name: str) -> str:
    """The folder of a checkpoint's run."""
    return f"{number:04d}-{_SLUG.sub('-', name).strip('-.')[:40]}".rstrip("-")


def revived(checkpoints: tuple[Checkpoint, ...]) -> tuple[Checkpoint, ...]:
    """With none that is the same as one that failed: the first such one is to be evaluated itself, and the others are the same as that."""
    failed = {c.number for c in checkpoints if c.status == "failed"}
    instead: dict[int, int] = {}
    out = []
    for c in checkpoints:
        if c.status == "same" and c.like in failed:
            if c.like in instead:
                c = structs.replace(c, like=instead[c.like], told=False)
            else:
                instead[c.like] = c.number
                c = structs.replace(c, status="found", like=0, run=run_of(c.number, c.name), told=False)
        out.append(c)
    return tuple(out)


def read_state(folder: Path) -> WatchState | None:
    """The state in a folder; None where there is none. Raises `AssayError`."""
    path = folder / NAME
    try:
        if path.stat().st_size > MOST_BYTES:
            raise AssayError(f"larger than {MOST_BYTES:,} bytes", where=str(path))
        return msgspec.json.decode(path.read_bytes(), type=WatchState)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise AssayError(f"cannot read it: {e.strerror}", where=str(path)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise AssayError(f"this is no state of a watch: {e}", where=str(path), fix="Choose another --out.") from None


def write_state(folder: Path, state: WatchState) -> None:
    """Whole or not at all. Raises `AssayError`."""
    try:
        with whole_file(folder / NAME) as out:
            out.write(msgspec.json.format(msgspec.json.encode(state), indent=1))
    except OSError as e:
        raise AssayError(f"cannot write it: {e.strerror}", where=str(folder / NAME)) from None
