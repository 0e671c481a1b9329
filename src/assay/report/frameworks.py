"""What a run has for the clauses of a framework: facts with figures and digests, and what is missing. No clause is covered by a mapping.

basis = make_basis(run, summary, closed=True)
view = resolve(read_framework("nist-ai-rmf"), basis)
view.clauses[0].status                   # "evidence", "partial", "against" or "gap"
"""

from __future__ import annotations

from collections.abc import Set
from typing import Literal

from msgspec import Struct

from assay.catalog.crosswalk import NONE, Clause, Framework
from assay.errors import AssayError
from assay.evidence import Summary
from assay.ledger import PublicKey, digest, open_envelope
from assay.plan.title import title_of
from assay.report.facts import Basis, Fact, State, fact
from assay.report.tally import Tally, collect
from assay.report.worlds import make_worlds
from assay.runs import ReadRun

Status = Literal["evidence", "partial", "against", "gap"]


class ClauseView(Struct, frozen=True):
    """One clause: `evidence` only if every fact is shown and nothing is beyond a run; `against` if a claim was shown not to hold."""

    id: str
    about: str
    verified: bool
    status: Status
    facts: tuple[Fact, ...]
    beyond: str


class FrameworkView(Struct, frozen=True):
    """The clause table of a run. `digests` are those that facts name."""

    id: str
    title: str
    version: str
    source: str
    note: str
    target: str
    verdict: str
    clauses: tuple[ClauseView, ...]
    digests: dict[str, str]

    def count(self, status: Status) -> int:
        """How many clauses have this status."""
        return sum(c.status == status for c in self.clauses)


def make_basis(run: ReadRun, summary: Summary | None, *, closed: bool) -> Basis:
    """Everything recounted from the run file; `closed` says that the summary's signature was checked. Raises `RunFileError`."""
    tally = collect(run)
    counted = (tally.recount.root, tally.recount.items, tally.gate.decision())
    same = summary is not None and (summary.root, summary.items, summary.decision) == counted
    return basis_of(run, tally, closed=closed and same)


def basis_of(run: ReadRun, tally: Tally, *, closed: bool) -> Basis:
    """The same of trials that were counted already; `closed` says that a signed decision agrees with them."""
    opening, decision, incidents = tally.opening, tally.gate.decision(), run.incidents()
    worlds = make_worlds(run, tally)
    try:
        statement = open_envelope(opening.opened, PublicKey.from_json(opening.public_key))
        registered = statement["predicate"].get("planDigest") == opening.plan.digest
    except (AssayError, KeyError, AttributeError):
        registered = False
    taken = tuple(run.taken())
    digests = {
        "registration": run.digest,
        "plan": opening.plan.digest,
        "target": opening.target.get("digest") or digest(opening.target),
        "merkle-root": tally.recount.root,
        "items": tally.recount.items,
        "decision": digest(decision.to_json()),
        "incidents": digest(incidents),
    }
    return Basis(tally, decision, taken, len(incidents), worlds.goals if worlds else (), registered, closed, digests)


def resolve(framework: Framework, basis: Basis) -> FrameworkView:
    """The clause table. Pure."""
    clauses = tuple(_clause(c, basis) for c in framework.clauses)
    used = {f.digest for c in clauses for f in c.facts}
    return FrameworkView(
        id=framework.id, title=framework.title, version=framework.version, source=framework.source, note=framework.note,
        target=title_of(basis.tally.opening.target), verdict=basis.decision.verdict if basis.closed else "delay",
        clauses=clauses, digests={k: v for k, v in basis.digests.items() if k in used},
    )  # fmt: skip


def _clause(clause: Clause, basis: Basis) -> ClauseView:
    facts = () if clause.evidence == (NONE,) else tuple(fact(word, basis) for word in clause.evidence)
    beyond = clause.beyond.strip()
    return ClauseView(clause.id, clause.about, clause.verified, status_of({f.state for f in facts}, beyond=bool(beyond)), facts, beyond)


def status_of(states: Set[State], *, beyond: bool) -> Status:
    """A clause's status: `evidence` takes every fact, and a clause of which nothing is `beyond` a run."""
    if states <= {"missing"}:
        return "gap"
    if "against" in states:
        return "against"
    return "evidence" if states == {"shown"} and not beyond else "partial"
