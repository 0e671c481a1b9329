"""The admission webhook: real reviews over HTTPS on loopback; and hostile ones, none of which is admitted by error."""

from __future__ import annotations

import copy
import datetime
import http.client
import ipaddress
import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.access.admission.decide import Standing, answer, judge, read_review
from assay.access.admission.objects import PODS, AdmissionError, Rules
from assay.access.admission.server import Releases
from assay.access.config import read_config
from assay.access.grants.orders import Lift, sign_halt, sign_lift
from assay.access.grants.remembered import put_lift
from assay.access.model import Halt, Scope
from assay.access.store.base import open_store
from assay.errors import AssayError
from assay.evidence.release import Release
from assay.evidence.releasemake import Stated, new_halt, new_release, read_basis, sign_release
from assay.evidence.roles import sign_roles
from assay.ledger import PrivateKey, canonical
from tests.evidence.authority import DAY, KEYS, approving_run, policy, roles_of

ADMINS = {name: PrivateKey.generate() for name in ("ann", "ari")}
DELAYED, HALTED, UNKNOWN = ("sha256:" + c * 64 for c in "def")
SERVER_IMAGE, MODEL_IMAGE, OTHER_IMAGE = ("registry.example/x@sha256:" + c * 64 for c in "123")
NOW = 1_800_000_000_000
NOTE = "assay.example/model-digest"


def encoded(release: Release) -> bytes:
    return b"".join(canonical(e.to_json()) + b"\n" for e in release.envelopes)


def certificates(folder: Path) -> None:
    """A certificate for loopback, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "admission")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.KeyUsage(True, False, False, False, False, True, False, False, False), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.key").write_bytes(pem)


class Cluster:
    """A webhook that runs, with releases that approve, delay and halt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        now = time.time_ns() // 1_000_000
        roles = roles_of(folder)
        bundle = approving_run(folder, wanted=policy())
        basis, _ = read_basis(bundle, roles, now)
        assert basis is not None
        release = new_release(basis, roles, KEYS["eve"], Stated(epoch=1, issued=now))
        self.halfway = sign_release(release, roles, KEYS["ada"], now)
        self.release = sign_release(self.halfway, roles, KEYS["abel"], now)
        self.approved = self.release.target
        self.roles = roles
        value = {
            "assay": "gate/1", "listen": "127.0.0.1:8443", "hosts": ["localhost"],
            "models": {"m7": {"digest": self.approved, "upstream": "http://127.0.0.1:9/v1", "upstream_model": "m"}},
            "authority": {"roles": "roles.json", "owners": [KEYS[n].public.keyid for n in ("olga", "otto")]},
            "admins": {"keys": {n: k.public.to_json()["public"] for n, k in ADMINS.items()}},
        }  # fmt: skip
        (folder / "gate.yaml").write_text(yaml.safe_dump(value))
        signed = sign_roles(roles, KEYS["olga"], KEYS["otto"])
        (folder / "roles.json").write_text(json.dumps(signed))
        self.store = open_store(read_config(folder / "gate.yaml").store, folder)
        self.store.put_release(self.approved, encoded(self.release))
        for target, verdict in ((DELAYED, "delay"), (HALTED, "halt")):
            made = new_halt("m", target, roles, KEYS["ada"], Stated(epoch=1, issued=now, verdict=verdict, reason="seen"))  # type: ignore[arg-type]
            self.store.put_release(target, encoded(made))
        rules = {
            "assay": "admission/1", "namespaces": {"early": "operator", "lab": "assessor"},
            "images": {SERVER_IMAGE[-71:]: "none", MODEL_IMAGE[-71:]: self.approved, OTHER_IMAGE[-71:]: HALTED},
        }  # fmt: skip
        (folder / "admission.yaml").write_text(yaml.safe_dump(rules))
        certificates(folder)
        self.start()

    def start(self, *more: str) -> None:
        arguments = ["--config", "gate.yaml", "--rules", "admission.yaml", "--listen", "127.0.0.1:0", "--certificate", "tls.crt"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "assay", "access", "admission", *arguments, "--private-key", "tls.key", *more],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"https://127\.0\.0\.1:(\d+)/admit", line)
        assert found, line + self.process.stdout.read()
        self.port = int(found.group(1))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def post(self, body: bytes, path: str = "/admit", method: str = "POST", **headers: str) -> tuple[int, Any]:
        context = ssl.create_default_context(cafile=str(self.folder / "tls.crt"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=30)
        try:
            connection.request(method, path, body, {"content-type": "application/json", **headers})
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            connection.close()

    def asked(self, given: dict[str, Any]) -> tuple[bool, str]:
        """Whether it is admitted, and what was said."""
        status, value = self.post(json.dumps(given).encode())
        assert status == 200, value
        assert value["apiVersion"] == "admission.k8s.io/v1"
        assert value["response"]["uid"] == given["request"]["uid"]
        return value["response"]["allowed"], value["response"].get("status", {}).get("message", "")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()


def pod(target: str = "", image: str = SERVER_IMAGE, **spec: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "serves"} | ({"annotations": {NOTE: target}} if target else {})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "a", "image": image}], **spec}}


