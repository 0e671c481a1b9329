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
from tests.ci.running import DEPLOY, Ended, action, run_step

GATE = DEPLOY / "github/gate/gate.sh"
SCHEMAS = Path(check_jsonschema.__file__).parent / "builtin_schemas/vendor"
EXAMPLES = ("github/gate/example-workflow.yml", "github/comment/example-workflow.yml", "github/example-workflow.yml")
CODES = {"approve": 0, "delay": 10, "halt": 20}


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
        (folder / "head/models/next.txt").write_text("0\n")
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
    (workspace.folder / "head/models/next.txt").write_text("1\n")
    for target, verdict, inputs in (
        ("scripted:0", "approve", {"signing_key": key.to_pem(b"").decode()}), ("scripted:0.5", "delay", {"allow_delay": "true"}),
        ("scripted:{model}", "halt", {"model_file": "models/next.txt", "allow_delay": "true"}),
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
    "a model without its file": ({"target": "scripted:{model}"}, "name the model-file"),
    "a model-file without its place": ({"model_file": "models/next.txt"}, "where the target has {model}"),
    "a model-file that is a link": ({"target": "scripted:{model}", "model_file": "models/link.txt"}, "is a link"),
    "a model-file above": ({"target": "scripted:{model}", "model_file": "../event.json"}, "is a link, or leads out"),
    "a model-file anywhere": ({"target": "scripted:{model}", "model_file": "/etc/hostname"}, "is a link, or leads out"),
    "a model-file that is not there": ({"target": "scripted:{model}", "model_file": "models/none.txt"}, "No such file"),
    "a model that is an address": ({"target": "scripted:{model}", "model_file": "models/evil.txt"}, "does not hold one name"),
    "a model that is a command": ({"target": "scripted:{model}", "model_file": "models/command.txt"}, "does not hold one name"),
    "two models": ({"target": "scripted:{model}", "model_file": "models/two.txt"}, "does not hold one name"),
    "a line in a target": ({"target": "scripted:0\nx"}, "control character"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_should_not_be_asked_is_refused_before_anything_is(workspace: Workspace, name: str) -> None:
    models = workspace.folder / "head/models"
    (models / "link.txt").symlink_to(workspace.event)
    (models / "evil.txt").write_text("m@OTHER_KEY")
    (models / "command.txt").write_text("$(touch pwned)`touch pwned`;touch pwned")
    (models / "two.txt").write_text("a\nb\n")
    (workspace.folder / "head/plan.yaml").write_text(small_plan())
    inputs, said = REFUSED[name]
    ended = workspace.gate(**inputs)
    assert (ended.code, ended.outputs) == (2, {"verdict": "bad input"}), ended.printed
    assert said in ended.printed
    assert not (workspace.folder / "assay-gate").exists()
    assert not list(workspace.folder.glob("**/pwned"))


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


def test_the_gitlab_job_takes_plan_and_script_of_the_target_branch(tmp_path: Path) -> None:
    """Both jobs' lines, in a clone as a runner makes it, with a merge request that would change the plan and the script."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    shutil.copytree(DEPLOY, origin / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    (origin / "plans").mkdir()
    (origin / "plans/gate.yaml").write_text(small_plan())
    git(tmp_path, "init", "-q", "-b", "main", str(origin))
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "base")
    git(origin, "checkout", "-qb", "mine")
    (origin / "plans/gate.yaml").write_text("assay: plan/1\nname: lenient\n")
    (origin / "deploy/github/gate/gate.sh").write_text("exit 0\n")
    (origin / "next.txt").write_text("0.5\n")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "mine")
    git(tmp_path, "clone", "-q", "--depth", "1", "--branch", "mine", f"file://{origin}", str(clone))
    template = yaml.safe_load((DEPLOY / "gitlab/assay-gate.yml").read_text())
    base, job = template[".assay-base"], template[".assay-gate"]
    variables = {**base["variables"], **job["variables"], "ASSAY_PLAN": "plans/gate.yaml", "ASSAY_TARGET": "scripted:{model}"}
    env = {
        **{k: v.replace("$CI_PROJECT_DIR", str(clone)) for k, v in variables.items()}, "ASSAY_MODEL_FILE": "next.txt",
        "CI_PROJECT_DIR": str(clone), "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "HOME": str(tmp_path), "GITLAB_CI": "true",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "CI_JOB_TOKEN": "never-shown", "GIT_CONFIG_GLOBAL": "/dev/null",
    }  # fmt: skip
    lines = "\n".join([*base["before_script"], *job["script"]])
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", lines], cwd=clone, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 10, done.stdout + done.stderr
    assert (clone / job["artifacts"]["reports"]["junit"]).is_file()
    comment = template[".assay-comment"]
    assert comment["script"][0].startswith("bash deploy/github/comment/summarise.sh >")
    done = subprocess.run(
        ["bash", "deploy/github/comment/summarise.sh"],
        cwd=clone / ".assay-base",
        env={**env, "ASSAY_FOLDER": str(clone / "assay-gate")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "… DELAY" in done.stdout
    assert "Nobody said which key" in done.stdout


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
    value = yaml.safe_load(text.replace("\non:\n", "\n'on':\n"))
    schema("github-workflows").validate(value)
    with pytest.raises(jsonschema.ValidationError):
        schema("github-workflows").validate({**value, "jbos": {}})
    rights = {name: job.get("permissions", value["permissions"]) for name, job in value["jobs"].items()}
    for name, job in value["jobs"].items():
        assert "timeout-minutes" in job
        uses = [s["uses"] for s in job["steps"]]
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
