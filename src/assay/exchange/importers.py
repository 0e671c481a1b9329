"""What `assay import NAME` runs: sources of test sets, found by name among the entry points of the group `assay.importers`.

    def from_mine(wanted: Wanted) -> Imported:
        rows = [Row(wanted.language or "en", str(i), text) for i, text in enumerate(my_prompts(wanted.what))]
        return banked(rows, name=wanted.name, title=wanted.title or "Mine", licence=wanted.licence, source={"mine": "1.0"})

    MINE = Importer(from_mine, about="My prompts.", what="SET...", options=(Option("split", "Which part of the set."),))

    # pyproject.toml of the package that has it
    [project.entry-points."assay.importers"]
    mine = "my_package.assay:MINE"

The package is imported when its name is used, and only then. An importer gives banks; it neither asks a model nor writes a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from assay.errors import AssayError, CatalogError
from assay.exchange.banking import Imported

GROUP = "assay.importers"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The command line, read: `what` to import, and for banks name, title, licence and language (empty where not given).

    `python` is the interpreter that has the source's package, empty for the usual one; `options` are the values of the importer's own
    options, in their order; `progress` is told what goes on.
    """

    what: tuple[str, ...]
    name: str = ""
    title: str = ""
    licence: str = ""
    language: str = ""
    python: str = ""
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)
    progress: Callable[[str], None] = lambda _: None

    def one(self, option: str, default: str = "") -> str:
        """The value of an option that is given once. Raises `CatalogError` if it was given twice."""
        given = self.options.get(option, ())
        if len(given) > 1:
            raise CatalogError(f"--{option} is given {len(given)} times")
        return given[0] if given else default


class ImportFunction(Protocol):
    """From what is wanted to banks. Raises `AssayError`."""

    def __call__(self, wanted: Wanted) -> Imported: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Option:
    """An option of an importer: `--name VALUE`, which may be repeated."""

    name: str
    help: str


@dataclass(frozen=True, slots=True)
class Importer:
    """A source. `about` is its help, the first line a summary; `what` names the arguments; `outside` says that its package runs under an
    interpreter of its own (`--python`).
    """

    run: ImportFunction
    about: str
    what: str = "SOURCE..."
    options: tuple[Option, ...] = ()
    outside: bool = False


def importer_points() -> dict[str, EntryPoint]:
    """Every importer that is installed, by name; of two of a name the one that Assay brings, else the first."""
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda p: (p.name, not p.value.startswith("assay."))):
        found.setdefault(point.name, point)
    return found


def load_importer(point: EntryPoint) -> Importer:
    """Raises `AssayError` for a package that cannot be imported, or that has no importer there."""
    try:
        found = point.load()
    except Exception as e:  # noqa: BLE001 (others' code may raise anything while it is imported)
        raise AssayError(f"the importer '{point.name}' cannot be loaded: {type(e).__name__}: {e}", where=point.value) from None
    if not isinstance(found, Importer):
        raise AssayError(f"the importer '{point.name}' is no assay.exchange.importers.Importer", where=point.value)
    return found
