"""Which language a text is in: by its script first, then by two kept libraries, which must agree.

    identify("Saya tidak boleh membantu.")        # {"ms"}; short Malay or Indonesian may give {"ms", "id"}
    needs the extra `language` for Latin script; without it, Latin text gives the empty set: unknown

It informs lint, report and response kinds. No outcome rests on it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Any

from assay.scenarios.scripts import SCRIPTS

_BY_SCRIPT = {
    "THAI": "th", "LAO": "lo", "KHMER": "km", "MYANMAR": "my", "TAMIL": "ta", "TELUGU": "te", "HANGUL": "ko", "HIRAGANA": "ja",
    "KATAKANA": "ja", "DEVANAGARI": "hi", "ARABIC": "fa",
}  # fmt: skip
_LATIN = ("en", "ms", "id", "vi", "tl", "fr", "sw")
_CANTONESE = re.compile("[係嘅唔喺佢哋咗嚟啲冇睇嘢噉咁乜咩㗎喇囉]")
_ALIKE = frozenset({"ms", "id"})
MIN_LETTERS = 12


def letters(text: str) -> list[str]:
    """The script of every letter, by the first word of its Unicode name."""
    return [unicodedata.name(c, "?").split()[0].removesuffix("-") for c in text if c.isalpha()]


def script_share(text: str, script: str) -> float:
    """The share of letters that are of an ISO 15924 script; 1 for a text without letters."""
    found = letters(text)
    return sum(name in SCRIPTS[script] for name in found) / len(found) if found else 1.0


def identify(text: str) -> frozenset[str]:
    """Tags of the languages that the text may be in; empty if it cannot be said."""
    found = letters(text)
    if not found:
        return frozenset()
    name, _ = Counter(found).most_common(1)[0]
    if "HIRAGANA" in found or "KATAKANA" in found:
        kana = sum(n in ("HIRAGANA", "KATAKANA") for n in found)
        name = "HIRAGANA" if kana * 5 >= len(found) else name
    if name in _BY_SCRIPT:
        return frozenset({_BY_SCRIPT[name]})
    if name == "CJK":
        return frozenset({"yue"}) if len(_CANTONESE.findall(text)) * 25 >= len(found) else _chinese(text)
    return _latin(text) if name == "LATIN" and len(found) >= MIN_LETTERS else frozenset()


def fits(text: str, tag: str) -> bool | None:
    """Whether the text is in the language; None where that cannot be said. English and Singlish count as one, as do Malay and Indonesian
    where the libraries do not agree.
    """
    found = identify(text)
    if not found:
        return None
    wanted = {"en-SG": "en"}.get(tag, tag)
    return wanted in found


def _chinese(text: str) -> frozenset[str]:
    """Written Chinese is at home in Cantonese too, unless its characters are simplified: those that Big5 lacks and GB 2312 has."""
    lacking = {encoding: sum(not c.encode(encoding, "ignore") for c in text if c.isalpha()) for encoding in ("gb2312", "big5hkscs")}
    return frozenset({"zh-Hans"}) if lacking["gb2312"] < lacking["big5hkscs"] else frozenset({"zh-Hans", "yue"})


def _latin(text: str) -> frozenset[str]:
    tools = _tools()
    if tools is None:
        return frozenset()
    langid, cld = tools
    first = {"tl": "fil"}.get(tag := str(langid.classify(text)[0]), tag)
    try:
        _, _, detected = cld.detect(text.encode("utf-8", "ignore").decode())
        code = str(detected[0][1])
    except cld.error:
        code = "un"
    second = {"tl": "fil", "un": first, "zh": "zh-Hans"}.get(code, code)
    if first == second:
        return frozenset({first})
    if {first, second} <= _ALIKE:
        return _ALIKE
    return frozenset({first, second}) if len(text) < 120 else frozenset({second})


@lru_cache(maxsize=1)
def _tools() -> tuple[Any, Any] | None:
    try:
        import py3langid
        import pycld2
    except ImportError:
        return None
    py3langid.set_languages(list(_LATIN))
    return py3langid, pycld2
