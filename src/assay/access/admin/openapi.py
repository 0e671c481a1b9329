"""The OpenAPI 3.1 description of the administration's API, made from the same list and the same Structs as the API itself.

describe(OPERATIONS)["paths"]["/access/halts"]["post"]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from assay.access.admin.wire import Failed
from assay.version import __version__

if TYPE_CHECKING:
    from assay.access.admin.operations import Operation

REF = "#/components/schemas/{name}"
ABOUT = """Every call is signed by an Ed25519 key that the gate's file names: RFC 9421, covering "@method", "@target-uri" and
"content-digest" (RFC 9530, sha-256) and the parameters created, keyid, nonce, alg="ed25519" and tag="assay-admin", in that order. A
signature is good for 60 seconds, and once. Every act is in the audit log, on disk, before it takes effect."""
ERRORS = {
    "401": "Not signed as it must be, too old, or used before.",
    "403": "Signed by somebody who may not do this.",
    "422": "What was sent is not valid, or does not hold.",
    "503": "Store or audit log cannot be reached; nothing was done.",
}


def describe(operations: Iterable[Operation]) -> dict[str, Any]:
    """The description, as JSON values."""
    operations = tuple(operations)
    types = {t for o in operations for t in (o.answer, o.body) if t is not None} | {Failed}
    _, components = msgspec.json.schema_components(sorted(types, key=lambda t: t.__name__), ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    paths["/access/openapi.json"] = {"get": _open("openapi", "This description.", "application/json")}
    paths["/metrics"] = {"get": _open("metrics", "Counts of all workers, for Prometheus; from the named networks only.", "text/plain")}
    paths["/healthz"] = {"get": _open("healthz", "Whether the process lives; from the named networks only.", "application/json")}
    ready = _open("readyz", "Whether the gate may serve, and what is missing; from the named networks only.", "application/json")
    ready["responses"]["503"] = {"description": "It may not."}
    paths["/readyz"] = {"get": ready}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Assay: administration of the gate", "version": __version__, "description": " ".join(ABOUT.split())},
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "security": [{"signature": [], "signatureInput": [], "contentDigest": []}],
        "paths": paths,
        "components": {
            "schemas": {name: _plain(schema) for name, schema in components.items()},
            "securitySchemes": {
                key: {"type": "apiKey", "in": "header", "name": header, "description": "See the description of this API (RFC 9421)."}
                for key, header in (("signature", "Signature"), ("signatureInput", "Signature-Input"), ("contentDigest", "Content-Digest"))
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    out: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"For the role {operation.role} and those above it.",
        "responses": {
            "200": {"description": "Done.", "content": _content(operation.answer.__name__)},
            **{code: {"description": text, "content": _failed()} for code, text in ERRORS.items()},
        },
    }
    if operation.body is not None:
        out["responses"]["409"] = {"description": "Another has changed it meanwhile.", "content": _failed()}
        out["responses"]["413"] = {"description": f"Larger than {operation.body_bytes:,} bytes.", "content": _failed()}
        out["requestBody"] = {"required": True, "content": _content(operation.body.__name__)}
    names = re.findall(r"{(\w+)}", operation.path)
    if names:
        out["responses"]["404"] = {"description": "There is no such thing.", "content": _failed()}
    parameters = [{"name": n, "in": "path", "required": True, "schema": {"type": "string", "maxLength": 200}} for n in names]
    if operation.query is not None:
        _, components = msgspec.json.schema_components((operation.query,), ref_template=REF)
        fields: Mapping[str, Any] = components[operation.query.__name__]["properties"]
        parameters += [{"name": n, "in": "query", "required": False, "schema": _plain(s)} for n, s in fields.items()]
    if parameters:
        out["parameters"] = parameters
    return out


def _open(name: str, summary: str, kind: str) -> dict[str, Any]:
    content = {kind: {"schema": {"type": "object" if kind.endswith("json") else "string"}}}
    return {"operationId": name, "summary": summary, "security": [], "responses": {"200": {"description": "Done.", "content": content}}}


def _failed() -> dict[str, Any]:
    return _content("Failed")


def _content(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": REF.format(name=name)}}}


def _plain(schema: Any) -> Any:
    """The schema with patterns that JSON Schema's dialect (ECMA 262) reads as they are meant: `\\Z` is Python's word for `$`."""
    if isinstance(schema, dict):
        return {k: v.replace("\\Z", "$") if k == "pattern" and isinstance(v, str) else _plain(v) for k, v in schema.items()}
    return [_plain(v) for v in schema] if isinstance(schema, (list, tuple)) else schema
