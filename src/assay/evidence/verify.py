"""Recompute everything in a bundle, from the bundle alone.

    report = verify_bundle(Path("evidence.jsonl"))
    report.ok, report.findings

Nothing is believed that can be recomputed: signatures, digests, the seed, every item, every judgement that is a program, the schedule, the
streams, the Merkle root, the decision. What remains to be believed is said in `Report.trusted`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec

from assay.attacks import ATTACKS
from assay.catalog import Catalog, Openers
from assay.decision import Decision, Scheduler, registered_first
from assay.errors import AssayError, PlanError, SealedBankError
from assay.evidence.bundle import FORMAT, BundleReader
from assay.evidence.card import report_card
from assay.evidence.heldout import HeldOut
from assay.evidence.statements import DECISION, TEST_RESULT, evidence_of, opened_leaf, subject, test_result
from assay.judges import JUDGE, READER, Answer, Label, Taken, is_read, panel_digests, played, shrunk, told, transcript_digest, verdict_on
from assay.ledger import MerkleTree, PublicKey, canonical, digest, open_envelope
from assay.plan import (
    NONCE_BYTES,
    RECORDED,
    SOURCE,
    Plan,
    Sealed,
    check_plan,
    check_sealed,
    in_force,
    joined,
    revived,
    run_seed,
    seals_digest,
)
from assay.plan.policy import Policy, problems
from assay.plan.policy_check import check_policy
from assay.runs import Ended, Trial, read_leaf
from assay.runs.registered import OPENED
from assay.scenarios import ItemBuilder

MAX_FINDINGS = 50
NO_PARTIES: Mapping[str, str] = {}
NO_OPENERS = Openers()
CLOCK_SLACK_MS = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold: which check, where, and what."""

    check: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.check}: {self.where}: {self.what}" if self.where else f"{self.check}: {self.what}"


