"""One file that carries everything an outsider needs: JSON Lines, every line in canonical form, so that every byte counts.

line 1      {"kind": "assay-bundle", ...}       format and version
then        key, plan, policy, catalog, nonce, seals, target, opened, labels (people's, each time that the run took some in)
then        {"count": N, "kind": "trials"} and N trials, one leaf of the Merkle tree a line
last        incidents, test-result, decision

summary = write_bundle(run, key, ended="complete", path=Path("evidence.jsonl"))
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from assay.decision import Decision, Gate, registered_first
from assay.errors import AssayError, EvidenceError, RunFileError
from assay.evidence.statements import evidence_of, opened_leaf, sign_decision, sign_opened, sign_test_result
from assay.judges import Taken, Told, settle, told
from assay.ledger import Envelope, MerkleTree, PrivateKey, PublicKey, canonical, digest, digest_bytes, open_envelope
from assay.plan import Plan, Sealed, check_plan, seals_digest
from assay.plan.policy import Policy
from assay.plan.policy_check import require_policy
from assay.runs import Opening, ReadRun, RunStore, Trial, read_labels, read_leaf, whole_file
from assay.runs.reading import every_label

FORMAT = "assay-bundle/3"
HEAD = ("assay-bundle", "key", "plan", "policy", "catalog", "nonce", "seals", "target", "opened", "labels", "trials")
TAIL = ("incidents", "test-result", "decision")


class Summary(Struct, frozen=True):
    """What a bundle says, for the one who made it."""

    decision: Decision
    root: str
    items: str
    trials: int
    ended: str
    path: Path


def open_run(
    plan: Plan, catalog: Any, target: dict[str, str], nonce: bytes, key: PrivateKey, replayed: Opening | None = None,
    sealed: tuple[Sealed, ...] = (), policy: Policy | None = None,
) -> Opening:  # fmt: skip
    """Sign the registration of a run that is about to begin; `replayed` is that of the run whose transcripts it judges again, `sealed` what
    the nonce was tossed from, `policy` what the plan must meet. Raises `PolicyError` if it does not, `PlanError` for a plan that cannot be
    decided on.
    """
    check_plan(plan)
    if policy is not None:
        require_policy(policy, plan)
    seals = seals_digest(sealed) if sealed else ""
    earlier, wanted = digest(replayed.opened) if replayed else "", policy.digest if policy else ""
    opened = sign_opened(key, plan, target, nonce, _now_ms(), earlier, seals, wanted)
    return Opening(plan, catalog, nonce.hex(), target, opened.to_json(), key.public.to_json(), sealed, policy)


def committed(run: ReadRun) -> Iterator[tuple[Trial, bytes]]:
    """The trials that count: the unbroken run of slots from 0. What lies beyond a gap was in flight and waits for the run to go on."""
    for expected, (slot, leaf) in enumerate(run.leaves()):
        if slot != expected:
            return
        yield read_leaf(leaf), leaf


class Recount:
    """Decision, Merkle root and digest of the items, recomputed trial by trial."""

    def __init__(self, opening: Opening, taken: Sequence[Taken] = ()) -> None:
        known = told(taken, opening.plan.labels.people)
        told_last = known[-1][1] if known else Told()
        self.truth = told_last.truth
        registration = registered_first(opening.plan, opening.target, opening.seals)
        self.gate = Gate(opening.plan, opening.seed, told_last, registration=registration)
        self._tree = MerkleTree()
        self._tree.append(opened_leaf(opening.opened))
        self._items = hashlib.sha256()

    def add(self, trial: Trial, leaf: bytes) -> None:
        """The next committed trial."""
        self._tree.append(leaf)
        self._items.update(trial.item.encode())
        self.gate.add(trial.stream, trial.index, trial.outcome)

    @property
    def root(self) -> str:
        """Of the tree over registration and trials."""
        return f"sha256:{self._tree.root().hex()}"

    @property
    def items(self) -> str:
        """SHA-256 over the items' digests."""
        return f"sha256:{self._items.hexdigest()}"


def decide(run: RunStore) -> Decision:
    """The decision on what is committed, recomputed from the run and all labels beside it, taken in or not."""
    opening = run.opening()
    taken = run.taken()
    known = told(taken, opening.plan.labels.people)
    truth = settle(every_label(taken, read_labels(run)), opening.plan.labels.people).truth
    registration = registered_first(opening.plan, opening.target, opening.seals)
    gate = Gate(opening.plan, opening.seed, Told(truth, known[-1][1].calibrated if known else ()), registration=registration)
    for trial, _ in committed(run):
        gate.add(trial.stream, trial.index, trial.outcome)
    return gate.decision()


def write_bundle(
    run: RunStore, key: PrivateKey, ended: str, path: Path, counting: Callable[[Opening, Recount], Callable[[Trial], None]] | None = None
) -> Summary:
    """Decide, sign, and write the bundle; the file appears whole or not at all. Raises `RunFileError` if it cannot be written.

    `counting` is told of opening and recount, and what it returns of every committed trial, so that a report need not read the run again.
    """
    opening = run.opening()
    if opening.public_key != key.public.to_json():
        raise RunFileError(
            "the run was opened with another signing key",
            where=str(run.path),
            fix="Sign with the key that registered the plan (--key).",
        )
    try:
        with whole_file(path) as out:
            summary = _write(run, opening, key, ended, path, out.write, counting)
    except OSError as e:
        raise RunFileError(f"cannot write the bundle: {e.strerror}", where=str(path)) from None
    return summary


