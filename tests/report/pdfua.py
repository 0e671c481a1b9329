"""What a program can check of PDF/UA-1 (ISO 14289-1, by the Matterhorn protocol's machine checks), read from the PDF by pikepdf.

problems(Path("paper.pdf")) == []
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pikepdf

STANDARD = frozenset({
    "Document", "Part", "Art", "Sect", "Div", "BlockQuote", "Caption", "TOC", "TOCI", "Index", "NonStruct", "Private", "P", "H", "H1",
    "H2", "H3", "H4", "H5", "H6", "L", "LI", "Lbl", "LBody", "Table", "TR", "TH", "TD", "THead", "TBody", "TFoot", "Span", "Quote",
    "Note", "Reference", "BibEntry", "Code", "Link", "Annot", "Ruby", "RB", "RT", "RP", "Warichu", "WT", "WP", "Figure", "Formula",
    "Form",
})  # fmt: skip
SHOWS = frozenset({"Tj", "TJ", "'", '"', "f", "F", "f*", "B", "B*", "b", "b*", "S", "s", "Do", "sh", "BI"})
INSIDE = {"TR": {"Table", "THead", "TBody", "TFoot"}, "TH": {"TR"}, "TD": {"TR"}, "LI": {"L"}, "LBody": {"LI"}, "TOCI": {"TOC"}}


def problems(data: bytes) -> list[str]:
    """Everything that does not hold, a line each."""
    with pikepdf.open(BytesIO(data)) as pdf:
        return [*_catalog(pdf), *_structure(pdf), *_contents(pdf), *_fonts(pdf), *_links(pdf)]


def _catalog(pdf: pikepdf.Pdf) -> Iterator[str]:
    root = pdf.Root
    if not root.get("/MarkInfo", {}).get("/Marked", False):
        yield "the document is not marked as tagged (06, 09)"
    if not str(root.get("/Lang", "")):
        yield "no language (11-006)"
    if not root.get("/ViewerPreferences", {}).get("/DisplayDocTitle", False):
        yield "the window does not show the title (07-002)"
    with pdf.open_metadata() as meta:
        if str(meta.get("pdfuaid:part")) != "1":
            yield "the metadata do not claim PDF/UA-1 (06-002)"
        if not meta.get("dc:title"):
            yield "no title in the metadata (06-003)"
    if "/StructTreeRoot" not in root:
        yield "no structure (01)"
    if root.get("/Names", {}).get("/JavaScript") or "/AA" in root:
        yield "scripts"


def pages(element: Any) -> set[int]:
    """The numbers of the pages' objects on which an element's content stands."""
    own = element.get("/Pg")
    found: set[int] = set()
    kids = element.get("/K", [])
    for kid in kids if isinstance(kids, pikepdf.Array) else [kids]:
        if isinstance(kid, pikepdf.Dictionary):
            found |= pages(kid) if "/S" in kid else {(kid.get("/Pg") or own).objgen[0]} if (kid.get("/Pg") or own) else set()
        elif own is not None:
            found.add(own.objgen[0])
    return found


def elements(pdf: pikepdf.Pdf) -> Iterator[tuple[str, Any, str]]:
    """Every structure element by its standard type, in reading order, with the type of its parent."""
    tree = pdf.Root.StructTreeRoot
    roles = {str(k): str(v) for k, v in tree.get("/RoleMap", {}).items()}

    def named(element: Any) -> str:
        name = str(element.get("/S", ""))
        for _ in range(10):
            name = roles.get(name, name)
        return name.removeprefix("/")

    def walk(element: Any, parent: str) -> Iterator[tuple[str, Any, str]]:
        if isinstance(element, pikepdf.Array):
            for each in list(element):
                yield from walk(each, parent)
        elif isinstance(element, pikepdf.Dictionary) and "/S" in element:
            name = named(element)
            yield name, element, parent
            if "/K" in element:
                yield from walk(element.K, name)

    yield from walk(tree.get("/K"), "")


def _structure(pdf: pikepdf.Pdf) -> Iterator[str]:
    level = 0
    for name, element, parent in elements(pdf):
        if name not in STANDARD:
            yield f"'{name}' is no standard type (02-001)"
        if name in INSIDE and parent not in INSIDE[name]:
            yield f"{name} inside {parent} (09)"
        if name[:1] == "H" and name[1:].isdigit():
            if int(name[1:]) > level + 1:
                yield f"{name} after H{level} (14-003)"
            level = int(name[1:])
        if name == "Figure" and not str(element.get("/Alt", "")).strip():
            yield "a figure without alternative text (13-004)"
        if name == "TH":
            attributes = element.get("/A", pikepdf.Dictionary())
            found = [
                a for a in (attributes if isinstance(attributes, pikepdf.Array) else [attributes]) if isinstance(a, pikepdf.Dictionary)
            ]
            if not any("/Scope" in a or "/Headers" in a for a in found):
                yield "a table head without scope (15-003)"


def _contents(pdf: pikepdf.Pdf) -> Iterator[str]:
    """Everything that is painted is tagged or an artifact (01-003, 01-005)."""
    for number, page in enumerate(pdf.pages, 1):
        stack: list[bool] = []
        for operands, operator in pikepdf.parse_content_stream(page):
            name = str(operator)
            if name in ("BDC", "BMC"):
                marked = str(operands[0]) == "/Artifact" or (len(operands) > 1 and "/MCID" in (_properties(page, operands[1]) or {}))
                stack.append(marked)
            elif name == "EMC":
                stack.pop()
            elif name in SHOWS and not any(stack):
                yield f"page {number}: {name} outside of any tag (01-003)"
                break
        if stack:
            yield f"page {number}: a tag is not closed"


def _properties(page: Any, operand: Any) -> Any:
    if isinstance(operand, pikepdf.Name):
        return page.get("/Resources", {}).get("/Properties", {}).get(str(operand))
    return operand


def _fonts(pdf: pikepdf.Pdf) -> Iterator[str]:
    for thing in pdf.objects:
        if isinstance(thing, pikepdf.Dictionary) and thing.get("/Type") == "/Font" and thing.get("/Subtype") != "/Type3":
            name = str(thing.get("/BaseFont", ""))
            inner = thing.get("/DescendantFonts", [thing])[0]
            if thing.get("/Subtype") in ("/CIDFontType0", "/CIDFontType2"):
                continue
            if not any(key in inner.get("/FontDescriptor", {}) for key in ("/FontFile", "/FontFile2", "/FontFile3")):
                yield f"{name} is not embedded (31-009)"
            if "/ToUnicode" not in thing:
                yield f"{name} has no characters (10-001)"


def _links(pdf: pikepdf.Pdf) -> Iterator[str]:
    for number, page in enumerate(pdf.pages, 1):
        annotations = list(page.get("/Annots", []))
        if annotations and str(page.get("/Tabs", "")) != "/S":
            yield f"page {number}: the order of tabs is not that of the structure (28-004)"
        for each in annotations:
            if "/StructParent" not in each:
                yield f"page {number}: an annotation outside of the structure (28-002)"
            if each.get("/Subtype") == "/Link" and not str(each.get("/Contents", "")).strip():
                yield f"page {number}: a link that does not say where it leads (28-012)"
