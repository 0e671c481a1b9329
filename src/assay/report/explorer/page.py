"""Source -> one HTML file that works from a folder, without a network: its own policy forbids everything but its own script and style.

    write_explorer(source, Path("explorer.html"))

Written in a stream: of the transcripts no more than one block is held at a time. Everything that others wrote is JSON or base64 in data
blocks, in which no `<` stands; the script puts it into the page as text only.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from assay.errors import RunFileError
from assay.report.explorer.facts import Facts, make_facts
from assay.report.explorer.pack import pack
from assay.report.sources import Source
from assay.report.text import visible
from assay.runs import whole_file
from assay.web.languages import INTERFACE, read_words

HERE = Path(__file__).parent
WORDS = HERE / "words"
STYLES = (HERE.parent / "report.css", HERE / "explorer.css")
SHARED = ("fold.js",)
"""What the page and its worker both have."""
SCRIPTS = ("data.js", "text.js", "state.js", "matrix.js", "tables.js", "list.js", "transcript.js", "search.js", "main.js")
WORKER = ("worker.js",)
Progress = Callable[[int, int], None]


def write_explorer(source: Source, path: Path, language: str = "en", progress: Progress = lambda done, of: None) -> int:
    """Write the interactive report of a run to `path`, which appears whole or not at all; returns its size in bytes.

    `language` is the interface language that it opens in; `progress` is told of blocks done and of how many. Raises `RunFileError` if it
    cannot be written, `CatalogError` if an item cannot be rebuilt, KeyError for a language that is not in `INTERFACE`.
    """
    size = 0
    try:
        with whole_file(path) as out:
            for part in explorer_parts(source, language, progress):
                size += out.write(part.encode("utf-8"))
    except OSError as e:
        raise RunFileError(f"cannot write the interactive report: {e.strerror}", where=str(path)) from None
    return size


def explorer_parts(source: Source, language: str = "en", progress: Progress = lambda done, of: None) -> Iterator[str]:
    """The page in parts, in order. The same run and language, the same bytes."""
    words = read_words(WORDS)
    here = words[language]
    packed = pack(source)
    facts = make_facts(packed)
    style = "\n".join(p.read_text(encoding="utf-8") for p in STYLES)
    script, worker = _script((*SHARED, *SCRIPTS)), _script((*SHARED, *WORKER))
    page = (HERE / "page.html").read_text(encoding="utf-8")
    values = {
        "language": language,
        "policy": content_policy(script, style),
        "title": html.escape(visible(f"{here['title']}: {facts.target[:80]}")),
        "style": style,
        "noscript": _without_script(facts, here),
        "facts": data({"language": language, "interface": INTERFACE, "words": words, "facts": facts}),
        "columns": packed.columns.packed(),
        "worker": worker,
        "script": script,
    }
    head, _, tail = page.partition("{{blocks}}")
    yield filled(head, values)
    for number, block in enumerate(packed.blocks()):
        yield f'<script type="application/octet-stream" id="block-{number}">{block}</script>\n'
        progress(number + 1, len(packed.first))
    yield filled(tail, values)


def filled(template: str, values: dict[str, str]) -> str:
    """A template with each `{{name}}` replaced; what is put in is not looked at again."""
    parts = template.split("{{")
    out = [parts[0]]
    for part in parts[1:]:
        name, _, rest = part.partition("}}")
        out += [values[name], rest]
    return "".join(out)


def data(value: object) -> str:
    """JSON that can stand in a script element: no `<` in it. Lone surrogates, which no JSON here can hold, do not come this far."""
    return msgspec.json.encode(value).decode("utf-8").replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def content_policy(script: str, style: str) -> str:
    """Nothing may load or run but this script, this style, and the worker that the script makes from the page's own text."""
    hashed = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{hashed[0]}'; style-src 'sha256-{hashed[1]}'; worker-src blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _script(names: tuple[str, ...]) -> str:
    texts = "\n".join((HERE / "js" / name).read_text(encoding="utf-8") for name in names)
    return f'"use strict";\n{texts}'


def _without_script(facts: Facts, words: dict[str, str]) -> str:
    """The verdict for a reader whose browser runs no script."""
    verdict = f"{facts.symbol} {words['verdict_' + facts.verdict]}"
    lines = (verdict, f"{words['target']}: {facts.target}", f"{words['plan']}: {facts.plan}", words["noscript"])
    return "".join(f"<p>{html.escape(visible(line))}</p>" for line in lines)