def _write(run: RunStore, opening: Opening, key: PrivateKey, ended: str, path: Path, write: Any, counting: Any) -> Summary:
    trials = run.unbroken()
    taken = run.taken()
    head = {
        "assay-bundle": FORMAT,
        "key": opening.public_key,
        "plan": opening.plan.to_json(),
        "policy": opening.policy.to_json() if opening.policy else None,
        "catalog": opening.catalog.to_json(),
        "nonce": opening.nonce,
        "seals": msgspec.to_builtins(opening.seals),
        "target": opening.target,
        "opened": opening.opened,
        "labels": msgspec.to_builtins(taken),
    }
    for kind, value in head.items():
        write(line(kind, value))
    write(canonical({"kind": "trials", "count": trials}) + b"\n")
    recount = Recount(opening, taken)
    count = counting(opening, recount) if counting else None
    for trial, leaf in committed(run):
        write(leaf + b"\n")
        recount.add(trial, leaf)
        if count:
            count(trial)
    decision = recount.gate.decision()
    if decision.trials != trials:
        raise RunFileError(f"the run file changed while it was read: {decision.trials} trials, then {trials}", where=str(run.path))
    incidents = run.incidents()
    labels = digest(head["labels"])
    at = _closed_before(path, key.public, recount.root, labels, ended) or _now_ms()
    evidence = evidence_of(opening.plan, recount.root, trials, recount.items, labels, digest(incidents), ended, at)
    write(line("incidents", incidents))
    write(line("test-result", sign_test_result(key, opening.plan, opening.target, decision, evidence).to_json()))
    write(line("decision", sign_decision(key, opening.target, decision, evidence).to_json()))
    return Summary(decision, recount.root, recount.items, trials, ended, path)


def _closed_before(path: Path, key: PublicKey, root: str, labels: str, ended: str) -> int | None:
    """When the bundle that is there closed these very trials and labels: a run that goes on with nothing left to do grows no younger."""
    try:
        said = open_envelope(msgspec.json.decode(last_line(path))["value"], key)["predicate"]["evidence"]
        same = (said["merkleRoot"], said["labelsDigest"], said["ended"]) == (root, labels, ended)
        return int(said["at"]) if same else None
    except (OSError, LookupError, TypeError, ValueError, msgspec.MsgspecError, AssayError):
        return None


def read_summary(path: Path) -> Summary | None:
    """What a bundle of our own says of itself, unverified; None if there is no readable bundle at `path`."""
    if not path.is_file():
        return None
    try:
        last = msgspec.json.decode(last_line(path))
        predicate = msgspec.json.decode(Envelope.from_json(last["value"]).payload)["predicate"]
        evidence = predicate["evidence"]
        decision = msgspec.convert(predicate["decision"], Decision)
        return Summary(decision, evidence["merkleRoot"], evidence["itemsDigest"], evidence["trials"], evidence["ended"], path)
    except (OSError, IndexError, KeyError, TypeError, msgspec.MsgspecError, AssayError):
        return None


def last_line(path: Path, most: int = 1 << 26) -> bytes:
    """The last line of a file, without reading what is before it; at most so many bytes of it. Raises `OSError`."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        length = 65_536
        while True:
            file.seek(max(0, size - length))
            lines = file.read(length).splitlines()
            if len(lines) > 1 or length >= min(size, most):
                return lines[-1] if lines else b""
            length *= 4


def line(kind: str, value: Any) -> bytes:
    """One section of the bundle."""
    return canonical({"kind": kind, "value": value}) + b"\n"


class BundleReader:
    """Reads sections in their order; each problem names the line."""

    def __init__(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError as e:
            raise EvidenceError(f"cannot read the bundle: {e.strerror}", where=str(path)) from None
        self.digest = digest_bytes(data)
        self._lines = data.split(b"\n")
        self._path = path
        self.number = 0
        self.ends_properly = self._lines[-1] == b"" and len(self._lines) > 1
        if self.ends_properly:
            self._lines.pop()

    @property
    def left(self) -> int:
        """Lines not read yet."""
        return len(self._lines) - self.number

    def next_line(self) -> bytes:
        """The next line. Raises `EvidenceError` at the end."""
        if self.left == 0:
            raise EvidenceError("the bundle ends too soon", where=f"line {self.number + 1}")
        self.number += 1
        return self._lines[self.number - 1]

    def section(self, kind: str, *, field: str = "value") -> Any:
        """The value of the next section, which must be `kind` and canonical. Raises `EvidenceError`."""
        raw = self.next_line()
        where = f"line {self.number} ({kind})"
        try:
            found = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise EvidenceError("not JSON", where=where) from None
        if not isinstance(found, dict) or found.get("kind") != kind or set(found) != {"kind", field}:
            raise EvidenceError(f"expected the section '{kind}'", where=where)
        if canonical(found) != raw:
            raise EvidenceError("not in canonical form", where=where)
        return found[field]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
