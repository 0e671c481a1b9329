"""Every command in README and docs is run, or, where it would take minutes, shown to exist.

Blocks fenced with `sh` are run line by line, document by document, in one folder, with the installed entry points. `make` targets must
exist (CI itself runs `make test`). Commands named in running text must exist.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")])
BIN = Path(sys.executable).parent
NOTO = Path("/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf")
NOT_RUN = ("git clone", "cd ", "export ", "source ", "make ")


def blocks(document: Path) -> list[str]:
    """The lines of all `sh` blocks, continuation lines joined."""
    found = re.findall(r"^```sh\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(found).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def named(document: Path) -> set[str]:
    """Commands in running text: `assay x`, `make x`."""
    return set(re.findall(r"`((?:assay|make) [a-z][^`\n]*)`", document.read_text()))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_the_commands_of_each_document_run(document: Path, tmp_path: Path) -> None:
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    for line in blocks(document):
        if line.startswith(NOT_RUN):
            continue
        if "--paper" in line and not NOTO.exists():
            pytest.skip("the Noto fonts, without which no paper is set, are not on this machine")
        assert line.split()[0] in ("assay", "python"), f"{document.name}: no test knows how to run: {line}"
        done = subprocess.run(line, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)  # noqa: S602
        decides = line.split()[1] in ("run", "decide") or line.split()[1:3] == ["release", "verify"]
        assert done.returncode in ((0, 10, 20) if decides else (0,)), f"{document.name}: {line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_every_make_target_and_subcommand_named_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in {*blocks(document), *named(document)}:
        words = shlex.split(command)
        if words[0] == "make":
            assert words[1] in targets, f"{document.name}: {command}"
        if words[0] == "assay":
            from assay.cli import COMMANDS

            assert words[1].startswith("-") or words[1] in COMMANDS, f"{document.name}: {command}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} -> {target}"
    for path in re.findall(r"`((?:src|docs|tests|bench|scripts|requirements)/[\w./-]*)`", document.read_text()):
        assert (ROOT / path).exists() or path.startswith("bench/results"), f"{document.name} names {path}"


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
