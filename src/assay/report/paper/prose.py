"""What authors write beside the figures: Markdown, one file for each chapter; figures in it stay live, and no number goes without evidence.

    blocks = read_prose(Path("prose/results.md"), figures)

`{{A.trials}}` is run A's figure of that name, computed anew with every build; `{{"eleven of 14 banks" from "Survey of the authority"}}` is
a statement of the authors, printed with a mark and listed with its source. Any other number (`pieces.numeral`) is refused, with file and
line; so is whatever would be left out unseen: a list that counts from elsewhere than 1, code in a list, a list in a numbered list.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from assay.report.paper.document import Block, Bullets, Heading, Paragraph, Quote
from assay.report.pieces import PaperError, Piece, Reference, Stated, Text, numeral
from assay.report.text import visible

if TYPE_CHECKING:
    from markdown_it.token import Token

MAX_BYTES = 1 << 20
LIVE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
STATED = re.compile(r'^\s*"([^"]{1,500})"\s+from\s+"([^"]{1,500})"\s*$')
LISTED = {"list_item_open", "list_item_close", "paragraph_open", "paragraph_close", "inline", "bullet_list_open", "bullet_list_close"}
"""What a list or a quotation may consist of; all else would be lost there."""
LEVELS = {"h1": 2, "h2": 2, "h3": 3, "h4": 3, "h5": 3, "h6": 3}


def read_prose(path: Path, figures: Mapping[str, Piece]) -> list[Block]:
    """The blocks of a file. Raises `PaperError` with file and line."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise PaperError(f"cannot read: {e.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise PaperError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    return list(_Reader(path, figures).blocks(data.decode("utf-8", errors="replace")))


class _Reader:
    def __init__(self, path: Path, figures: Mapping[str, Piece]) -> None:
        self._path, self._figures = path, figures
        self._line = 1
        self._heads = 0

    def blocks(self, text: str) -> Iterator[Block]:
        from markdown_it import MarkdownIt

        tokens = MarkdownIt("commonmark", {"html": False}).disable(["image", "autolink", "html_inline", "html_block"]).parse(text)
        at = 0
        while at < len(tokens):
            token = tokens[at]
            self._go_to(token)
            match token.type:
                case "heading_open":
                    yield self._heading(token, tokens[at + 1])
                    at += 3
                case "paragraph_open":
                    yield Paragraph(self._inline(tokens[at + 1]))
                    at += 3
                case "blockquote_open":
                    end = _closing(tokens, at)
                    for inner in tokens[at + 1 : end]:
                        self._no_stranger(inner)
                        if inner.type == "inline":
                            yield Paragraph(self._inline(inner), "note")
                    at = end + 1
                case "bullet_list_open" | "ordered_list_open":
                    end = _closing(tokens, at)
                    yield self._list(tokens[at + 1 : end], numbered=token.type.startswith("ordered"))
                    at = end + 1
                case "fence" | "code_block":
                    self._checked(token.content)
                    yield Quote(visible(token.content.rstrip("\n")))
                    at += 1
                case "hr":
                    at += 1
                case _:
                    raise self._wrong(f"this kind of Markdown is not used here ({token.type.removesuffix('_open').replace('_', ' ')})")

    def _go_to(self, token: Token) -> None:
        self._line = token.map[0] + 1 if token.map else self._line

    def _heading(self, token: Token, inline: Token) -> Heading:
        pieces = self._inline(inline)
        if any(not isinstance(p, Text) for p in pieces):
            raise self._wrong("a heading has words only")
        self._heads += 1
        return Heading(LEVELS[token.tag], "".join(p.text for p in pieces), f"prose-{self._path.stem}-{self._heads}")

    def _list(self, tokens: list[Token], *, numbered: bool) -> Bullets:
        items: list[tuple[Piece, ...]] = []
        at = 0
        while at < len(tokens):
            end = _closing(tokens, at)
            self._go_to(tokens[at])
            if numbered and tokens[at].info not in ("1", str(len(items) + 1)):
                raise self._wrong(f"a list counts from one, so the number {tokens[at].info[:20]} would be lost", "Say it in a sentence.")
            pieces: tuple[Piece, ...] = ()
            for token in tokens[at:end]:
                self._no_stranger(token)
                if token.type == "inline":
                    self._go_to(token)
                    pieces += (*((Text(" "),) if pieces else ()), *self._inline(token))
            items.append(pieces)
            at = end + 1
        return Bullets(tuple(items), numbered)

    def _no_stranger(self, token: Token) -> None:
        if token.type not in LISTED:
            self._go_to(token)
            raise self._wrong(f"a list or a quotation has words only, and no {token.type.removesuffix('_open').replace('_', ' ')}")

    def _inline(self, token: Token) -> tuple[Piece, ...]:
        pieces: list[Piece] = []
        strong = 0
        link = ""
        for child in _joined(token.children or []):
            match child.type:
                case "text":
                    said = self._text(child.content, strong)
                    pieces += [Reference(p.text, link=link) if link and isinstance(p, Text) else p for p in said]
                case "softbreak" | "hardbreak":
                    pieces.append(Text(" "))
                case "strong_open" | "em_open":
                    strong += 1
                case "strong_close" | "em_close":
                    strong -= 1
                case "link_open":
                    link = str(child.attrGet("href") or "")
                    if not re.match(r"^(https?://|#)[^\s]{1,2000}\Z", link):
                        raise self._wrong(f"a link leads to https://... or #chapter, not to '{link[:80]}'")
                case "link_close":
                    link = ""
                case "code_inline":
                    self._checked(child.content)
                    pieces.append(Reference(visible(child.content), code=True))
                case _:
                    raise self._wrong(f"this kind of Markdown is not used here ({child.type.replace('_', ' ')})")
        self._checked("".join(p.text if isinstance(p, Text | Reference) else " " for p in pieces))  # a number may be cut apart by markup
        return tuple(pieces)

    def _text(self, text: str, strong: int) -> Iterator[Piece]:
        at = 0
        for place in LIVE.finditer(text):
            if place.start() > at:
                yield Text(self._checked(text[at : place.start()]), strong=bool(strong))
            yield self._live(place[1])
            at = place.end()
        if at < len(text):
            yield Text(self._checked(text[at:]), strong=bool(strong))

    def _live(self, inside: str) -> Piece:
        stated = STATED.match(inside)
        if stated:
            return Stated(visible(stated[1]), visible(stated[2]))
        name = inside.strip()
        if name in self._figures:
            return self._figures[name]
        near = difflib.get_close_matches(name, self._figures, 3)
        meant = f" Meant: {', '.join(near)}?" if near else ""
        raise self._wrong(f"there is no figure '{name[:80]}'.{meant}", "Their names: assay report --paper RUN... --figures")

    def _checked(self, text: str) -> str:
        """The text, made visible. Raises where a number has no evidence."""
        found = numeral(text)
        if found:
            at = text.index(found)
            around = text[max(0, at - 20) : at + len(found) + 20].strip()
            fix = 'Take it from a run, {{A.trials}}, or say whose word it is: {{"14 banks" from "Survey, table 2"}}.'
            raise self._wrong(f"a figure without evidence: “{around}”", fix)
        return visible(text)

    def _wrong(self, what: str, fix: str = "") -> PaperError:
        return PaperError(what, where=f"{self._path}:{self._line}", fix=fix)


def _closing(tokens: list[Token], at: int) -> int:
    """Where the token that opens at `at` closes."""
    depth = 0
    for place in range(at, len(tokens)):
        depth += tokens[place].nesting
        if depth == 0:
            return place
    return len(tokens)


def _joined(tokens: list[Token]) -> list[Token]:
    """Texts that the parser has cut apart (at entities, escapes and quotation marks) as one."""
    out: list[Token] = []
    for token in tokens:
        if token.type in ("text", "text_special", "entity"):
            if out and out[-1].type == "text":
                out[-1] = out[-1].copy(content=out[-1].content + token.content)
                continue
            token = token.copy(type="text")
        out.append(token)
    return out
