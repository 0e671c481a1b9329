"""Review of texts by people who speak the language: a sheet to edit in any spreadsheet, and back.

    rows = sheet("ms", root)                         # one row per field of every text
    changes = read_sheet(path, "ms", root)           # checked: nothing is applied unless every row can be
    apply(changes, "Aminah Yusof", "2026-11-23", root)

A reviewed scenario carries the reviewer and the date (`HazardTexts.reviews`); a text that is changed later by anyone else loses them.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct, structs

from assay.catalog.content import HazardTexts, Texts
from assay.catalog.files import ROOT, family_ids, hazard_ids, read_hazard, read_texts, read_world
from assay.errors import CatalogError

COLUMNS = ("hazard", "scenario", "rendering", "field", "situation", "text", "verdict", "new_text", "note")
FIELDS = ("system", "earlier", "reply", "document", "user", "benign", "injection", "harmless")
VERDICTS = {"": None, "ok": True, "change": False}
_SLOT = re.compile(r"\{[a-z][a-z0-9_]*\}")
MAX_BYTES = 64 * 1024 * 1024


class Change(Struct, frozen=True):
    """What a reviewer decided on one scenario: its texts as they are to be, and whether every field was looked at."""

    hazard: str
    scenario: str
    rendering: str
    text: Texts
    whole: bool


WORLD = "world:"


def written(tag: str, root: Path = ROOT) -> dict[str, HazardTexts]:
    """The texts of one language, by hazard; those of agent worlds by family, one scenario a text."""
    out = {h: read_texts(h, tag, root) for h in hazard_ids(root) if (root / "hazards" / h / f"{tag}.yaml").is_file()}
    for family in family_ids(root):
        if (root / "worlds" / family / f"{tag}.yaml").is_file():
            world = read_world(family, tag, root)
            units = {name: Texts(text) for name, text in world.units.items()}
            out[WORLD + family] = HazardTexts(tag, units, world.provenance, reviews=world.reviews)
    return out


def _situations(hazard: str, root: Path) -> dict[str, str]:
    """What each scenario is about; for a text of a world what it says in English."""
    if hazard.startswith(WORLD):
        family = hazard.removeprefix(WORLD)
        there = (root / "worlds" / family / "en.yaml").is_file()
        return read_world(family, "en", root).units if there else {}
    return {s.id: s.situation for s in read_hazard(hazard, root).scenarios}


def sheet(tag: str, root: Path = ROOT, *, everything: bool = False) -> str:
    """CSV with one row per field of every text that nobody has reviewed yet, or of all. Raises `CatalogError` if there is none."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    count = 0
    for hazard, texts in written(tag, root).items():
        situations = _situations(hazard, root)
        for rendering, by_scenario in (("adapted", texts.texts), ("literal", texts.literal)):
            for scenario, text in by_scenario.items():
                if scenario in texts.reviews and not everything:
                    continue
                for field in FIELDS:
                    words = getattr(text, field)
                    if words:
                        situation = " ".join(situations.get(scenario, "").split())
                        writer.writerow((hazard, scenario, rendering, field, _plain(situation), _plain(words.strip()), "", "", ""))
                        count += 1
    if not count:
        raise CatalogError(f"nothing is left to review in '{tag}'", fix="Give --all to see everything again.")
    return out.getvalue()


