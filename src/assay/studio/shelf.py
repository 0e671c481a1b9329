"""The runs of a folder, in files or in a store: each with plan, target, verdict, trials, signature and documents, or with what is wrong.

shelf = Shelf(Path("runs"))
for run in shelf.runs(): run.name, run.state, run.verdict
shelf.find("quick-1")                    # its folder; None for a name that is not listed

What a file says is read again only when the file has changed, and of a run that grows only what is new. A verdict is shown only where the
run's key has signed it over as many trials as the run has, and over the labels that it has taken in; whether everything in the bundle
follows is for `assay verify`.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from assay.api import BUNDLE_NAME, REPORT_NAME
from assay.errors import AssayError, RunFileError
from assay.evidence.beside import labels_of
from assay.evidence.bundle import last_line
from assay.evidence.statements import DECISION
from assay.ledger import PublicKey, digest, open_envelope
from assay.runs import REFERENCE_NAME, RUN_NAME, Opening, RunFile, run_path
from assay.studio.stores import Stores
from assay.studio.writers import writer_of

T = TypeVar("T")
State = Literal["starting", "running", "finished", "stopped", "broken", "failed"]
Signature = Literal["yes", "no", "older", "bad"]
DOCUMENTS = {"report": REPORT_NAME, "paper": "paper.pdf", "explorer": "explorer.html"}
"""What of a run can be opened, by file name."""
PAPER_PAGE = "paper.html"
"""The paper as a page, which lies beside it and names its evidence as the explorer does."""
OWN = ".studio"
OF_A_RUN = (RUN_NAME, f"{RUN_NAME}.lock", REFERENCE_NAME, f"{REFERENCE_NAME}.lock", BUNDLE_NAME)
MARGIN = 10_000
MOST_RUNS = 2_000
MOST_TEXT = 300
MOST_HEAD = 1 << 26


class Run(Struct, frozen=True):
    """One folder. `name` is empty where the folder's own cannot be used; `shown` is what to show. `at` is the Unix time of the last change
    in milliseconds; `signed` is `older` where the run went on after it was signed, `bad` where the signature does not hold. `earlier` are
    those of the documents that tell an earlier decision than this one.
    """

    name: str
    shown: str
    state: State
    plan: str = ""
    target: str = ""
    verdict: str = ""
    trials: int = 0
    budget: int = 0
    at: int = 0
    signed: Signature = "no"
    ended: str = ""
    documents: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    has_run_file: bool = False
    writer: int = 0
    wrong: str = ""


class _Facts(Struct, frozen=True):
    plan: str
    target: str
    budget: int
    key: dict[str, str]
    opened: str
    window: int


class _Signed(Struct, frozen=True):
    state: Signature
    verdict: str = ""
    trials: int = 0
    ended: str = ""
    labels: str = ""
    root: str = ""
    at: int = 0


class Shelf:
    """The runs of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._facts: dict[Path, tuple[tuple[int, ...], _Facts]] = {}
        self._counts: dict[Path, tuple[tuple[int, ...], int]] = {}
        self._labels: dict[Path, tuple[tuple[int, ...], str]] = {}
        self._bundles: dict[Path, tuple[tuple[int, ...], _Signed]] = {}
        self._digests: dict[Path, tuple[tuple[int, ...], str]] = {}
        self._names: dict[Path, tuple[tuple[int, ...], str, bool]] = {}
        self._stores = Stores()

    def runs(self) -> list[Run]:
        """Every run, the newest first; at most 2,000."""
        found = [self._run(path) for path in self._folders()]
        return sorted(found, key=lambda r: (-r.at, r.shown))[:MOST_RUNS]

    def find(self, name: str) -> Path | None:
        """The folder of a run by its name, which must be that of a folder here."""
        return next((path for path in self._folders() if path.name == name and usable(name)), None)

    def run(self, name: str) -> Run | None:
        """One run by its name."""
        path = self.find(name)
        return self._run(path) if path else None

    def document(self, name: str, which: str) -> Path | None:
        """A document of a run: a plain file inside the run's own folder, and nothing that a link leads to elsewhere."""
        folder = self.find(name)
        return _document(folder, which) if folder is not None and which in DOCUMENTS else None

    def _folders(self) -> Iterator[Path]:
        try:
            entries = sorted(self.folder.iterdir())
        except OSError:
            return
        for path in entries:
            if path.name != OWN and path.is_dir() and any(os.path.lexists(path / n) for n in OF_A_RUN):
                yield path

    def _run(self, path: Path) -> Run:
        name, shown = path.name if usable(path.name) else "", printable(path.name)
        at = _changed(path)
        if not name:
            return Run("", shown, "broken", at=at)
        documents = tuple(which for which in DOCUMENTS if _document(path, which))
        try:
            if os.path.lexists(path / REFERENCE_NAME):
                return self._from_store(run_path(path), path, name, at, documents)
            if os.path.lexists(path / RUN_NAME):
                return self._from_file(path, name, at, documents)
            if os.path.lexists(path / BUNDLE_NAME):
                return self._from_bundle(path, name, at, documents)
        except (AssayError, OSError, ValueError, KeyError, TypeError, LookupError, RecursionError) as e:
            what = e.what if isinstance(e, AssayError) else str(getattr(e, "strerror", "") or f"it cannot be read ({type(e).__name__})")
            here = any((path / n).is_file() for n in (RUN_NAME, REFERENCE_NAME))
            return Run(name, shown, "broken", at=at, documents=documents, has_run_file=here, wrong=what[:MOST_TEXT])
        writers = [w for n in (RUN_NAME, REFERENCE_NAME) if (w := writer_of(path / n)) is not None]
        if writers:
            return Run(name, shown, "starting", at=at, writer=writers[0])
        return Run(name, shown, "broken", at=at, wrong="there is no run file")

    def _from_file(self, path: Path, name: str, at: int, documents: tuple[str, ...]) -> Run:
        file = path / RUN_NAME
        if not file.is_file():
            raise RunFileError("the run file is no file")
        facts = self._facts_of(file)
        trials = self._count(file, facts.window)
        signed = self._signed(path / BUNDLE_NAME, facts)
        kind = signed.state
        if kind == "yes" and not self._is_whole(file, signed, trials):
            kind = "older"
        writer = writer_of(file)
        state: State = "running" if writer is not None else "finished" if kind == "yes" else "stopped"
        return Run(
            name, name, state, facts.plan, facts.target, signed.verdict if kind == "yes" else "", trials, facts.budget, at, kind,
            signed.ended if kind == "yes" else "", documents, self._earlier(path, documents, kind, signed, at), True, writer or 0,
        )  # fmt: skip

    def _from_store(self, reference: Path, path: Path, name: str, at: int, documents: tuple[str, ...]) -> Run:
        found = self._stores.look(reference)
        facts, trials = _facts(found.opening), found.trials
        signed = self._signed(path / BUNDLE_NAME, facts)
        kind = signed.state
        if kind == "yes" and (signed.trials not in (trials, found.unbroken) or signed.labels != found.labels):
            kind = "older"
        writer = writer_of(reference)
        state: State = "running" if writer is not None or found.written else "finished" if kind == "yes" else "stopped"
        return Run(
            name, name, state, facts.plan, facts.target, signed.verdict if kind == "yes" else "", trials, facts.budget, at, kind,
            signed.ended if kind == "yes" else "", documents, self._earlier(path, documents, kind, signed, at), True, writer or 0,
        )  # fmt: skip

    def _from_bundle(self, path: Path, name: str, at: int, documents: tuple[str, ...]) -> Run:
        """Evidence without its run file, such as another party's."""
        bundle = path / BUNDLE_NAME
        facts = self._kept(self._facts, bundle, _bundle_facts)
        signed = self._signed(bundle, facts)
        if signed.state != "yes":
            raise RunFileError("the evidence here does not hold against its signature")
        verdict, trials, earlier = signed.verdict, signed.trials, self._earlier(path, documents, "yes", signed, at)
        return Run(
            name, name, "finished", facts.plan, facts.target, verdict, trials, facts.budget, at, "yes", signed.ended, documents, earlier
        )  # fmt: skip

    def _facts_of(self, file: Path) -> _Facts:
        """The opening never changes: read once for a file."""
        stamp = _stamp(file)[:2]
        known = self._facts.get(file)
        if known is None or known[0] != stamp:
            with RunFile.read(file) as run:
                known = self._facts[file] = (stamp, _facts(run.opening()))
        return known[1]

    def _is_whole(self, file: Path, signed: _Signed, trials: int) -> bool:
        """Whether a run has the trials and the labels that were signed, and no others."""
        if signed.trials != trials and signed.trials != _unbroken(file):
            return False
        stamp = _stamp(file) + _stamp(file.with_name(file.name + "-wal"))
        known = self._labels.get(file)
        if known is None or known[0] != stamp:
            with RunFile.read(file) as run:
                known = self._labels[file] = (stamp, labels_of(run))
        return known[1] == signed.labels

    def _count(self, file: Path, window: int) -> int:
        """How many trials there are; what was counted before is counted from there. No slot is missing further back than the window."""
        stamp = _stamp(file) + _stamp(file.with_name(file.name + "-wal"))
        known = self._counts.get(file)
        if known is not None and known[0] == stamp:
            return known[1]
        start = max(0, known[1] - window) if known is not None and known[0][:2] == stamp[:2] else 0
        with RunFile.read(file) as run:
            count = start + run.count(start)
        self._counts[file] = (stamp, count)
        return count

    def _signed(self, bundle: Path, facts: _Facts) -> _Signed:
        if not bundle.is_file():
            return _Signed("no")
        return self._kept(self._bundles, bundle, lambda path: _signature(path, facts))

    def _earlier(self, folder: Path, documents: tuple[str, ...], kind: Signature, signed: _Signed, at: int) -> tuple[str, ...]:
        """Those that tell an earlier decision: written before this one was signed, or not naming what it rests on. Where the run went on,
        all of them but a report that was made from the run as it is.
        """
        if kind == "older":
            return tuple(which for which in documents if which != "report" or _written(folder / DOCUMENTS[which]) < at)
        if kind != "yes":
            return ()
        since = min(signed.at, _written(folder / BUNDLE_NAME))  # copies are younger than what they are of
        return tuple(
            which for which in documents
            if _written(folder / DOCUMENTS[which]) < since or not self._names_evidence(folder, which, signed)
        )  # fmt: skip

    def _names_evidence(self, folder: Path, which: str, signed: _Signed) -> bool:
        """Whether a document names the evidence: a report by its Merkle root, the others by the digest of the bundle."""
        path = folder / (PAPER_PAGE if which == "paper" else DOCUMENTS[which])
        if which == "paper" and not path.is_file():
            return True  # a PDF does not show it
        wanted = signed.root if which == "report" else self._kept(self._digests, folder / BUNDLE_NAME, _digest_of)
        stamp, known = _stamp(path), self._names.get(path)
        if known is None or known[:2] != (stamp, wanted):
            known = self._names[path] = (stamp, wanted, _has(path, wanted))
        return known[2]

    def _kept(self, kept: dict[Path, tuple[tuple[int, ...], T]], path: Path, read: Callable[[Path], T]) -> T:
        stamp = _stamp(path)
        known = kept.get(path)
        if known is None or known[0] != stamp:
            known = kept[path] = (stamp, read(path))
        return known[1]


