"""Completion, in the shells themselves: what bash, zsh and fish offer after some words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import make_bundle

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plan, a run, and a plan whose name would do harm in a shell."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "mine.yaml").write_text("assay: plan/1\n")
    (folder / "m$(touch harm).yaml").write_text("assay: plan/1\n")
    (folder / "runs" / "first").mkdir(parents=True)
    make_bundle(folder / "runs" / "first", budget={"calls": 30})
    return folder


def bash(place: Path, *cases: tuple[str, ...]) -> list[set[str]]:
    """What bash offers for the last word of each case, through the script as it is printed."""
    lines = ["source <(assay completion bash)"]
    for words in cases:
        quoted = " ".join(f"'{w}'" for w in words)
        lines += [f"COMP_WORDS=({quoted})", f"COMP_CWORD={len(words) - 1}", "COMPREPLY=()", "_assay_completion assay"]
        lines += ["printf '%s\\n' \"${COMPREPLY[@]}\"", "echo ---"]
    found = run(["bash", "--norc", "-c", "\n".join(lines)], place)
    return [set(part.split("\n")) - {""} for part in found.split("---")[:-1]]


def run(command: list[str], place: Path) -> str:
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(place)}
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not (place / "harm").exists()
    return done.stdout.strip()


def test_bash_offers_commands_options_plans_runs_and_content(place: Path) -> None:
    command, plans, safe, options, runs, hazards, languages, attacks, sources = bash(
        place,
        ("assay", "ver"),
        ("assay", "run", ""),
        ("assay", "run", "m"),
        ("assay", "run", "--dr"),
        ("assay", "decide", "ru"),
        ("assay", "catalog", "show", "secret"),
        ("assay", "catalog", "show", "secret-leakage", "--language", "zh"),
        ("assay", "world", "show", "agent-banking", "--attack", "b"),
        ("assay", "plan", "new", "x.yaml", "--from", "s"),
    )
    assert command == {"verify"}
    assert {"quick", "sea", "mine.yaml"} <= plans
    assert safe == {"mine.yaml"}  # and not what a shell would run
    assert "--dry-run" in options
    assert runs == {"runs/first", "runs/"}
    assert hazards == {"secret-leakage"}
    assert languages == {"zh-Hans"}
    assert "base64" in attacks
    assert sources == {"sea", "standard"}


def test_zsh_offers_the_same(place: Path) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("zsh is not on this machine")
    script = """
compdef() { :; }
compadd() { print -rl -- "$@"; }
_describe() { print -rl -- ${(P)2} ${(P)3}; }
eval "$(assay completion zsh)"
words=(assay run q); CURRENT=3
_assay_completion
"""
    assert "quick" in run([zsh, "-f", "-c", script], place)


def test_fish_offers_the_same(place: Path) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("fish is not on this machine")
    found = run([fish, "--no-config", "-c", "assay completion fish | source; complete -C 'assay run q'"], place)
    assert "quick" in found


def test_it_reads_names_only(place: Path) -> None:
    """Neither a command that is not meant, nor content, nor a run is opened for it."""
    code = (
        "import os, sys\nfrom assay.cli import main\nsys.argv = ['assay']\n"
        "os.environ.update({'COMP_WORDS': 'assay run q', 'COMP_CWORD': '2', '_ASSAY_COMPLETE': 'bash_complete'})\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m in ('assay.api', 'assay.engine', 'assay.report', 'assay.cli.report')], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True)
    assert "plain,quick" in done.stdout
    assert done.stderr.strip() == "[]"
