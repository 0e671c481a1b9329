"""Opens a run wherever it lies: a folder with a run file or a reference to a store, such a file itself, or an address in a store.

with read_run(Path("runs/first")) as run: run.opening().plan
with reopen_run(Path("runs/first")) as run: run.append(trials)
with create_run(Path("runs/first"), opening, store="postgresql://assay@db.example/assay") as run: ...

A reference (`run.ref`) says where a run lies, without a password: so a copied one opens the run on another machine. What people and
programs put beside a run (labels, evidence, reports) is in the folder of its file or reference; an address alone has no folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from assay.errors import RunFileError
from assay.runs.address import RunAddress, StoreAddress, is_address, parse_run, parse_store
from assay.runs.file import RunFile, take_lock, whole_file
from assay.runs.reading import Opening, RunStore

if TYPE_CHECKING:
    from assay.runs.postgres import PostgresRun

RUN_NAME = "run.db"
REFERENCE_NAME = "run.ref"
MOST_REFERENCE = 4_096


class Reference(Struct, frozen=True, forbid_unknown_fields=True):
    """What a reference says: the address of the store, without a password, and the run's digest in hexadecimal."""

    assay: Literal["run-reference/1"]
    store: Annotated[str, Meta(max_length=1_000)]
    run: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


def run_path(path: Path) -> Path:
    """A run given as its folder, its file, a reference or an address: the file or reference, or the address. Raises `RunFileError` for a
    folder with both.
    """
    if is_address(path) or not path.is_dir():
        return path
    file, reference = path / RUN_NAME, path / REFERENCE_NAME
    if not reference.is_file():
        return file
    if file.exists():
        raise RunFileError(
            "there are a run file and a reference to a store, which may be two runs", where=str(path), fix="Move one of them away."
        )
    return reference


def is_run(path: Path) -> bool:
    """Whether this names a run (and no plan or bundle), by its looks."""
    return is_address(path) or path.is_dir() or path.suffix in (".db", ".ref")


def folder_of(path: Path) -> Path:
    """The folder of a run, where labels and evidence are. Raises `RunFileError` for an address, which has none."""
    if is_address(path):
        raise RunFileError(
            "a run that is given by its address has no folder here, where labels, evidence and reports would be",
            where=parse_run(path).text,
            fix="Make one: assay store attach ADDRESS --out FOLDER; or say where to write, with --out.",
        )
    return run_path(path).parent


def read_run(path: Path) -> RunStore:
    """A run, to read while it may still be written. Raises `RunFileError`."""
    path = run_path(path)
    if is_address(path):
        return postgres_run().read(parse_run(path), path, typed=True)
    if path.suffix == ".ref":
        return postgres_run().read(read_reference(path), path)
    return RunFile.read(path)


def reopen_run(path: Path) -> RunStore:
    """A run, to go on writing. Raises `RunFileError` where another process has it."""
    path = run_path(path)
    if is_address(path):
        folder_of(path)
    if path.suffix != ".ref":
        return RunFile.open(path)
    address, lock = read_reference(path), take_lock(path)
    try:
        return postgres_run().open(address, path, lock)
    except BaseException:
        lock.close()
        raise


def create_run(folder: Path, opening: Opening, store: StoreAddress | None = None) -> RunStore:
    """A new run in this folder, durable with its opening when this returns: in a run file, or in a store with a reference to it here.
    Raises `RunFileError`.
    """
    check_free(folder)
    if store is None:
        return RunFile.create(folder / RUN_NAME, opening)
    path = folder / REFERENCE_NAME
    lock = take_lock(path)
    run: PostgresRun | None = None
    try:
        check_free(folder)
        run = postgres_run().create(store, path, opening, lock)
        write_reference(path, run.address)
    except BaseException:
        if run is not None:
            run.close()
        lock.close()
        raise
    return run


def check_free(folder: Path) -> None:
    """Raises `RunFileError` where this folder has a run already."""
    for path in (folder / RUN_NAME, folder / REFERENCE_NAME):
        if path.exists():
            raise RunFileError("there is a run here already", where=str(path), fix="Go on with --resume, or choose another --out.")


def read_reference(path: Path) -> RunAddress:
    """Where a reference leads. Raises `RunFileError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_REFERENCE + 1)
    except OSError as e:
        raise RunFileError(f"cannot read it: {e.strerror}", where=str(path)) from None
    try:
        if len(data) > MOST_REFERENCE:
            raise RunFileError(f"larger than {MOST_REFERENCE:,} bytes")
        found = msgspec.json.decode(data, type=Reference)
        store = parse_store(found.store)
        if store.password:
            raise RunFileError("it holds a password")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise RunFileError(f"not a reference to a run in a store: {e}", where=str(path)) from None
    except RunFileError as e:
        raise RunFileError(f"not a reference to a run in a store: {e.what}", where=str(path), fix=e.fix) from None
    return RunAddress(store, found.run)


def write_reference(path: Path, address: RunAddress) -> None:
    """Put a reference at `path`, whole or not at all, without a password. Raises `RunFileError`."""
    value = Reference("run-reference/1", address.store.text, address.run)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as out:
            out.write(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
    except OSError as e:
        raise RunFileError(f"cannot write here: {e.strerror}", where=str(path)) from None


def postgres_run() -> type[PostgresRun]:
    """The class of runs in a store. Raises `RunFileError` where psycopg is not installed."""
    try:
        import psycopg  # noqa: F401
    except ImportError as e:
        raise RunFileError(f"a run in a store needs {e.name}", fix="pip install 'assay[postgres]'") from None
    from assay.runs.postgres import PostgresRun

    return PostgresRun
