"""Every command and every block of code in README, CONTRIBUTING, SECURITY and docs is run, or, where it needs what no test has, looked at.

`sh` blocks are run line by line and `python` blocks executed, in order, document by document, in one folder, with the installed entry
points; a block with a title is saved there under that name. `text` blocks hold what cannot be run: each command and option in them, as in
running text and in the examples of every `--help`, must exist. `make` targets must exist (CI itself runs `make test`).
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tests.docs.blocks import DOCUMENTS, ROOT, Block, blocks, headings, prose, wrong_with

BIN = Path(sys.executable).parent
NOTO = Path("/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf")
NOT_RUN = ("git clone", "cd ", "export ", "source ", "make ")


def run_line(line: str, document: Path, folder: Path) -> None:
    if line.startswith(NOT_RUN):
        return
    if "--paper" in line and not NOTO.exists():
        pytest.skip("the Noto fonts, without which no paper is set, are not on this machine")
    assert line.split()[0] in ("assay", "python"), f"{document.name}: no test knows how to run: {line}"
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder)}
    done = subprocess.run(line, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)  # noqa: S602
    decides = line.split()[1] in ("run", "decide") or line.split()[1:3] == ["release", "verify"]
    assert done.returncode in ((0, 10, 20) if decides else (0,)), f"{document.name}: {line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if any(b.language in ("sh", "python") for b in blocks(d))], ids=lambda d: d.name)
def test_the_blocks_of_each_document_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    space: dict[str, Any] = {"__name__": "page"}
    for block in blocks(document):
        if block.title:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "sh":
            for line in block.commands():
                run_line(line, document, tmp_path)
        elif block.language == "python":
            text = "\n" * (block.line - 1) + block.text
            exec(compile(text, str(document), "exec", dont_inherit=True), space)  # noqa: S102 (our own page)


def lines_of(document: Path) -> Iterator[tuple[int, str]]:
    """Every command of `assay` in blocks that are not run, and in running text, with its line's number."""
    for block in blocks(document):
        if block.language in ("", "text", "sh", "yaml"):
            for number, line in enumerate(block.text.replace("\\\n", "  ").splitlines()):
                found = re.match(
                    r"^(?:.*\bassay:local |gate |\s*\$ |\s*run: |\s*(?:[A-Z][A-Z_]*=\S+ )*)?\s*(?:[\w./]*/)?(assay [a-z\[.-].*)", line
                )
                if found:
                    yield block.line + number, re.split(r"\s{2,}(?!-)| #|(?<!\\)[;>]| && | \| ", found[1])[0]
    for command in re.findall(r"`((?:\w+=\S+ )*assay [a-z][^`\n]*)`", prose(document)):
        yield 0, command[command.index("assay ") :]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_every_command_and_option_that_is_named_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong = [f"{document.name}:{number}: {why}: {line}" for number, line in lines_of(document) if (why := wrong_with(line))]
    made = [line for b in blocks(document) if b.language in ("sh", "text") for line in b.commands() if line.startswith("make ")]
    for command in [*made, *re.findall(r"`(make [a-z][^`\n]*)`", prose(document))]:
        name = next(w for w in shlex.split(command)[1:] if "=" not in w)
        if name not in targets:
            wrong.append(f"{document.name}: {command}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "line",
    [
        "assay run --no-such-option", "assay rnu my-plan.yaml", "assay access serv --config x", "assay import moonshot|nothing x",
        "assay release verify x --roles y --no-such", "assay plan cost x --replicates 5",
    ],
)  # fmt: skip
def test_a_command_that_there_is_not_is_found(line: str) -> None:
    assert wrong_with(line)


@pytest.mark.parametrize(
    "line", ["assay run [PLAN] --target T", "assay access ...", "assay import moonshot|ailuminate x", "assay key show K --id", "assay -h"]
)
def test_a_command_that_there_is_passes(line: str) -> None:
    assert wrong_with(line) == ""