def review(thing: dict[str, Any], operation: str = "CREATE", namespace: str = "prod", **changes: Any) -> dict[str, Any]:
    group, _, version = thing.get("apiVersion", "v1").rpartition("/")
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": {"group": group, "version": version, "kind": thing.get("kind", "Pod")},
        "resource": {"group": group, "version": version, "resource": "things"}, "name": "serves", "namespace": namespace,
        "operation": operation, "userInfo": {"username": "somebody"}, "object": thing, "oldObject": None, "dryRun": False, **changes,
    }  # fmt: skip
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def wrapped(kind: str, group: str, inner: dict[str, Any]) -> dict[str, Any]:
    """An object of a kind that makes this pod."""
    template = {"metadata": inner["metadata"], "spec": inner["spec"]}
    path = PODS[(group, kind)]
    out: dict[str, Any] = {"apiVersion": f"{group}/v1" if group else "v1", "kind": kind, "metadata": {"name": "serves"}}
    if not path:
        return {**inner, **out, "metadata": inner["metadata"], "spec": inner["spec"]}
    at = out
    for name in path[:-1]:
        at = at.setdefault(name, {})
    at[path[-1]] = template
    if kind == "Deployment":
        out["spec"]["replicas"] = 2
    return out


@pytest.mark.parametrize(("group", "kind"), PODS, ids=[k for _, k in PODS])
def test_every_kind_with_an_approving_release_comes_in_and_no_other(cluster: Cluster, group: str, kind: str) -> None:
    assert cluster.asked(review(wrapped(kind, group, pod(cluster.approved)))) == (True, "")
    for target in (DELAYED, HALTED, UNKNOWN):
        allowed, said = cluster.asked(review(wrapped(kind, group, pod(target))))
        assert not allowed
        assert target in said
    allowed, said = cluster.asked(review(wrapped(kind, group, pod("", "registry.example/x:latest"))))
    assert not allowed
    assert "not pinned" in said


@pytest.mark.parametrize(
    ("namespace", "admitted"),
    [("prod", {"approve"}), ("early", {"approve", "delay"}), ("lab", {"approve", "delay", "halt", "none"})],
)
def test_a_namespace_gets_what_its_tier_is_served(cluster: Cluster, namespace: str, admitted: set[str]) -> None:
    targets = {"approve": cluster.approved, "delay": DELAYED, "halt": HALTED, "none": UNKNOWN}
    assert {v for v, t in targets.items() if cluster.asked(review(pod(t), namespace=namespace))[0]} == admitted


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
@pytest.mark.parametrize("dry", [True, False])
def test_a_dry_run_gets_the_same_answer(cluster: Cluster, operation: str, dry: bool) -> None:
    assert cluster.asked(review(pod(cluster.approved), operation, dryRun=dry))[0]
    assert not cluster.asked(review(pod(HALTED), operation, dryRun=dry))[0]


