"""Which models a Kubernetes object names: by annotation, and by the digests of its images and model volumes. Pure.

models_of(review, Rules(images={"sha256:...": "sha256:..."}))       # the targets; AdmissionError where that cannot be said
nothing_new(review, rules)                                           # an update that deploys nothing
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from assay.access.model import Tier
from assay.catalog.yamlfile import load_yaml
from assay.errors import AssayError

MAX_DEPTH = 60
MAX_NODES = 200_000
MAX_RULES = 2 << 20

ImageDigest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
Carried = Annotated[str, Meta(pattern=r"^(none|(sha256|assayTargetIdentity):[0-9a-f]{64})\Z")]
Namespace = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")]
Domain = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,120}[a-z0-9])?\Z")]
_PINNED = re.compile(r"[A-Za-z0-9][^\s@]{0,400}@(sha256:[0-9a-f]{64})\Z")
_DIGEST = re.compile(r"(sha256|assayTargetIdentity):[0-9a-f]{64}\Z")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")

_TEMPLATE = ("spec", "template")
PODS: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): (),
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
    ("serving.kserve.io", "InferenceService"): (),
}
"""Kinds that are known, and where in them that stands which becomes a pod."""


class AdmissionError(AssayError):
    """A review or the rules cannot be read."""


class Rules(Struct, frozen=True, forbid_unknown_fields=True):
    """Which tier a namespace serves (`general` where none is named), and which model an image carries by the image's digest.

    Where `images` are given every image must be pinned by its digest and be one of them; where none are, the annotation is what counts, and
    it is the word of whoever deploys.
    """

    assay: Literal["admission/1"] = "admission/1"
    domain: Domain = "assay.example"
    namespaces: Annotated[dict[Namespace, Tier], Meta(max_length=1000)] = {}
    images: Annotated[dict[ImageDigest, Carried], Meta(max_length=20_000)] = {}


class Review(Struct, frozen=True):
    """A request of the API server, as far as it is looked at."""

    uid: str
    operation: str
    group: str
    kind: str
    subresource: str
    namespace: str
    object: dict[str, Any]
    old: dict[str, Any]


def read_rules(path: Path) -> Rules:
    """A rules file (YAML). Raises `AdmissionError` with the line."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RULES + 1)
    except OSError as e:
        raise AdmissionError(f"cannot read the rules: {e.strerror}", where=str(path)) from None
    if len(data) > MAX_RULES:
        raise AdmissionError(f"larger than {MAX_RULES:,} bytes", where=str(path))
    rules: Rules = load_yaml(data.decode("utf-8", errors="replace"), Rules, where=str(path), error=AdmissionError)
    return rules


def models_of(review: Review, rules: Rules) -> set[str]:
    """The targets that an object names. Raises `AdmissionError` for one that cannot be judged."""
    if review.operation not in ("CREATE", "UPDATE"):
        raise AdmissionError(f"the operation {review.operation[:40]!r} is not known here")
    if review.subresource not in ("", "ephemeralcontainers"):
        raise AdmissionError(f"the subresource {review.subresource[:40]!r} is not known here")
    path = PODS.get((review.group, review.kind))
    if path is None:
        raise AdmissionError(f"the kind {review.kind[:60]!r} of the group {review.group[:60]!r} is not known here")
    if not _NAMESPACE.match(review.namespace):
        raise AdmissionError("the object has no namespace")
    _same_kind(review)
    pod = _mapping(review.object, path, "pod template") if path else review.object
    spec = _mapping(pod, ("spec",), "spec")
    if review.kind != "InferenceService":
        _containers(spec)
    annotated = _annotated(pod, rules) | _annotated(review.object, rules)
    here = _annotated(pod, rules)
    images, elsewhere = _references(spec)
    carried = set(_carried(images, rules))
    if annotated and not here:
        raise AdmissionError("the annotation stands on the object and not on its pod template, whose pods will not have it")
    if not here and (elsewhere or not rules.images or not images):
        raise AdmissionError(f"it does not say which model it serves: annotate its pods with {rules.domain}/model-digest")
    return annotated | carried


