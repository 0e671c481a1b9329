"""Configuration: flag, environment, project's file, user's file, built-in, in this order; and what a project's file may not say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from assay.cli import COMMANDS, app, main
from assay.cli.checkup import _configuration
from assay.cli.configuration import INJECTED, OWN, PROJECT, ConfigurationError, read_settings, variable

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in [n for n in os.environ if n.startswith("ASSAY_RUN_")]:
        monkeypatch.delenv(name)
    return folder


def user(text: str) -> Path:
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "assay" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["assay", *words])
    return main()


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    def walk(command: click.Command, context: click.Context, path: list[str]) -> Iterator[tuple[str, click.Command, click.Context]]:
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                yield from walk(below, click.Context(below, info_name=name, parent=context), [*path, name])
        yield " ".join(path), command, context

    yield from walk(app, click.Context(app, info_name="assay"), [])


def test_flag_then_environment_then_project_then_user_then_built_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def seconds(*words: str) -> tuple[str, str]:
        capsys.readouterr()
        assert call(monkeypatch, "config", "show", "plan", "cost", "--json") == 0
        (found,) = [v for v in json.loads(capsys.readouterr().out)["values"] if v["option"] == "rate"]
        return found["value"], found["source"]

    built_in = seconds()
    assert built_in[1] == "built-in"
    user('[plan.cost]\nrate = "2%"\n')
    assert seconds() == ("2%", "user file")
    Path("assay.toml").write_text('[plan.cost]\nrate = "3%"\n')
    assert seconds() == ("3%", "project file")
    monkeypatch.setenv("ASSAY_PLAN_COST_RATE", "4%")
    assert seconds() == ("4%", "environment")


def test_the_command_itself_keeps_that_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """What click hands to the command, not what `config show` says of it."""
    seen: list[object] = []
    from assay.cli.plan import command as plan

    cost = plan.commands["cost"]  # type: ignore[attr-defined]
    monkeypatch.setattr(
        cost, "callback", lambda **given: seen.append((given["rate"], given["cells"] if "cells" in given else given["cell"]))
    )
    call(monkeypatch, "plan", "cost", "x")
    user('[plan.cost]\nrate = "2%"\ncell = ["a=1%"]\n')
    call(monkeypatch, "plan", "cost", "x")
    Path("assay.toml").write_text('[plan.cost]\nrate = "3%"\n')
    call(monkeypatch, "plan", "cost", "x")
    monkeypatch.setenv("ASSAY_PLAN_COST_RATE", "4%")
    call(monkeypatch, "plan", "cost", "x")
    call(monkeypatch, "plan", "cost", "x", "--rate", "5%")
    monkeypatch.setenv("ASSAY_NO_CONFIG", "1")
    monkeypatch.delenv("ASSAY_PLAN_COST_RATE")
    call(monkeypatch, "plan", "cost", "x")
    rates = [r for r, _ in seen]  # type: ignore[misc]
    assert rates[1:5] == ["2%", "3%", "4%", "5%"]
    assert rates[0] == rates[5] not in ("2%", "3%")
    assert [c for _, c in seen][1:5] == [("a=1%",)] * 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[run]\nquite = true\n", "Did you mean 'quiet'?"),
        ("[runn]\nquiet = true\n", "Did you mean 'run'?"),
        ("[plan.cots]\nrate = '1%'\n", "Did you mean 'cost'?"),
        ("run = 3\n", "stand in a table"),
        ("[run]\nquiet = 'yes'\n", "true or false"),
        ("[run]\nwait = [1]\n", "one value"),
        ("[plan.cost]\ncell = 'x'\n", "write a list"),
        ("[run\n", "not TOML"),
        ("a = " + "[" * 5000, "not TOML"),
    ],
)
def test_what_is_not_right_is_said_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    user(text)
    command = ["plan", "cost", "quick"] if "plan" in text else ["run", "--dry-run"]
    assert call(monkeypatch, *command) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "config.toml" in err


REFUSED = {
    "run": {"key": "k.pem", "target": "http://evil.example/v1#m@MY_API_KEY", "witness-key": ["x"], "policy": "p", "resume": True,
            "seal": ["x"], "cache": "x", "log": "l", "identity": ["i"], "share": ["s"], "provider-statement": "p",
            "store": "postgresql://evil.example/x"},
    "verify": {"key": "00", "party": ["a=b"], "sigstore-root": "r", "log-key": "k"},
    "compare": {"margin": "99%", "error": "50%", "html": "x.html"},
    "export": {"roles": "r", "force": True},
    "label": {"host": "192.0.2.1", "tls-key": "k"},
    "mcp": {"serve": {"token-file": "t", "http": 1}},
}  # fmt: skip


@pytest.mark.parametrize(("command", "key"), [(c, k) for c, keys in REFUSED.items() for k in keys])
def test_a_project_names_no_key_no_endpoint_no_program_and_nothing_that_decides(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, key: str
) -> None:
    value = REFUSED[command][key]
    table = f"[{command}.{key}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in value.items()) if isinstance(value, dict) else (
        f"[{command}]\n{key} = {json.dumps(value)}\n"
    )  # fmt: skip
    Path("assay.toml").write_text(table)
    assert call(monkeypatch, command, "--help" if command == "mcp" else "x") == 2
    said = capsys.readouterr().err
    assert "may not come from a project's file" in said
    assert "config.toml" in said


def test_a_project_may_set_only_what_is_listed_and_every_option_that_is_listed_exists() -> None:
    options = {path: {n.removeprefix("--") for p in c.params if isinstance(p, click.Option) for n in p.opts} for path, c, _ in commands()}
    for path, names in PROJECT.items():
        assert names <= options[path], path
    allowed = {name for names in PROJECT.values() for name in names}
    assert not allowed & {"key", "target", "policy", "roles", "owner", "margin", "error", "store", "python", "listen", "host"}
    assert not any(re.search(r"key|secret|token\b|identity|roles|target|url|command|python", name) for name in allowed)


@pytest.mark.parametrize("out", ["/elsewhere", "../elsewhere", "runs/../../elsewhere", "link/x"])
def test_a_project_writes_below_its_own_folder_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str, tmp_path: Path
) -> None:
    Path("link").symlink_to(tmp_path)
    Path("assay.toml").write_text(f"[run]\nout = {json.dumps(out)}\n")
    assert call(monkeypatch, "run", "quick", "--target", "scripted:0.1") == 2
    assert "below its own folder" in capsys.readouterr().err


def test_a_file_of_the_user_that_others_may_write_is_not_read() -> None:
    path = user("[run]\nquiet = true\n")
    assert read_settings(COMMANDS) is not None
    for mode in (0o666, 0o620, 0o602):
        path.chmod(mode)
        with pytest.raises(ConfigurationError, match="others may write this file"):
            read_settings(COMMANDS)
    path.chmod(0o600)
    for mode in (0o777, 0o770, 0o703):
        path.parent.chmod(mode)
        with pytest.raises(ConfigurationError, match="others may write this folder"):
            read_settings(COMMANDS)
    path.parent.chmod(0o700)
    aside = path.parent.parent / "aside"
    aside.mkdir()
    path.rename(aside / "elsewhere.toml")
    path.symlink_to(aside / "elsewhere.toml")
    assert read_settings(COMMANDS) is not None
    aside.chmod(0o777)
    with pytest.raises(ConfigurationError, match="others may write this folder"):
        read_settings(COMMANDS)


def test_no_variable_of_an_option_is_one_that_means_something_else() -> None:
    """ASSAY_RUN_OUT is an option of `run`; ASSAY_KEY is no option of anything."""
    mine = {variable(path, name[2:]) for path, c, _ in commands() for p in c.params for name in p.opts if name.startswith("--")}
    assert {"ASSAY_RUN_TARGET", "ASSAY_PLAN_COST_RATE", "ASSAY_ACCESS_SUB_GRANT_KEY"} <= mine
    text = "\n".join(p.read_text() for p in [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").glob("*.md")])
    others = set(
        re.findall(r"\bASSAY_(?:KEY|CACHE|PKCS11|MCP|TRACE|NO_CONFIG|CALLED_FROM|BUNDLE|RELEASE|ROLES|OWNERS|STATE|POLICY)[A-Z0-9_]*", text)
    )
    assert "ASSAY_KEY_PASSPHRASE" in others
    assert not mine & (others | OWN)
    begins = tuple(variable(name, "") for name in COMMANDS)
    assert {n for n in others if n.startswith(begins) and not INJECTED.search(n) and not n.endswith("_")} <= OWN


@pytest.mark.parametrize(
    ("name", "words", "meant"),
    [
        ("ASSAY_RUN_QUITE", ["run", "--dry-run"], "ASSAY_RUN_QUIET"),
        ("ASSAY_PLAN_COST_RAET", ["plan", "list"], "ASSAY_PLAN_COST_RATE"),
        ("ASSAY_KEY_STORE_HSOT", ["key", "show"], "ASSAY_KEY_STORE_HOST"),
    ],
)
def test_a_variable_that_is_no_options_is_refused_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, words: list[str], meant: str
) -> None:
    monkeypatch.setenv(name, "hunter2")
    assert call(monkeypatch, *words) == 2
    said = capsys.readouterr().err
    assert f"{name}: 'assay {words[0]}' has no option of this name" in said
    assert f"Did you mean '{meant}'?" in said
    assert call(monkeypatch, "config", "show", "--json") == 0
    shown = capsys.readouterr().out
    assert json.loads(shown)["unknown"] == {name: f"Did you mean '{meant}'?"}
    assert "hunter2" not in said + shown
    wrong = [f for f in _configuration() if f.status == "wrong"]
    assert [(f.name, name in f.what, meant in f.fix) for f in wrong] == [("environment", True, True)]


def test_other_variables_of_such_names_are_let_be(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    others = {
        "ASSAY_MCP_SERVICE_HOST": "10.0.0.1", "ASSAY_MCP_SERVICE_PORT": "80", "ASSAY_MCP_SERVICE_PORT_HTTP": "80", "ASSAY_MCP_PORT": "tcp://x",
        "ASSAY_MCP_PORT_80_TCP": "tcp://x", "ASSAY_MCP_PORT_80_TCP_ADDR": "x", "ASSAY_PLAN_EMPTY": "", **dict.fromkeys(OWN, "x"),
    }  # fmt: skip
    for name, value in others.items():
        monkeypatch.setenv(name, value)
    for group in ("mcp", "plan", "key", "policy", "model", "store"):
        assert call(monkeypatch, group, "--help") == 0, capsys.readouterr().err
    monkeypatch.setenv("ASSAY_LABEL_PORT", "77")
    assert call(monkeypatch, "config", "show", "label", "--json") == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert ("77", "environment") in [(v["value"], v["source"]) for v in shown["values"] if v["option"] == "port"]
    assert not shown["unknown"]


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ASSAY_KEY_PASSPHRASE", "hunter2hunter2")
    monkeypatch.setenv("ASSAY_MCP_TOKEN", "hunter2hunter2")
    monkeypatch.setenv("ASSAY_RUN_TARGET", "http://mei:hunter2hunter2@127.0.0.1/v1#m\x1b[2J")
    for words in ([], ["--json"], ["run"]):
        assert call(monkeypatch, "config", "show", *words) == 0
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert "\x1b" not in out
    assert "(set, not shown)" in out
    assert "http://127.0.0.1/..." in out


SECRET_VALUES = {
    "ASSAY_RUN_STORE": "postgresql://127.0.0.1/runs?user=mei&password=hunter2",
    "ASSAY_WATCH_WEBHOOK": "https://hooks.example.org/services/hunter2",
    "ASSAY_WATCH_ALERT_COMMAND": "send --token hunter2",
    "ASSAY_RUN_TARGET": "https://hunter2@models.example.org:8443/v1/hunter2?key=hunter2#hunter2@MY_API_KEY",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example.org/v1?api-key=hunter2",
}


def test_of_an_address_only_scheme_and_host_are_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in SECRET_VALUES.items():
        monkeypatch.setenv(name, value)
    user('[watch]\nwebhook = "https://hooks.example.org/hunter2"\n[release.halt]\ntarget = "https://x.example/hunter2"\n')
    for words in ([], ["--json"], ["run"], ["watch"], ["release", "--json"]):
        assert call(monkeypatch, "config", "show", *words) == 0
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert "https://models.example.org/..." in out
    assert "https://collector.example.org/..." in out
    assert "https://x.example/..." in out
    assert "hooks.example.org" not in out


@pytest.mark.parametrize(
    "address",
    [
        "https://mei:hun/ter2@x.example/v1", "https://hun/ter2@x.example/v1", "https://mei:hun?ter2@x.example",
        "https:/mei:hunter2@x.example",
        "http://[::1]:1/hunter2", "a,http://mei:hunter2@x.example,http://mei:hunter2@y.example", "http://mei:hun\\ter2@x.example/",
    ],
)  # fmt: skip
def test_addresses_that_are_hard_to_read_show_less_and_not_more(address: str) -> None:
    from assay.cli.config import _shown

    shown = _shown(address)
    assert not any(part in shown for part in ("hun", "ter2", "hunter2"))
    assert _shown("scripted:0.01") == "scripted:0.01"
    assert _shown("http://[::1]:8080") == "http://[::1]/..."


def test_starting_costs_nothing_that_it_did_not() -> None:
    """Neither `--version` nor a help text imports what only a configuration file needs."""
    code = (
        "import sys\nfrom assay.cli import main\nsys.argv = ['assay', *sys.argv[1:]]\nmain()\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('tomllib', 'difflib', 'opentelemetry', 'keyring', 'mcp')], file=sys.stderr)\n"
    )
    for words in (["--version"], ["run", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        assert done.stderr.strip() == "[]"
