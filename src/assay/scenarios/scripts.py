"""The scripts of the catalogue's languages (ISO 15924), by the first words of the Unicode names of their letters."""

from __future__ import annotations

SCRIPTS: dict[str, tuple[str, ...]] = {
    "Latn": ("LATIN",), "Hans": ("CJK",), "Hant": ("CJK",), "Taml": ("TAMIL",), "Thai": ("THAI",), "Mymr": ("MYANMAR",), "Khmr": ("KHMER",),
    "Laoo": ("LAO",), "Jpan": ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"), "Kore": ("HANGUL", "CJK"), "Deva": ("DEVANAGARI",),
    "Telu": ("TELUGU",), "Arab": ("ARABIC",),
}  # fmt: skip