@dataclass(slots=True)
class Report:
    """The outcome of a verification. `checks` lists what was recomputed, with a count or digest each; `bundle` is the digest of the bytes
    that were verified, `opened` the signed registration, `evidence` what the decision's statement says it rests on.
    """

    checks: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    decision: Decision | None = None
    plan: Plan | None = None
    policy: Policy | None = None
    target: dict[str, str] = field(default_factory=dict)
    keyid: str = ""
    bundle: str = ""
    root: str = ""
    opened: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    ended: str = ""
    newest: int = 0
    seals: tuple[Sealed, ...] = ()
    expected_parties: dict[str, str] = field(default_factory=dict)
    trusted: tuple[str, ...] = (
        "that the key belongs to the evaluator you think (compare the key id by another channel)",
        "that the answers came from the named target (the evaluator's word; model identity is attested, not proven)",
        "that the nonce was not chosen, and no other run of this plan dropped (a single party's nonce prevents neither)",
    )

    @property
    def ok(self) -> bool:
        """Whether everything held."""
        return not self.findings

    def __repr__(self) -> str:
        """One line; what was found is in `findings`."""
        holds = "holds" if self.ok else "does not hold"
        return f"<Report {holds}, {len(self.checks)} checks, {len(self.findings)} findings, key {self.keyid[:16]}>"

    def _repr_html_(self) -> str:
        """As notebooks show it."""
        return report_card(self)

    def passed(self, check: str, detail: str) -> None:
        """Note a check that held."""
        self.checks.append((check, detail))

    def failed(self, check: str, where: str, what: str) -> None:
        """Note one that did not; the list is bounded."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(check, where, what))


class _Stop(Exception):  # noqa: N818 (control flow: nothing further can be checked)
    """Nothing further can be checked."""


def verify_bundle(
    path: Path, *, expected_key: str = "", parties: Mapping[str, str] = NO_PARTIES, openers: Openers = NO_OPENERS
) -> Report:  # fmt: skip
    """Check a bundle. `expected_key` is a key id (or its beginning, 16 characters or more) that must have signed it; `parties` are names
    of those who must have sealed the plan, each with the id of its key. Items of sealed banks are rebuilt only with their `openers`.

    Raises `EvidenceError` only if the file cannot be read at all, `SealedBankError` if the openers open nothing; all else is a finding.
    """
    report = Report(expected_parties=dict(parties))
    reader = BundleReader(path)
    report.bundle = reader.digest
    try:
        _Verifier(reader, report, openers).run(expected_key)
    except _Stop:
        pass
    except SealedBankError:
        raise
    except AssayError as e:
        report.failed("format", e.where or f"line {reader.number}", e.what)
    except Exception as e:  # noqa: BLE001 (whoever signs also chooses plan and content: nothing there may end the audit without a finding)
        report.failed("format", f"line {reader.number}", f"cannot be processed ({type(e).__name__}: {str(e)[:200]})")
    return report


class _Verifier:
    def __init__(self, reader: BundleReader, report: Report, openers: Openers) -> None:
        self._openers = openers
        self._reader = reader
        self._report = report

    def run(self, expected_key: str) -> None:
        self._head(expected_key)
        self._trials()
        self._tail()

    # The sections before the trials

    def _head(self, expected_key: str) -> None:
        reader, report = self._reader, self._report
        if not reader.ends_properly:
            report.failed("format", f"line {reader.left}", "the last line does not end with a newline")
        version = reader.section("assay-bundle")
        if version != FORMAT:
            report.failed("format", "line 1", f"the format is {version!r}, not {FORMAT}")
            raise _Stop
        self._key = self._part("key", PublicKey.from_json, "key")
        report.keyid = self._key.keyid
        if expected_key and (len(expected_key) < 16 or not self._key.keyid.startswith(expected_key.lower())):
            report.failed("key", f"line {reader.number}", f"signed by {self._key.keyid}, not by {expected_key}")
        self._plan = report.plan = self._part("plan", lambda v: msgspec.convert(v, Plan), "plan")
        if canonical(self._plan.to_json()) != self._raw():
            report.failed("plan", f"line {reader.number}", "the plan does not read back to itself")
        try:
            check_plan(self._plan)
        except PlanError as e:
            report.failed("plan", f"line {reader.number} ({e.where})", e.what)
        self._check_policy()
        self._catalog = self._part("catalog", Catalog.from_json, "content")
        if self._catalog.digest != self._plan.catalog:
            report.failed(
                "content",
                f"line {reader.number}",
                f"digest {self._catalog.digest} is not the plan's {self._plan.catalog}",
            )
            raise _Stop
        self._held = HeldOut(report, self._plan, self._catalog, self._openers, f"line {reader.number} (catalog)")
        self._nonce = self._part("nonce", _nonce, "seed")
        self._seals = report.seals = self._part("seals", lambda v: msgspec.convert(v, tuple[Sealed, ...]), "seals")
        self._check_seals()
        self._target = report.target = self._part("target", lambda v: msgspec.convert(v, dict[str, str]), "target")
        self._opened()
        self._judges()
        self._taken = self._part("labels", lambda v: msgspec.convert(v, tuple[Taken, ...]), "labels")
        self._labels_digest = digest(self._value)
        self._by_slot: dict[int, list[Label]] = {}
        for label in (label for taken in self._taken for label in taken.labels):
            self._by_slot.setdefault(label.slot, []).append(label)
        self._check_labels()

    def _check_policy(self) -> None:
        """The plan asks for all that the policy does, if the run was opened under one."""
        policy = self._policy = self._report.policy = self._part("policy", lambda v: msgspec.convert(v, Policy | None), "policy")
        where = f"line {self._reader.number} (policy)"
        if policy is None:
            return
        if canonical(policy.to_json()) != self._raw():
            self._report.failed("policy", where, "the policy does not read back to itself")
        for what, path in problems(policy):
            self._report.failed("policy", where, f"{path}: {what}")
            return
        for shortfall in check_policy(policy, self._plan):
            self._report.failed("policy", where, f"the plan asks for less: {shortfall}")
        if self._report.ok:
            self._report.passed("plan meets the policy", f"{policy.id} {policy.version}, {policy.digest}")

    def _judges(self) -> None:
        """The panel's identities, which calibrations hold for, follow from plan and content."""
        judges = self._plan.judges
        if judges is None:
            return
        wanted = panel_digests(self._plan, self._catalog)
        if judges.digests != wanted:
            self._report.failed(
                "judges", f"line {self._reader.number}", "the panel's digests do not follow from the plan's judges and rubrics"
            )
        if sorted(judges.hazards) != sorted(h.id for h in self._catalog.hazards.values() if h.check == "none"):  # content has no order
            self._report.failed("judges", f"line {self._reader.number}", "the judged hazards are not those of the content")

    def _check_labels(self) -> None:
        """Labels are numbered without a gap, and each time taken in later than the time before."""
        where = f"line {self._reader.number} (labels)"
        numbers = [label.number for taken in self._taken for label in taken.labels]
        if numbers != list(range(1, len(numbers) + 1)):
            self._report.failed("labels", where, "their numbers are not 1, 2, 3 ...: some are missing, or out of order")
        slots = [taken.slot for taken in self._taken]
        if slots != sorted(slots) or any(label.slot >= taken.slot for taken in self._taken for label in taken.labels):
            self._report.failed("labels", where, "labels of trials that were not made yet, or taken in out of order")
        judges = self._plan.judges
        known = list(in_force(judges)) if judges else []
        for taken in self._taken:
            if any(source.run == digest(self._opened_value) for source in taken.sources):
                self._report.failed("labels", where, "a calibration was counted on this very run, whose labels count already")
            for row in revived(judges, taken.calibrated) if judges else ():
                what = f"the plan's calibration is void, and a later one may count it again: {row.hazard} in {row.language} ({row.arm})"
                self._report.failed("labels", where, what)
            for place in shrunk(known, taken.calibrated):
                self._report.failed("labels", where, f"a later calibration has fewer labels than one before it: {place}")
            known += taken.calibrated
        self._labelled = 0

    def _check_seals(self) -> None:
        """Everybody's seal is signed and of this plan, every nonce opens its seal, and the run's nonce is tossed from all of them."""
        report, where = self._report, f"line {self._reader.number} (seals)"
        for party, key in report.expected_parties.items():
            held = [s for s in self._seals if s.seal.party == party]
            if not held:
                report.failed("seals", where, f"'{party}' has not sealed")
            elif not held[0].seal.key.get("keyid", "").startswith(key.lower()) or len(key) < 16:
                report.failed("seals", where, f"'{party}' sealed with the key {held[0].seal.key.get('keyid')}, not with {key}")
        if not self._seals:
            return
        for problem in check_sealed(self._plan, self._seals):
            report.failed("seals", where, problem)
        if joined(self._seals) != self._nonce:
            report.failed("seals", where, "the run's nonce is not tossed from the parties' nonces")
        parties = ", ".join(f"{s.seal.party} ({s.seal.key.get('keyid', '')[:16]}...)" for s in self._seals)
        if report.ok:
            report.passed("nonce tossed by all parties", parties)
        report.trusted = (
            *report.trusted[:2],
            f"that these parties do not act as one, and that their keys are theirs: {parties}",
            "that no other run of this plan was dropped (a log that both parties witness shows it)",
        )

    def _opened(self) -> None:
        reader, report = self._reader, self._report
        self._opened_value = report.opened = reader.section("opened")
        where = f"line {reader.number} (opened)"
        statement = self._statement(self._opened_value, OPENED, "registration", where)
        predicate = statement["predicate"]
        wanted = {
            "planDigest": self._plan.digest,
            "catalogDigest": self._plan.catalog,
            "nonceDigest": digest(self._nonce.hex()),
            "target": self._target,
        }
        if self._policy is not None or "policyDigest" in predicate:
            wanted["policyDigest"] = self._policy.digest if self._policy else ""
        if self._seals or "sealsDigest" in predicate:
            wanted["sealsDigest"] = seals_digest(self._seals)
        for name, value in wanted.items():
            if predicate.get(name) != value:
                report.failed("registration", where, f"{name} is {predicate.get(name)!r}, the bundle's is {value!r}")
        self._opened_at = predicate.get("at")
        if not isinstance(self._opened_at, int):
            report.failed("registration", where, "no time")
            self._opened_at = 2**62
        for sealed in self._seals:
            if sealed.seal.at > self._opened_at + CLOCK_SLACK_MS:
                report.failed("seals", where, f"'{sealed.seal.party}' sealed too late: after the run had opened")
        self._recorded(where)
        self._source()
        self._replayed = "replayOf" in predicate
        if self._replayed:
            report.trusted += (f"that the transcripts are those of the earlier run {predicate['replayOf']}, judged again here",)
        if report.ok:
            report.passed("plan registered before the first trial", self._plan.digest)
            report.passed("content is the plan's", self._plan.catalog)
            report.passed("seed from plan and nonce", digest(self._nonce.hex()))

    def _recorded(self, where: str) -> None:
        """Answers that were there before the run: plan and identity agree on it, and they are not younger than what names them."""
        report, made = self._report, self._target.get("made", "")
        kinds = {self._plan.target.kind, self._target.get("kind", "")}
        if RECORDED not in kinds:
            return
        if len(kinds) > 1:
            report.failed("target", where, f"the plan's target is {self._plan.target.kind!r}, its identity {self._target.get('kind')!r}")
        if made.isdecimal() and int(made[:20]) > self._opened_at + CLOCK_SLACK_MS:
            report.failed("registration", where, "the recorded answers are younger than the registration that names them")
        report.trusted += (
            f"that the answers are those of {self._target.get('log', 'a log')[:200]}, begun when it says (whoever has the log can compare)",
        )

    def _source(self) -> None:
        """Whether another tool plays the samples: then a trial has turns, and the scorer's word is taken from it."""
        judges, target = self._plan.judges, self._target
        self._played = any(judge.target.kind == SOURCE for judge in judges.panel) if judges else False
        pinned = {judge.target.digest for judge in judges.panel if judge.target.kind == SOURCE} if judges else set()
        if not self._played:
            return
        if pinned != {target.get("source_samples", "")}:
            self._report.failed("target", "opened", "the samples that the plan is pinned to are not those of the target's record")
        tool = f"{target.get('source_packages', '')} ({target.get('source_task', '')})"[:300]
        self._report.trusted += (
            f"that {tool} showed the target what its samples hold, and gave the scores that are recorded (whoever has it can play again)",
        )

    # The trials

    def _trials(self) -> None:
        reader, report = self._reader, self._report
        count = reader.section("trials", field="count")
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= reader.left:
            report.failed("format", f"line {reader.number} (trials)", f"{count!r} trials cannot follow")
            raise _Stop
        seed = run_seed(self._plan.digest, self._nonce)
        builder = ItemBuilder.for_plan(self._plan, self._catalog, seed, ATTACKS, self._held.opened)
        registration = registered_first(self._plan, self._target, self._seals)
        self._scheduler = Scheduler(self._plan, seed, told(self._taken, self._plan.labels.people), registration)
        self._tree, self._items = MerkleTree(), hashlib.sha256()
        self._tree.append(opened_leaf(self._opened_value))
        self._ended_at = self._newest = self._cached = self._adaptive = 0
        before = len(report.findings)
        for number in range(count):
            self._trial(number, reader.next_line(), builder)
            if len(report.findings) >= MAX_FINDINGS:
                report.failed("format", "", f"more than {MAX_FINDINGS} findings; the rest is not listed")
                raise _Stop
        self._count = count
        self._held.trust()
        if self._cached:
            report.trusted += (f"that {self._cached} answers, taken from a cache, are what the target once said to the same requests",)
        if self._adaptive:
            report.trusted += (
                f"that the attacker wrote the prompts of {self._adaptive} adaptive trials as recorded (they cannot be rebuilt)",
            )
        total = sum(len(taken.labels) for taken in self._taken)
        if self._labelled != total:
            report.failed("labels", "", f"{total - self._labelled} labels of trials that are not there")
        if total:
            report.trusted += (f"that {total} labels are what people said who knew neither the judge's verdict nor each other's",)
        if self._plan.judges:
            report.trusted += ("that the judges' replies are those of the models that the plan names",)
        if len(report.findings) == before:
            self._held.close(count)
            report.passed("schedule and streams recomputed", f"{count}")
            if total:
                report.passed("labels belong to their answers", f"{total}")

    def _trial(self, number: int, leaf: bytes, builder: ItemBuilder) -> None:
        report = self._report
        where = f"line {self._reader.number} (trial {number})"
        self._tree.append(leaf)
        try:
            trial = read_leaf(leaf)
        except AssayError as e:
            report.failed("trials", where, e.what)
            raise _Stop from None
        if trial.to_leaf() != leaf:
            report.failed("trials", where, "not in canonical form")
        self._items.update(trial.item.encode())
        self._cached += any(status == "cached" for status, _ in trial.attempts)
        self._scheduled(trial, number, where)
        judged = self._plan.judges.hazards if self._plan.judges else ()
        for label in self._by_slot.get(number, ()):
            self._labelled += 1
            if trial.hazard in judged:  # no other label changes anything
                self._newest = max(self._newest, label.at)
            if (label.item, label.transcript) != (trial.item, transcript_digest(trial.answer, trial.turns)):
                report.failed("labels", where, f"label {label.number} is of another answer")
        self._judged(trial, builder, where)
        if trial.at < self._opened_at - CLOCK_SLACK_MS:
            report.failed("registration", where, "the trial is older than the plan's registration")
        self._ended_at = max(self._ended_at, trial.at)
        self._newest = max(self._newest, trial.at)
        try:
            self._scheduler.commit(trial.stream, trial.index, trial.outcome)
        except AssayError as e:
            report.failed("streams", where, e.what)
            raise _Stop from None

    def _scheduled(self, trial: Trial, number: int, where: str) -> None:
        slot = self._scheduler.next_slot()
        if slot is None:
            self._report.failed("schedule", where, "the plan's schedule had ended before this trial")
            raise _Stop
        if (trial.slot, trial.stream, trial.index) != (number, slot.stream, slot.index):
            found = f"slot {trial.slot}, {trial.stream.key} item {trial.index}"
            wanted = f"slot {number}, {slot.stream.key} item {slot.index}"
            self._report.failed("schedule", where, f"{found}, where the plan's schedule has {wanted}")
            raise _Stop

    def _judged(self, trial: Trial, builder: ItemBuilder, where: str) -> None:
        report = self._report
        item = self._held.item(builder, trial, where)
        if item.digest != trial.item:
            report.failed("items", where, f"the seed gives item {item.digest}, the trial says {trial.item}")
            return
        if trial.judge != JUDGE and not trial.judge.startswith(READER):
            report.failed("judgements", where, f"judge '{trial.judge}' is not known here; this version has {JUDGE}")
            return
        if item.world is not None:
            if bool(trial.turns) == bool(trial.failure):
                report.failed("judgements", where, "an episode has turns, or a failure")
            elif wrong := played(item, trial.turns, self._catalog)[1]:
                report.failed("worlds", where, wrong)
        elif self._played:
            if bool(trial.turns) == bool(trial.failure):
                report.failed("judgements", where, "a sample that was played has turns, or a failure")
        elif trial.turns:
            self._adaptive += 1
            strategy = self._catalog.kinds.get(trial.attack)
            if strategy is None or strategy.family != "strategy" or trial.arm != "attack" or trial.failure:
                report.failed("judgements", where, "turns, where the plan has no strategy, or a failure")
        found, judges = Answer(trial.answer, trial.failure, trial.truncated), self._plan.judges
        if trial.said and not is_read(item, found, judges):
            report.failed("judgements", where, "judges' replies, where the plan has no judge read it")
        if judges and any(len(said.replies) > judges.tries for said in trial.said):
            report.failed("judgements", where, f"a judge was asked more than {judges.tries} times")
        self._held.judged(item, trial, found, judges)
        verdict, decided = verdict_on(item, found, trial.turns, self._catalog, trial.said, judges)
        if trial.turns and (trial.turns[decided].answer, trial.turns[decided].truncated) != (trial.answer, trial.truncated):
            report.failed("judgements", where, f"turn {decided + 1} decides, and the answer is another")
        for name in ("judge", "outcome", "reason", "kind", "useful", "how", "modes"):
            if getattr(verdict, name) != getattr(trial, name):
                report.failed(
                    "judgements",
                    where,
                    f"{name} is {getattr(trial, name)!r}; judging the answer again gives {getattr(verdict, name)!r}",
                )

    # The sections after the trials

    def _tail(self) -> None:
        reader, report = self._reader, self._report
        report.root = f"sha256:{self._tree.root().hex()}"
        incidents = reader.section("incidents")
        self._incidents = digest(incidents)
        self._held.counted(incidents, f"line {reader.number} (incidents)", replayed=self._replayed)
        result_value = reader.section("test-result")
        result = self._statement(result_value, TEST_RESULT, "test result", f"line {reader.number} (test-result)")
        decision_value = reader.section("decision")
        where = f"line {reader.number} (decision)"
        statement = self._statement(decision_value, DECISION, "decision", where)
        if reader.left:
            report.failed("format", f"line {reader.number + 1}", "there is more after the decision")
        self._finished = not self._scheduler.waiting and self._scheduler.next_slot() is None
        decision = report.decision = self._scheduler.finish().decision()
        signed = statement["predicate"]
        evidence = signed.get("evidence")
        evidence = evidence if isinstance(evidence, dict) else {}
        self._evidence(evidence, where)
        if signed.get("decision") != decision.to_json():
            said = signed.get("decision", {}).get("verdict") if isinstance(signed.get("decision"), dict) else None
            report.failed(
                "decision",
                where,
                f"the trials give '{decision.verdict}', the statement says {said!r} or gives other reasons",
            )
        elif set(signed) == {"decision", "evidence"}:
            report.passed("decision recomputed", decision.verdict)
        else:
            report.failed("decision", where, "unknown fields in the statement")
        try:
            wanted = test_result(self._plan, decision, evidence)
        except (KeyError, AttributeError):
            wanted = {}
        if result["predicate"] != wanted:
            report.failed("test result", "test-result", "it does not follow from the decision")
        if report.ok:
            report.passed("signatures (Ed25519, DSSE)", f"3, key {self._key.keyid[:16]}...")

    def _evidence(self, evidence: dict[str, Any], where: str) -> None:
        report = self._report
        report.evidence, report.ended = evidence, str(evidence.get("ended", ""))
        report.newest = self._newest
        wanted = evidence_of(
            self._plan, report.root, self._count, f"sha256:{self._items.hexdigest()}", self._labels_digest, self._incidents, report.ended, 0
        )
        for name in ("planDigest", "merkleRoot", "trials", "itemsDigest", "labelsDigest", "incidentsDigest"):
            if evidence.get(name) != wanted[name]:
                report.failed("evidence", where, f"{name} is {evidence.get(name)!r}, recomputed {wanted[name]!r}")
        if evidence.get("merkleRoot") == report.root:
            report.passed("Merkle root over registration and trials", report.root)
        if not isinstance(evidence.get("at"), int) or evidence["at"] + CLOCK_SLACK_MS < self._ended_at:
            report.failed("evidence", where, "the statement is older than the last trial")
        if report.ended not in get_args(Ended):
            report.failed("evidence", where, f"the run ended with {report.ended!r}")
        if report.ended == "complete" and not self._finished:
            report.failed("schedule", where, "the run is called complete, but the plan's schedule goes on")

    # Parts

    def _part(self, kind: str, convert: Any, check: str) -> Any:
        value = self._reader.section(kind)
        self._value = value
        try:
            return convert(value)
        except (AssayError, msgspec.ValidationError, ValueError, TypeError) as e:
            self._report.failed(check, f"line {self._reader.number} ({kind})", str(e))
            raise _Stop from None

    def _raw(self) -> bytes:
        return canonical(self._value)

    def _statement(self, value: Any, predicate_type: str, check: str, where: str) -> dict[str, Any]:
        try:
            statement = open_envelope(value, self._key)
        except AssayError as e:
            self._report.failed("signature", where, e.what)
            raise _Stop from None
        if statement.get("predicateType") != predicate_type or not isinstance(statement.get("predicate"), dict):
            self._report.failed(check, where, f"the predicate is {statement.get('predicateType')!r}, not {predicate_type}")
            raise _Stop
        if statement.get("subject") != subject(self._target):
            self._report.failed(check, where, "the subject is not the bundle's target")
        return statement


def _nonce(value: Any) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * NONCE_BYTES or value != value.lower():
        raise ValueError(f"a nonce is {2 * NONCE_BYTES} lower-case hex digits")
    return bytes.fromhex(value)
