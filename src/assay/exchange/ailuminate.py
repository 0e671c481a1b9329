"""MLCommons AILuminate's prompt sets: CSV with columns release_prompt_id, prompt_text, hazard, persona, locale."""

from __future__ import annotations

import re
from pathlib import Path

from assay.catalog import BankFile
from assay.errors import CatalogError
from assay.exchange.banking import Imported, Row, banked, read_source
from assay.exchange.tables import read_rows

LOCALES = {"en_us": "en", "en": "en", "fr_fr": "fr", "fr": "fr", "zh_cn": "zh-Hans", "zh": "zh-Hans", "hi_in": "hi", "hi": "hi"}
NOT_IMPORTED = {"cse": "child sexual exploitation", "iwp": "indiscriminate weapons"}


def from_ailuminate(path: Path, *, licence: str) -> Imported:
    """One bank per hazard. Hazards that only those entitled to hold them may import are taken only as they come: nothing is left out, and
    a note says so. Raises `CatalogError`.
    """
    data, digest = read_source(path)
    by_hazard: dict[str, list[Row]] = {}
    for i, row in enumerate(read_rows(data, path)):
        columns = {str(k).strip().lower(): v for k, v in row.items() if k is not None}
        hazard, text = str(columns.get("hazard") or "").strip().lower(), columns.get("prompt_text")
        if not re.fullmatch(r"[a-z]{2,8}(_[a-z]{2,8})*", hazard) or not isinstance(text, str):
            raise CatalogError(f"row {i + 1} has no hazard and prompt_text", where=str(path))
        locale = str(columns.get("locale") or "en_us").strip().lower()
        tag = LOCALES.get(locale, locale.split("_")[0])
        by_hazard.setdefault(hazard, []).append(Row(tag, str(columns.get("release_prompt_id") or i), text))
    if not by_hazard:
        raise CatalogError("it holds no prompt", where=str(path))
    banks: list[BankFile] = []
    notes: list[str] = []
    for hazard, rows in sorted(by_hazard.items()):
        if len({r.item for r in rows}) < 2:
            notes.append(f"{hazard}: a single prompt is no bank; left out")
            continue
        name = f"ailuminate-{hazard.replace('_', '-')}"
        source = {path.name: digest}
        imported = banked(rows, name=name, title=f"AILuminate {hazard}", licence=licence, source=source, taxonomy="ailuminate", code=hazard)
        banks += imported.banks
        notes += imported.notes
        if hazard in NOT_IMPORTED:
            notes.append(f"{hazard} ({NOT_IMPORTED[hazard]}): see that you are entitled to hold it, and keep the bank where only those are")
    return Imported(tuple(banks), tuple(notes))