def _plain(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


def read_sheet(path: Path, tag: str, root: Path = ROOT) -> list[Change]:
    """The reviewer's decisions. A row counts if its verdict is `ok` or `change`. Raises `CatalogError` for what cannot be applied."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CatalogError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise CatalogError(f"cannot read the sheet: {e}", where=str(path)) from None
    if not rows or set(COLUMNS) - set(rows[0]):
        raise CatalogError(f"the sheet needs the columns {', '.join(COLUMNS)}", where=str(path))
    texts = written(tag, root)
    seen: dict[tuple[str, str, str], dict[str, str]] = {}
    for number, row in enumerate(rows, 2):
        where = f"{path}:{number}"
        decided = _decided(row, where)
        if decided is not None:
            seen.setdefault((row["hazard"], row["scenario"], row["rendering"]), {})[row["field"]] = _checked(row, decided, texts, where)
    if not seen:
        raise CatalogError("no row has a verdict", where=str(path), fix="Write 'ok' or 'change' in the column 'verdict'.")
    changes = []
    for (hazard, scenario, rendering), fields in seen.items():
        before = _text(texts[hazard], scenario, rendering)
        whole = {f for f in FIELDS if before is not None and getattr(before, f)} <= set(fields)
        changes.append(Change(hazard, scenario, rendering, structs.replace(before or Texts(""), **fields), whole))
    return changes


def _decided(row: dict[str, Any], where: str) -> bool | None:
    verdict = str(row["verdict"] or "").strip().lower()
    if verdict not in VERDICTS:
        raise CatalogError(f"the verdict is '{verdict[:40]}', not ok or change", where=where)
    return VERDICTS[verdict]


def _checked(row: dict[str, Any], ok: bool, texts: dict[str, HazardTexts], where: str) -> str:
    """The text that a row asks for. It must be about a text that is there, and keep its slots."""
    before = _text(texts[row["hazard"]], row["scenario"], row["rendering"]) if row["hazard"] in texts else None
    if before is None or row["field"] not in FIELDS or not getattr(before, row["field"]):
        raise CatalogError(f"there is no text {row['hazard']}/{row['scenario']}/{row['rendering']}/{row['field']}"[:200], where=where)
    old: str = getattr(before, row["field"])
    if ok:
        if str(row["text"]).strip().lstrip("'") != old.strip().lstrip("'"):
            raise CatalogError(
                "the text was changed since the sheet was written, or in the wrong column", where=where, fix="Write it in new_text."
            )
        return old
    new = str(row["new_text"] or "").strip()
    if not new:
        raise CatalogError("a change needs new_text", where=where)
    if sorted(_SLOT.findall(new)) != sorted(_SLOT.findall(old)):
        raise CatalogError(f"the slots must stay: {', '.join(sorted(set(_SLOT.findall(old)))) or 'none'}", where=where)
    return new + ("\n" if old.endswith("\n") else "")


def _text(texts: HazardTexts, scenario: str, rendering: str) -> Texts | None:
    return (texts.literal if rendering == "literal" else texts.texts).get(scenario)


def apply(changes: list[Change], tag: str, reviewer: str, date: str, root: Path = ROOT) -> list[Path]:
    """Write the changes into the content's files, each whole or not at all; returns the files. Raises `CatalogError`."""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", date) or not 2 <= len(reviewer.strip()) <= 80:
        raise CatalogError("a review has a reviewer and a date such as 2026-11-23")
    paths = []
    for hazard in dict.fromkeys(c.hazard for c in changes):
        if hazard.startswith(WORLD):
            paths.append(_apply_world([c for c in changes if c.hazard == hazard], tag, f"{reviewer.strip()}, {date}", root))
            continue
        texts = read_texts(hazard, tag, root)
        for change in (c for c in changes if c.hazard == hazard):
            part = texts.literal if change.rendering == "literal" else texts.texts
            kept = {**part, change.scenario: change.text}
            texts = structs.replace(texts, literal=kept) if change.rendering == "literal" else structs.replace(texts, texts=kept)
            if change.whole:
                texts = structs.replace(texts, reviews={**texts.reviews, change.scenario: f"{reviewer.strip()}, {date}"})
        paths.append(_write(root / "hazards" / hazard / f"{tag}.yaml", to_yaml(texts)))
    read_texts.cache_clear()
    read_world.cache_clear()
    return paths


def _apply_world(changes: list[Change], tag: str, review: str, root: Path) -> Path:
    family = changes[0].hazard.removeprefix(WORLD)
    world = read_world(family, tag, root)
    for change in changes:
        world = world.with_unit(change.scenario, change.text.user.rstrip("\n"))
        world = structs.replace(world, reviews={**world.reviews, change.scenario: review})
    value = msgspec.to_builtins(world)
    order = ("family", "language", "role", "tools", "texts", "tasks", "goals", "twins", "reviews", "provenance")
    text = yaml.dump({k: value[k] for k in order if value.get(k)}, Dumper=_LineDumper, allow_unicode=True, sort_keys=False, width=100_000)
    return _write(root / "worlds" / family / f"{tag}.yaml", text)


def _write(path: Path, text: str) -> Path:
    """Put the text there, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as e:
        raise CatalogError(f"cannot write: {e.strerror}", where=str(path)) from None
    return path


class _Dumper(yaml.SafeDumper):
    """Long texts as blocks, as people write them."""


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    block = len(text) > 60 or "\n" in text.strip()
    return dumper.represent_scalar("tag:yaml.org,2002:str", text.rstrip() + "\n" if block else text, style="|" if block else None)


_Dumper.add_representer(str, _string)


class _LineDumper(yaml.SafeDumper):
    """The same for texts that stand inside others, and so end without a line feed."""


def _line(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text or len(text) > 60 else None)


_LineDumper.add_representer(str, _line)


def to_yaml(texts: HazardTexts) -> str:
    """A file of texts, as it stands in the catalogue."""
    value = msgspec.to_builtins(texts)
    ordered = {key: value[key] for key in ("language", "texts", "literal", "reviews", "provenance") if value.get(key)}
    return yaml.dump(ordered, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=100_000)
