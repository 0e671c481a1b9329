"""The gate of pull requests: run as a runner runs it, on real repositories, with every verdict and with whatever should not pass."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import check_jsonschema
import jsonschema
import pytest
import yaml

from assay.evidence import verify_bundle
from assay.ledger import PrivateKey
from tests.api.plans import small_plan
from tests.ci.model import serving
from tests.ci.running import DEPLOY, Ended, action, run_step

GATE = DEPLOY / "github/gate/gate.sh"
SCHEMAS = Path(check_jsonschema.__file__).parent / "builtin_schemas/vendor"
EXAMPLES = ("github/gate/example-workflow.yml", "github/comment/example-workflow.yml", "github/example-workflow.yml")
CODES = {"approve": 0, "delay": 10, "halt": 20}
NAMED = "http://127.0.0.1:9/v1#{model}@ASSAY_API_KEY"


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder), *arguments],
        capture_output=True, text=True, check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"},
    )  # fmt: skip
    return done.stdout.strip()


class Workspace:
    """A runner's workspace: the base branch in `base`, the pull request in `head`, the event beside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("base/plans", "head/models"):
            (folder / name).mkdir(parents=True)
        (folder / "base/plans/gate.yaml").write_text(small_plan())
        (folder / "head/models/next.txt").write_text("refuses\n")
        git(folder / "base", "init", "-q")
        git(folder / "base", "add", "-A")
        git(folder / "base", "commit", "-qm", "plan")
        self.base = git(folder / "base", "rev-parse", "HEAD")
        self.event = folder / "event.json"
        self.event.write_text(json.dumps({"pull_request": {"number": 9, "base": {"sha": self.base}}}))

    def gate(self, path: str = "", *, event: bool = True, **inputs: str) -> Ended:
        shutil.rmtree(self.folder / "assay-gate", ignore_errors=True)
        given = {"plan": "base/plans/gate.yaml", "target": "scripted:0", **{k.replace("_", "-"): v for k, v in inputs.items()}}
        return run_step("github/gate", "Gate", self.folder, given, self.event if event else None, path)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_only_an_approval_passes_and_everything_is_written(workspace: Workspace) -> None:
    key = PrivateKey.generate()
    (workspace.folder / "head/models/next.txt").write_text("leaks\n")
    with serving() as model:
        passes_and_writes(workspace, key, model.target)
    assert model.asked == {("leaks", "Bearer a-secret-key")}


def passes_and_writes(workspace: Workspace, key: PrivateKey, named: str) -> None:
    for target, verdict, inputs in (
        ("scripted:0", "approve", {"signing_key": key.to_pem(b"").decode()}), ("scripted:0.5", "delay", {"allow_delay": "true"}),
        (named, "halt", {"model_file": "models/next.txt", "allow_delay": "true"}),
    ):  # fmt: skip
        ended = workspace.gate(target=target, api_key="a-secret-key", **inputs)
        assert ended.code == (0 if verdict == "delay" else CODES[verdict]), ended.printed
        assert ended.outputs["verdict"] == verdict
        assert f"{verdict.upper()}\n" in ended.summary
        files = {name: workspace.folder / ended.outputs[name] for name in ("evidence", "report", "junit", "assay", "summary")}
        suites = ET.parse(files["junit"]).getroot()  # noqa: S314 - our own file
        wrong = {"approve": set(), "delay": {"error"}, "halt": {"failure"}}[verdict]
        assert {c.tag for c in suites.iter() if c.tag in ("failure", "error")} == wrong
        assert json.loads(files["assay"].read_text())["version"] == "2.1.0"
        report = verify_bundle(files["evidence"])
        assert report.ok
        assert verdict != "approve" or report.keyid == key.public.keyid
        written = b"".join(p.read_bytes() for p in (workspace.folder / "assay-gate").iterdir() if p.is_file())
        assert b"a-secret-key" not in written + ended.printed.encode()
        assert b"PRIVATE KEY" not in written + ended.printed.encode()


