"""The in-toto layout and the link of a run (in-toto specification v1.0), in DSSE envelopes: what `in-toto-verify` asks for.

One step, `evaluate`, by the evaluator's key: its materials are the plan and the target, its product is the evidence. One inspection holds
the files of the folder against that link. in-toto names keys by its own ids (securesystemslib's), not by ours.

layout = sign(key, layout_of(key.public, expires=1830297600000, evidence=True))
link = sign(key, link_of(materials, products))
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from assay.ledger import Cosigned, PrivateKey, PublicKey, canonical

STEP = "evaluate"
PLAN, TARGET, WEIGHTS, EVIDENCE = "plan.json", "target.json", "weights", "evidence.jsonl"
LAYOUT_NAME = "root.layout"


def intoto_key(public: PublicKey) -> tuple[str, dict[str, Any]]:
    """A key as in-toto writes it, and the id that in-toto gives it: SHA-256 over its canonical JSON."""
    key = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public.raw.hex()}}
    keyid = hashlib.sha256(canonical(key)).hexdigest()
    return keyid, {**key, "keyid": keyid}


def link_name(public: PublicKey) -> str:
    """The file that in-toto looks for."""
    return f"{STEP}.{intoto_key(public)[0][:8]}.link"


def layout_of(evaluator: PublicKey, *, expires: int, evidence: bool) -> dict[str, Any]:
    """The layout. `expires` is Unix time in milliseconds; with `evidence` the bundle must be in the folder."""
    keyid, key = intoto_key(evaluator)
    source = {PLAN: "MATERIALS", TARGET: "MATERIALS", EVIDENCE: "PRODUCTS"}
    there = [PLAN, TARGET, *([EVIDENCE] if evidence else [])]
    return {
        "_type": "layout",
        "readme": "The evaluator made this evidence from this plan and target, and the files here are those.",
        "expires": datetime.fromtimestamp(expires // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "keys": {keyid: key},
        "steps": [
            {
                "_type": "step",
                "name": STEP,
                "pubkeys": [keyid],
                "threshold": 1,
                "expected_command": [],
                "expected_materials": [
                    ["REQUIRE", PLAN], ["ALLOW", PLAN], ["REQUIRE", TARGET], ["ALLOW", TARGET], ["ALLOW", WEIGHTS], ["DISALLOW", "*"],
                ],
                "expected_products": [["REQUIRE", EVIDENCE], ["ALLOW", EVIDENCE], ["DISALLOW", "*"]],
            }
        ],
        "inspect": [
            {
                "_type": "inspection",
                "name": "handed-over",
                "run": ["true"],
                "expected_materials": [
                    *(["REQUIRE", name] for name in there),
                    *(["MATCH", name, "WITH", kind, "FROM", STEP] for name, kind in source.items()),
                    *(["DISALLOW", name] for name in source),
                ],
                "expected_products": [],
            }
        ],
    }  # fmt: skip


def link_of(materials: Mapping[str, str], products: Mapping[str, str]) -> dict[str, Any]:
    """The link of the step. Names to SHA-256, hex."""
    return {
        "_type": "link",
        "name": STEP,
        "command": [],
        "materials": {name: {"sha256": value} for name, value in materials.items()},
        "products": {name: {"sha256": value} for name, value in products.items()},
        "byproducts": {},
        "environment": {},
    }


def sign(key: PrivateKey, metadata: dict[str, Any]) -> bytes:
    """A layout or link as a DSSE envelope with in-toto's key id, as its file has it."""
    signed = Cosigned(canonical(metadata)).signed(key).to_json()
    signed["signatures"][0]["keyid"] = intoto_key(key.public)[0]
    return canonical(signed) + b"\n"