def _containers(spec: dict[str, Any]) -> None:
    """Every container of whatever sort has an image."""
    for sort in ("containers", "initContainers", "ephemeralContainers"):
        found = spec.get(sort)
        if (found is None or found == []) and sort != "containers":
            continue
        if not isinstance(found, list) or not found:
            raise AdmissionError("the pod has no containers")
        if not all(isinstance(c, dict) and isinstance(c.get("image"), str) and c["image"] for c in found):
            raise AdmissionError("a container without an image")


def _same_kind(review: Review) -> None:
    group, _, version = str(review.object.get("apiVersion", "")).rpartition("/")
    if review.object.get("kind") != review.kind or group != review.group or not version:
        raise AdmissionError("the object is of another kind than the request says")


def _mapping(value: Any, path: tuple[str, ...], what: str) -> dict[str, Any]:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, dict):
        raise AdmissionError(f"the object has no {what}")
    return value


def _given(of: Mapping[str, Any], rules: Rules) -> Any:
    """The annotation as it stands there, well-formed or not; None where there is none."""
    metadata = of.get("metadata") or {}
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else "?"
    if annotations is None:
        return None
    return annotations.get(f"{rules.domain}/model-digest") if isinstance(annotations, dict) else 0


def _annotated(of: Mapping[str, Any], rules: Rules) -> set[str]:
    """The digests of the annotation, one or several with commas between."""
    given = _given(of, rules)
    if given is None:
        return set()
    parts = [p.strip(" ") for p in given.split(",")] if isinstance(given, str) and len(given) < 4096 else [""]
    if not all(_DIGEST.match(p) for p in parts):
        raise AdmissionError(f"{rules.domain}/model-digest is no digest: sha256:... or assayTargetIdentity:..., and 64 hex digits")
    return set(parts)


def _references(spec: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Every image, image volume and OCI model of a spec, wherever in it; and addresses from which weights are fetched otherwise."""
    images: list[str] = []
    elsewhere: list[str] = []
    for name, value in _walk(spec):
        if name in ("image", "reference"):
            if isinstance(value, dict) and name == "image":
                continue  # an image volume: its reference comes by itself
            if not isinstance(value, str):
                raise AdmissionError(f"an {name} that is no text")
            images.append(value)
        elif name in ("storageUri", "storage_uri", "modelUri"):
            if not isinstance(value, str):
                raise AdmissionError(f"a {name} that is no text")
            (images if value.startswith("oci://") else elsewhere).append(value.removeprefix("oci://"))
        elif name == "storage" and isinstance(value, dict):  # KServe: a model in a store, by path
            elsewhere.append(str(value.get("path", ""))[:200])
    return images, elsewhere


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every named value. Raises `AdmissionError` where it is too deep or too much."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    count = 0
    while waiting:
        found, depth = waiting.pop()
        count += 1
        if depth > MAX_DEPTH or count > MAX_NODES:
            raise AdmissionError("the object is nested too deeply, or has too many parts")
        if isinstance(found, dict):
            for name, each in found.items():
                yield name, each
                if isinstance(each, dict | list):
                    waiting.append((each, depth + 1))
        elif isinstance(found, list):
            waiting += [(each, depth + 1) for each in found if isinstance(each, dict | list)]


def _carried(images: list[str], rules: Rules) -> Iterator[str]:
    if not rules.images:
        return
    for image in images:
        pinned = _PINNED.match(image)
        if not pinned:
            raise AdmissionError(f"the image {image[:120]!r} is not pinned by its digest")
        carries = rules.images.get(pinned.group(1))
        if carries is None:
            raise AdmissionError(f"nobody has said what the image {image[-90:]!r} carries")
        if carries != "none":
            yield carries


def nothing_new(review: Review, rules: Rules) -> bool:
    """An update that leaves nothing running, or changes neither the specification nor the model's name (a finalizer that goes, a label):
    stopping and clearing away are never denied.
    """
    if review.operation != "UPDATE" or review.subresource or (review.group, review.kind) not in PODS:
        return False
    spec, old = review.object.get("spec"), review.old.get("spec")
    if isinstance(spec, dict) and spec and spec == old:
        return bool(_given(review.object, rules) == _given(review.old, rules))
    replicas = spec.get("replicas") if isinstance(spec, dict) else None
    scaled = ("Deployment", "ReplicaSet", "StatefulSet", "ReplicationController")
    return review.kind in scaled and isinstance(replicas, int) and not isinstance(replicas, bool) and replicas == 0
