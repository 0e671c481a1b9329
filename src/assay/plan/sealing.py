"""The seed of a run: agreed by the plan's digest and a nonce, so that nobody chooses the items after seeing the plan's effect.

    seed = run_seed(plan.digest, nonce)

Several parties toss the coin together. Each draws a nonce and gives a commitment to it (a seal) to the others; only when everybody has
everybody's seal are nonces told. The run's nonce is drawn from all of them, so it is random if one party's is, and nobody could choose it.

    seal, secret = make_seal(plan, "institute", key, at=...)        # the seal goes to the others, the secret stays
    nonce = joint_nonce(plan, [seal, other], [secret, told])        # raises PlanError, naming the party, for what is missing or wrong

A party that must not see the items before the run tells its nonce first: the runner's own stays secret until the run is over.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, structs

from assay.errors import AssayError, PlanError
from assay.ledger import PrivateKey, PublicKey, digest, open_envelope, sign_statement
from assay.plan.model import Name, Plan

NONCE_BYTES = 32
MAX_BYTES = 65_536
SEAL = "urn:assay:predicate:plan-seal:v1"
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]


class Seal(Struct, frozen=True, forbid_unknown_fields=True):
    """A party's commitment to its nonce for one plan: `key` is its public key, `envelope` the signed statement over the same fields."""

    assay: Literal["seal/1"]
    party: Name
    terms: Digest
    commitment: Digest
    at: Annotated[int, Meta(ge=0)]
    key: dict[str, str]
    envelope: dict[str, Any]


class Nonce(Struct, frozen=True, forbid_unknown_fields=True):
    """A party's nonce, secret until it is told."""

    assay: Literal["nonce/1"]
    party: Name
    nonce: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Coin(Struct, frozen=True):
    """What the runner of a sealed plan has in hand: everybody's seals and nonces."""

    seals: tuple[Seal, ...]
    nonces: tuple[Nonce, ...]


class Sealed(Struct, frozen=True, forbid_unknown_fields=True):
    """A seal, and the nonce that opens it."""

    seal: Seal
    nonce: str