HIDDEN: dict[str, dict[str, Any]] = {
    "in an init container": {"initContainers": [{"name": "i", "image": OTHER_IMAGE}]},
    "in an ephemeral container": {"ephemeralContainers": [{"name": "e", "image": OTHER_IMAGE}]},
    "in the last of many containers": {
        "containers": [{"name": f"c{i}", "image": SERVER_IMAGE} for i in range(300)] + [{"name": "z", "image": OTHER_IMAGE}]
    },
    "in an image volume": {"volumes": [{"name": "v", "image": {"reference": OTHER_IMAGE}}]},
    "in an image volume among others": {
        "volumes": [{"name": "w", "emptyDir": {}}, {"name": "v", "image": {"reference": OTHER_IMAGE, "pullPolicy": "Always"}}]
    },
}


@pytest.mark.parametrize("where", HIDDEN)
def test_a_model_is_found_wherever_it_hides(cluster: Cluster, where: str) -> None:
    given = pod(cluster.approved, **HIDDEN[where])
    for operation, sub in (("CREATE", ""), ("UPDATE", ""), ("UPDATE", "ephemeralcontainers")):
        allowed, said = cluster.asked(review(given, operation, subResource=sub))
        assert not allowed
        assert HALTED in said


def test_an_inference_service_is_judged_by_its_model(cluster: Cluster) -> None:
    def service(uri: str, note: str = "") -> dict[str, Any]:
        metadata = {"name": "m"} | ({"annotations": {NOTE: note}} if note else {})
        model = {"modelFormat": {"name": "huggingface"}, "storageUri": uri}
        return {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": metadata,
            "spec": {"predictor": {"model": model}},
        }

    assert cluster.asked(review(service(f"oci://{MODEL_IMAGE}")))[0]
    assert not cluster.asked(review(service(f"oci://{OTHER_IMAGE}")))[0]
    assert not cluster.asked(review(service("oci://registry.example/x:latest")))[0]
    assert not cluster.asked(review(service("s3://models/m7")))[0]
    assert cluster.asked(review(service("s3://models/m7", cluster.approved)))[0]
    empty = {**service(""), "spec": {"predictor": {"model": {"modelFormat": {"name": "x"}}}}}
    assert not cluster.asked(review(empty))[0]


def test_what_stops_is_never_denied(cluster: Cluster) -> None:
    halted = wrapped("Deployment", "apps", pod(HALTED))
    stopped = copy.deepcopy(halted)
    stopped["spec"]["replicas"] = 0
    assert cluster.asked(review(stopped, "UPDATE", oldObject=halted))[0]
    assert not cluster.asked(review(stopped, "CREATE"))[0]
    assert not cluster.asked(review({**halted, "spec": {**halted["spec"], "replicas": False}}, "UPDATE", oldObject=halted))[0]
    assert cluster.asked(review({}, "DELETE", kind={"group": "", "version": "v1", "kind": "Pod"}, object=None, oldObject=pod(HALTED)))[0]
    going = pod(HALTED)
    gone = {**going, "metadata": {**going["metadata"], "finalizers": []}}
    assert cluster.asked(review(gone, "UPDATE", oldObject=going))[0]
    assert not cluster.asked(review(gone, "UPDATE", oldObject=pod(cluster.approved)))[0]
    assert not cluster.asked(review(pod(HALTED, activeDeadlineSeconds=9), "UPDATE", oldObject=going))[0]


def test_an_administrators_halt_shuts_it_at_once_and_one_for_people_does_not(cluster: Cluster) -> None:
    now = time.time_ns() // 1_000_000
    for number, (scope, shuts) in enumerate(
        [(Scope(jurisdiction="SG"), False), (Scope(tier="operator"), False), (Scope(digest=UNKNOWN), False), (Scope(model="m7"), True)]
    ):
        halt = Halt(f"h{number}", scope, "seen", "ann", now)
        cluster.store.put_halt(halt, sign_halt(halt, ADMINS["ann"]))
        assert cluster.asked(review(pod(cluster.approved)))[0] is not shuts
    cluster.store.lift("h3", "ann", now, sign_lift(halt, "ann", now, ADMINS["ann"]))
    assert cluster.asked(review(pod(cluster.approved)))[0]


