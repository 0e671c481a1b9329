"""The comment: one, kept up to date, of text made from verified evidence alone, on the right pull request, over a real HTTP server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.plans import small_plan
from tests.ci.forge import BOT, TOKEN, Forge, serving
from tests.ci.running import DEPLOY, Ended, run_step
from tests.support import KEY, make_bundle

COMMIT = "a" * 40
MARK = "<!-- assay-gate: gate -->"
BOUND = "The evidence names a target and a plan, and no commit: see that they are those of this one."
SCRIPT = DEPLOY / "github/comment/comment.py"


@pytest.fixture
def forge() -> Iterator[Forge]:
    with serving() as forge:
        yield forge


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evidence")
    make_bundle(folder, name="hostile-plan", about="@everyone <b>look</b>")
    return folder


@pytest.fixture(scope="module")
def approving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("approving")
    make_bundle(folder, **yaml.safe_load(small_plan(target={"kind": "scripted", "model": "0"})))
    return folder


def event(folder: Path, **changes: Any) -> Path:
    path = folder / "event.json"
    pull = {"number": 9, "head": {"sha": COMMIT, "repo": {"full_name": "o/r"}}}
    path.write_text(json.dumps(changes or {"pull_request": pull}))
    return path


def fork_event(folder: Path) -> Path:
    return event(folder, pull_request={"number": 9, "head": {"sha": COMMIT, "repo": {"full_name": "thief/r"}}})


def ran_for_a_fork(folder: Path) -> Path:
    origin = {"full_name": "thief/r", "owner": {"login": "thief"}}
    return event(folder, workflow_run={"head_repository": origin, "head_branch": "a&b=c", "head_sha": COMMIT, "pull_requests": []})


def comment(forge: Forge, folder: Path, happened: Path, text: str = "## Assay: ✓ APPROVE\n", **more: str) -> Ended:
    summary = folder / "summary.md"
    summary.write_text(text)
    inputs = {"token": TOKEN} | {k: v for k, v in more.items() if k.islower()}
    env = {"GITHUB_API_URL": forge.url, "GITHUB_REPOSITORY": "o/r"} | {k: v for k, v in more.items() if k.isupper()}
    return run_step("github/comment", "Comment", folder, inputs, happened, summary=str(summary), **env)


def test_one_comment_is_made_and_then_brought_up_to_date(forge: Forge, tmp_path: Path) -> None:
    happened = event(tmp_path)
    for n in range(150):
        forge.comment(f"talk {n}", "somebody")
    assert comment(forge, tmp_path, happened).code == 0
    assert forge.texts[-1] == f"{MARK}\n## Assay: ✓ APPROVE\n\n<sub>Written for commit {COMMIT}. {BOUND}</sub>\n"
    assert "up to date" in comment(forge, tmp_path, happened).printed
    assert comment(forge, tmp_path, happened, "## Assay: ✕ HALT\n").code == 0
    assert comment(forge, tmp_path, happened, "## another gate\n", name="second").code == 0
    assert len(forge.comments) == 152
    assert "✕ HALT" in forge.texts[150]
    assert [s.split()[0] for s in forge.seen if not s.startswith("GET")] == ["POST", "PATCH", "POST"]


def test_nobody_elses_comment_is_taken_for_ours(forge: Forge, tmp_path: Path) -> None:
    forge.comment(f"{MARK}\n## Assay: ✓ APPROVE", "thief")
    forge.comment(f"somebody quotes {MARK}", BOT)
    assert comment(forge, tmp_path, event(tmp_path), "## Assay: ✕ HALT\n").code == 0
    assert forge.texts[0] == f"{MARK}\n## Assay: ✓ APPROVE"
    assert forge.texts[2].startswith(f"{MARK}\n## Assay: ✕ HALT")


def test_a_forks_own_job_leaves_it_to_the_second_workflow(forge: Forge, tmp_path: Path) -> None:
    forge.reads_only = True
    ended = comment(forge, tmp_path, fork_event(tmp_path))
    assert (ended.code, forge.comments) == (0, [])
    assert "the workflow that runs after this one" in ended.printed
    assert comment(forge, tmp_path, event(tmp_path)).code == 1, "one that should have been able to comment was not"


def test_the_second_workflow_finds_the_very_pull_request_and_says_whose_word_it_is(forge: Forge, tmp_path: Path) -> None:
    forge.pulls = [
        {"number": 4, "head": {"sha": "b" * 40, "label": "thief:a&b=c"}}, {"number": 9, "head": {"sha": COMMIT, "label": "thief:a&b=c"}},
    ]  # fmt: skip
    assert comment(forge, tmp_path, ran_for_a_fork(tmp_path)).code == 0
    (text,) = forge.texts
    assert text.startswith(f"{MARK}\n> **From a fork.** Its own job chose this evidence, and its own workflow file how that job ended.")
    assert text.index("signed before") < text.index("## Assay")
    forge.reads_only = True
    assert comment(forge, tmp_path, ran_for_a_fork(tmp_path), "## other\n").code == 1
    forge.pulls = []
    assert "nothing to say" in comment(forge, tmp_path, ran_for_a_fork(tmp_path)).printed


def test_an_interface_that_is_down_for_a_moment_gets_one_comment(forge: Forge, tmp_path: Path) -> None:
    forge.answers = [503]
    assert comment(forge, tmp_path, event(tmp_path)).code == 0
    assert len(forge.comments) == 1


@pytest.mark.parametrize("status", [302, 401, 422])
def test_what_the_interface_refuses_fails_and_a_token_goes_nowhere_else(forge: Forge, tmp_path: Path, status: int) -> None:
    forge.answers = [status]
    ended = comment(forge, tmp_path, event(tmp_path))
    assert (ended.code, forge.comments) == (1, [])
    assert f"HTTP {status}" in ended.printed
    assert len(forge.seen) == 1
    assert TOKEN not in ended.printed


def test_an_answer_that_is_no_list_is_no_list_of_comments(forge: Forge, tmp_path: Path) -> None:
    forge.answers = [200, 200, 200]
    ended = comment(forge, tmp_path, event(tmp_path))
    assert (ended.code, forge.comments) == (1, [])
    assert "no list" in ended.printed


BAD: dict[str, tuple[dict[str, str], str]] = {
    "no token": ({"token": ""}, "GITHUB_TOKEN is empty"),
    "a token with a line": ({"token": "a\nX-Evil: 1"}, "is no token"),
    "an address without TLS": ({"GITHUB_API_URL": "http://api.example.org"}, "no https address"),
    "another scheme": ({"GITHUB_API_URL": "file:///etc/passwd"}, "no https address"),
    "another repository": ({"GITHUB_REPOSITORY": "o/r/../../x"}, "no owner/name"),
    "a mark that ends": ({"name": "x --> <b>"}, "letters, digits"),
    "nothing to say": ({"text": " "}, "is empty"),
    "too much to say": ({"text": "x" * 70_000}, "longer than a comment"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_message(forge: Forge, tmp_path: Path, name: str) -> None:
    given, said = BAD[name]
    ended = comment(forge, tmp_path, event(tmp_path), **given)
    assert ended.code == 2
    assert said in ended.printed
    assert "Traceback" not in ended.printed
    assert forge.seen == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pull_request": {"number": "x"}}', '{"pull_request": 3}'])
def test_an_event_of_something_else_is_said_so(forge: Forge, tmp_path: Path, content: str) -> None:
    path = tmp_path / "event.json"
    path.write_text(content)
    ended = comment(forge, tmp_path, path)
    assert (ended.code, "none of a pull request" in ended.printed) == (2, True), ended.printed


def summarised(folder: Path, key: str = "", gate: str = "") -> Ended:
    return run_step("github/comment", "Summarise", folder, {"folder": "given", "bundle-key": key, "gate": gate})


def test_a_bundle_that_says_otherwise_than_the_gates_job_is_not_believed(evidence: Path, approving: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()

    def text(bundle: Path, gate: str) -> str:
        shutil.copy(bundle / "evidence.jsonl", given)
        return Path(summarised(tmp_path, KEY.public.keyid, gate).outputs["summary"]).read_text()

    words = text(approving, "success")
    assert words.startswith("## Assay: ✓ APPROVE")
    assert "Nobody said how" not in words
    for ended in ("failure", "timed_out"):
        words = text(approving, ended)
        assert words.startswith("## Assay: no decision\n"), ended
        assert "APPROVE" not in words
        assert f"`{ended}`" in words
    assert "Nobody said how the gate's own job ended" in text(approving, "")
    assert text(evidence, "success").startswith("## Assay: no decision\n")
    assert text(evidence, "failure").startswith("## Assay: ✕ HALT")
    assert summarised(tmp_path, gate="success\n").code == 2


def test_the_words_come_from_the_verified_bundle_and_from_nothing_beside_it(evidence: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    shutil.copy(evidence / "evidence.jsonl", given)
    (given / "summary.md").write_text("## Assay: ✓ APPROVE\n@everyone")
    text = Path(summarised(tmp_path, KEY.public.keyid).outputs["summary"]).read_text()
    assert "✕ HALT" in text
    assert "APPROVE" not in text
    assert "Nobody said which key" in Path(summarised(tmp_path).outputs["summary"]).read_text()
    assert "does not hold, or another key" in Path(summarised(tmp_path, "0" * 64).outputs["summary"]).read_text()
    changed = (given / "evidence.jsonl").read_text().replace('"outcome":"violation"', '"outcome":"safe"')
    (given / "evidence.jsonl").write_text(changed)
    ended = summarised(tmp_path)
    assert (ended.code, "does not hold" in Path(ended.outputs["summary"]).read_text()) == (0, True)
    assert ended.printed.splitlines()[0].startswith("::stop-commands::")
    (given / "evidence.jsonl").unlink()
    (given / "evidence.jsonl").symlink_to(evidence / "evidence.jsonl")
    assert "no evidence" in Path(summarised(tmp_path).outputs["summary"]).read_text()
    assert summarised(tmp_path, "--help").code == 2


def test_gitlab_notes_are_kept_alike(forge: Forge, tmp_path: Path) -> None:
    forge.comment(f"{MARK}\nstolen", "thief")
    forge.comment(f"{MARK}\nsystem", BOT, system=True)
    summary = tmp_path / "summary.md"
    env = {
        "GITLAB_CI": "true", "CI_API_V4_URL": forge.url, "CI_PROJECT_ID": "5", "CI_MERGE_REQUEST_IID": "9", "CI_COMMIT_SHA": COMMIT,
        "ASSAY_GITLAB_TOKEN": TOKEN, "ASSAY_SUMMARY": str(summary), "PATH": os.environ["PATH"],
    }  # fmt: skip

    def note(text: str, **more: str) -> subprocess.CompletedProcess[str]:
        summary.write_text(text)
        return subprocess.run([sys.executable, "-I", str(SCRIPT)], env={**env, **more}, capture_output=True, text=True, check=False)

    assert note("first").returncode == 0
    assert note("second").returncode == 0
    assert [t.splitlines()[1] for t in forge.texts] == ["stolen", "system", "second"]
    assert note("third", ASSAY_GITLAB_TOKEN="wrong").returncode == 1
    assert note("third", CI_MERGE_REQUEST_IID="../1").returncode == 2
