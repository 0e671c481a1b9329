"""The file beside a plan that says which samples of which tool it plays, pinned to versions and digests: `NAME.source.json`.

    judges: {panel: [{name: inspect, target: {kind: source, model: match, options: {source: mine.source.json, violation: '["I"]'}}}]}

`assay import inspect-task` and `assay import agentdojo` write it. A plan whose judges name one has its items played by that tool: the
scorer's word comes with the transcript.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from assay.errors import TargetError
from assay.files import keep_copy
from assay.plan import SOURCE, Plan, TargetSpec

MAX_BYTES = 256 * 1024 * 1024
MAX_SAMPLES = 200_000
SAMPLE_S = 900
MEMORY_MB = 8192
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_FIX = "Make it with: assay import inspect-task, or assay import agentdojo."
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
Line = Annotated[str, Meta(max_length=2000)]
Id = Annotated[str, Meta(min_length=1, max_length=200)]


class Bounds(Struct, frozen=True, forbid_unknown_fields=True):
    """What a sample and its worker may take: seconds, calls of the target, characters of the transcript; megabytes, 0 for no limit."""

    sample_s: Annotated[int, Meta(ge=1, le=86_400)] = SAMPLE_S
    calls: Annotated[int, Meta(ge=1, le=10_000)] = 300
    characters: Annotated[int, Meta(ge=1000, le=10**8)] = 1_000_000
    memory_mb: Annotated[int, Meta(ge=0, le=10**7)] = MEMORY_MB


class SourceFile(Struct, frozen=True, forbid_unknown_fields=True):
    """Which samples: `banks` has each hazard's items, which are the samples' ids, and `samples` their digests.

    `source` is the adapter's name, `task` and `options` are what it opens; `packages` are the versions and `code` the digests of files that
    it was read from; `scorers` are the names of the scores that it gives, and `environment` those of the variables that its worker sees.
    """

    assay: Literal["source/1"]
    source: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    task: Line
    options: dict[Id, Line]
    packages: dict[Id, Line]
    code: dict[Line, Digest]
    scorers: tuple[Id, ...]
    environment: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")], ...]
    bounds: Bounds
    banks: Annotated[dict[Id, Annotated[tuple[Id, ...], Meta(min_length=1)]], Meta(min_length=1, max_length=100)]
    samples: Annotated[dict[Id, Digest], Meta(max_length=MAX_SAMPLES)]

    def to_bytes(self) -> bytes:
        """As it is written."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)

    @property
    def title(self) -> str:
        """The task for people, and in identities: without the folder that its file lies in."""
        path, at, name = self.task.partition("@")
        return f"{Path(path).name}{at}{name}" if path.endswith(".py") else self.task


def read_source_file(path: Path) -> tuple[SourceFile, str]:
    """A file and its `sha256:` digest. Raises `TargetError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise TargetError(f"cannot read which samples are played: {e.strerror}", where=str(path), fix=_FIX) from None
    if len(data) > MAX_BYTES:
        raise TargetError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    try:
        found = msgspec.json.decode(data, type=SourceFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise TargetError(f"this is no list of samples: {e}", where=str(path), fix=_FIX) from None
    lacking = next((i for items in found.banks.values() for i in items if i not in found.samples), None)
    if lacking is not None:
        raise TargetError(f"item {lacking!r} has no sample", where=str(path), fix=_FIX)
    return found, "sha256:" + hashlib.sha256(data).hexdigest()


def source_specs(plan: Plan) -> Iterator[TargetSpec]:
    """The plan's judges that are scorers of a source."""
    yield from (judge.target for judge in (plan.judges.panel if plan.judges else ()) if judge.target.kind == SOURCE)


def source_name(spec: TargetSpec) -> str:
    """The file that a spec names: a plain name, since it lies beside the plan or in the run's folder. Raises `TargetError`."""
    name = spec.options.get("source", "")
    if not _NAME.fullmatch(name):
        raise TargetError(f"'{name}' is no plain file name", where="judges.target.options.source", fix="Name a file beside the plan.")
    return name


def keep_sources(plan: Plan, beside: Path, folder: Path) -> None:
    """Copy the files that a plan names from the plan's folder into the run's, so that the run can go on without it. Raises
    `TargetError`.
    """
    for name in sorted({source_name(spec) for spec in source_specs(plan)}):
        try:
            keep_copy(beside / name, folder / name, read_source_file)
        except OSError as e:
            raise TargetError(f"cannot keep the list of samples: {e.strerror}", where=str(folder / name)) from None
