"""Project Moonshot's datasets, recipes and cookbooks (moonshot-data 0.7).

What is taken: prompts, licence, reference, hazard code, language. What is not: grading scales (most are inverted), metrics, and the
`target` field beyond its hazard code. Language codes in file names are not ISO: `my` is Malay, `tl` Telugu, `kw` Kiswahili.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from assay.catalog import BankFile
from assay.errors import CatalogError
from assay.exchange.banking import Imported, Row, banked, read_source

T = TypeVar("T")

LANGUAGES = {
    "en": "en", "cn": "zh-Hans", "zh": "zh-Hans", "ca": "yue", "fa": "fa", "fr": "fr", "jp": "ja", "ja": "ja", "kr": "ko", "ko": "ko",
    "kw": "sw", "sw": "sw", "my": "ms", "ms": "ms", "tl": "te", "te": "te", "ta": "ta", "th": "th", "vi": "vi",
    "id": "id", "hi": "hi",
}  # fmt: skip
NAMES = {
    "cantonese": "yue", "chinese": "zh-Hans", "mandarin": "zh-Hans", "english": "en", "farsi": "fa", "french": "fr", "japanese": "ja",
    "korean": "ko", "kwashili": "sw", "kiswahili": "sw", "swahili": "sw", "malay": "ms", "telugu": "te", "tamil": "ta", "thai": "th",
    "vietnamese": "vi", "indonesian": "id", "hindi": "hi", "burmese": "my",
}  # fmt: skip
_STEM = re.compile(r"^(?P<set>[a-z0-9]+)-(?P<hazard>[a-z]+)-(?P<language>[a-z]{2})$")


class _Example(Struct):
    input: str
    id: str | int = ""


class _Dataset(Struct):
    name: str
    examples: list[_Example]
    license: str = ""
    reference: str = ""


class _Recipe(Struct):
    datasets: list[str] = []


class _Cookbook(Struct):
    recipes: list[str] = []


def from_moonshot(path: Path, *, by_order: bool = False) -> Imported:
    """A dataset file, a recipe, a cookbook, or a folder that holds `datasets`: one bank per hazard. Raises `CatalogError`.

    With `by_order` items are paired across languages by their place in the file, where the ids differ (the English files have their own).
    """
    files, notes = _datasets(path)
    by_hazard: dict[tuple[str, str], list[tuple[str, Path]]] = {}
    for file in files:
        found = _STEM.match(file.stem)
        if not found or found["language"] not in LANGUAGES:
            notes.append(f"{file.name}: its name has no hazard and language that are known; left out")
            continue
        by_hazard.setdefault((found["set"], found["hazard"]), []).append((LANGUAGES[found["language"]], file))
    if not by_hazard:
        raise CatalogError("no dataset of a known name", where=str(path), fix="Names are like mlc-ipv-cn.json.")
    banks: list[BankFile] = []
    for (collection, hazard), members in sorted(by_hazard.items()):
        imported = _bank(collection, hazard, members, notes, by_order=by_order)
        banks += imported.banks
        notes += imported.notes
    return Imported(tuple(banks), tuple(notes))


def _bank(collection: str, hazard: str, members: list[tuple[str, Path]], notes: list[str], *, by_order: bool) -> Imported:
    rows: list[Row] = []
    source: dict[str, str] = {}
    licences, titles = set(), []
    for language, file in sorted(members):
        data, digest = read_source(file)
        dataset = _decode(data, _Dataset, file)
        said = next((tag for word, tag in NAMES.items() if word in dataset.name.lower()), language)
        if said != language:
            notes.append(f"{file.name}: named '{language}' by its file, '{said}' by its title; taken as '{language}'")
        source[file.name] = digest
        licences.add(dataset.license.removesuffix(" license").strip())
        titles.append(dataset.name)
        rows += [Row(language, f"{i:05d}" if by_order else str(e.id) or str(i), e.input) for i, e in enumerate(dataset.examples)]
        if dataset.reference:
            source["reference"] = dataset.reference[:2000]
    licences.discard("")
    if not licences:
        raise CatalogError("no licence is given, so it cannot be used", where=members[0][1].name)
    return banked(
        rows, name=f"{collection}-{hazard}", title=titles[0].rpartition(" - ")[0] or titles[0], licence="; ".join(sorted(licences)),
        source=source, taxonomy="ailuminate" if collection == "mlc" else collection, code=hazard,
    )  # fmt: skip


def _datasets(path: Path) -> tuple[list[Path], list[str]]:
    """The dataset files that a path stands for, and what was named but is not there."""
    if path.is_dir():
        folder = path / "datasets" if (path / "datasets").is_dir() else path
        return sorted(folder.glob("*.json")), []
    data, _ = read_source(path)
    keys = _decode(data, dict, path)
    root = path.parent.parent
    if "examples" in keys:
        return [path], []
    if "datasets" in keys:
        return _existing(root / "datasets", _decode(data, _Recipe, path).datasets)
    if "recipes" in keys:
        recipes, notes = _existing(root / "recipes", _decode(data, _Cookbook, path).recipes)
        files: dict[Path, None] = {}
        for recipe in recipes:
            found, missing = _existing(root / "datasets", _decode(read_source(recipe)[0], _Recipe, recipe).datasets)
            files |= dict.fromkeys(found)
            notes += missing
        return list(files), notes
    raise CatalogError("neither a dataset, a recipe nor a cookbook", where=str(path))


def _existing(folder: Path, names: list[str]) -> tuple[list[Path], list[str]]:
    files = {name: folder / f"{name}.json" for name in _plain(names, folder)}
    missing = [name for name, file in files.items() if not file.is_file()]
    notes = [f"named, but not in {folder.name}, and left out: {', '.join(missing)}"] if missing else []
    return [file for file in files.values() if file.is_file()], notes


def _plain(names: list[str], folder: Path) -> Iterator[str]:
    """Names of files in the folder itself: an imported file must not lead anywhere else."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}", name):
            raise CatalogError(f"{name[:100]!r} is no name of a file", where=str(folder))
        yield name


def _decode(data: bytes, kind: type[T], path: Path) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise CatalogError(f"not Moonshot's format: {e}", where=str(path)) from None