def run_seed(plan_digest: str, nonce: bytes) -> bytes:
    """seed = SHA-256("assay/seed/1" 0x00 plan digest 0x00 nonce), 32 bytes."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
    return hashlib.sha256(b"assay/seed/1\x00" + plan_digest.encode() + b"\x00" + nonce).digest()


def terms(plan: Plan) -> str:
    """The digest of what parties agree on: the plan without what is filled in only when the run opens (digests of target and judges, and
    whether the judges' calibration proved void).
    """
    judges = plan.judges
    if judges is not None:
        panel = tuple(structs.replace(spec, target=structs.replace(spec.target, digest="")) for spec in judges.panel)
        judges = structs.replace(judges, panel=panel, digests={}, void=False)
    return structs.replace(plan, target=structs.replace(plan.target, digest=""), judges=judges).digest


def commitment(plan_terms: str, party: str, nonce: str) -> str:
    """SHA-256("assay/commitment/1" 0x00 terms 0x00 party 0x00 nonce): hides the nonce, and binds it to plan and party."""
    return (
        "sha256:" + hashlib.sha256(b"\x00".join((b"assay/commitment/1", plan_terms.encode(), party.encode(), nonce.encode()))).hexdigest()
    )


def make_seal(plan: Plan, party: str, key: PrivateKey, at: int, nonce: str = "") -> tuple[Seal, Nonce]:
    """A party's seal and its secret. `at` is the Unix time in milliseconds; a fresh nonce unless one is given. Raises `PlanError`."""
    if plan.seed != "auto":
        raise PlanError("the plan has a seed of its own, so there is nothing to toss for", fix="Set seed: auto, or leave it out.")
    nonce = nonce or secrets.token_hex(NONCE_BYTES)
    agreed = terms(plan)
    fields: dict[str, Any] = {"party": party, "terms": agreed, "commitment": commitment(agreed, party, nonce), "at": at}
    envelope = sign_statement(key, _subject(plan.name, agreed), SEAL, fields)
    try:
        value = {"assay": "seal/1", **fields, "key": key.public.to_json(), "envelope": envelope.to_json()}
        return msgspec.convert(value, Seal), Nonce("nonce/1", party, nonce)
    except msgspec.ValidationError as e:
        raise PlanError(f"this party cannot seal: {e}") from None


def joint_nonce(plan: Plan, seals: Sequence[Seal], nonces: Sequence[Nonce]) -> tuple[bytes, tuple[Sealed, ...]]:
    """The run's nonce from everybody's, and what goes into the evidence. Raises `PlanError`, naming every party with something missing,
    wrong or twice.
    """
    told: dict[str, Nonce] = {}
    problems = [f"'{nonce.party}' tells two nonces" for nonce in nonces if told.setdefault(nonce.party, nonce) != nonce]
    sealed = []
    for seal in seals:
        found = told.get(seal.party)
        if found is None:
            problems.append(f"the nonce of '{seal.party}' is missing")
        else:
            sealed.append(Sealed(seal, found.nonce))
    parties = [seal.party for seal in seals]
    problems += [f"'{name}' tells a nonce that it never sealed" for name in told if name not in parties]
    problems += check_sealed(plan, sealed)
    if problems:
        raise PlanError("; ".join(problems), fix="Every party gives its own seal and its own nonce, for this very plan.")
    return joined(sealed), tuple(sealed)


def check_sealed(plan: Plan, sealed: Sequence[Sealed]) -> list[str]:
    """What is wrong with seals and the nonces that open them, party by party, in words."""
    problems = []
    agreed = terms(plan)
    names, keys = [s.seal.party for s in sealed], [s.seal.key.get("keyid", "") for s in sealed]
    problems += [f"'{name}' has sealed twice" for name in dict.fromkeys(n for n in names if names.count(n) > 1)]
    problems += [f"'{name}' has the key of another party" for name, key in zip(names, keys, strict=True) if keys.count(key) > 1]
    for s in sealed:
        seal = s.seal
        try:
            statement = open_envelope(seal.envelope, PublicKey.from_json(seal.key))
        except AssayError as e:
            problems.append(f"the seal of '{seal.party}' does not hold: {e.what}")
            continue
        fields = {"party": seal.party, "terms": seal.terms, "commitment": seal.commitment, "at": seal.at}
        if (
            statement.get("predicateType") != SEAL
            or statement.get("predicate") != fields
            or statement.get("subject") != _subject(plan.name, agreed)
        ):
            problems.append(f"the seal of '{seal.party}' is not what it signed, or is of another plan")
        elif seal.terms != agreed:
            problems.append(f"'{seal.party}' has sealed another plan ({seal.terms[:19]}..., this one is {agreed[:19]}...)")
        elif commitment(agreed, seal.party, s.nonce) != seal.commitment:
            problems.append(f"the nonce of '{seal.party}' is wrong: it does not open the seal")
    return problems


def joined(sealed: Sequence[Sealed]) -> bytes:
    """SHA-256("assay/joint/1", then party 0x00 nonce of each, by party), 32 bytes: random if one nonce is."""
    h = hashlib.sha256(b"assay/joint/1")
    for party, nonce in sorted((s.seal.party, s.nonce) for s in sealed):
        h.update(b"\x00" + party.encode() + b"\x00" + nonce.encode())
    return h.digest()


def seals_digest(sealed: Sequence[Sealed]) -> str:
    """The digest of all seals, without the nonces: it stands in the signed registration."""
    return digest([msgspec.to_builtins(s.seal) for s in sealed])


def _subject(name: str, agreed: str) -> list[dict[str, Any]]:
    return [{"name": f"plan {name}", "digest": {"sha256": agreed.removeprefix("sha256:")}}]


T = TypeVar("T")


def read_coin(seals: Sequence[Path], nonces: Sequence[Path]) -> Coin:
    """Seals and nonces from their files. Raises `PlanError`."""
    return Coin(tuple(_read(path, Seal) for path in seals), tuple(_read(path, Nonce) for path in nonces))


def _read(path: Path, kind: type[T]) -> T:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_BYTES), type=kind)
    except OSError as e:
        raise PlanError(f"cannot read this: {e.strerror}", where=str(path)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise PlanError(f"this is no {kind.__name__.lower()}: {e}", where=str(path)) from None
