"""What is known of which model was tested, and what that is worth.

    level = identity_level(target)                                   # weights, provider-statement or endpoint
    checked = check_statement(envelope, target, keyid=pinned, times=(opened, ended))
    level = identity_level(target, statement=checked.statement)
    level.name, level.shows, level.leaves

Three levels, strongest first. `weights`: the evaluator ran them and knows their SHA-256. `provider-statement`: the provider has signed what
it serves under the name. `endpoint`: a name, and nothing more. A fingerprint does not raise the level; it can only show a change.
Checks return what does not hold as findings; an empty list is the only pass. Nothing here asks a target; the clock comes as an argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from assay.errors import IdentityError
from assay.evidence.provider import MAX_DAYS, ProviderStatement, SignedStatement, open_signed
from assay.evidence.signature import Manifest, open_signature
from assay.evidence.verify import Finding
from assay.runs.fingerprint import Fingerprint
from assay.stats.equality import PERMUTATIONS, Equality, compare_answers

LevelName = Literal["weights", "provider-statement", "endpoint"]
LEVEL = 0.01
"""The chance that two fingerprints of the same model are called different, unless told otherwise."""


class Level(Struct, frozen=True):
    """How well the tested model is known. `shows` says what follows, `leaves` what still has to be believed; `also` names what else is at
    hand (a signature, a fingerprint) and what that adds.
    """

    name: LevelName
    shows: str
    leaves: str
    also: tuple[str, ...] = ()


WEIGHTS = Level(
    "weights",
    "The evaluator ran these weights itself. Whoever holds a file with this SHA-256 holds the tested model.",
    "That runtime, chat template and decoding in use are those of the test.",
)
STATEMENT = Level(
    "provider-statement",
    "The provider has signed what it serves under this name at this endpoint, for how long, and what it announces before a change.",
    "The provider's word: nothing shows which weights answered. It can be held to what it signed.",
)
ENDPOINT = Level(
    "endpoint",
    "Something answered under this name.",
    "Everything: whoever runs the endpoint can put another model behind the name at any time, and the name does not show it.",
)


def identity_level(
    target: Mapping[str, str],
    *,
    statement: ProviderStatement | None = None,
    signed: Manifest | None = None,
    fingerprint: Fingerprint | None = None,
) -> Level:
    """The level of a target's identity record, with what was checked before: a `statement` without findings, a manifest `signed` by the
    developer without findings, a `fingerprint` that is kept.

    A record with a url was answered from afar, so a digest in it is a claim and counts for nothing.
    """
    also = []
    level = WEIGHTS if knows_weights(target) else ENDPOINT if statement is None else STATEMENT
    if signed is not None and level is WEIGHTS:
        also.append(f"The developer signed these weights as '{signed.name}', with the key {signed.key[:16]}...")
    if fingerprint is not None:
        also.append(
            f"A fingerprint of {fingerprint.calls} answers is kept ({fingerprint.digest[:19]}...): another one, taken later, can show that "
            "the model changed, never that it did not."
        )
    return Level(level.name, level.shows, level.leaves, tuple(also))


def knows_weights(target: Mapping[str, str]) -> bool:
    """Whether the evaluator ran the weights: a SHA-256 in the record of a target that was not reached by an address."""
    return target.get("digest", "").startswith("sha256:") and not target.get("url")


def statement_keys(signed: SignedStatement) -> dict[str, str]:
    """What goes into a target's identity record when a run is opened with a statement: its digest and key id, the version, and the weights
    that the provider claims (left out where it claims none). None is called `digest`, which is for weights that the evaluator knows.
    """
    said = signed.statement
    keys = {"providerStatement": signed.digest, "providerKey": signed.keyid, "providerVersion": said.version}
    return keys | ({"providerWeights": said.weights} if said.weights else {})


@dataclass(frozen=True, slots=True)
class CheckedStatement:
    """`signed` is None where the signature does not hold, `statement` unless there are no findings at all."""

    signed: SignedStatement | None
    statement: ProviderStatement | None
    findings: tuple[Finding, ...]


def check_statement(envelope: Any, target: Mapping[str, str], *, keyid: str, times: Sequence[int]) -> CheckedStatement:
    """Check a provider's statement (its DSSE envelope, a JSON value) against a target's identity record. `keyid` is the provider's key id,
    or its first 16 characters or more, got by another channel; `times` (Unix ms) are when the target was asked, from first to last, or
    when it is to be used.
    """
    found: list[Finding] = []
    try:
        signed = open_signed(envelope)
    except IdentityError as e:
        return CheckedStatement(None, None, (Finding("provider statement", "signature", e.what),))
    said = signed.statement

    def failed(where: str, what: str) -> None:
        found.append(Finding("provider statement", where, what))

    if len(keyid) < 16 or not signed.keyid.startswith(keyid.lower()):
        failed("key", f"signed by {signed.keyid}, not by {keyid or 'a key that was named'}")
    if not 0 < said.days <= MAX_DAYS:
        failed("time", f"it claims to hold for {said.days:g} days; more than {MAX_DAYS} are no statement")
    if not times:
        failed("time", "no time to hold it against")
    for at in (min(times), max(times)) if times else ():
        if not said.since <= at <= said.until:
            failed("time", f"it holds from {when(said.since)} until {when(said.until)}, not on {when(at)}")
            break
    if said.model != target.get("model"):
        failed("model", f"it speaks of '{said.model}', the target is '{target.get('model', '')}'")
    if not target.get("url") or _address(said.endpoint) != _address(target["url"]):
        failed("endpoint", f"it speaks of {said.endpoint}, the target is at {target.get('url') or 'no address'}")
    kept = target.get("providerStatement", "")
    if kept and kept != signed.digest:
        failed("target", f"the run was opened with another statement ({kept[:19]}...) than this ({signed.digest[:19]}...)")
    return CheckedStatement(signed, None if found else said, tuple(found))


@dataclass(frozen=True, slots=True)
class CheckedWeights:
    """`manifest` is None unless there are no findings."""

    manifest: Manifest | None
    findings: tuple[Finding, ...]


def check_signed_weights(signature: Any, public_key: bytes, target: Mapping[str, str]) -> CheckedWeights:
    """Check an OpenSSF Model Signing v1.0 signature without the weights: that the holder of `public_key` (PEM, ECDSA) signed it, and that
    the digest in the target's identity record is among what it lists.

    `signature` is what stands in the signature's file (a Sigstore bundle), or its DSSE envelope alone, as JSON values. The files themselves
    are checked by `assay.evidence.weights.verify_weights`, where they are.
    """
    try:
        manifest = open_signature(signature, public_key)
    except IdentityError as e:
        return CheckedWeights(None, (Finding("signed weights", e.where or "signature", e.what),))
    wanted = target.get("digest", "")
    if not wanted.startswith("sha256:"):
        return CheckedWeights(None, (Finding("signed weights", "target", "the target shows no digest of weights"),))
    if not manifest.holds(wanted):
        what = f"{wanted} is none of the {len(manifest.files)} digests that '{manifest.name}' was signed with"
        return CheckedWeights(None, (Finding("signed weights", "target", what),))
    return CheckedWeights(manifest, ())


@dataclass(frozen=True, slots=True)
class CheckedFingerprint:
    """`verdict` is `same` as far as was seen, or `different`; `why` says it in words. `equality` has the numbers where the test was needed:
    at temperature 0 an answer that differs is enough. `findings` are why it is different, `notes` what else is worth knowing.
    """

    verdict: Literal["same", "different"]
    why: str
    equality: Equality | None
    mismatched: tuple[str, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def check_fingerprint(
    approved: Fingerprint,
    shown: Fingerprint,
    *,
    level: float = LEVEL,
    permutations: int = PERMUTATIONS,
    target: Mapping[str, str] | None = None,
    digest: str = "",
) -> CheckedFingerprint:
    """Whether `shown` may come from the model that `approved` came from: the two-sample test of `assay.stats.equality` at `level`.

    The permutations are drawn from both digests, so that nobody can choose them and anybody gets the same p-value. With a `target`, `shown`
    must be that target's; with a `digest`, `approved` must be the fingerprint that was kept under it. Raises `IdentityError` where the two
    cannot be compared (other probes, other decoding, seeds in common) or where so few answers could never show a difference at this level.
    """
    _comparable(approved, shown, level)
    found: list[Finding] = []
    if digest and digest != approved.digest:
        found.append(Finding("fingerprint", "approved", f"the one that was kept is {digest}, this is {approved.digest}"))
    if target is not None and any(shown.target.get(k, "") != target.get(k, "") for k in ("kind", "model", "url", "digest")):
        found.append(Finding("fingerprint", "target", "the fingerprint is of another target"))
    if _same_place(approved.target, shown.target) and approved.models and shown.models and not set(approved.models) & set(shown.models):
        named = f"the endpoint calls its model '{shown.models[0]}' now, '{approved.models[0]}' before"
        found.append(Finding("fingerprint", "model", named))
    pairs = list(zip(approved.asked, shown.asked, strict=True))
    equality = None
    if approved.decoding.temperature == 0:
        differ = tuple(a.probe.id for a, b in pairs if a.answers[0].compared != b.answers[0].compared)
        why = f"At temperature 0, {len(differ)} of {len(pairs)} probes have another answer."
        if differ:
            found.append(Finding("fingerprint", "answers", why))
    else:
        one, two = sorted((approved, shown), key=lambda f: f.digest)  # so that the outcome does not depend on which was first
        seed = int.from_bytes(sha256(f"{one.digest}/{two.digest}".encode()).digest()[:8], "big")
        equality = compare_answers(one.texts(), two.texts(), seed=seed, permutations=permutations)
        if equality.smallest > level and equality.constant < len(pairs):
            raise IdentityError(
                f"so few answers could never show a difference at level {level:g} (the smallest p-value is {equality.smallest:.2g})",
                fix="Take fingerprints with more samples.",
            )
        differ = tuple(pairs[i][0].probe.id for i in equality.mismatched)
        why = f"p = {equality.p_value:.4g} at level {level:g}, on {approved.calls} and {shown.calls} answers to {len(pairs)} probes."
        if equality.p_value <= level:
            found.append(Finding("fingerprint", "answers", f"the answers have other distributions: {why}"))
    return CheckedFingerprint("different" if found else "same", why, equality, differ, tuple(found), _notes(approved, shown))


def _comparable(approved: Fingerprint, shown: Fingerprint, level: float) -> None:
    if not 0 < level <= 0.5:
        raise IdentityError(f"a level is above 0 and at most 0.5, not {level:g}")
    if [a.probe for a in approved.asked] != [a.probe for a in shown.asked]:
        raise IdentityError("they are answers to other probes", fix="Take both with the same version of Assay.")
    mine, other = approved.decoding, shown.decoding
    if (mine.temperature, mine.max_tokens) != (other.temperature, other.max_tokens):
        raise IdentityError(
            f"they were decoded otherwise: temperature {mine.temperature:g} and {mine.max_tokens} tokens, {other.temperature:g} and "
            f"{other.max_tokens}",
            fix="Take both with the same --temperature and --max-tokens.",
        )
    if mine.temperature == 0 and not (approved.settled and shown.settled):
        raise IdentityError(
            "at temperature 0 the endpoint is not seen to answer always the same, and what moves one answer moves many at once: neither "
            "equality nor the test can be asked for",
            fix="Take both at a temperature above 0, or ask at least twice if each probe was asked once only.",
        )
    if mine.temperature and abs(mine.seed - other.seed) < max(approved.calls, shown.calls):
        raise IdentityError("they share decoding seeds, so their answers are not independent", fix="Take one of them with another --seed.")


def _notes(approved: Fingerprint, shown: Fingerprint) -> tuple[str, ...]:
    notes = []
    if set(approved.systems) != set(shown.systems):
        notes.append("The endpoint gives another system fingerprint: it says itself that something about its serving changed.")
    if any(t.failure for f in (approved, shown) for a in f.asked for t in a.answers):
        notes.append("Some probes were refused by the endpoint itself; a refusal counts as an answer of its own.")
    mine, other = approved.target.get("digest", ""), shown.target.get("digest", "")
    if mine and other and mine != other:
        notes.append("Their weights are known, and differ.")
    return tuple(notes)


def _same_place(a: Mapping[str, str], b: Mapping[str, str]) -> bool:
    return all(a.get(k, "") == b.get(k, "") for k in ("kind", "model", "url"))


def _address(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path; what a client adds to the path is left out. Raises nothing: what is no address equals only itself."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
        path = parts.path.rstrip("/").removesuffix("/chat/completions")
        if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
            return "", url, 0, ""
    except ValueError:
        return "", url, 0, ""
    return parts.scheme, parts.hostname, port, path


def when(ms: int) -> str:
    """A time for people, in UTC."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, OSError, ValueError):
        return f"{ms} ms"