def test_a_bundle_that_says_otherwise_than_the_run_fails(workspace: Workspace) -> None:
    """The command that the script finds is the real one; what it wrote is changed on disk before the next one reads it."""
    real = shutil.which("assay", path=str(Path(sys.executable).parent))
    (workspace.folder / "bin").mkdir()
    wrapper = workspace.folder / "bin/assay"
    change = 'sed -i \'s/"outcome":"safe"/"outcome":"violation"/\' assay-gate/evidence.jsonl'
    wrapper.write_text(f'#!/bin/sh\n"{real}" "$@"; code=$?\n[ "$1" = run ] && {change}\nexit $code\n')
    wrapper.chmod(0o755)
    ended = workspace.gate(f"{wrapper.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert (ended.code, ended.outputs["verdict"]) == (1, "does not hold")
    assert "## Assay: does not hold" in ended.summary


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "no plan": ({"plan": ""}, "name a plan"),
    "an option for a plan": ({"plan": "--help"}, "hyphen"),
    "a plan of the pull request": ({"plan": "head/plan.yaml"}, "in no checkout"),
    "a delay that may be yes": ({"allow_delay": "yes"}, "true or false"),
    "a model without its file": ({"target": NAMED}, "name the model-file"),
    "a model-file without its place": ({"model_file": "models/next.txt"}, "where the target has {model}"),
    "a model-file that is a link": ({"target": NAMED, "model_file": "models/link.txt"}, "is a link"),
    "a model-file above": ({"target": NAMED, "model_file": "../event.json"}, "is a link, or leads out"),
    "a model-file anywhere": ({"target": NAMED, "model_file": "/etc/hostname"}, "is a link, or leads out"),
    "a model-file that is not there": ({"target": NAMED, "model_file": "models/none.txt"}, "No such file"),
    "a model that is an address": ({"target": NAMED, "model_file": "models/evil.txt"}, "does not hold one name"),
    "a model that is a command": ({"target": NAMED, "model_file": "models/command.txt"}, "does not hold one name"),
    "two models": ({"target": NAMED, "model_file": "models/two.txt"}, "does not hold one name"),
    "two models, far apart": ({"target": NAMED, "model_file": "models/far.txt"}, "longer than 300 bytes"),
    "a model and a blank": ({"target": NAMED, "model_file": "models/blank.txt"}, "does not hold one name"),
    "a model and an empty line": ({"target": NAMED, "model_file": "models/empty.txt"}, "does not hold one name"),
    "a provider of the pull request": ({"target": "inspect:{model}", "model_file": "models/next.txt"}, "{model} stands once"),
    "a part of a provider": ({"target": "inspect:my-{model}", "model_file": "models/next.txt"}, "{model} stands once"),
    "a rate of the pull request": ({"target": "scripted:{model}", "model_file": "models/next.txt"}, "{model} stands once"),
    "a path of the pull request": ({"target": "https://x.example/{model}#m", "model_file": "models/next.txt"}, "{model} stands once"),
    "a host of the pull request": ({"target": "https://{model}/v1#m", "model_file": "models/next.txt"}, "{model} stands once"),
    "a key of the pull request": ({"target": "https://x.example/v1#m@{model}", "model_file": "models/next.txt"}, "{model} stands once"),
    "a model twice": ({"target": "https://x.example/{model}#{model}", "model_file": "models/next.txt"}, "{model} stands once"),
    "a service behind a provider": ({"target": "inspect:openai/{model}", "model_file": "models/service.txt"}, "another service"),
    "a line in a target": ({"target": "scripted:0\nx"}, "control character"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_should_not_be_asked_is_refused_before_anything_is(workspace: Workspace, name: str) -> None:
    models = workspace.folder / "head/models"
    (models / "link.txt").symlink_to(workspace.event)
    (models / "evil.txt").write_text("m@OTHER_KEY")
    (models / "command.txt").write_text("$(touch pwned)`touch pwned`;touch pwned")
    (models / "two.txt").write_text("a\nb\n")
    (models / "far.txt").write_text("safe-model" + "\n" * 400 + "evil-model\n")
    (models / "blank.txt").write_text("safe-model \n")
    (models / "empty.txt").write_text("safe-model\n\n")
    (models / "service.txt").write_text("azure/m\n")
    (workspace.folder / "head/plan.yaml").write_text(small_plan())
    inputs, said = REFUSED[name]
    ended = workspace.gate(**inputs)
    assert (ended.code, ended.outputs) == (2, {"verdict": "bad input"}), ended.printed
    assert said in ended.printed
    assert not (workspace.folder / "assay-gate").exists()
    assert not list(workspace.folder.glob("**/pwned"))


@pytest.mark.parametrize("name", ["github/gate", "github/comment", "github"])
def test_nothing_is_installed_by_a_pip_of_the_pull_request(tmp_path: Path, name: str) -> None:
    (tmp_path / "pip").mkdir()
    for file in ("pip/__init__.py", "pip/__main__.py", "sitecustomize.py", "logging.py"):
        (tmp_path / file).write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\n")
    (tmp_path / "temp").mkdir()
    ended = run_step(name, "Install", tmp_path, {"package": "pytest"}, RUNNER_TEMP=str(tmp_path / "temp"))
    assert ended.code == 0, ended.printed
    assert not (tmp_path / "pwned").exists()
    assert run_step(name, "Install", tmp_path, {"package": "-r x"}, RUNNER_TEMP=str(tmp_path / "temp")).code == 2


def test_a_name_may_follow_a_provider_and_a_group_at_an_address(workspace: Workspace) -> None:
    """Neither is refused for where the name stands: what is asked next is refused for what it is."""
    for target, said in (
        ("nobody:provider/{model}", "unknown kind of target 'nobody'"),
        ("https://x.example/v1#group/{model}@NO_KEY", "NO_KEY"),
    ):
        ended = workspace.gate(target=target, model_file="models/next.txt")
        assert (ended.code, said in ended.printed) == (2, True), ended.printed


def test_the_plan_is_that_of_the_base_commit_and_of_no_other(workspace: Workspace) -> None:
    base = workspace.folder / "base"
    (base / "plans/gate.yaml").write_text(small_plan(name="changed"))
    assert "was changed after the checkout" in workspace.gate().printed
    (base / "plans/other.yaml").write_text(small_plan())
    git(base, "checkout", "-q", "plans/gate.yaml")
    assert "not part of the base commit" in workspace.gate(plan="base/plans/other.yaml").printed
    git(base, "add", "-A")
    git(base, "commit", "-qm", "later")
    ended = workspace.gate()
    assert f"not of the base branch ({workspace.base})" in ended.printed
    assert ended.code == 2
    workspace.event.write_text("{")
    assert "the event cannot be read" in workspace.gate().printed


def test_what_cannot_be_run_is_an_error_with_its_words_and_no_command_of_the_runner(workspace: Workspace) -> None:
    ended = workspace.gate(plan="quick", target="::error::<b>nonsense")
    assert (ended.code, ended.outputs) == (2, {"verdict": "bad input"})
    lines = ended.printed.splitlines()
    assert lines[0].startswith("::stop-commands::")
    assert lines[-1] == f"::{lines[0].removeprefix('::stop-commands::')}::"
    assert "<b>" not in ended.summary
    assert "&lt;b&gt;nonsense" in ended.summary
    assert "not there" in workspace.gate(path="/usr/bin:/bin").printed
    (workspace.folder / "taken").mkdir()
    assert "something at taken already" in workspace.gate(out="taken").printed


def schema(name: str) -> jsonschema.protocols.Validator:
    value = json.loads((SCHEMAS / f"{name}.json").read_text())
    return jsonschema.validators.validator_for(value)(value)


@pytest.mark.parametrize("path", ["github/gate/action.yml", "github/comment/action.yml", "github/action.yml"])
def test_actions_are_actions(path: str) -> None:
    value = yaml.safe_load((DEPLOY / path).read_text())
    schema("github-actions").validate(value)
    with pytest.raises(jsonschema.ValidationError):
        schema("github-actions").validate({**value, "run": {}})


@pytest.mark.parametrize("path", EXAMPLES)
def test_workflows_are_workflows_with_the_least_rights(path: str) -> None:
    text = (DEPLOY / path).read_text()
    value = yaml.safe_load(text.replace("\non:", "\n'on':"))
    schema("github-workflows").validate(value)
    with pytest.raises(jsonschema.ValidationError):
        schema("github-workflows").validate({**value, "jbos": {}})
    rights = {name: job.get("permissions", value["permissions"]) for name, job in value["jobs"].items()}
    for name, job in value["jobs"].items():
        assert "timeout-minutes" in job
        uses = [s["uses"] for s in job["steps"]]
        for step in job["steps"]:
            assert not step["uses"].endswith("deploy/github/comment") or step["with"]["gate"], "nobody says how the gate's job ended"
        runs_the_gate = any(u.endswith("deploy/github/gate") for u in uses)
        assert not runs_the_gate or rights[name] == {"contents": "read"}, "the job that asks the model can write something"
        for step in job["steps"]:
            known = DEPLOY.parent / step["uses"].removeprefix("./").removeprefix("base/") / "action.yml"
            if step["uses"].startswith("./"):
                assert set(step["with"]) <= set(yaml.safe_load(known.read_text())["inputs"])
            if "checkout" in step["uses"]:
                assert step["with"]["persist-credentials"] is False
            if "secrets." in str(step):
                assert runs_the_gate
                assert step["uses"].endswith("deploy/github/gate"), "a secret is given to a step that does not need it"


def test_a_required_check_reports_on_every_pull_request() -> None:
    value = yaml.safe_load((DEPLOY / "github/gate/example-workflow.yml").read_text().replace("\non:", "\n'on':"))
    assert value["on"] == "pull_request", "with paths or branches it would not report where they do not match"
    assert "if" not in value["jobs"]["gate"]


def test_the_gitlab_templates_are_valid() -> None:
    for name in ("assay-gate", "assay-decide"):
        value = yaml.safe_load((DEPLOY / f"gitlab/{name}.yml").read_text())
        schema("gitlab-ci").validate({**value, "gate": {"extends": next(k for k in value if k != ".assay-base")}})
        with pytest.raises(jsonschema.ValidationError):
            schema("gitlab-ci").validate({**value, "gate": {"extends": ".assay-gate", "alow_failure": True}})


def test_the_action_hands_over_every_input_and_the_script_reads_every_one() -> None:
    for name, step, script in (("github/gate", "Gate", GATE), ("github/comment", "Summarise", DEPLOY / "github/comment/summarise.sh")):
        definition = action(name)
        (found,) = [s for s in definition["runs"]["steps"] if s["name"] == step]
        text = script.read_text()
        assert all(variable in text for variable in found["env"])
        given = " ".join(str(v) for s in definition["runs"]["steps"] for v in s.get("env", {}).values())
        assert all(f"inputs.{i} " in given for i in definition["inputs"])
        assert all(i.get("description") and "default" in i for i in definition["inputs"].values())
