"""The Helm chart, as Helm has rendered it (`scripts/chart`): against Kubernetes' schemas, and for what it promises."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.access.test_deploy import known

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/assay"
RENDERED = Path(__file__).parent / "chart"
CASES = sorted(p.name.removesuffix(".values.yaml") for p in RENDERED.glob("*.values.yaml"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
TOOL = runpy.run_path(str(ROOT / "scripts/chart"), run_name="chart")


def manifests(case: str) -> list[dict[str, Any]]:
    return [d for d in yaml.safe_load_all((RENDERED / f"{case}.yaml").read_text()) if d]


def merged(base: Any, over: Any) -> Any:
    """Values as Helm merges them."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {k: merged(base.get(k), over[k]) if k in over else v for k, v in {**over, **base}.items()}
    return over


def pods(case: str) -> list[dict[str, Any]]:
    return [d["spec"]["template"]["spec"] for d in manifests(case) if d["kind"] in ("StatefulSet", "Job")]


def one(case: str, kind: str, name: str = "") -> dict[str, Any]:
    (found,) = [d for d in manifests(case) if d["kind"] == kind and name in ("", d["metadata"]["name"])]
    return found


@pytest.mark.parametrize("case", CASES)
def test_it_was_rendered_from_the_chart_as_it_is(case: str) -> None:
    values = RENDERED / f"{case}.values.yaml"
    head = (RENDERED / f"{case}.yaml").read_text().split("\n", 1)[0]
    assert head.endswith(TOOL["digest"](values)), "the chart was changed since: scripts/chart tests/deploy/chart"


@pytest.mark.parametrize("case", CASES)
def test_helm_renders_it_to_the_letter(case: str) -> None:
    if not any((Path(p) / "helm").is_file() for p in os.environ["PATH"].split(":")):
        pytest.importorskip("helm_python", reason="neither helm nor helm-python-sdk is on this machine")
    values = RENDERED / f"{case}.values.yaml"
    assert TOOL["render"](values) == (RENDERED / f"{case}.yaml").read_text().split("\n", 1)[1]


@pytest.mark.parametrize("case", CASES)
def test_every_manifest_holds_against_the_schemas_of_kubernetes(case: str) -> None:
    version = kubernetes_validate.latest_version()
    for document in manifests(case):
        kubernetes_validate.validate(document, version, strict=True)
        assert document["metadata"]["namespace"] == "assay"
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate({**document, "sepc": {}}, version, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_values_hold_against_the_charts_own_schema(case: str) -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(merged(DEFAULTS, yaml.safe_load((RENDERED / f"{case}.values.yaml").read_text())), SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("image.digest", "latest"), ("image.digest", ""), ("gate.hosts", []), ("gate.sercet", "x"), ("gate.replicas", 0),
        ("gate.environment", [{"name": "KEY", "value": "in the open"}]), ("ingress.enabled", True), ("evaluation.enabled", True),
        ("network.upstream", [{"to": [], "port": 8000}]), ("network.from", [{}]), ("service.type", "NodePort"),
        ("gate.resources.limits", {}),
    ],
)  # fmt: skip
def test_what_would_not_do_is_refused_before_anything_is_installed(path: str, value: Any) -> None:
    good = merged(DEFAULTS, yaml.safe_load((RENDERED / "gate.values.yaml").read_text()))
    jsonschema.validate(good, SCHEMA)
    change: Any = value
    for name in reversed(path.split(".")):
        change = {name: change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(replaced(good, change), SCHEMA)


def replaced(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict) and over:
        return {**base, **{k: replaced(base[k], v) if k in base else v for k, v in over.items()}}
    return over


@pytest.mark.parametrize("case", CASES)
def test_every_pod_runs_with_the_least(case: str) -> None:
    for pod in pods(case):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert {k: pod["securityContext"][k] for k in ("runAsNonRoot", "runAsUser", "seccompProfile")} == {
            "runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
        }  # fmt: skip
        assert not any(pod.get(k) for k in ("hostNetwork", "hostPID", "hostIPC"))
        assert not any("hostPath" in v for v in pod["volumes"])
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"])
            assert container["resources"]["limits"]["memory"]
    account = one(case, "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert not {d["kind"] for d in manifests(case)} & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "Secret"}


@pytest.mark.parametrize("case", CASES)
def test_secrets_are_named_and_never_written(case: str) -> None:
    for pod in pods(case):
        for container in pod["containers"]:
            for variable in container.get("env", []):
                assert "valueFrom" in variable or variable["name"] in ("RUN", "HOME", "ASSAY_KEY", "SSL_CERT_FILE"), variable
    assert "stringData" not in (RENDERED / f"{case}.yaml").read_text()


@pytest.mark.parametrize("case", CASES)
def test_everything_is_denied_but_what_is_said(case: str) -> None:
    deny = one(case, "NetworkPolicy", "door-gate-deny")["spec"]
    assert deny == {
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "assay", "app.kubernetes.io/instance": "door"}},
        "policyTypes": ["Ingress", "Egress"],
    }
    for document in manifests(case):
        if document["kind"] in ("StatefulSet", "Job"):
            labels = document["spec"]["template"]["metadata"]["labels"]
            assert deny["podSelector"]["matchLabels"].items() <= labels.items(), "a pod that the policy does not select"
    for policy in (d["spec"] for d in manifests(case) if d["kind"] == "NetworkPolicy"):
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        for way in [*policy.get("ingress", []), *policy.get("egress", [])]:
            assert way.get("from") or way.get("to"), "a way from or to everywhere"
            assert way["ports"]


