"""What stands in deploy/: manifests hold against Kubernetes' own schemas, every command and option is there, and the scripts decide."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import msgspec
import pytest
import yaml

from assay.access.admission.objects import PODS, Rules
from assay.catalog.yamlfile import load_yaml
from assay.errors import AssayError
from assay.evidence.release import write_release
from assay.evidence.releasemake import Stated, new_halt, new_release, read_basis, sign_release
from assay.evidence.roles import sign_roles
from tests.evidence.authority import KEYS, approving_run, policy, roles_of
from tests.support import plan_text

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPT = DEPLOY / "github/decide.sh"
ACTION = yaml.safe_load((DEPLOY / "github/action.yml").read_text())
MANIFESTS = [d for name in ("admission", "label-guard") for d in yaml.safe_load_all((DEPLOY / f"kubernetes/{name}.yaml").read_text())]
ALL = sorted(p for p in DEPLOY.rglob("*") if p.is_file())
CODES = {"approve": 0, "delay": 10, "halt": 20}


def kind(name: str) -> dict[str, Any]:
    (found,) = [d for d in MANIFESTS if d["kind"] == name]
    return dict(found)


@pytest.mark.parametrize("number", range(len(MANIFESTS)), ids=[d["kind"] for d in MANIFESTS])
def test_every_manifest_holds_against_the_schemas_of_kubernetes(number: int) -> None:
    kubernetes_validate.validate(MANIFESTS[number], kubernetes_validate.latest_version(), strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**MANIFESTS[number], "sepc": {}}, kubernetes_validate.latest_version(), strict=True)


def test_the_webhook_fails_closed_and_covers_every_kind_that_is_known() -> None:
    (hook,) = kind("ValidatingWebhookConfiguration")["webhooks"]
    assert (hook["failurePolicy"], hook["sideEffects"], hook["admissionReviewVersions"]) == ("Fail", "None", ["v1"])
    assert hook["clientConfig"]["service"]["path"] == "/admit"
    asked = {(g, r) for rule in hook["rules"] for g in rule["apiGroups"] for r in rule["resources"]}
    assert asked == {(g, k.lower() + "s") for g, k in PODS} | {("", "pods/ephemeralcontainers")}
    assert all(rule["operations"] == ["CREATE", "UPDATE"] for rule in hook["rules"])


def test_the_webhook_runs_with_the_least_and_its_rules_are_rules() -> None:
    pods = kind("StatefulSet")["spec"]
    spec = pods["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"])
    rules: Rules = load_yaml(kind("ConfigMap")["data"]["admission.yaml"], Rules, where="ConfigMap", error=AssayError)
    assert rules.namespaces == {"early-access": "operator", "evaluation": "assessor"}
    known(" ".join([*container["command"], *container["args"]]))
    (seen,) = pods["volumeClaimTemplates"]
    (memory,) = [m for m in container["volumeMounts"] if m["name"] == seen["metadata"]["name"]]
    assert f"--memory={memory['mountPath']}" in container["args"], "what it saw is on a volume that outlives it, and can be written"
    assert not memory.get("readOnly")


def test_the_label_of_a_gated_namespace_is_guarded_against_every_way_to_change_it() -> None:
    (rule,) = kind("ValidatingAdmissionPolicy")["spec"]["matchConstraints"]["resourceRules"]
    assert set(rule["resources"]) == {"namespaces", "namespaces/status", "namespaces/finalize"}


def test_the_rules_in_the_document_are_rules() -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", (DEPLOY.parent / "docs/deploy.md").read_text(), re.MULTILINE | re.DOTALL)
    rules: Rules = load_yaml(text, Rules, where="docs/deploy.md", error=AssayError)
    assert "none" in rules.images.values()


def test_the_kyverno_policy_asks_the_webhook_and_denies_what_it_does_not_allow() -> None:
    """Kyverno's own types are in no package that could be kept here: what the policy rests on is looked at, field by field."""
    value = yaml.safe_load((DEPLOY / "kyverno/require-release.yaml").read_text())
    assert (value["apiVersion"], value["kind"]) == ("kyverno.io/v1", "ClusterPolicy")
    assert value["spec"]["webhookConfiguration"]["failurePolicy"] == "Fail"
    (rule,) = value["spec"]["rules"]
    call = rule["context"][0]["apiCall"]
    assert call["method"] == "POST"
    assert call["service"]["url"].endswith("/admit")
    assert {d["key"]: d["value"] for d in call["data"]} == {
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": "{{ request }}",
    }  # fmt: skip
    assert rule["validate"]["failureAction"] == "Enforce"
    (condition,) = rule["validate"]["deny"]["conditions"]["all"]
    assert condition == {"key": "{{ answer.allowed }}", "operator": "NotEquals", "value": True}
    label = kind("ValidatingWebhookConfiguration")["webhooks"][0]["namespaceSelector"]
    assert rule["match"]["any"][0]["resources"]["namespaceSelector"] == label


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    from assay.cli import app

    found: click.Command = app
    while isinstance(found, click.Group) and words and not words[0].startswith(("-", '"', "$")):
        inner = found.get_command(click.Context(found), words[0])
        assert inner is not None, words
        found, words = inner, words[1:]
    return found, words