def _document(folder: Path, which: str) -> Path | None:
    path = folder / DOCUMENTS[which]
    return path if path.is_file() and path.resolve().parent == folder.resolve() else None


def _written(path: Path) -> int:
    return _stamp(path)[2] // 1_000_000


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has(path: Path, text: str) -> bool:
    """Whether a text stands in a file, however large it is."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
            return held.find(text.encode()) >= 0
    except (OSError, ValueError):  # it cannot be read, or is empty
        return False


def _facts(opening: Opening) -> _Facts:
    plan = opening.plan
    window = max(MARGIN, 100 * plan.limits.concurrency)
    return _Facts(printable(plan.name), _target(opening.target), plan.budget.calls, opening.public_key, digest(opening.opened), window)


def _unbroken(file: Path) -> int:
    with RunFile.read(file) as run:
        return run.unbroken()


def _signature(bundle: Path, facts: _Facts) -> _Signed:
    """What the last line of a bundle says, if the run's key has signed it and the bundle is of this very run."""
    try:
        statement = open_envelope(msgspec.json.decode(last_line(bundle))["value"], PublicKey.from_json(facts.key))
        if _bundle_facts(bundle).opened != facts.opened:
            return _Signed("bad")
        predicate = statement["predicate"]
        verdict, evidence = predicate["decision"]["verdict"], predicate["evidence"]
        if statement["predicateType"] != DECISION or verdict not in ("approve", "delay", "halt"):
            return _Signed("bad")
        return _Signed(
            "yes", verdict, int(evidence["trials"]), printable(str(evidence["ended"])), str(evidence["labelsDigest"]),
            str(evidence["merkleRoot"]), int(evidence["at"]),
        )  # fmt: skip
    except (AssayError, OSError, ValueError, KeyError, TypeError, LookupError, AttributeError, RecursionError):
        return _Signed("bad")