def test_a_gate_alone_is_called_by_nobody_and_reaches_names_only() -> None:
    policy = one("gate", "NetworkPolicy", "door-gate")["spec"]
    assert "ingress" not in policy
    assert [p["port"] for way in policy["egress"] for p in way["ports"]] == [53, 53]


def test_the_whole_reaches_what_it_names_and_is_reached_from_there() -> None:
    policy = one("whole", "NetworkPolicy", "door-gate")["spec"]
    assert [(way["from"][0].get("ipBlock"), way["ports"][0]["port"]) for way in policy["ingress"]] == [
        ({"cidr": "203.0.113.0/24"}, 8443), (None, 8471),
    ]  # fmt: skip
    assert [[p["port"] for p in way["ports"]] for way in policy["egress"]] == [[53, 53], [8000], [5432]]
    run = one("whole", "NetworkPolicy", "door-evaluation")["spec"]
    assert "ingress" not in run
    assert [[p["port"] for p in way["ports"]] for way in run["egress"]] == [[53, 53], [443]]


@pytest.mark.parametrize("case", ["gate", "whole"])
def test_probes_ask_the_gate_by_its_own_name_and_a_gate_keeps_its_own_volume(case: str) -> None:
    gate = one(case, "StatefulSet")["spec"]
    (container, *_) = gate["template"]["spec"]["containers"]
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        asked = container[probe]["httpGet"]
        assert (asked["path"], asked["scheme"], asked["httpHeaders"]) == (path, "HTTPS", [{"name": "Host", "value": "gate.example.org"}])
    (volume,) = gate["volumeClaimTemplates"]
    assert volume["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert {"name": "gate", "mountPath": "/gate"} in container["volumeMounts"]
    service = one(case, "Service", "door-gate")["spec"]
    assert service["selector"].items() <= gate["template"]["metadata"]["labels"].items()
    assert one(case, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("case", CASES)
def test_every_command_and_option_exists(case: str) -> None:
    for pod in pods(case):
        for container in pod["containers"]:
            if container.get("args", [""])[0] == "assay":
                known(" ".join(container["args"]))
    known("assay run --resume --out x")


def test_files_are_placed_for_the_gates_user_alone(tmp_path: Path) -> None:
    """The init container's own words, run here with folders in the place of its mounts."""
    (placing,) = one("gate", "StatefulSet")["spec"]["template"]["spec"]["initContainers"]
    secret, gate = tmp_path / "secret", tmp_path / "gate"
    for folder in (secret, gate):
        folder.mkdir()
    for name in ("gate.yaml", "roles.json", "gate.secret", "audit.pem"):
        (secret / name).write_text(name)
        (secret / name).chmod(0o440)
    script = placing["args"][0].replace("/secret/", f"{secret}/").replace("/gate/", f"{gate}/")
    for _ in range(2):  # a pod that is started again finds them there
        subprocess.run([*placing["command"], script], check=True)
    assert {p.name for p in gate.iterdir()} == {"gate.yaml", "roles.json", "gate.secret", "audit.pem"}
    assert all(p.stat().st_mode & 0o077 == 0 for p in gate.iterdir())
    (secret / "audit.pem").unlink()
    assert subprocess.run([*placing["command"], script], check=False, stderr=subprocess.DEVNULL).returncode != 0


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (10, 0), (20, 0), (1, 1), (2, 2), (130, 130)])
def test_a_decision_is_work_done_and_an_error_is_none(tmp_path: Path, code: int, ends: int) -> None:
    """The job's own words, with an `assay` that ends with this code and writes down how it was called."""
    (container,) = one("evaluation", "Job")["spec"]["template"]["spec"]["containers"]
    runs, programs = tmp_path / "runs", tmp_path / "bin"
    programs.mkdir()
    (programs / "assay").write_text(
        f'#!/bin/sh\nmkdir -p {runs}/nightly\n: > {runs}/nightly/run.db\necho "$*" >> {tmp_path}/called\nexit {code}\n'
    )
    (programs / "assay").chmod(0o755)
    script, *more = [a.replace("/runs/", f"{runs}/") for a in container["args"]]
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "RUN": "nightly"}
    for _ in range(2):
        assert subprocess.run([*container["command"], script, *more], env=env, check=False).returncode == ends
    first, second = (tmp_path / "called").read_text().splitlines()
    assert first == f"run /plan/plan.yaml --quiet --out {runs}/nightly"
    assert second == f"run --resume --quiet --out {runs}/nightly"
    assert (runs / "nightly/exit-code").read_text() == f"{code}\n"
    policy = one("evaluation", "Job")["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]
    assert (ends in policy["values"] or ends == 0) == (code in (0, 10, 20, 130)), "only what was interrupted is tried again"