def known(line: str) -> None:
    """The command and all options of a line exist."""
    command, rest = _command(line.split()[1:])
    options = {o for p in command.params for o in p.opts}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, line


def test_every_command_and_option_of_the_script_exists() -> None:
    text = SCRIPT.read_text()
    called = re.findall(r"^\s*(assay (?:decide|verify|release verify))\b", text, re.MULTILINE)
    assert sorted(set(called)) == ["assay decide", "assay release verify", "assay verify"]
    known("assay decide")
    known("assay verify --json --key")
    in_release = text[text.index('arguments=("$release"') : text.index("assay release verify")]
    for option in (options := re.findall(r"--[a-z-]+", in_release)):
        known(f"assay release verify {option}")
    assert len(options) == 6
    used = set(re.findall(r"[ (]--([a-z-]+)", text))
    assert used == {o.removeprefix("--") for o in options} | {"json", "key"}, "an option that no test looks at"


@pytest.mark.parametrize("path", ALL, ids=[str(p.relative_to(DEPLOY)) for p in ALL])
def test_other_actions_are_pinned_by_full_commits_and_nothing_given_is_read_as_code(path: Path) -> None:
    text = path.read_text()
    for used in re.findall(r"^\s*-?\s*uses:\s*(\S+)", text, re.MULTILINE):
        assert used.startswith("./") or re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", used), used
    if path.suffix == ".yml":
        value = yaml.safe_load(text)
        jobs = [value.get("runs", {}), *value.get("jobs", {}).values()] if "runs" in value or "jobs" in value else []
        for step in [s for job in jobs for s in job.get("steps", [])]:
            assert "${{" not in step.get("run", ""), "an input would be pasted into a script"
    assert "pull_request_target" not in text


def test_the_action_hands_over_every_input_and_the_script_reads_every_one() -> None:
    _, decide = ACTION["runs"]["steps"]
    given = {v.removeprefix("${{ inputs.").removesuffix(" }}"): k for k, v in decide["env"].items()}
    assert set(given) | {"package"} == set(ACTION["inputs"])
    read = set(re.findall(r"\$\{(ASSAY_[A-Z_]+):-", SCRIPT.read_text()))
    assert read == set(given.values())
    workflow = yaml.safe_load((DEPLOY / "github/example-workflow.yml").read_text())
    step = workflow["jobs"]["decide"]["steps"][-1]
    assert set(step["with"]) <= set(ACTION["inputs"])
    assert workflow["permissions"] == {"contents": "read"}
    assert all(i.get("description") and "default" in i for i in ACTION["inputs"].values())