def test_every_example_of_every_help_exists() -> None:
    from assay.cli import COMMANDS, app

    def commands(command: click.Command) -> Iterator[click.Command]:
        yield command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None, name
                yield from commands(inner)

    found = list(commands(app))
    assert len(found) > 5 * len(COMMANDS) / 2
    lines = [m[1] for c in found for m in re.finditer(r"^\s+(assay [a-z].*?)(?:\s{2,}.*)?$", c.help or "", re.MULTILINE)]
    assert len(lines) > 80
    wrong = [f"{line}: {why}" for line in lines if (why := wrong_with(line))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    text = prose(document)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path) if path else document
        assert file.exists(), f"{document.name} -> {target}"
        assert not anchor or anchor in headings(file), f"{document.name} -> {target}: there is no such heading"
    for path in re.findall(r"`((?:src|docs|tests|bench|scripts|requirements|deploy)/[\w./-]*)`", text):
        assert (ROOT / path).exists() or path.startswith("bench/results"), f"{document.name} names {path}"


def test_every_test_that_is_named_exists() -> None:
    """The threat model and others name tests by file and function."""
    named = {(d.name, *found) for d in DOCUMENTS for found in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", d.read_text(encoding="utf-8"))}
    assert len({t for _, *t in map(tuple, named) for t in t}) > 40
    for document, file, function in named:
        assert re.search(rf"^(?:async )?def {function}\(", (ROOT / file).read_text(), re.MULTILINE), f"{document}: {file}::{function}"


# What is data is data


def blocks_of(language: str) -> list[Any]:
    found = [(d, b) for d in DOCUMENTS for b in blocks(d) if b.language == language]
    return [pytest.param(d, b, id=f"{d.name}:{b.line}") for d, b in found]


@pytest.mark.parametrize(("document", "block"), blocks_of("yaml"))
def test_every_yaml_block_is_what_its_reader_takes(document: Path, block: Block, tmp_path: Path) -> None:
    from tests.docs.readers import read_yaml

    read_yaml(block.text, f"{document.name}:{block.line}", tmp_path)


@pytest.mark.parametrize("language", ["json", "toml"])
def test_every_json_and_toml_block_parses(language: str) -> None:
    import tomllib

    for document in DOCUMENTS:
        for block in blocks(document):
            if block.language == language:
                (json.loads if language == "json" else tomllib.loads)(block.text)


def test_no_block_has_a_language_that_no_test_knows() -> None:
    known = {"sh", "python", "text", "yaml", "json", "toml", "xml", "sql", ""}
    for document in DOCUMENTS:
        assert {b.language for b in blocks(document)} <= known, document.name


# What is typed and would go stale


def test_every_dependency_has_its_reason() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    groups = [*project["project"]["optional-dependencies"].values(), *project["dependency-groups"].values()]
    for requirement in itertools.chain(project["project"]["dependencies"], *groups):
        name = re.split(r"[<>=;\[ ]", requirement)[0]
        assert name in reasons.lower(), f"docs/dependencies.md gives no reason for {name}"


def test_no_registry_host_is_named() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in path.read_text()


def test_the_table_of_answer_kinds_is_the_measured_one() -> None:
    measured = json.loads((ROOT / "bench/results/responses.json").read_text())
    rows = re.findall(
        r"^\| ([a-zA-Z-]+) \| (\d+)% \| (\d+)% \| (\d+)% \| (\d+)% \| (\d+)% \|$", (ROOT / "docs/content.md").read_text(), re.MULTILINE
    )
    keys = ("right", "sure", "right_if_sure", "refusal_balanced", "rules_refusal_balanced")
    assert {tag for tag, *_ in rows} == {p.stem for p in (ROOT / "src/assay/catalog/answers").glob("*.yaml")}
    for tag, *shares in rows:
        found = [round(100 * measured[f"{tag.replace('-', '_').lower()}_{key}_share"]) for key in keys]
        assert [int(s) for s in shares] == found, tag


def test_the_table_of_error_rates_is_the_simulated_one() -> None:
    measured = json.loads((ROOT / "bench/results/error-rates.json").read_text())
    rows = re.findall(r"^\| [^|]+ \| (approve|halt) \| ([\d.]+)% \| (\d+)% \|$", (ROOT / "docs/statistics.md").read_text(), re.MULTILINE)
    keys = [k.removesuffix("_error") for k in measured if k.endswith("_error")]
    assert [(k.split("_")[0], f"{100 * measured[f'{k}_error']:.2f}", f"{100 * measured[f'{k}_bound']:.0f}") for k in keys] == rows
