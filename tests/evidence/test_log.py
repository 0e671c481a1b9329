"""The log: what is in it stays, what is dropped shows, and who shows two people two things is found out."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from assay.errors import AssayError
from assay.evidence.log import ENTRIES_NAME, Log, Signed, View, checked, checkpoint_path, read_log
from assay.evidence.logbook import LogError, LogTamperedError, entry_of_closing, entry_of_opening, read_book
from assay.evidence.logcheck import Proof, Proven, check_log, check_proof, prove, require_registered_first
from assay.evidence.logsource import Source, read_source
from assay.evidence.statements import sign_decision, sign_opened
from assay.evidence.witness import Cosigned, Shown, parse_shown, request, show, witness
from assay.ledger import PrivateKey, canonical, digest, leaf_hash
from assay.ledger.notes import COSIGNATURE, Checkpoint, Note, NoteKey, cosign, sign_note
from assay.ledger.proofs import root_of
from assay.runs import RunFile
from tests.support import KEY, NONCE, make_bundle, make_plan

ORIGIN = "example.org/assay"
ONE, TWO = PrivateKey.generate(), PrivateKey.generate()
ONE_KEY, TWO_KEY = NoteKey("one.example", ONE.public, COSIGNATURE), NoteKey("two.example", TWO.public, COSIGNATURE)
NOW = time.time_ns() // 1_000_000
DAY = 86_400_000
PLAN, _ = make_plan()
TARGET = {"kind": "scripted", "model": "0.3"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that has ended, as its folder."""
    folder = tmp_path_factory.mktemp("run")
    make_bundle(folder, budget={"calls": 40})
    return folder


@pytest.fixture(scope="module")
def template(run: Path) -> Any:
    """A decision to sign again over other evidence."""
    from assay.evidence import read_summary

    summary = read_summary(run / "evidence.jsonl")
    assert summary is not None
    return summary.decision


def opened(number: int, at: int = NOW) -> dict[str, Any]:
    """The registration of run `number`."""
    return sign_opened(KEY, PLAN, TARGET, NONCE + bytes([number >> 8, number & 255]), at).to_json()


def decision(template: Any, leaves: list[bytes], at: int = NOW, **evidence: Any) -> dict[str, Any]:
    root = f"sha256:{root_of(leaves).hex()}"
    said = {"planDigest": PLAN.digest, "merkleRoot": root, "trials": len(leaves) - 1, "ended": "complete", "at": at, **evidence}
    return sign_decision(KEY, TARGET, template, said).to_json()


def opening(number: int, at: int = NOW) -> bytes:
    return entry_of_opening(opened(number, at), KEY.public.to_json())


def leaves_of(number: int, trials: int) -> list[bytes]:
    return [leaf_hash(canonical(opened(number))), *(leaf_hash(b"trial %d" % i) for i in range(trials))]


def closing(template: Any, number: int, trials: int = 3, at: int = NOW, **evidence: Any) -> bytes:
    return entry_of_closing(digest(opened(number)), decision(template, leaves_of(number, trials), at, **evidence), [], None)


def make_log(folder: Path, *lines: bytes) -> Log:
    """A log with these entries, written as the log writes them."""
    log = Log.create(folder, ORIGIN, KEY)
    for line in lines:
        log._append(line)
    return log


def rewrite(log: Log, *lines: bytes) -> None:
    (log.folder / ENTRIES_NAME).write_bytes(b"".join(line + b"\n" for line in lines))


def now_s() -> int:
    return int(time.time())