class Runs:
    """Three runs with their bundles, releases of them, and roles."""

    def __init__(self, folder: Path) -> None:
        from assay import api
        from assay.plan import parse_plan

        self.folder = folder
        roles = roles_of(folder)
        self.owners = " ".join(KEYS[n].public.keyid for n in ("olga", "otto"))
        (folder / "roles.json").write_bytes(msgspec.json.encode(sign_roles(roles, KEYS["olga"], KEYS["otto"])))
        now = time.time_ns() // 1_000_000
        approving = approving_run(folder, wanted=policy())
        (folder / "run").rename(folder / "approve")
        for verdict, changes in (("delay", {"model": "0.05", "calls": 20}), ("halt", {"model": "0.9", "calls": 400})):
            plan = plan_text(
                target={"kind": "scripted", "model": changes["model"]}, budget={"calls": changes["calls"]},
                matrix={"hazards": ["secret-leakage"], "languages": ["en"], "attacks": []},
                requirements=[{"id": "violations", "kind": "violation-rate", "max_rate": 0.1}],
            )  # fmt: skip
            result = api.evaluate(parse_plan(plan, where="t.yaml"), out=folder / verdict, key=folder / "eve.pem")
            assert result.decision.verdict == verdict
        basis, _ = read_basis(folder / "approve" / approving.name, roles, now)
        assert basis is not None
        release = new_release(basis, roles, KEYS["eve"], Stated(epoch=1, issued=now))
        self.target = release.target
        half = sign_release(release, roles, KEYS["ada"], now)
        write_release(half, folder / "half.jsonl")
        write_release(sign_release(half, roles, KEYS["abel"], now), folder / "approve.jsonl")
        for verdict in ("delay", "halt"):
            stated = Stated(epoch=1, issued=now, verdict=verdict, reason="`<b>seen</b>` ::error::x")  # type: ignore[arg-type]
            write_release(new_halt("m", self.target, roles, KEYS["ada"], stated), folder / f"{verdict}.jsonl")

    def action(self, *, path: str = "", **inputs: str) -> tuple[int, str, str, str]:
        """The action's step as a runner runs it: exit code, what was printed, the summary, the outputs."""
        summary, output = self.folder / "summary.md", self.folder / "output.txt"
        for file in (summary, output):
            file.write_text("")
        given = {k: str(v["default"]) for k, v in ACTION["inputs"].items()} | {k.replace("_", "-"): v for k, v in inputs.items()}
        step = ACTION["runs"]["steps"][1]
        env = {k: given[v.removeprefix("${{ inputs.").removesuffix(" }}")] for k, v in step["env"].items()}
        env |= {
            "PATH": path or f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(self.folder), "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(SCRIPT.parent), "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(output),
        }  # fmt: skip
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stdout + done.stderr, summary.read_text(), output.read_text()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("verdict", CODES)
def test_the_action_says_what_the_run_says(runs: Runs, verdict: str) -> None:
    for inputs in (
        {"run": verdict}, {"run": f"{verdict}/run.db"}, {"bundle": f"{verdict}/evidence.jsonl", "bundle_key": KEYS["eve"].public.keyid},
    ):  # fmt: skip
        code, printed, summary, output = runs.action(**inputs)
        assert code == CODES[verdict], (inputs, printed)
        assert f"## Assay: {verdict}" in summary
        assert output == f"verdict={verdict}\n"


def test_a_run_that_is_named_by_its_file_is_held_to_the_bundle_beside_it(runs: Runs) -> None:
    mixed = runs.folder / "mixed"
    mixed.mkdir()
    shutil.copy(runs.folder / "approve/run.db", mixed)
    (runs.folder / "link.db").symlink_to("mixed/run.db")
    assert runs.action(run="mixed/run.db")[0] == 0
    assert "no bundle" in runs.action(run="mixed/run.db", bundle_key="0" * 64)[1]
    shutil.copy(runs.folder / "halt/evidence.jsonl", mixed)
    for name in ("mixed", "mixed/run.db", "link.db"):
        code, printed, _, output = runs.action(run=name)
        assert (code, output) == (1, "verdict=does not hold\n"), (name, printed)


@pytest.mark.parametrize("verdict", CODES)
def test_the_action_says_what_the_release_says(runs: Runs, verdict: str) -> None:
    given = {"release": f"{verdict}.jsonl", "roles": "roles.json", "owners": runs.owners, "target_digest": runs.target}
    code, printed, summary, output = runs.action(**given)
    assert code == CODES[verdict], printed
    assert output == f"verdict={verdict}\n"
    if verdict != "approve":
        assert "<b>" not in summary
    if verdict == "approve":
        assert runs.action(**given, policy_digest=policy().digest, bundle="approve/evidence.jsonl")[0] == 0


def test_what_is_printed_is_taken_for_no_command_of_the_runner(runs: Runs) -> None:
    _, printed, _, _ = runs.action(release="halt.jsonl", roles="roles.json", owners=runs.owners)
    lines = printed.splitlines()
    stop = lines[0]
    assert re.fullmatch(r"::stop-commands::[0-9a-f]{32}", stop)
    assert lines[-1] == f"::{stop.removeprefix('::stop-commands::')}::"
    assert "::error" not in lines[0] + lines[-1]