def test_a_release_that_does_not_hold_admits_nothing(cluster: Cluster) -> None:
    """One approver too few; a file that is cut, empty or none; the approval of another model under this one's digest."""
    try:
        for data, why in ((encoded(cluster.halfway), "approvers"), (encoded(cluster.release)[:-2], ""), (b"", ""), (b"\x00" * 100, "")):
            cluster.store.put_release(cluster.approved, data)
            allowed, said = cluster.asked(review(pod(cluster.approved)))
            assert not allowed
            assert why in said or "signed" in said
        other = "assayTargetIdentity:" + "9" * 64
        cluster.store.put_release(other, encoded(cluster.release))
        allowed, said = cluster.asked(review(pod(other)))
        assert not allowed
        assert "not about" in said
    finally:
        cluster.store.put_release(cluster.approved, encoded(cluster.release))
    assert cluster.asked(review(pod(cluster.approved)))[0]


def _with(path: str, value: Any) -> dict[str, Any]:
    """A pod that would come in but for one value."""
    out = review(pod("APPROVED"))
    at: Any = out
    *names, last = path.split(".")
    for name in names:
        at = at[name]
    at[last] = value
    return out


HOSTILE: dict[str, dict[str, Any]] = {
    "no object": _with("request.object", None),
    "an object that is a list": _with("request.object", []),
    "no kind": _with("request.kind", None),
    "another group": _with("request.kind.group", "evil.example"),
    "another kind than the object": _with("request.kind.kind", "Deployment"),
    "a kind that is not known": _with("request.object.kind", "ConfigMap"),
    "a version with more in it": _with("request.object.apiVersion", "apps/v1"),
    "connect": _with("request.operation", "CONNECT"),
    "an operation that is a list": _with("request.operation", ["DELETE"]),
    "delete in small letters": _with("request.operation", "delete"),
    "a status subresource": _with("request.subResource", "status"),
    "no namespace": _with("request.namespace", ""),
    "a namespace that is none": _with("request.namespace", "lab\n"),
    "no containers": _with("request.object.spec", {"containers": []}),
    "containers that are a mapping": _with("request.object.spec.containers", {"0": {"image": SERVER_IMAGE}}),
    "a container without an image": _with("request.object.spec.containers", [{"name": "a"}]),
    "an image that is a list": _with("request.object.spec.containers", [{"name": "a", "image": [SERVER_IMAGE]}]),
    "an image with two digests": _with("request.object.spec.containers", [{"name": "a", "image": SERVER_IMAGE + "@sha256:" + "4" * 64}]),
    "an image with a line's end": _with("request.object.spec.containers", [{"name": "a", "image": SERVER_IMAGE + "\n"}]),
    "an image in capitals": _with("request.object.spec.containers", [{"name": "a", "image": SERVER_IMAGE.replace("1", "A")}]),
    "init containers that are text": _with("request.object.spec.initContainers", OTHER_IMAGE),
    "metadata that is text": _with("request.object.metadata", "x"),
    "annotations that are a list": _with("request.object.metadata.annotations", [NOTE]),
    "an annotation that is a number": _with("request.object.metadata.annotations", {NOTE: 7}),
    "an empty annotation": _with("request.object.metadata.annotations", {NOTE: ""}),
    "an annotation with a line's end": _with("request.object.metadata.annotations", {NOTE: "APPROVED\n"}),
    "an annotation that also names another": _with("request.object.metadata.annotations", {NOTE: "APPROVED," + UNKNOWN}),
    "a thousand models": _with("request.object.metadata.annotations", {NOTE: ",".join(f"sha256:{i:064x}" for i in range(50))}),
    "another's annotation": _with("request.object.metadata.annotations", {"assay.example/Model-Digest": "APPROVED"}),
    "a spec that is text": _with("request.object.spec", "x"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_review_is_answered_with_no(cluster: Cluster, name: str) -> None:
    given = json.loads(json.dumps(HOSTILE[name]).replace("APPROVED", cluster.approved))
    if name == "another's annotation":
        given["request"]["object"]["spec"]["containers"][0]["image"] = "registry.example/x:latest"
    status, value = cluster.post(json.dumps(given).encode())
    assert status == 200
    assert value["response"]["allowed"] is False
    assert value["response"]["status"]["message"].startswith("assay: ")
    assert "failed on this object" not in value["response"]["status"]["message"]


def _nested(depth: int) -> bytes:
    inside = json.dumps(review(pod("x"))).encode()
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    return inside.replace(b'"name": "a"', b'"name": "a", "env": ' + deep)


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "null": b"null",
    "bytes that are no text": b"\xff\xfe{}",
    "the old version": json.dumps({**review(pod()), "apiVersion": "admission.k8s.io/v1beta1"}).encode(),
    "another kind": json.dumps({**review(pod()), "kind": "Pod"}).encode(),
    "no request": json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}).encode(),
    "no uid": json.dumps(_with("request.uid", "")).encode(),
    "a uid that breaks a header": json.dumps(_with("request.uid", "a\r\nb")).encode(),
    "very deep": _nested(100_000),
}


