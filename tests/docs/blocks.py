"""What documents hold: fenced blocks in order, links, headings, commands in running text.

for block in blocks(ROOT / "README.md"): ...
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r'^```(\w*)(?: title="([^"\n]+)")?[ \t]*\n(.*?)^```[ \t]*$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language, the name under which a reader is told to save it, its text, its first line's number."""

    language: str
    title: str
    text: str
    line: int

    def commands(self) -> list[str]:
        """Its lines, continuation lines joined, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.split(" #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    found = [Block(m[1], m[2] or "", m[3], text.count("\n", 0, m.start(3)) + 1) for m in FENCE.finditer(text)]
    assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(found), f"{document.name} has a fence that no test reads"
    return found


def prose(document: Path) -> str:
    """The text outside the blocks."""
    return FENCE.sub("", document.read_text(encoding="utf-8"))


def headings(document: Path) -> set[str]:
    """The anchors of its headings, where GitHub and the site agree on them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(document), re.MULTILINE):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        words = re.sub(r"[^\w\s-]", "", plain)
        github, site = words.replace(" ", "-"), re.sub(r"[-\s]+", "-", words.strip())
        if github == site:
            found.add(github)
    return found


def wrong_with(line: str) -> str:
    """What is wrong with a command line of `assay`: a command or an option that there is not. Empty where all is well.

    Alternatives (`a|b`) must all exist. `...`, words in capitals and in brackets stand for something else.
    """
    from assay.cli import app

    try:
        words = shlex.split(re.sub(r"\$\([^()]*\)|<[^<>]*>", "X", line))
    except ValueError:
        words = line.split()
    return _wrong(app, click.Context(app, info_name="assay"), words[1:])


def _wrong(command: click.Command, context: click.Context, words: list[str]) -> str:
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        first, *rest = words
        if not re.fullmatch(r"[a-z][a-z-]*(\|[a-z][a-z-]*)*", first):
            return "" if re.fullmatch(r"\.\.\.|[A-Z\[].*", first) else f"no command '{first}' in {context.command_path}"
        for name in first.split("|"):
            inner = command.get_command(context, name)
            if inner is None:
                return f"no command '{name}' in {context.command_path}"
            wrong = _wrong(inner, click.Context(inner, info_name=name, parent=context), rest)
            if wrong:
                return wrong
        return ""
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
    taken = {o for p in command.params if isinstance(p, click.Option) and not p.is_flag and not p.count for o in p.opts}
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == "--":
            break
        elif re.match(r"-{1,2}[a-zA-Z]", word) and not re.fullmatch(r"-{1,2}[\w-]*\.\.\.", word):
            for name in word.strip("[]").partition("=")[0].split("|"):
                if name not in known:
                    return f"{context.command_path} has no option {name}"
            skip = word in taken
    return ""
