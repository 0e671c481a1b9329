"""From rows of any source to bank files.

banks = banked(rows, name="mlc-ipv", title=..., licence=..., source=...)
write_banks(banks, Path("banks"))
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from assay.catalog.banks import MAX_BYTES, BankFile, check_bank
from assay.errors import CatalogError

FORMAT = "bank/1"


class Imported(Struct, frozen=True):
    """The banks that a source gave, and what was left out and why, in words; and `files` that go beside them, by plain name. A plan comes
    last among these: it is read once all are there.
    """

    banks: tuple[BankFile, ...]
    notes: tuple[str, ...] = ()
    files: dict[str, bytes] = {}


class Row(Struct, frozen=True):
    """One prompt of a source."""

    language: str
    item: str
    prompt: str


def read_source(path: Path) -> tuple[bytes, str]:
    """A file's bytes and `sha256:` digest. Raises `CatalogError`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CatalogError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
        data = path.read_bytes()
    except OSError as e:
        raise CatalogError(f"cannot read it: {e.strerror}", where=str(path)) from None
    return data, "sha256:" + hashlib.sha256(data).hexdigest()


def banked(
    rows: Iterable[Row], *, name: str, title: str, licence: str, source: dict[str, str], taxonomy: str = "", code: str = ""
) -> Imported:
    """Banks of languages that share their items: one for each such group, the largest first and by its plain name.

    A prompt that stands twice in a language is kept once. Raises `CatalogError` for what no bank can hold.
    """
    prompts: dict[str, dict[str, str]] = {}
    twice = empty = 0
    for row in rows:
        text, mine = row.prompt.strip(), prompts.setdefault(row.language, {})
        if not text:
            empty += 1
        elif row.item in mine:
            if mine[row.item] != text:
                raise CatalogError(f"item {row.item!r} has two different texts in '{row.language}'", where=name)
            twice += 1
        else:
            mine[row.item] = text
    groups: dict[frozenset[str], list[str]] = {}
    for tag, each in prompts.items():
        if each:
            groups.setdefault(frozenset(each), []).append(tag)
    if not groups:
        raise CatalogError("it holds no prompt", where=name)
    banks: list[BankFile] = []
    for tags in sorted(groups.values(), key=lambda tags: (-len(tags), tags)):
        value = {
            "assay-bank": FORMAT, "name": name if not banks else f"{name}-{'-'.join(t.lower() for t in tags)}"[:64], "title": title,
            "licence": licence, "source": source, "prompts": {t: prompts[t] for t in sorted(tags)}, "taxonomy": taxonomy, "code": code,
        }  # fmt: skip
        try:
            bank = msgspec.convert(value, BankFile)
        except msgspec.ValidationError as e:
            raise CatalogError(str(e), where=name) from None
        check_bank(bank, name)
        banks.append(bank)
    notes = [f"{twice:,} prompts stood twice and were kept once"] if twice else []
    notes += [f"{empty:,} rows had no prompt"] if empty else []
    if len(banks) > 1:
        notes.append(f"languages with other items are banks of their own: {', '.join(b.name for b in banks[1:])}")
    return Imported(tuple(banks), tuple(notes))


def write_banks(imported: Imported, folder: Path) -> list[Path]:
    """One file per bank and what goes beside them, each whole or not at all; none is overwritten. Raises `CatalogError`."""
    data = {f"{bank.name}.bank.json": msgspec.json.format(msgspec.json.encode(bank), indent=1) for bank in imported.banks} | imported.files
    paths = [folder / name for name in data]
    for path in paths:
        if path.exists() or path.parent != folder:
            raise CatalogError("there is such a file already", where=str(path), fix="Choose another --out, or remove it.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, data.values(), strict=True):
            partial = path.with_name(f".{path.name}.partial")
            partial.write_bytes(text)
            partial.replace(path)
    except OSError as e:
        raise CatalogError(f"cannot write: {e.strerror}", where=str(folder)) from None
    return paths
