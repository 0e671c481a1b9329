"""The seed of a run: agreed by the plan's digest and a nonce, so that nobody chooses the items after seeing the plan's effect.

seed = run_seed(plan.digest, nonce)
"""

from __future__ import annotations

import hashlib

NONCE_BYTES = 32


def run_seed(plan_digest: str, nonce: bytes) -> bytes:
    """seed = SHA-256("assay/seed/1" 0x00 plan digest 0x00 nonce), 32 bytes."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
    return hashlib.sha256(b"assay/seed/1\x00" + plan_digest.encode() + b"\x00" + nonce).digest()
