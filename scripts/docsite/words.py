"""Text on its way into Markdown: what code says of itself, so that no character of it is taken for markup.

cell("a|b <c>")
"""

from __future__ import annotations

import re
from html import escape


def plain(text: str) -> str:
    """Text as it stands, for a paragraph; what is in backticks stays code."""
    return "".join(part if part.startswith("`") and len(part) > 2 else _escaped(part) for part in re.split(r"(`[^`\n]+`)", text))


def cell(text: str) -> str:
    """The same, on one line, for a cell of a table."""
    return plain(" ".join(text.split())).replace("|", "&#124;")


def code(text: str) -> str:
    """Code within a line; it may hold any character."""
    safe = re.sub(r"[][|*`~^\\]", lambda m: f"&#{ord(m[0])};", escape(text))
    return f"<code>{safe}</code>" if text else ""


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_\[\]#~^])", r"\\\1", escape(text, quote=False))