@pytest.mark.parametrize("name", BODIES)
def test_what_is_no_review_is_no_admission(cluster: Cluster, name: str) -> None:
    status, value = cluster.post(BODIES[name])
    assert status == 400
    assert "response" not in value


def test_what_is_too_large_is_not_read(cluster: Cluster) -> None:
    thing = pod(cluster.approved)
    thing["metadata"]["annotations"]["note"] = "x" * (7 << 20)
    assert cluster.asked(review(thing))[0]
    thing["metadata"]["annotations"]["note"] = "x" * (9 << 20)
    try:
        status, value = cluster.post(json.dumps(review(thing)).encode())
    except (BrokenPipeError, ConnectionResetError, ssl.SSLError):  # it hung up
        return
    assert status == 413
    assert "response" not in value


def test_what_is_deep_or_wide_is_denied_and_the_next_review_is_answered(cluster: Cluster) -> None:
    deep = json.loads(_nested(80))
    deep["request"]["object"]["metadata"]["annotations"][NOTE] = cluster.approved
    allowed, said = cluster.asked(deep)
    assert not allowed
    assert "too deeply" in said
    wide = pod(cluster.approved)
    wide["spec"]["containers"][0]["env"] = [{"name": "X"}] * 250_000
    assert not cluster.asked(review(wide))[0]
    assert cluster.asked(review(pod(cluster.approved)))[0]


@pytest.mark.parametrize(
    ("method", "path", "kind", "status"),
    [
        ("GET", "/admit", "application/json", 404), ("PUT", "/admit", "application/json", 404), ("POST", "/", "application/json", 404),
        ("POST", "/admit/../admit", "application/json", 404), ("POST", "//admit", "application/json", 404),
        ("POST", "/admit", "text/plain", 415), ("POST", "/admit", "application/jsonx", 415),
    ],
)  # fmt: skip
def test_only_its_own_path_answers(cluster: Cluster, method: str, path: str, kind: str, status: int) -> None:
    got, value = cluster.post(json.dumps(review(pod(cluster.approved))).encode(), path, method, **{"content-type": kind})
    assert (got, "response" in value) == (status, False)


def test_health_and_readiness(cluster: Cluster) -> None:
    assert cluster.post(b"", "/healthz", "GET")[0] == 200
    assert cluster.post(b"", "/readyz", "GET")[0] == 200


def test_plain_http_gets_no_answer(cluster: Cluster) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=10)
    connection.request("POST", "/admit", json.dumps(review(pod(cluster.approved))), {"content-type": "application/json"})
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.getresponse()
    connection.close()


def test_without_its_store_or_roles_it_denies(cluster: Cluster, tmp_path: Path) -> None:
    assert cluster.asked(review(pod(cluster.approved)))[0]
    roles = (cluster.folder / "roles.json").read_bytes()
    try:
        (cluster.folder / "roles.json").write_bytes(b"{}")
        allowed, said = cluster.asked(review(pod(cluster.approved)))
        assert not allowed
        assert "cannot be known" in said
        assert cluster.post(b"", "/readyz", "GET")[0] == 503
    finally:
        (cluster.folder / "roles.json").write_bytes(roles)
    assert cluster.asked(review(pod(cluster.approved)))[0]


