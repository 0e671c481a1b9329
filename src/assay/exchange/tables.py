"""Prompts in CSV, TSV, JSON lines or JSON, and in the folders that the Hugging Face hub lays out, read from disk.

from_table(Path("prompts.csv"), name="mine", licence="CC-BY-4.0", prompt="text", language="ms")
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from assay.catalog.banks import MAX_PROMPT
from assay.errors import CatalogError
from assay.exchange.banking import Imported, Row, banked, read_source

PROMPTS = ("prompt", "prompt_text", "input", "text", "question", "query", "instruction", "goal")
ITEMS = ("id", "prompt_id", "release_prompt_id", "uid", "index")
LANGUAGES = ("language", "lang", "locale", "prompt_language")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
TAGS = {
    "en": "en", "en-sg": "en-SG", "zh": "zh-Hans", "zh-hans": "zh-Hans", "zh-cn": "zh-Hans", "ms": "ms", "id": "id", "ta": "ta", "th": "th",
    "vi": "vi", "fil": "fil", "tl": "fil", "my": "my", "km": "km", "lo": "lo", "ja": "ja", "ko": "ko", "fr": "fr", "hi": "hi", "te": "te",
    "sw": "sw", "fa": "fa", "yue": "yue",
}  # fmt: skip
_TAG = re.compile(r"(?:^|[-_.])([a-z]{2,3}(?:[-_](?:hans|cn|sg))?)$")
_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def from_table(
    path: Path, *, name: str, title: str = "", licence: str = "", prompt: str = "", item: str = "", language: str = "", code: str = ""
) -> Imported:
    """A file, or a folder with such files and perhaps a dataset card. Raises `CatalogError`.

    `prompt` and `item` name columns, found by their usual names if empty; `language` is a tag, or a column's name.
    """
    files = _files(path) if path.is_dir() else [path]
    card = _card(path / "README.md") if path.is_dir() else {}
    licence = licence or str(card.get("license", ""))
    if not licence:
        raise CatalogError("no licence is known, so it cannot be used", where=str(path), fix="Give --licence.")
    rows: list[Row] = []
    source: dict[str, str] = {}
    for file in files:
        data, digest = read_source(file)
        source[str(file.relative_to(path)) if path.is_dir() else file.name] = digest
        rows += _rows(list(read_rows(data, file)), file, prompt, item, language)
    return banked(rows, name=name, title=title or str(card.get("pretty_name", "")) or name, licence=licence, source=source, code=code)


def _files(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in p.parts))
    data = [p for p in found if p.suffix.lower() != ".json" or p.name not in ("dataset_info.json", "dataset_infos.json", "state.json")]
    if not data:
        raise CatalogError("no CSV, JSON lines, JSON or Parquet file in it", where=str(folder))
    return data


def _card(path: Path) -> dict[str, Any]:
    """The front matter of a dataset card; empty if there is none."""
    if not path.is_file():
        return {}
    front = _FRONT.match(read_source(path)[0].decode("utf-8", "replace"))
    if not front:
        return {}
    try:
        value = msgspec.yaml.decode(front[1])
    except msgspec.MsgspecError:
        return {}
    return value if isinstance(value, dict) else {}


def read_rows(data: bytes, path: Path) -> Iterator[dict[str, Any]]:
    """Every row of a table as a mapping. Raises `CatalogError`."""
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            csv.field_size_limit(4 * MAX_PROMPT)
            text = io.StringIO(data.decode("utf-8-sig"), newline="")
            yield from csv.DictReader(text, delimiter="\t" if suffix == ".tsv" else ",", strict=True)
        elif suffix in (".jsonl", ".ndjson"):
            for line in data.splitlines():
                if line.strip():
                    yield msgspec.json.decode(line, type=dict[str, Any])
        elif suffix == ".json":
            value = msgspec.json.decode(data)
            inner = next((v for v in value.values() if isinstance(v, list)), []) if isinstance(value, dict) else []
            listed = value if isinstance(value, list) else inner
            yield from (row for row in listed if isinstance(row, dict))
        elif suffix == ".parquet":
            yield from _parquet(data, path)
        else:
            raise CatalogError(f"'{suffix}' is not a kind of table that is known", where=str(path), fix=f"Known: {', '.join(SUFFIXES)}.")
    except (csv.Error, UnicodeDecodeError, msgspec.MsgspecError, RecursionError) as e:
        raise CatalogError(f"not a well-formed table: {e}", where=str(path)) from None


def _parquet(data: bytes, path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow.parquet as parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise CatalogError("Parquet needs pyarrow", where=str(path), fix="pip install pyarrow, or convert it to JSON lines.") from None
    try:
        rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(data)).to_pylist()
    except Exception as e:  # noqa: BLE001 (hostile files make it raise anything)
        raise CatalogError(f"not a well-formed Parquet file: {e}", where=str(path)) from None
    return rows


def _rows(rows: list[dict[str, Any]], path: Path, prompt: str, item: str, language: str) -> Iterator[Row]:
    if not rows:
        return
    columns = {str(c).strip().lower(): c for c in rows[0] if c is not None}
    said = _column(columns, prompt, PROMPTS, path, "prompt")
    number: Any = columns.get(item.lower()) if item else next((columns[c] for c in ITEMS if c in columns), None)
    if item and number is None:
        raise CatalogError(f"there is no column '{item}'", where=str(path), fix=f"Columns: {', '.join(map(str, columns))[:500]}.")
    tagged: Any = columns.get(language.lower()) if language else next((columns[c] for c in LANGUAGES if c in columns), None)
    tag = "" if tagged is not None else language or _tag_of(path)
    if tagged is None and not tag:
        raise CatalogError("the language is not known", where=str(path), fix="Give --language with a tag such as ms, or a column's name.")
    for i, row in enumerate(rows):
        text = row.get(said)
        if text is not None and not isinstance(text, str):
            raise CatalogError(f"row {i + 1}: the prompt is not a text", where=str(path))
        given = None if number is None else row.get(number)
        name = str(i if given is None or given == "" else given)  # 0 is a name, too
        yield Row(str(row.get(tagged) or "").replace("_", "-") if tagged is not None else tag, name, text or "")


def _column(columns: dict[str, Any], wanted: str, usual: tuple[str, ...], path: Path, what: str) -> Any:
    for name in (wanted.lower(),) if wanted else usual:
        if name in columns:
            return columns[name]
    raise CatalogError(f"no column for the {what}", where=str(path), fix=f"Give --{what}; columns: {', '.join(map(str, columns))[:500]}.")


def _tag_of(path: Path) -> str:
    """A known language tag at the end of a file's name, or its folder's whole name; empty if there is none."""
    found = _TAG.search(path.stem.lower())
    for part in (found[1].replace("_", "-") if found else "", path.parent.name.lower().replace("_", "-")):
        if part in TAGS:
            return TAGS[part]
    return ""