def _bundle_facts(bundle: Path) -> _Facts:
    """Plan, target and key of a bundle, from its first lines."""
    found: dict[str, Any] = {}
    with bundle.open("rb") as file:
        while len(found) < 12:
            line = file.readline(MOST_HEAD)
            if not line:
                break
            section = msgspec.json.decode(line)
            found[section["kind"]] = section.get("value")
            if section["kind"] == "trials":
                break
    plan = found["plan"]
    return _Facts(
        printable(str(plan["name"])), _target(found["target"]), int(plan["budget"]["calls"]), found["key"], digest(found["opened"]), 0
    )


def _target(record: dict[str, Any]) -> str:
    return printable(f"{record.get('kind', '')}:{record.get('model', '')}".lstrip(":"))


def usable(name: str) -> bool:
    """Whether a folder's name can stand in an address and on a page as it is."""
    return name.isprintable() and len(name) <= 200 and not name.startswith(".")


def printable(text: str) -> str:
    """Text of others, bounded, with a mark where a character cannot be shown."""
    return "".join(c if c.isprintable() else "�" for c in text[:MOST_TEXT])


def cut(text: str) -> str:
    """At most 300 characters."""
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0, 0)
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def _changed(path: Path) -> int:
    """When a run's files were last written, in milliseconds. An empty log beside the run file is a reader's, and no change."""
    stamps = [_stamp(path / n) for n in (RUN_NAME, f"{RUN_NAME}-wal", REFERENCE_NAME, BUNDLE_NAME)]
    return max((stamp[2] for stamp in stamps if stamp[3]), default=0) // 1_000_000 or _stamp(path)[2] // 1_000_000
