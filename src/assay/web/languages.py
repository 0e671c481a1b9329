"""Interface languages: words as data files, and which of them a reader wants.

words = read_words(folder)["ms"]           # {"submit": "Hantar", ...}
preferred("ta-IN,ta;q=0.9,en;q=0.5")       # "ta"
direction("fa")                            # "rtl"
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from assay.catalog.yamlfile import load_yaml
from assay.errors import CatalogError

INTERFACE = {
    "en": "English",
    "ms": "Bahasa Melayu",
    "zh-Hans": "简体中文",
    "ta": "தமிழ்",
    "th": "ไทย",
    "vi": "Tiếng Việt",
    "id": "Bahasa Indonesia",
}
"""Every interface language by its own name."""

_RIGHT_TO_LEFT = frozenset({"ar", "arc", "ckb", "dv", "fa", "he", "ku-Arab", "ps", "sd", "syr", "ug", "ur", "yi"})


def direction(tag: str) -> str:
    """`rtl` for languages written from right to left, else `ltr`."""
    parts = tag.split("-")
    script = next((p for p in parts[1:] if len(p) == 4), "")
    if script:
        return "rtl" if script in ("Arab", "Hebr", "Thaa", "Syrc", "Nkoo", "Adlm", "Rohg") else "ltr"
    return "rtl" if parts[0] in _RIGHT_TO_LEFT else "ltr"


@lru_cache(maxsize=8)
def read_words(folder: Path) -> dict[str, dict[str, str]]:
    """The words of every interface language, from `<tag>.yaml`. Raises `CatalogError` where a language lacks a word or has one too many."""
    out = {}
    for tag in INTERFACE:
        path = folder / f"{tag}.yaml"
        out[tag] = load_yaml(path.read_text(encoding="utf-8"), dict[str, str], where=str(path), error=CatalogError)
    for tag, words in out.items():
        wrong = sorted(set(words) ^ set(out["en"]))
        if wrong:
            raise CatalogError(f"these words are not in all interface languages: {', '.join(wrong)}", where=str(folder / f"{tag}.yaml"))
    return out


def preferred(accept: str) -> str:
    """The interface language that a browser's Accept-Language header asks for first; English if it asks for none of them."""
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept[:1000].split(",")):
        tag, _, quality = part.partition(";q=")
        try:
            wanted.append((-float(quality or 1), place, tag.strip().casefold()))
        except ValueError:
            continue
    for _, _, tag in sorted(wanted):
        for known in INTERFACE:
            if tag == known.casefold() or tag.split("-")[0] == known.split("-")[0].casefold():
                return known
    return "en"
