"""What may be deployed in a Kubernetes cluster: objects that name models, against releases. Pure; `admission_server` listens.

    judged = judge(read_review(body), rules, standing, halts)
    judged.allowed, judged.why, answer(judged)

An object names its model by the annotation `assay.example/model-digest` on what becomes a pod, and by the digests of its images and model
volumes, where the rules say which model an image carries. Every model that it names needs a release that serves the namespace's tier:
approve for `general`, approve or delay for `operator`; `assessor` needs none. Whatever is missing, unknown or malformed is denied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from assay.access.admission.objects import AdmissionError, Review, Rules, models_of, nothing_new
from assay.access.model import Halt

VERSION, KIND = "admission.k8s.io/v1", "AdmissionReview"
MAX_MODELS = 20
SOON_MS = 3 * 86_400_000
_UID = re.compile(r"[A-Za-z0-9-]{1,128}\Z")


class Standing(Struct, frozen=True):
    """What holds of a target: the verdict of its release (`none`: no release that holds), until when (Unix ms), its epoch, and why."""

    verdict: Literal["approve", "delay", "halt", "none"]
    until: int
    epoch: int = 0
    why: str = ""


class Judged(Struct, frozen=True):
    """The answer. `models` are the targets that were named, with what held of each."""

    uid: str
    allowed: bool
    why: str
    models: dict[str, Standing] = {}
    warnings: tuple[str, ...] = ()


def read_review(body: bytes) -> Review:
    """A review. Raises `AdmissionError` for what is none; without a uid there is nothing to answer to."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise AdmissionError("not JSON") from None
    request = value.get("request") if isinstance(value, dict) else None
    if not isinstance(value, dict) or value.get("apiVersion") != VERSION or value.get("kind") != KIND or not isinstance(request, dict):
        raise AdmissionError(f"not an {KIND} of {VERSION} with a request")
    uid = request.get("uid")
    if not isinstance(uid, str) or not _UID.match(uid):
        raise AdmissionError("the request has no uid")
    kind = request.get("kind")
    kind = kind if isinstance(kind, dict) else {}

    def text(of: Mapping[str, Any], name: str) -> str:
        found = of.get(name, "")
        return found if isinstance(found, str) else "?"

    def mapping(name: str) -> dict[str, Any]:
        found = request.get(name)
        return found if isinstance(found, dict) else {}

    return Review(
        uid, text(request, "operation"), text(kind, "group"), text(kind, "kind"), text(request, "subResource"), text(request, "namespace"),
        mapping("object"), mapping("oldObject"),
    )  # fmt: skip


def judge(
    review: Review, rules: Rules, standing: Callable[[str], Standing], halts: Iterable[Halt], names: Mapping[str, frozenset[str]],
    now_ms: int,
) -> Judged:  # fmt: skip
    """Whether an object may come in. `standing` says what holds of a digest, `names` are all of the gate's names of a digest."""
    if review.operation == "DELETE":
        return Judged(review.uid, True, "what is deleted serves nobody")
    try:
        if nothing_new(review, rules):
            return Judged(review.uid, True, "it deploys nothing new")
        found = sorted(models_of(review, rules))
    except AdmissionError as e:
        return Judged(review.uid, False, e.what)
    if not found:
        return Judged(review.uid, True, "none of its images carries a model")
    if len(found) > MAX_MODELS:
        return Judged(review.uid, False, f"{len(found)} models, more than {MAX_MODELS}")
    tier = rules.namespaces.get(review.namespace, "general")
    known = {target: standing(target) for target in found}
    active = list(halts)
    for target, held in known.items():
        stopped = next((h.id for h in active if stops(h, target, names.get(target, frozenset()), tier)), "")
        if stopped:
            return Judged(review.uid, False, f"{target} is halted ({stopped})", known)
        verdict = held.verdict if now_ms <= held.until else "none"
        if not (tier == "assessor" or verdict == "approve" or (tier == "operator" and verdict == "delay")):
            why = held.why or ("its release has expired" if held.verdict != "none" and verdict == "none" else "")
            said = f"the release of {target} says {verdict}" if verdict != "none" else f"no release of {target} holds"
            return Judged(review.uid, False, f"{said}, which does not serve {tier}{f': {why}' if why else ''}", known)
    soon = tuple(
        f"the release of {t[:30]}... ends in {(s.until - now_ms) // 3_600_000} hours"
        for t, s in known.items()
        if 0 <= s.until - now_ms < SOON_MS
    )
    return Judged(review.uid, True, f"released for {tier}", known, soon)


def stops(halt: Halt, target: str, names: frozenset[str], tier: str) -> bool:
    """Whether a halt that is not lifted stops a deployment. One that names grants, people, organisations, sectors or jurisdictions stops
    their requests at the gate, and no deployment.
    """
    scope = halt.scope
    if halt.lifted or scope.grant or scope.organisation or scope.person or scope.sector or scope.jurisdiction:
        return False
    return scope.digest in ("", target) and scope.model in ("", *names) and scope.tier in ("", tier)


def answer(judged: Judged) -> dict[str, Any]:
    """The review's answer."""
    response: dict[str, Any] = {"uid": judged.uid, "allowed": judged.allowed}
    if not judged.allowed:
        response["status"] = {"code": 403, "reason": "Forbidden", "message": f"assay: {judged.why}"[:1000]}
    if judged.warnings:
        response["warnings"] = [w[:120] for w in judged.warnings]
    if judged.models:
        response["auditAnnotations"] = {"models": ",".join(f"{t}={s.verdict}/{s.epoch}" for t, s in judged.models.items())[:4000]}
    return {"apiVersion": VERSION, "kind": KIND, "response": response}