FAILING: dict[str, dict[str, str]] = {
    "one approver too few": {"release": "half.jsonl", "roles": "roles.json", "owners": "OWNERS"},
    "another policy": {"release": "approve.jsonl", "roles": "roles.json", "owners": "OWNERS", "policy_digest": "sha256:" + "0" * 64},
    "another target": {"release": "approve.jsonl", "roles": "roles.json", "owners": "OWNERS", "target_digest": "sha256:" + "0" * 64},
    "another run's bundle": {"release": "approve.jsonl", "roles": "roles.json", "owners": "OWNERS", "bundle": "halt/evidence.jsonl"},
    "owners who have not signed": {"release": "approve.jsonl", "roles": "roles.json", "owners": "0" * 64},
    "a bundle of another key": {"bundle": "approve/evidence.jsonl", "bundle_key": "0" * 64},
    "run and bundle of two runs": {"run": "halt", "bundle": "approve/evidence.jsonl"},
    "nothing": {},
    "a run that is not there": {"run": "none"},
    "a bundle that is not there": {"bundle": "none"},
    "a release without roles": {"release": "approve.jsonl"},
    "a policy without a release": {"run": "approve", "policy_digest": "sha256:" + "0" * 64},
    "roles without a release": {"run": "approve", "roles": "roles.json"},
    "an option for a run": {"run": "--help"},
    "an option for a bundle": {"bundle": "-h"},
    "an option for a key": {"bundle": "approve/evidence.jsonl", "bundle_key": "--help"},
    "an option among the owners": {"release": "approve.jsonl", "roles": "roles.json", "owners": "--help OWNERS"},
    "a command for a run": {"run": "$(touch pwned)`touch pwned`;touch pwned"},
    "a delay that may be yes": {"run": "approve", "allow_delay": "yes"},
    "a key that has not signed the run's bundle": {"run": "approve/run.db", "bundle_key": "0" * 64},
}


@pytest.mark.parametrize("name", FAILING)
def test_whatever_else_there_is_fails(runs: Runs, name: str) -> None:
    code, printed, _, output = runs.action(**{k: v.replace("OWNERS", runs.owners) for k, v in FAILING[name].items()})
    assert code in (1, 2), printed
    assert output in ("verdict=does not hold\n", "verdict=bad input\n")
    assert not (runs.folder / "pwned").exists()


def test_without_the_command_nothing_is_decided(runs: Runs) -> None:
    code, printed, _, _ = runs.action(path="/usr/bin:/bin", run="approve")
    assert code == 2
    assert "not there" in printed


def test_no_module_of_the_current_folder_is_taken_for_pythons_own(runs: Runs) -> None:
    """Planted beside the run, where the job's current folder is."""
    planted = runs.folder / "json.py"
    planted.write_text("def load(_): return {'ok': True, 'checks': [{'check': 'decision recomputed', 'detail': 'approve'}]}\n")
    try:
        assert runs.action(bundle="halt/evidence.jsonl")[0] == CODES["halt"]
    finally:
        planted.unlink()


def test_a_delay_passes_only_where_that_is_said_and_a_halt_never(runs: Runs) -> None:
    assert runs.action(run="delay", allow_delay="true")[0] == 0
    assert runs.action(run="halt", allow_delay="true")[0] == 20
    assert runs.action(run="approve", allow_delay="true")[0] == 0


@pytest.mark.parametrize("verdict", CODES)
def test_the_gitlab_job_decides_alike(runs: Runs, verdict: str) -> None:
    template = yaml.safe_load((DEPLOY / "gitlab/assay-decide.yml").read_text())
    (job,) = template.values()
    assert set(job) <= {"stage", "timeout", "interruptible", "variables", "script"}
    env = {**job["variables"], "ASSAY_SCRIPT": str(SCRIPT), "ASSAY_RUN": verdict, "HOME": str(runs.folder)}
    env["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    assert (DEPLOY.parent / job["variables"]["ASSAY_SCRIPT"]).is_file()
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join(job["script"])], cwd=runs.folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == CODES[verdict], done.stdout + done.stderr