def test_with_a_client_authority_only_its_clients_are_answered(cluster: Cluster, tmp_path: Path) -> None:
    other = copy.copy(cluster)
    other.start("--client-ca", "tls.crt")
    try:
        with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            other.post(json.dumps(review(pod(cluster.approved))).encode())
    finally:
        other.stop()


def test_an_approval_that_comes_back_after_a_halt_is_stale(cluster: Cluster, tmp_path: Path) -> None:
    """Whoever writes to the store puts the old release back; the webhook has seen the newer one, and knows it after a start."""
    other = copy.copy(cluster)
    other.start("--memory", str(tmp_path))
    try:
        assert other.asked(review(pod(cluster.approved)))[0]
        stated = Stated(epoch=1, issued=time.time_ns() // 1_000_000, verdict="halt", reason="seen")
        cluster.store.put_release(cluster.approved, encoded(new_halt("m", cluster.approved, cluster.roles, KEYS["ada"], stated)))
        assert not other.asked(review(pod(cluster.approved)))[0]
        cluster.store.put_release(cluster.approved, encoded(cluster.release))
        for _ in range(2):
            allowed, said = other.asked(review(pod(cluster.approved)))
            assert not allowed
            assert "epoch" in said
            other.stop()
            other.start("--memory", str(tmp_path))
    finally:
        other.stop()
        cluster.store.put_release(cluster.approved, encoded(cluster.release))


def test_a_halt_that_the_store_has_lost_shuts_on_until_it_is_lifted(cluster: Cluster, tmp_path: Path) -> None:
    config, at = read_config(cluster.folder / "gate.yaml"), time.time_ns() // 1_000_000
    asked = read_review(json.dumps(review(pod(cluster.approved, "m7:latest"))).encode())
    halt = Halt("lost", Scope(model="m7"), "seen", "ann", at)

    def admits() -> bool:
        return Releases(config, cluster.store, tmp_path).judged(asked, Rules()).allowed  # as after a start

    assert admits()
    cluster.store.put_halt(halt, sign_halt(halt, ADMINS["ann"]))
    try:
        Releases(config, cluster.store, tmp_path).ready()  # what it is asked for every few seconds
    finally:
        with cluster.store.transaction(write=True) as rows:
            rows.run("DELETE FROM halts WHERE id = 'lost'")
    assert not admits()
    put_lift(cluster.store, cluster.store.snapshot(), halt, Lift("lost", "", "ann", at), sign_lift(halt, "ann", at, ADMINS["ann"]))
    assert admits()


def test_what_cannot_be_remembered_is_not_admitted(cluster: Cluster, tmp_path: Path) -> None:
    config = read_config(cluster.folder / "gate.yaml")
    (tmp_path / "seen.json").mkdir()
    with pytest.raises(AssayError):
        Releases(config, cluster.store, tmp_path).ready()
    (tmp_path / "seen.json").rmdir()
    (tmp_path / "gate.seen").write_bytes(b"{")
    with pytest.raises(AssayError, match="damaged"):
        Releases(config, cluster.store, tmp_path).ready()


def test_a_halt_of_a_model_stops_its_digest_under_every_name() -> None:
    asked = read_review(json.dumps(review(pod(VERDICTS["approve"]))).encode())
    names = {VERDICTS["approve"]: frozenset({"m7", "m7-eu"})}
    for name, stopped in (("m7", True), ("m7-eu", True), ("m8", False)):
        halt = Halt("h", Scope(model=name), "seen", "ann", NOW)
        assert judge(asked, Rules(), standing, [halt], names, NOW).allowed is not stopped


def test_a_finalizer_goes_whatever_the_annotation_is() -> None:
    for bad in ("latest", "", 7, ["x"]):
        old = pod()
        old["metadata"] |= {"annotations": {NOTE: bad}, "finalizers": ["x"]}
        new = copy.deepcopy(old)
        new["metadata"]["finalizers"] = []
        assert judge(read_review(json.dumps(review(new, "UPDATE", oldObject=old)).encode()), Rules(), standing, (), {}, NOW).allowed
        new["metadata"]["annotations"] = {NOTE: HALTED}
        assert not judge(read_review(json.dumps(review(new, "UPDATE", oldObject=old)).encode()), Rules(), standing, (), {}, NOW).allowed


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "assay", "access", "admission", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_it_does_not_start_without_tls_or_roles(cluster: Cluster, tmp_path: Path) -> None:
    done = _run(cluster.folder, "--config", "gate.yaml", "--check")
    assert done.returncode == 2
    assert "HTTPS only" in done.stderr
    tls = ("--certificate", "tls.crt", "--private-key", "tls.key")
    assert _run(cluster.folder, "--config", "gate.yaml", "--check", *tls).returncode == 0
    value = yaml.safe_load((cluster.folder / "gate.yaml").read_text()) | {"store": str(tmp_path / "none" / "x.db")}
    (cluster.folder / "other.yaml").write_text(yaml.safe_dump(value))
    assert _run(cluster.folder, "--config", "other.yaml", "--check", *tls).returncode != 0
    (cluster.folder / "bad.yaml").write_text("assay: admission/1\nnamespaces: {prod: everybody}\n")
    done = _run(cluster.folder, "--config", "gate.yaml", "--check", "--rules", "bad.yaml", *tls)
    assert done.returncode == 2
    assert "bad.yaml:2" in done.stderr


VERDICTS = {"approve": "sha256:" + "a" * 64, "delay": DELAYED, "halt": HALTED}


def standing(target: str) -> Standing:
    found = next((v for v, t in VERDICTS.items() if t == target), "none")
    return Standing(found, NOW + 30 * DAY)  # type: ignore[arg-type]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "CREATE", "UPDATE", "Pod", "v1", "prod", OTHER_IMAGE, HALTED]),
    lambda x: (
        st.lists(x, max_size=3)
        | st.dictionaries(
            st.sampled_from(["apiVersion", "kind", "metadata", "annotations", NOTE, "spec", "containers", "image", "template", "name"]),
            x,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(JSON, st.sampled_from([*PODS, ("", "")]), st.sampled_from(["CREATE", "UPDATE", "CONNECT", ""]))
@settings(max_examples=400, deadline=None)
def test_whatever_object_comes_in_without_an_approving_release_is_denied(thing: Any, kind: tuple[str, str], operation: str) -> None:
    value = review({"apiVersion": "v1", "kind": "Pod"}, operation, kind={"group": kind[0], "version": "v1", "kind": kind[1]}, object=thing)
    judged = judge(read_review(json.dumps(value).encode()), Rules(), standing, (), {}, NOW)
    assert not judged.allowed
    assert msgspec.json.encode(answer(judged))


@given(st.binary(max_size=200) | JSON.map(lambda x: json.dumps(x).encode()))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_is_a_review_or_an_error(body: bytes) -> None:
    with pytest.raises(AdmissionError):
        read_review(body)


def test_a_release_that_has_ended_admits_nothing_and_one_that_ends_soon_warns() -> None:
    given = read_review(json.dumps(review(pod(VERDICTS["approve"]))).encode())

    def until(at: int) -> Any:
        return judge(given, Rules(), lambda _: Standing("approve", at), (), {}, NOW)

    assert not until(NOW - 1).allowed
    assert "expired" in until(NOW - 1).why
    assert until(NOW + DAY).warnings
    assert not until(NOW + 20 * DAY).warnings


def test_without_a_table_of_images_every_object_says_which_model_it_serves() -> None:
    given = read_review(json.dumps(review(pod("", "anything:latest"))).encode())
    judged = judge(given, Rules(), standing, (), {}, NOW)
    assert not judged.allowed
    assert NOTE in judged.why


def test_an_annotation_on_the_deployment_alone_does_not_count_for_its_pods() -> None:
    thing = wrapped("Deployment", "apps", pod())
    thing["metadata"]["annotations"] = {NOTE: VERDICTS["approve"]}
    for rules in (Rules(), Rules(images={SERVER_IMAGE[-71:]: "none"})):
        judged = judge(read_review(json.dumps(review(thing)).encode()), rules, standing, (), {}, NOW)
        assert not judged.allowed


def test_errors_of_the_gate_are_errors(tmp_path: Path) -> None:
    from assay.access.admission.objects import read_rules

    with pytest.raises(AssayError):
        read_rules(tmp_path / "none.yaml")
