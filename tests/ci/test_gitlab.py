"""The jobs of GitLab's template, their lines run as a runner runs them, on merge requests that bring whatever could be taken for ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.plans import small_plan
from tests.ci import forge, model
from tests.ci.running import DEPLOY
from tests.ci.test_gate import git
from tests.support import KEY, make_bundle

TEMPLATE = yaml.safe_load((DEPLOY / "gitlab/assay-gate.yml").read_text())
COMMIT = "a" * 40
HOSTILE = "open({pwned!r}, 'w')\n"


class MergeRequest:
    """A project whose branch `mine` is the merge request; what runs of it leaves `pwned`."""

    def __init__(self, folder: Path, server: model.Model, notes: forge.Forge) -> None:
        self.folder, self.server, self.notes = folder, server, notes
        self.origin, self.pwned, self.victim = folder / "origin", folder / "pwned", folder / "victim"
        self.victim.write_text("kept")
        shutil.copytree(DEPLOY, self.origin / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
        self.write("plans/gate.yaml", small_plan())
        git(folder, "init", "-q", "-b", "main", str(self.origin))
        self.commit()
        git(self.origin, "checkout", "-qb", "mine")
        self.write("plans/gate.yaml", "assay: plan/1\nname: lenient\n")
        for script in ("gate/gate.sh", "comment/summarise.sh"):
            self.write(f"deploy/github/{script}", f"touch {self.pwned}\nexit 0\n")
        for module in ("pip/__main__", "pip/__init__", "sitecustomize", "logging", "json", "deploy/github/comment/comment"):
            self.write(f"{module}.py", HOSTILE.format(pwned=str(self.pwned)))
        (self.origin / "assay-summary.md").symlink_to(self.victim)
        self.write("next.txt", "wavers\n")

    def write(self, name: str, text: str) -> None:
        path = self.origin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self) -> None:
        git(self.origin, "add", "-A")
        git(self.origin, "commit", "-qm", "x")

    def job(self, name: str, artefact: Path | None = None, **more: str) -> tuple[subprocess.CompletedProcess[str], Path]:
        """How a job ended, and its artefact (or where that would be)."""
        base, job = TEMPLATE[".assay-base"], TEMPLATE[f".assay-{name}"]
        variables = {**base["variables"], **job["variables"]}
        checkout, temporary = self.folder / f"builds-{name}", self.folder / "tmp"
        shutil.rmtree(checkout, ignore_errors=True)
        temporary.mkdir(exist_ok=True)
        if variables.get("GIT_STRATEGY") == "empty":
            checkout.mkdir()
        else:
            git(self.folder, "clone", "-q", "--depth", "1", "--branch", "mine", f"file://{self.origin}", str(checkout))
        if artefact is not None:
            shutil.copytree(artefact, checkout / "assay-gate", dirs_exist_ok=True)
        env = {
            **variables, "ASSAY_PACKAGE": "pytest", "ASSAY_PLAN": "plans/gate.yaml", "ASSAY_TARGET": self.server.target,
            "ASSAY_MODEL_FILE": "next.txt", "ASSAY_API_KEY": "key", "CI_PROJECT_DIR": str(checkout), "CI_PROJECT_ID": "5",
            "CI_MERGE_REQUEST_PROJECT_ID": "5", "CI_MERGE_REQUEST_IID": "9", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
            "CI_REPOSITORY_URL": f"file://{self.origin}", "CI_API_V4_URL": self.notes.url, "CI_COMMIT_SHA": COMMIT, "GITLAB_CI": "true",
            "ASSAY_GITLAB_TOKEN": forge.TOKEN, "CI_JOB_TOKEN": "never-shown", "HOME": str(self.folder), "TMPDIR": str(temporary),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "GIT_CONFIG_GLOBAL": "/dev/null",
        }  # fmt: skip
        env = {k: v.replace("$CI_PROJECT_DIR", str(checkout)) for k, v in {**env, **more}.items()}
        lines = "\n".join([*base["before_script"], *job["script"]])
        done = subprocess.run(["bash", "-eo", "pipefail", "-c", lines], cwd=checkout, env=env, capture_output=True, text=True, check=False)
        assert not self.pwned.exists(), "something of the merge request was run"
        assert self.victim.read_text() == "kept"
        return done, checkout / "assay-gate"


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[MergeRequest]:
    with ExitStack() as stack:
        yield MergeRequest(tmp_path, stack.enter_context(model.serving()), stack.enter_context(forge.serving()))


def approval(folder: Path) -> None:
    make_bundle(folder, **yaml.safe_load(small_plan(target={"kind": "scripted", "model": "0"})))
    (folder / "exit-code").write_text("0\n")


def test_plan_and_scripts_are_the_target_branchs_and_nothing_of_the_merge_request_is_run(asked: MergeRequest) -> None:
    asked.commit()
    done, made = asked.job("gate")
    assert done.returncode == 10, done.stdout + done.stderr
    assert asked.server.asked == {("wavers", "Bearer key")}
    assert (made.parent / TEMPLATE[".assay-gate"]["artifacts"]["reports"]["junit"]).is_file()
    assert (made / "exit-code").read_text() == "10\n"
    done, _ = asked.job("comment", made)
    assert done.returncode == 0, done.stdout + done.stderr
    (text,) = asked.notes.texts
    assert "… DELAY" in text
    assert "Nobody said which key" in text
    assert f"Written for commit {COMMIT}. The evidence names a target and a plan, and no commit" in text
    assert not [p for p in (asked.folder / "tmp").iterdir() if (p / "base").exists()], "the clone was left behind"


def test_evidence_that_the_merge_request_brings_is_not_taken_for_the_gates(asked: MergeRequest) -> None:
    """The gate is red before it has asked anything, and an approving bundle, a good one, lies where its own would."""
    (asked.origin / "assay-gate").mkdir()
    approval(asked.origin / "assay-gate")
    asked.write("next.txt", "wavers\nand more\n")
    asked.commit()
    done, made = asked.job("gate")
    assert done.returncode == 2
    assert "does not hold one name" in done.stdout
    assert [p.name for p in made.iterdir()] == ["exit-code"]
    for artefact in (made, None):
        done, _ = asked.job("comment", artefact, ASSAY_BUNDLE_KEY=KEY.public.keyid)
        assert done.returncode == 0, done.stderr
        assert "The gate left no evidence" in asked.notes.texts[-1]
    done, made = asked.job("gate", ASSAY_PACKAGE="--help")
    assert (done.returncode, made.exists()) == (2, False), "what is uploaded whatever happens is the merge request's"


def test_a_link_in_the_place_of_the_artefact_is_not_followed(asked: MergeRequest) -> None:
    elsewhere = asked.folder / "elsewhere"
    elsewhere.mkdir()
    (asked.origin / "assay-gate").symlink_to(elsewhere)
    asked.write("next.txt", "no name\n")
    asked.commit()
    done, made = asked.job("gate")
    assert (done.returncode, made.is_symlink(), (made / "exit-code").read_text()) == (2, False, "2\n")
    assert not list(elsewhere.iterdir())


def test_an_approving_bundle_of_a_gate_that_is_red_is_no_approval(asked: MergeRequest, tmp_path: Path) -> None:
    asked.commit()
    made = tmp_path / "made"
    made.mkdir()
    approval(made)
    key = KEY.public.keyid
    assert asked.job("comment", made, ASSAY_BUNDLE_KEY=key)[0].returncode == 0
    assert "✓ APPROVE" in asked.notes.texts[-1]
    for code in ("10", ""):
        (made / "exit-code").write_text(code)
        assert asked.job("comment", made, ASSAY_BUNDLE_KEY=key)[0].returncode == 0
        assert "no decision" in asked.notes.texts[-1]
        assert "APPROVE" not in asked.notes.texts[-1]


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "PYTHONPATH": ({"PYTHONPATH": "/x:$CI_PROJECT_DIR"}, "variable PYTHONPATH leads"),
    "PIP_CACHE_DIR": ({"PIP_CACHE_DIR": "$CI_PROJECT_DIR/.cache/pip"}, "variable PIP_CACHE_DIR leads"),
    "PIP_CONFIG_FILE": ({"PIP_CONFIG_FILE": "$CI_PROJECT_DIR/pip.conf"}, "variable PIP_CONFIG_FILE leads"),
    "HOME": ({"HOME": "$CI_PROJECT_DIR"}, "variable HOME leads"),
    "PATH": ({"PATH": f"$CI_PROJECT_DIR/bin:{os.environ['PATH']}"}, "PATH leads"),
    "a relative PATH": ({"PATH": f"{os.environ['PATH']}:bin"}, "PATH leads"),
    "a PATH that ends empty": ({"PATH": f"{os.environ['PATH']}:"}, "PATH leads"),
    "an empty PATH": ({"PATH": f"{os.environ['PATH']}::/bin"}, "PATH leads"),
    "a fork": ({"CI_PROJECT_ID": "6"}, "this pipeline is a fork's"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_bring_the_merge_requests_files_back_is_refused(asked: MergeRequest, name: str) -> None:
    asked.commit()
    variables, said = REFUSED[name]
    for job in ("gate", "comment"):
        done, _ = asked.job(job, **variables)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert asked.server.asked == set()


@pytest.mark.parametrize("name", ["gate", "comment"])
def test_no_script_hook_or_cache_of_the_project_is_inherited(name: str) -> None:
    job: dict[str, Any] = {**TEMPLATE[".assay-base"], **TEMPLATE[f".assay-{name}"]}
    assert (job["cache"], job["after_script"]) == ([], [])
    assert set(job["inherit"]["default"]) <= {"image", "tags"}


def test_the_job_that_decides_installs_by_no_pip_of_the_checkout(tmp_path: Path) -> None:
    (job,) = yaml.safe_load((DEPLOY / "gitlab/assay-decide.yml").read_text()).values()
    (tmp_path / "pip").mkdir()
    for file in ("pip/__init__.py", "pip/__main__.py", "logging.py"):
        (tmp_path / file).write_text(HOSTILE.format(pwned=str(tmp_path / "pwned")))
    env = {**job["variables"], "ASSAY_PACKAGE": "pytest", "HOME": str(tmp_path)}
    env |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ASSAY_RUN": "none",
        "ASSAY_SCRIPT": str(DEPLOY / "github/decide.sh"),
    }
    lines = "\n".join(job["script"])
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", lines], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert not (tmp_path / "pwned").exists()