def latest_s(log: Log) -> int:
    """The latest time that an entry says of itself, so that no test depends on how long the ones before it took."""
    said = [NOW // 1000]
    for line in read_log(log.folder).lines:
        entry = json.loads(line)
        payload = (entry.get("statement") or entry.get("decision") or {}).get("payload", "")
        predicate = json.loads(base64.b64decode(payload) or b"{}").get("predicate", {})
        at = predicate.get("at") or predicate.get("evidence", {}).get("at")
        said += [at // 1000] if isinstance(at, int) else []
    return max(said)


def cosigned(log: Log, state: Path, key: PrivateKey = ONE, name: str = "one.example", at: int = 0) -> Cosigned:
    """Sign the log's checkpoint, have it cosigned, and keep the cosignature."""
    log.checkpoint(KEY)
    done = witness(state, key, name, show(read_log(log.folder)), at or latest_s(log), log.key)
    log.add_signatures(done.note)
    return done


def check(log: Log, *keys: NoteKey, need: int = 0, within_ms: int = DAY) -> Any:
    return check_log(read_log(log.folder), "log", log.key, keys, need=need, now_ms=NOW, within_ms=within_ms)


def checks(found: Any) -> list[str]:
    return [f.check for f in found.findings]


# Runs in the log


def test_a_run_is_registered_then_closed_and_nothing_is_added_twice(run: Path, tmp_path: Path) -> None:
    log, started = make_log(tmp_path / "log"), tmp_path / "run.db"
    started.write_bytes((run / "run.db").read_bytes())
    assert (log.add(started).appended, log.add(started).appended) == ((0,), ())
    assert [r.digest for r in read_book(enumerate(read_log(log.folder).lines)).open] == [read_source(started).digest]
    added = log.add(run)
    assert (added.appended, added.size, added.closed) == ((1,), 2, True)
    before = (log.folder / ENTRIES_NAME).read_bytes()
    for same in (run, run / "run.db", run / "evidence.jsonl"):
        assert log.add(same).appended == ()
    assert (log.folder / ENTRIES_NAME).read_bytes() == before
    book = read_book(enumerate(read_log(log.folder).lines))
    (logged,) = book.runs.values()
    with RunFile.read(run / "run.db") as file:
        assert logged.digest == file.digest
    assert (logged.closings[0].trials, book.findings) == (len(read_source(run).leaves) - 1, [])
    assert [json.loads(line)["kind"] for line in read_log(log.folder).lines] == ["opened", "closed"]


@pytest.mark.parametrize("name", ["nothing.db", "nothing.jsonl", "nowhere"])
def test_what_is_no_run_is_not_added(tmp_path: Path, name: str) -> None:
    log = make_log(tmp_path / "log")
    with pytest.raises(AssayError, match=name):
        log.add(tmp_path / name)
    assert read_log(log.folder).lines == ()


def test_a_cut_bundle_and_a_foreign_one_are_not_added(run: Path, tmp_path: Path) -> None:
    log, cut = make_log(tmp_path / "log"), tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join((run / "evidence.jsonl").read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(LogError, match="not a whole bundle"):
        log.add(cut)
    other = tmp_path / "other"
    other.mkdir()
    make_bundle(other, budget={"calls": 30})
    (other / "evidence.jsonl").write_bytes((run / "evidence.jsonl").read_bytes())
    with pytest.raises(LogError, match="another run's"):
        log.add(other)
    assert read_log(log.folder).lines == ()


def test_a_dropped_run_shows_with_its_age(template: Any, tmp_path: Path) -> None:
    log = make_log(tmp_path / "log", opening(1, NOW - 3 * DAY), opening(2), closing(template, 2), opening(3, NOW - 3_600_000))
    log.checkpoint(KEY)
    found = check(log)
    assert [r.index for r in found.open] == [0, 3]
    assert [(f.check, f.where) for f in found.findings] == [("run without an end", "entry 0")]
    assert "opened 3 days ago: dropped?" in found.findings[0].what
    assert check(log, within_ms=30 * DAY).ok
    assert checks(check(log, within_ms=60_000)) == ["run without an end"] * 2


def book_findings(*lines: bytes) -> list[str]:
    return [f"{f.check} @ {f.where}" for f in read_book(enumerate(lines)).findings]


def test_what_is_wrong_with_entries_is_named(template: Any) -> None:
    first, ended = opening(1), closing(template, 1)
    assert book_findings(first, ended) == []
    assert book_findings(first, first) == ["two openings @ entry 1"]
    assert book_findings(ended) == ["closing without an opening @ entry 0"]
    assert book_findings(first, ended, ended) == ["two closings @ entry 2"]
    assert book_findings(first, ended, closing(template, 1, trials=9)) == ["two closings @ entry 2"]
    assert book_findings(first, closing(template, 1, at=NOW - DAY)) == ["closing before the opening @ entry 1"]
    assert book_findings(first, closing(template, 1, planDigest="sha256:00")) == ["closing of another run @ entry 1"]


def test_one_decision_does_not_close_two_runs(template: Any) -> None:
    """The bad run is dropped and the good one's decision given for both."""
    borrowed = entry_of_closing(digest(opened(1)), decision(template, leaves_of(2, 3)), [], None)
    assert book_findings(opening(1), opening(2), closing(template, 2), borrowed) == ["closing of another run @ entry 3"]


def test_a_run_that_goes_on_is_closed_again_and_shows_that_it_goes_on(template: Any, tmp_path: Path) -> None:
    """Labels came after the decision: the later one covers the same trials and more."""
    log = make_log(tmp_path / "log", opening(1), closing(template, 1, trials=5))
    book = read_book(enumerate(read_log(log.folder).lines))
    last = book.runs[digest(opened(1))].closings[-1]
    for trials in (5, 6, 40):
        leaves = leaves_of(1, trials)
        again = entry_of_closing(digest(opened(1)), decision(template, leaves, NOW + 1000), leaves, last)
        assert book_findings(opening(1), closing(template, 1, trials=5), again) == []
    other = leaves_of(1, 40)
    other[3] = leaf_hash(b"a softer answer")
    with pytest.raises(LogTamperedError, match="does not go on from it"):
        entry_of_closing(digest(opened(1)), decision(template, other), other, last)
    with pytest.raises(LogTamperedError, match="does not go on from it"):
        entry_of_closing(digest(opened(1)), decision(template, leaves_of(1, 2)), leaves_of(1, 2), last)


def test_a_resumed_run_is_closed_again_through_its_bundle(run: Path, tmp_path: Path, template: Any) -> None:
    """The same trials, decided again later: a second closing, and no finding. One that has other trials is refused."""
    log = make_log(tmp_path / "log")
    log.add(run)
    source = read_source(run)
    rows = (run / "evidence.jsonl").read_bytes().splitlines(keepends=True)
    target = next(row["value"] for row in map(json.loads, rows) if row.get("kind") == "target")
    payload = json.loads(base64.b64decode(json.loads(rows[-1])["value"]["payload"]))["predicate"]
    again = sign_decision(KEY, target, template, {**payload["evidence"], "at": payload["evidence"]["at"] + 5000})
    later = tmp_path / "evidence.jsonl"
    later.write_bytes(b"".join(rows[:-1]) + canonical({"kind": "decision", "value": again.to_json()}) + b"\n")
    assert log.add(later).appended == (2,)
    (logged,) = read_book(enumerate(read_log(log.folder).lines)).runs.values()
    assert (len(logged.closings), read_book(enumerate(read_log(log.folder).lines)).findings) == (2, [])
    assert source.digest == logged.digest


def entries_that_are_none() -> Iterator[bytes]:
    yield b""
    yield b"{}"
    yield b"[1]"
    yield b"\xff\xfe"
    yield b"[" * 100_000
    yield b'{"kind":"opened"}'
    yield canonical({"kind": "opened", "key": KEY.public.to_json(), "statement": 7})
    yield canonical({"kind": "opened", "key": TWO.public.to_json(), "statement": opened(1)})
    yield canonical({"kind": "closed", "key": KEY.public.to_json(), "statement": opened(1)})
    yield canonical({"kind": "opened", "key": KEY.public.to_json(), "statement": opened(1), "more": 1})
    yield json.dumps(json.loads(opening(1))).encode()
    yield opening(1).replace(b'"sig":"', b'"sig":"A')


@pytest.mark.parametrize("line", list(entries_that_are_none()), ids=range(12))
def test_what_is_no_entry_is_a_finding_and_never_an_error(line: bytes) -> None:
    assert book_findings(line) == ["entry @ entry 0"]
    assert book_findings(line, opening(2)) == ["entry @ entry 0"]


def test_a_decision_by_another_key_or_a_decision_as_registration_is_none(template: Any) -> None:
    foreign = sign_decision(TWO, TARGET, template, {"planDigest": PLAN.digest}).to_json()
    assert book_findings(opening(1), canonical({"kind": "closed", "opened": digest(opened(1)), "decision": foreign})) == ["entry @ entry 1"]
    swapped = canonical({"kind": "opened", "key": KEY.public.to_json(), "statement": decision(template, leaves_of(1, 1))})
    assert book_findings(swapped) == ["entry @ entry 0"]


# Times


def test_a_registration_that_came_late_and_one_from_the_future_are_named(tmp_path: Path) -> None:
    log, state = make_log(tmp_path / "log", opening(1)), tmp_path / "state.json"
    cosigned(log, state)
    log._append(opening(2, NOW - 600_000))
    cosigned(log, state)
    found = check(log, ONE_KEY, need=1)
    assert [(f.check, f.where) for f in found.findings] == [("older than its checkpoint", "entry 1")]
    log._append(opening(3, NOW + 600_000))
    cosigned(log, state, at=NOW // 1000)
    assert [(f.check, f.where) for f in check(log, ONE_KEY, need=1).findings][1:] == [("newer than its checkpoint", "entry 2")]
    assert check(log).ok  # nobody's time is believed whose key is not known


def test_a_run_registered_and_closed_under_one_checkpoint_is_not_shown_to_have_been_registered_first(template: Any, tmp_path: Path) -> None:
    log, state = make_log(tmp_path / "log", opening(1)), tmp_path / "state.json"
    first = cosigned(log, state)
    for line in (closing(template, 1), opening(2), closing(template, 2, trials=4)):
        log._append(line)
    cosigned(log, state)
    found = check(log, ONE_KEY, need=1)
    assert found.ok
    assert found.registered == {digest(opened(1)): first.at}
    require_registered_first(found)
    assert [(f.check, f.where) for f in found.findings] == [("registered first", "entry 2")]
    for number, count in ((1, 1), (2, 0)):
        proof = prove(read_log(log.folder), digest(opened(number))).to_bytes()
        assert len(check_proof(proof, log.key, [ONE_KEY], need=1, now_ms=NOW).registered) == count
        assert not check_proof(proof, log.key, [TWO_KEY], need=0, now_ms=NOW).registered


def test_an_earlier_checkpoint_that_does_not_show_it_is_a_finding(template: Any, tmp_path: Path) -> None:
    """One that has the end already, one that the log did not sign, one without the registration, and no note at all."""
    log, state = make_log(tmp_path / "log", opening(2), opening(1)), tmp_path / "state.json"
    cosigned(log, state)
    log._append(closing(template, 1))
    cosigned(log, state)
    proof = prove(read_log(log.folder), digest(opened(1)))
    assert proof.before is not None
    assert len(check_proof(proof.to_bytes(), log.key, [ONE_KEY], need=1, now_ms=NOW).registered) == 1
    note = Note.parse(proof.before.checkpoint.encode())
    unsigned = Note(note.text, tuple(s for s in note.signatures if s.name != ORIGIN)).to_bytes().decode()
    for before in (
        replace(proof.before, checkpoint=proof.checkpoint, path=proof.entries[0].path),
        replace(proof.before, checkpoint=unsigned),
        replace(proof.before, path=[]),
        replace(proof.before, path=["zz"]),
        replace(proof.before, checkpoint="nothing"),
    ):
        found = check_proof(replace(proof, before=before).to_bytes(), log.key, [ONE_KEY], need=1, now_ms=NOW)
        assert (checks(found), found.registered) == (["earlier checkpoint"], {})


# The log refuses to shrink or to be rewritten


def test_a_log_that_shrank_or_was_rewritten_is_not_written_to(template: Any, tmp_path: Path, run: Path) -> None:
    lines = [opening(i) for i in range(5)]
    log = make_log(tmp_path / "log", *lines[:3])
    log.checkpoint(KEY)
    for line in lines[3:]:
        log._append(line)
    log.checkpoint(KEY)
    for changed, says in (
        (lines[:4], "shrunk: 4 entries, where a signed checkpoint has 5"),
        ([*lines[:3], opening(9), lines[4]], "entries 3 to 4"),
        ([lines[1], lines[0], *lines[2:]], "entries 0 to 2"),
        ([*lines[:2], *lines[3:], opening(9)], "entries 0 to 2"),
        ([], "shrunk: 0 entries, where a signed checkpoint has 3"),
    ):
        rewrite(log, *changed)
        before = (log.folder / ENTRIES_NAME).read_bytes()
        for act in (lambda: log.add(run), lambda: log.checkpoint(KEY)):
            with pytest.raises(LogTamperedError, match=says):
                act()
        assert (log.folder / ENTRIES_NAME).read_bytes() == before
        assert checks(check(log)) == ["checkpoints"]
    rewrite(log, *lines)
    assert checked(read_log(log.folder), "log").checkpoints[-1].head.size == 5


@pytest.mark.parametrize("damage", ["flip", "foreign", "renamed", "text"])
def test_a_damaged_or_foreign_checkpoint_is_named(tmp_path: Path, damage: str) -> None:
    log = make_log(tmp_path / "log", opening(1))
    log.checkpoint(KEY)
    path = checkpoint_path(log.folder, 1)
    text = Checkpoint(ORIGIN, 1, bytes(32)).to_text()
    if damage == "flip":
        path.write_bytes(path.read_bytes().replace(b"\n1\n", b"\n2\n"))
    elif damage == "foreign":
        path.write_bytes(Note(text).signed(sign_note(text, ORIGIN, TWO)).to_bytes())
    elif damage == "renamed":
        path.rename(checkpoint_path(log.folder, 2))
    else:
        path.write_bytes(b"not a note")
    with pytest.raises(AssayError) as error:
        log.checkpoint(KEY)
    assert error.value.exit_code == 1


def test_an_unchanged_log_has_one_checkpoint_and_keeps_its_cosignatures(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log", opening(1))
    cosigned(log, tmp_path / "state.json")
    assert log.checkpoint(KEY).note == read_log(log.folder).checkpoints[0].note
    assert len(log.checkpoint(KEY).note.signatures) == 2
    with pytest.raises(LogError, match="not the log's key"):
        log.checkpoint(TWO)
    with pytest.raises(LogError, match="here already"):
        Log.create(log.folder, ORIGIN, KEY)


# Kills, tears and two at once


def test_a_torn_last_line_is_removed_by_name_and_nothing_else(tmp_path: Path, run: Path) -> None:
    log = make_log(tmp_path / "log", opening(1))
    path = log.folder / ENTRIES_NAME
    whole = path.read_bytes()
    for torn in (b"{", opening(2)[:500], opening(2)):
        path.write_bytes(whole + torn)
        assert (read_log(log.folder).torn, len(read_log(log.folder).lines)) == (len(torn), 1)
        assert log.checkpoint(KEY).head.size == 1
        assert path.read_bytes() == whole
        path.write_bytes(whole + torn)
        assert check(log).torn == len(torn)
        added = log.add(run)
        assert added.torn == len(torn)
        path.write_bytes(whole)


def test_a_line_under_a_checkpoint_that_lost_its_newline_is_damage_and_not_torn(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log", opening(1))
    log.checkpoint(KEY)
    path = log.folder / ENTRIES_NAME
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LogTamperedError, match="shrunk"):
        log.checkpoint(KEY)
    assert path.stat().st_size > 100


WRITER = """
import sys
from pathlib import Path
from assay.evidence.log import Log
from tests.evidence.test_log import opening

log = Log.open(Path(sys.argv[1]))
start = int(sys.argv[2])
for number in range(start, start + int(sys.argv[3])):
    log._append(opening(number))
    print(number, flush=True)
"""


def test_no_acknowledged_entry_is_lost_to_kill_9(tmp_path: Path, run: Path) -> None:
    """Killed in the middle of appending, again and again, at another moment each time; then the log is whole and goes on."""
    log, acknowledged = make_log(tmp_path / "log"), 0
    for attempt in range(4):
        command = [sys.executable, "-c", WRITER, str(log.folder), str(attempt * 10_000), "10000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as writer:
            assert writer.stdout is not None
            for _ in range(5 + attempt):
                assert writer.stdout.readline()
            time.sleep(0.003 * attempt)
            os.kill(writer.pid, signal.SIGKILL)
            acknowledged += 5 + attempt + len([line for line in writer.stdout.read().split(b"\n") if line])
        log.checkpoint(KEY)
        view = read_log(log.folder)
        assert len(view.lines) >= acknowledged
        assert view.torn == 0
        assert read_book(enumerate(view.lines)).findings == []
        acknowledged = len(view.lines)
    assert log.add(run).size == acknowledged + 2


KILLED_BETWEEN = """
import os, signal, sys
from pathlib import Path
from assay.evidence import log as module
from tests.evidence.test_log import opening

calls = 0
def fsync(descriptor):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
module.os.fsync = fsync
module.Log.open(Path(sys.argv[1]))._append(opening(7))
"""


@pytest.mark.parametrize(("at", "torn"), [(1, True), (2, False)])
def test_killed_between_the_entry_and_its_newline(tmp_path: Path, at: int, torn: bool) -> None:
    log = make_log(tmp_path / "log", opening(1))
    done = subprocess.run([sys.executable, "-c", KILLED_BETWEEN, str(log.folder), str(at)], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    assert bool(read_log(log.folder).torn) == torn
    assert log.checkpoint(KEY).head.size == (1 if torn else 2)
    assert read_log(log.folder).torn == 0


ADDER = """
import sys
from pathlib import Path
from assay.evidence.log import Log
for _ in range(5):
    for path in sys.argv[2:]:
        Log.open(Path(sys.argv[1])).add(Path(path))
        Log.open(Path(sys.argv[1]))
"""


def test_two_processes_add_at_once(tmp_path: Path) -> None:
    """Four runs by two processes in opposite order: each is registered once and closed once."""
    log, paths = make_log(tmp_path / "log"), []
    for number in range(4):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        make_bundle(folder, budget={"calls": 20 + number})
        paths.append(str(folder))
    commands = [[sys.executable, "-c", ADDER, str(log.folder), *order] for order in (paths, paths[::-1])]
    writers = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for command in commands]
    assert [w.wait(60) for w in writers] == [0, 0]
    book = read_book(enumerate(read_log(log.folder).lines))
    assert (book.size, len(book.runs), book.open, book.findings) == (8, 4, [], [])


# Witnesses


def test_a_witness_cosigns_a_log_that_grows_and_an_outsider_counts_it(template: Any, tmp_path: Path) -> None:
    log, one, two = make_log(tmp_path / "log", opening(1)), tmp_path / "one.json", tmp_path / "two.json"
    cosigned(log, one)
    log._append(closing(template, 1))
    cosigned(log, one)
    again = cosigned(log, one)
    assert again.before is not None
    assert again.before.size == 2
    cosigned(log, two, TWO, "two.example")
    found = check(log, ONE_KEY, TWO_KEY, need=2)
    assert found.ok
    assert [h.key for h in found.cosigners] == [ONE_KEY, TWO_KEY]
    third = NoteKey("three.example", PrivateKey.generate().public, COSIGNATURE)
    assert check(log, ONE_KEY, third, need=1).ok
    assert checks(check(log, ONE_KEY, third, need=2)) == ["cosignatures"]
    same = NoteKey("one-again.example", ONE.public, COSIGNATURE)
    assert checks(check(log, ONE_KEY, same, need=2)) == ["cosignatures"]
    log._append(opening(5))
    log.checkpoint(KEY)
    found = check(log, ONE_KEY, TWO_KEY, need=2)
    assert (found.ok, found.head.size, found.beyond, len(found.book.runs)) == (True, 2, 1, 1)


def test_a_log_is_no_witness_of_itself(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log", opening(1))
    log.checkpoint(KEY)
    with pytest.raises(LogError, match="no witness"):
        witness(tmp_path / "state.json", KEY, "one.example", show(read_log(log.folder)), now_s(), log.key)
    note = log.checkpoint(KEY).note
    log.add_signatures(note.signed(cosign(note.text, "one.example", KEY, now_s())))
    assert checks(check(log, NoteKey("one.example", KEY.public, COSIGNATURE), need=1)) == ["cosignatures"]


def forked(tmp_path: Path, *lines: bytes) -> Log:
    """Another log under the same name and key: what a dishonest operator shows somebody else."""
    log = make_log(tmp_path / f"fork{len(list(tmp_path.iterdir()))}", *lines)
    log.checkpoint(KEY)
    return log


def afar(log: Log, old: int) -> Shown:
    """What a witness sees that gets a file instead of the folder."""
    return parse_shown(request(read_log(log.folder), old))


def by_folder(log: Log, old: int) -> Shown:
    return show(read_log(log.folder))


@pytest.mark.parametrize("seen_by", [afar, by_folder])
def test_a_split_view_a_rewritten_log_and_a_rollback_are_refused(seen_by: Callable[[Log, int], Shown], tmp_path: Path) -> None:
    lines = [opening(i) for i in range(6)]
    honest, state = forked(tmp_path, *lines[:4]), tmp_path / "state.json"
    witness(state, ONE, "one.example", seen_by(honest, 0), now_s(), honest.key)
    kept = state.read_bytes()
    with pytest.raises(LogTamperedError, match=r"rolled back: the checkpoint has 3 entries; before it had 4 entries"):
        witness(state, ONE, "one.example", seen_by(forked(tmp_path, *lines[:3]), 3), now_s())
    fork = forked(tmp_path, lines[0], lines[1], opening(99), lines[3])
    with pytest.raises(LogTamperedError, match="split view, or the log was rewritten") as error:
        witness(state, ONE, "one.example", seen_by(fork, 4), now_s())
    root = root_of([leaf_hash(line) for line in lines[:4]]).hex()
    assert root in error.value.what
    if seen_by is by_folder:
        assert "entry 2 (counted from 0)" in error.value.what
    with pytest.raises(LogTamperedError, match="split view, or the log was rewritten"):
        witness(state, ONE, "one.example", seen_by(forked(tmp_path, *lines[1:]), 4), now_s())
    assert state.read_bytes() == kept
    grown = forked(tmp_path, *lines)
    assert witness(state, ONE, "one.example", seen_by(grown, 4), now_s()).head.size == 6


def test_a_split_view_shown_to_two_witnesses_is_refused_by_the_second_that_has_seen_the_first(tmp_path: Path) -> None:
    """Each witness alone sees a log that only grows. The second refuses as soon as it is shown what the first has cosigned."""
    lines = [opening(i) for i in range(4)]
    left, right = forked(tmp_path, *lines[:3]), forked(tmp_path, lines[0], lines[2], lines[3])
    for_one = witness(tmp_path / "one.json", ONE, "one.example", show(read_log(left.folder)), now_s(), left.key)
    witness(tmp_path / "two.json", TWO, "two.example", show(read_log(right.folder)), now_s(), right.key)
    with pytest.raises(LogTamperedError, match="split view"):
        witness(tmp_path / "two.json", TWO, "two.example", Shown(for_one.note), now_s())
    with pytest.raises(LogTamperedError, match=r"entry 1 \(counted from 0\)"):
        witness(tmp_path / "two.json", TWO, "two.example", show(read_log(left.folder)), now_s())
    for log in (left, right):
        log.add_signatures(for_one.note) if log is left else None
        assert checks(check(log, ONE_KEY, TWO_KEY, need=2)) == ["cosignatures"]


def test_entries_that_do_not_give_the_signed_root_are_refused(tmp_path: Path) -> None:
    log = forked(tmp_path, opening(1), opening(2))
    rewrite(log, opening(1), opening(3))
    with pytest.raises(LogTamperedError, match="do not give the root"):
        witness(tmp_path / "state.json", ONE, "one.example", show(read_log(log.folder)), now_s(), log.key)
    rewrite(log, opening(1))
    with pytest.raises(LogTamperedError, match="shrunk"):
        witness(tmp_path / "state.json", ONE, "one.example", show(read_log(log.folder)), now_s(), log.key)
    assert not (tmp_path / "state.json").exists()


def test_without_proof_or_key_a_witness_does_not_guess(tmp_path: Path) -> None:
    log, state = forked(tmp_path, opening(1)), tmp_path / "state.json"
    with pytest.raises(LogError, match="never cosigned here") as error:
        witness(state, ONE, "one.example", show(read_log(log.folder)), now_s())
    assert "--log-key" in error.value.fix
    witness(state, ONE, "one.example", afar(log, 0), now_s(), log.key)
    log._append(opening(2))
    bare = Shown(log.checkpoint(KEY).note)
    with pytest.raises(LogError, match="no proof that the log only grew from the 1 entries") as error:
        witness(state, ONE, "one.example", bare, now_s())
    assert "--since 1" in error.value.fix
    other = NoteKey(ORIGIN, TWO.public, 1)
    with pytest.raises(LogTamperedError, match="the log's key was"):
        witness(state, ONE, "one.example", afar(log, 1), now_s(), other)
    with pytest.raises(LogError, match="another witness"):
        witness(state, TWO, "two.example", afar(log, 1), now_s())
    text = bare.note.text
    foreign = Note(text).signed(sign_note(text, ORIGIN, TWO))
    with pytest.raises(LogTamperedError, match="not signed by the log's key"):
        witness(state, ONE, "one.example", replace(afar(log, 1), note=foreign), now_s())
    with pytest.raises(LogError, match="clock"):
        witness(state, ONE, "one.example", afar(log, 1), now_s() - 3600)
    state.write_bytes(state.read_bytes()[:-20])
    with pytest.raises(LogError, match="damaged"):
        witness(state, ONE, "one.example", afar(log, 1), now_s())


@pytest.mark.parametrize("data", [b"old -1\n\n", b"old 01\n\nx", b"old 3\n!!\n\nx", b"old 3\n" + b"AAAA\n" * 70 + b"\nx", b"old 3\n", b""])
def test_malformed_requests_are_refused(data: bytes) -> None:
    with pytest.raises(AssayError):
        parse_shown(data)


def test_cosignatures_of_another_checkpoint_are_not_taken_in(tmp_path: Path) -> None:
    log, fork = forked(tmp_path, opening(1)), forked(tmp_path, opening(2))
    for note in (fork.checkpoint(KEY).note, Note(Checkpoint(ORIGIN, 5, bytes(32)).to_text(), log.checkpoint(KEY).note.signatures)):
        with pytest.raises(LogError, match="no checkpoint of this log"):
            log.add_signatures(note)


# Proofs


@pytest.fixture(scope="module")
def proven(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Log, Proof, Source]:
    folder = tmp_path_factory.mktemp("proven")
    log = make_log(folder / "log", opening(1), opening(2))
    log.add(run / "evidence.jsonl")
    cosigned(log, folder / "state.json")
    return log, prove(read_log(log.folder), read_source(run).digest), read_source(run)


def proof_checks(log: Log, data: bytes, source: Source | None = None, need: int = 1) -> list[str]:
    return checks(check_proof(data, log.key, [ONE_KEY], need=need, now_ms=NOW, source=source))


def test_a_proof_holds_for_its_run_alone(proven: tuple[Log, Proof, Source]) -> None:
    log, proof, source = proven
    assert proof_checks(log, proof.to_bytes(), source) == []
    assert [e.index for e in proof.entries] == [2, 3]
    other = replace(source, opened=opened(1))
    assert proof_checks(log, proof.to_bytes(), other) == ["run"]
    assert proof_checks(log, proof.to_bytes(), replace(source, decision={})) == ["run"]
    assert proof_checks(log, proof.to_bytes(), need=2) == ["cosignatures"]
    assert "log key" in checks(check_proof(proof.to_bytes(), replace(log.key, public=TWO.public), [], need=0, now_ms=NOW))
    assert prove(read_log(log.folder), source.digest.removeprefix("sha256:")[:12]) == proof


def test_a_run_without_an_end_is_proven_as_such(proven: tuple[Log, Proof, Source]) -> None:
    log, _, _ = proven
    data = prove(read_log(log.folder), digest(opened(1))).to_bytes()
    found = check_proof(data, log.key, [ONE_KEY], need=1, now_ms=NOW)
    assert (found.ok, len(found.open)) == (True, 1)
    assert proof_checks(log, data, Source(opened(1), KEY.public.to_json(), {"a": 1})) == ["run"]
    late = check_proof(data, log.key, [ONE_KEY], need=1, now_ms=NOW + 10 * DAY)
    assert checks(late) == ["run without an end"]


def test_a_changed_proof_is_refused(proven: tuple[Log, Proof, Source]) -> None:
    log, proof, _ = proven
    first, second = proof.entries
    for changed in (
        replace(proof, entries=[replace(first, index=1), second]),
        replace(proof, entries=[replace(first, path=first.path[:-1]), second]),
        replace(proof, entries=[replace(first, path=["zz", *first.path[1:]]), second]),
        replace(proof, entries=[replace(first, entry={**first.entry, "kind": "closed"}), second]),
        replace(proof, entries=[second, first]),
        replace(proof, entries=[first, first]),
        replace(proof, entries=[Proven(-1, {}, []), second]),
    ):
        assert proof_checks(log, changed.to_bytes()), changed
    assert proof_checks(log, replace(proof, entries=[second]).to_bytes()) == ["closing without an opening"]
    for data in (b"", b"{}", b"[" * 100_000, proof.to_bytes()[:-1], proof.to_bytes().replace(b'"index"', b'"index" '), b"\xff"):
        with pytest.raises(AssayError):
            proof_checks(log, data)
    damaged = replace(proof, checkpoint=proof.checkpoint.replace("\n4\n", "\n5\n"))
    assert "checkpoint" in proof_checks(log, damaged.to_bytes())


def test_what_no_checkpoint_has_yet_is_not_proven(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log", opening(1))
    with pytest.raises(LogError, match="no checkpoint has all of this run yet"):
        prove(read_log(log.folder), digest(opened(1)))
    with pytest.raises(LogError, match="no such runs"):
        prove(read_log(log.folder), digest(opened(2)))


def test_a_folder_that_says_another_key_is_named(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log", opening(1))
    log.checkpoint(KEY)
    other = NoteKey(ORIGIN, TWO.public, 1)
    assert checks(check_log(read_log(log.folder), "log", other, [], need=0, now_ms=NOW)) == ["log key"]
    empty = make_log(tmp_path / "empty")
    assert checks(check(empty)) == ["cosignatures"]
    empty.checkpoint(KEY)
    assert check(empty).ok


def test_a_large_log_is_read_quickly() -> None:
    """Checkpoints are held against 20,000 entries in one pass."""
    lines = tuple(b"%d" % i for i in range(20_000))
    hashes, signed = [leaf_hash(line) for line in lines], []
    for size in range(200, 20_001, 200):
        head = Checkpoint(ORIGIN, size, root_of(hashes[:size]))
        note = Note(head.to_text()).signed(sign_note(head.to_text(), ORIGIN, KEY))
        signed.append(Signed(head, note))
    view = View(NoteKey(ORIGIN, KEY.public, 1), lines, 0, tuple(signed))
    start = time.process_time()
    assert checked(view, "log") is view
    assert time.process_time() - start < 2


def test_a_run_is_registered_before_its_first_trial_and_its_end_after_the_last(tmp_path: Path) -> None:
    from assay import api
    from tests.support import plan_text

    key = PrivateKey.generate()
    log = Log.create(tmp_path / "log", "example.org/assay", key)
    plan = tmp_path / "plan.yaml"
    plan.write_text(plan_text(budget={"calls": 30}))
    seen: list[int] = []

    class Looking(api.Silent):
        def committed(self, trial: object, gate: object, phase: str) -> None:
            seen.append(len(read_log(tmp_path / "log").lines))

    api.evaluate(plan, out=tmp_path / "run", key=tmp_path / "k.pem", log=tmp_path / "log", observer=Looking())
    assert set(seen) == {1}
    assert len(read_log(tmp_path / "log").lines) == 2
    api.evaluate(out=tmp_path / "run", resume=True, key=tmp_path / "k.pem", log=tmp_path / "log")
    log.checkpoint(key)
    with pytest.raises(LogError):
        api.evaluate(plan, out=tmp_path / "other", key=tmp_path / "k.pem", log=tmp_path / "none")
    assert not (tmp_path / "other" / "run.db").exists()
