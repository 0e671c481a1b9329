"""What completion knows beyond options: plans, runs, hazards, languages, attacks. Reads names of files and nothing else, so it is quick.

teach(command)        # while a shell asks; the arguments and options of these names complete themselves
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem

PACKAGE = Path(__file__).parents[1]
RUN_FILES = ("run.db", "run.ref", "evidence.jsonl")
USUAL = "runs"
MOST = 200
SAFE = re.compile(r"^[\w./@+-]{1,200}\Z")
"""Names that no shell reads anything into."""


def teach(command: click.Command) -> None:
    """Give a command's parameters, and those of its subcommands, what is known by their names."""
    for parameter in command.params:
        offer = OFFERS.get(parameter.name or "")
        if offer is _sources and isinstance(parameter, click.Argument):
            continue  # a file of others, to import
        if offer is not None and not isinstance(parameter.type, click.Choice):
            parameter.shell_complete = _completer(offer)  # type: ignore[method-assign,assignment]
    if isinstance(command, click.Group):
        with click.Context(command, resilient_parsing=True) as context:
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                if below is not None:
                    teach(below)


def _completer(offer: Callable[[str], Iterator[CompletionItem]]) -> Callable[[click.Context, str], list[CompletionItem]]:
    def complete(context: click.Context, incomplete: str) -> list[CompletionItem]:
        fit = (item for item in offer(incomplete) if item.value.startswith(incomplete))
        return [item for item in fit if item.type != "plain" or SAFE.match(item.value)][:MOST]

    return complete


def _named(folder: str, pattern: str) -> Iterator[str]:
    yield from sorted(p.stem for p in (PACKAGE / folder).glob(pattern))


def _plans(incomplete: str) -> Iterator[CompletionItem]:
    """The built-in plans; then whatever file one types."""
    yield from (CompletionItem(name, help="built-in plan") for name in _named("plan/builtin", "*.yaml"))
    yield from _beside(incomplete, lambda p: p.suffix in (".yaml", ".yml"))


def _runs(incomplete: str) -> Iterator[CompletionItem]:
    """Folders that hold a run, among those that one types and in the usual place; then folders and bundles."""
    if "/" not in incomplete:
        for path in _entries(Path(USUAL)):
            if _is_run(path):
                yield CompletionItem(str(path))
    yield from _beside(incomplete, lambda p: p.suffix in (".jsonl", ".db"))


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in RUN_FILES)


def _beside(incomplete: str, fits: Callable[[Path], bool]) -> Iterator[CompletionItem]:
    folder = Path(incomplete).parent if "/" in incomplete else Path()
    for path in _entries(folder):
        if path.is_dir():
            yield CompletionItem(str(path) if _is_run(path) else f"{path}/")
        elif fits(path):
            yield CompletionItem(str(path))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))[:2000]
    except OSError:
        return []


def _hazards(incomplete: str) -> Iterator[CompletionItem]:
    yield from (CompletionItem(name) for name in _named("catalog/hazards", "*"))


def _languages(incomplete: str) -> Iterator[CompletionItem]:
    yield from (CompletionItem(name) for name in _named("catalog/languages", "*.yaml"))


def _attacks(incomplete: str) -> Iterator[CompletionItem]:
    """The keys of the list of attacks, without reading it as YAML."""
    found = re.findall(r"^  ([a-z0-9-]{1,40}): \{", (PACKAGE / "catalog" / "attacks.yaml").read_text("utf-8"), re.MULTILINE)
    yield from (CompletionItem(name) for name in sorted(found))


def _sources(incomplete: str) -> Iterator[CompletionItem]:
    """The built-in plans, where one starts from another."""
    yield from (CompletionItem(name) for name in _named("plan/builtin", "*.yaml"))


def _targets(incomplete: str) -> Iterator[CompletionItem]:
    yield from (CompletionItem(name) for name in ("embedded:", "http://127.0.0.1:8080/v1#", "scripted:0.01"))


OFFERS: dict[str, Callable[[str], Iterator[CompletionItem]]] = {
    "attack": _attacks,
    "attacks": _attacks,
    "bundle": _runs,
    "hazard": _hazards,
    "hazards": _hazards,
    "language": _languages,
    "languages": _languages,
    "plan": _plans,
    "replay": _runs,
    "source": _sources,
    "run": _runs,
    "runs": _runs,
    "target_text": _targets,
}
