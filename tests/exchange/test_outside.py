"""A package under another interpreter: bounds, silence, and nothing of ours that leaks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from assay.errors import CatalogError
from assay.exchange.outside import ask_outside, interpreter

PYTHON = Path(sys.executable)


BOUNDS = "MEMORY, CPU_S, FILE = 2**33, 60, 2**20\n"


def child(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "child.py"
    path.write_text(f"{BOUNDS}def answer(request):\n    {text}\n")
    return path


def ask(path: Path, **given: object) -> dict[str, object]:
    return ask_outside(PYTHON, path, {"a": 1}, dict[str, object], package="thing", **given)  # type: ignore[arg-type]


def test_a_child_gets_the_request_a_home_of_its_own_and_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "hunter2")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    path = child(tmp_path, "import os; print('noise'); return {'asked': request, 'env': dict(os.environ)}")
    said = ask(path, seed=3)
    env = said["env"]
    assert said["asked"] == {"a": 1}
    assert isinstance(env, dict)
    assert "hunter2" not in str(env)
    assert "PYTHONPATH" not in env
    assert (env["PYTHONHASHSEED"], env["HF_HUB_OFFLINE"]) == ("3", "1")
    assert not Path(env["HOME"]).exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import sys; sys.exit('first\\nno \\x1b[2Jmodel here')", r"could not be asked: no \?\[2Jmodel here"),
        ("raise SystemExit(7)", "code 7"),
        ("raise ValueError('first\\nno model here')", "could not be asked: ValueError: first no model here"),
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "could not be asked: OSError: no network here"),
        ("open('large', 'wb').write(bytes(2**21))", "could not be asked"),
        ("return [1]", "not what was asked for"),
        ("import os; os.write(3, b'{'); os._exit(0)", "not what was asked for"),
        ("import os; os.write(3, b'[' * 60000); os._exit(0)", "not what was asked for"),
        ("return {'a': 'x' * 200_000}", "says more than 100,000 bytes"),
        ("import time; time.sleep(60)", "takes longer than 1 seconds"),
    ],
)
def test_whatever_else_a_child_does_is_one_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(CatalogError, match=why) as caught:
        ask(child(tmp_path, text), patience_s=1.0 if "sleep" in text else 30.0, most=100_000)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_the_interpreter_is_given_or_named_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_THING_PYTHON", raising=False)
    with pytest.raises(CatalogError, match="ASSAY_THING_PYTHON"):
        interpreter("thing", "")
    monkeypatch.setenv("ASSAY_THING_PYTHON", sys.executable)
    assert interpreter("thing", "") == PYTHON
    with pytest.raises(CatalogError, match="no Python interpreter"):
        interpreter("thing", "/no/such/python")
    assert interpreter("json", "") == PYTHON  # it is installed here
