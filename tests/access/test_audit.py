"""The audit log: on disk before it is acknowledged, whatever happens; nobody changes it unseen."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest

from assay.access.audit.ends import Ends, read_end
from assay.access.audit.export import Prover, check_proofs, write_jsonl
from assay.access.audit.log import AuditLog
from assay.access.audit.read import Query, search
from assay.access.audit.records import AuditError, AuditTamperedError, Decided, encode, hash_of, line_of, read_line, shown
from assay.access.audit.segment import begin, header_of, seal, segments
from assay.access.audit.text import contents_of
from assay.access.audit.verify import Verified, verify
from assay.access.audit.who import who
from assay.access.model import DeniedError
from assay.errors import AssayError
from assay.evidence.log import read_log
from assay.evidence.logbook import LogTamperedError
from assay.evidence.witness import show, witness
from assay.ledger import PrivateKey, canonical
from assay.ledger.notes import COSIGNATURE, NoteKey
from tests.access.audited import AT, KEY, OTHERS, child, decided, ended, fill, fresh, log_of, with_log


def checks(found: Verified) -> set[str]:
    return {f.check for f in found.findings}


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line)["record"] for path in segments(folder) for line in path.read_bytes().split(b"\n") if line[:1] == b"{"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three segments, the first two with requests, the last begun after both; all ended, all signed."""
    folder = tmp_path_factory.mktemp("audit") / "audit"
    fill(folder, "w0")
    fill(folder, "w1", first=10)
    fill(folder, "w2", first=30, n=1, others=False)
    return folder


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "audit"))


# What is written


@pytest.mark.parametrize("record", [decided(), ended(), *OTHERS], ids=lambda r: r["kind"])
def test_every_kind_of_record_is_written_canonically_and_read_back(record: dict[str, Any]) -> None:
    line = line_of(encode(record), 7, "0" * 64)
    assert line == canonical({"after": "0" * 64, "n": 7, "record": record})
    assert read_line(line).record.at == record["at"]


@pytest.mark.parametrize(
    "record",
    [
        {**decided(), "extra": 1}, {**decided(), "kind": "other"}, {k: v for k, v in decided().items() if k != "purpose"},
        {**decided(), "person": "x" * 301}, {**decided(), "person": "\ud800"}, {**decided(), "at": 1.5}, {**decided(), "version": -1},
        {**decided(), "at": 2**60}, {**decided(), "tools": ["x" * 300] * 501}, {**decided(), "person": {1, 2}},
    ],
    ids=["unknown field", "unknown kind", "missing field", "long", "surrogate", "float", "negative", "late", "many tools", "no JSON"],
)  # fmt: skip
def test_what_could_not_be_read_back_is_not_written_and_denies(record: dict[str, Any], tmp_path: Path) -> None:
    async def act(log: AuditLog) -> None:
        with pytest.raises(AuditError):
            await log.write(record)
        log.note(record)
        await log.write(decided())

    with_log(tmp_path, act)
    assert [r["kind"] for r in records(tmp_path)] == ["segment", "error", "decided"]
    assert verify(tmp_path).ok


def test_text_from_outside_is_made_fit() -> None:
    assert shown("a\ud800b" + "x" * 1000) == "a?b" + "x" * 297
    encode(decided(person=shown("\udcff" * 500)))


def test_a_write_returns_when_the_record_is_on_disk(tmp_path: Path) -> None:
    async def act(log: AuditLog) -> None:
        for i in range(5):
            n = await log.write(decided(i))
            lines = (tmp_path / f"{log.segment}.jsonl").read_bytes().splitlines()
            assert json.loads(lines[n])["record"]["id"] == f"req_{i:024x}"
        several = await asyncio.gather(*(log.write(decided(100 + i)) for i in range(300)))
        assert several == list(range(6, 306))

    with_log(tmp_path, act)
    found = verify(tmp_path)
    assert found.ok, found.findings
    assert (found.records, found.signed, found.segments) == (306, 306, 1)


# Segments


def test_a_segment_that_has_grown_large_is_ended_and_another_goes_on(tmp_path: Path, auditor: Any) -> None:
    async def act(log: AuditLog) -> None:
        async def one(i: int) -> None:
            asked = b"asked %d" % i
            await log.write(decided(i, request_digest=log.content("request", "", asked)), nonce=(b"new", AT))
            await asyncio.sleep(0.01 * (i % 5))
            log.note(ended(i, answer_digest=log.content("answer", "", b"answered %d" % i)))

        for first in range(0, 400, 20):
            await asyncio.gather(*(one(i) for i in range(first, first + 20)))

    with_log(tmp_path, act, auditors=[str(auditor.to_public())], roll_bytes=20_000)
    paths = segments(tmp_path)
    assert len(paths) > 4
    assert all(path.stat().st_size < 80_000 for path in paths)
    found = verify(tmp_path, identities=[auditor])
    assert found.ok, found.findings
    assert (found.unfinished, found.living, found.signed) == (0, 0, found.records)
    assert found.opened == 800
    assert [header_of(path).follows for path in paths] == ["", *(path.stem for path in paths[:-1])]
    rows = list(search(tmp_path, Query(kinds=("decided",))))
    assert [row.record.id for row in rows if isinstance(row.record, Decided)] == [f"req_{i:024x}" for i in range(400)]
    assert all(row.ended is not None and row.ended.id == row.record.id for row in rows if isinstance(row.record, Decided))
    across = [row for row in rows if row.ended_segment != row.segment]
    assert across
    for row in across:
        assert [contents_of(tmp_path, segment, [auditor])[digest][0] for segment, digest in row.contents] == ["request", "answer"]
    n = rows.index(across[0])
    assert across[0] in search(tmp_path, Query(text=f"answered {n}", kinds=("decided",)), [auditor])
    (seen,) = who(tmp_path, "m7")
    assert (seen.requests, seen.complete, seen.open) == (400, 400, 0)
    with (tmp_path / "exported.jsonl").open("wb") as out:
        write_jsonl(rows, out, Prover(tmp_path))
    assert found.key is not None
    proven = check_proofs(tmp_path / "exported.jsonl", found.key)
    assert (proven.proven, proven.unproven) == (800, 0)


def test_where_no_new_segment_can_be_begun_the_old_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(log: AuditLog) -> None:
        def fails() -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(log, "_new_segment", fails)
        for i in range(100):
            await log.write(decided(i))

    with_log(tmp_path, act, roll_bytes=5000)
    assert len(segments(tmp_path)) == 1
    told = [r["what"] for r in records(tmp_path) if r["kind"] == "error"]
    assert told == ["no new segment could be begun: No space left on device"]
    assert verify(tmp_path).ok


def test_a_segment_that_claims_to_follow_on_a_stranger_is_found(copy: Path) -> None:
    begun = begin(copy, "w4", KEY, Ends.open(copy / "ends", KEY), (), "sha256:" + "c" * 64, AT, "w9-1790000000000")
    os.close(begun.file)
    assert "header" in checks(verify(copy))


# Nonces


def test_a_replay_is_denied_and_itself_recorded(tmp_path: Path) -> None:
    async def act(log: AuditLog) -> None:
        results = await asyncio.gather(
            log.write(decided(1), nonce=(b"a", AT)),
            log.write(decided(2), nonce=(b"used", AT)),
            log.write(decided(3)),
            return_exceptions=True,
        )
        assert results[0] == 1
        assert results[2] == 3
        assert isinstance(results[1], DeniedError)
        assert (results[1].rule, results[1].status) == ("replay", 401)

    with_log(tmp_path, act)
    denied = records(tmp_path)[2]
    assert (denied["kind"], denied["rule"], denied["id"], denied["person"]) == ("denied", "replay", f"req_{2:024x}", "Ada Tan")
    assert verify(tmp_path).ok


def failing(nonces: Any, now: int) -> list[bool]:
    raise AssayError("the store is away")


@pytest.mark.parametrize(
    ("spend", "why"),
    [(failing, "the store is away"), (lambda n, now: [], "not answered"), (lambda n, now: 1 / 0, "ZeroDivision"), (None, "no store"),
     (lambda n, now: [1] * len(n), "used before")],
    ids=["raises", "too few", "breaks", "none", "not a truth"],
)  # fmt: skip
def test_without_the_store_s_clear_word_a_request_is_denied_and_the_rest_goes_on(spend: Any, why: str, tmp_path: Path) -> None:
    async def act(log: AuditLog) -> None:
        with pytest.raises(AssayError, match=why):
            await log.write(decided(1), nonce=(b"n", AT))
        assert await log.write(decided(2)) == 2

    with_log(tmp_path, act, spend=spend)
    assert [r["kind"] for r in records(tmp_path)] == ["segment", "denied", "decided"]


def test_a_batch_s_nonces_are_spent_in_one_go_before_the_records_are_written(tmp_path: Path) -> None:
    asked: list[int] = []
    gate = threading.Event()

    def spend(nonces: Any, now: int) -> list[bool]:
        gate.wait(5)
        asked.append(len(nonces))
        return [True] * len(nonces)

    async def act(log: AuditLog) -> None:
        first = log.write(decided(0), nonce=(b"0", AT))
        await asyncio.sleep(0.05)
        rest = [log.write(decided(i), nonce=(b"%d" % i, AT)) for i in range(1, 41)]
        assert len(records(tmp_path)) == 1
        gate.set()
        await asyncio.gather(first, *rest)

    with_log(tmp_path, act, spend=spend)
    assert asked == [1, 40]


# What fails denies


def test_an_error_of_the_disk_denies_whoever_waits_and_whoever_comes_later(tmp_path: Path) -> None:
    async def main() -> None:
        log = log_of(tmp_path)
        await log.start()
        await log.write(decided(0))
        assert log.problems() == []
        null = os.open("/dev/full", os.O_WRONLY)
        os.dup2(null, log._begun.file)
        os.close(null)
        results = await asyncio.gather(*(log.write(decided(i)) for i in range(1, 20)), return_exceptions=True)
        assert all(isinstance(r, AuditError) and "No space left" in r.what for r in results)
        with pytest.raises(AuditError, match="No space left"):
            await log.write(decided(30))
        log.note(ended(30))
        assert "No space left" in log.problems()[0]
        await log.stop()

    asyncio.run(main())
    found = verify(tmp_path)
    assert found.ok, found.findings
    assert found.unfinished == 1


FULL = """
import asyncio, resource, signal, sys
from pathlib import Path
from tests.access.audited import decided, log_of
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
async def main():
    log = log_of(Path(sys.argv[1]), checkpoint_s=3600.0)
    await log.start()
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
    try:
        for i in range(1000):
            await log.write(decided(i))
            print(i, flush=True)
    except Exception as e:
        print(type(e).__name__, log.problems(), flush=True)
    await log.stop()
asyncio.run(main())
"""


def test_a_record_that_the_disk_takes_only_in_part_is_refused_and_its_tail_set_aside_by_name(tmp_path: Path) -> None:
    process = child(FULL, tmp_path)
    out, err = process.communicate(timeout=60)
    *acknowledged, last = out.splitlines()
    assert last.startswith("AuditError"), out + err
    assert "File too large" in last
    before = segments(tmp_path)[0]
    torn = verify(tmp_path)
    assert torn.torn
    name = next(iter(torn.torn))
    # the key of that process is gone with it: begin with the folder's own
    shutil.rmtree(tmp_path / "ends")
    fill(tmp_path, "w9", n=1)
    again = verify(tmp_path)
    assert again.torn == {name: torn.torn[name]}
    assert header_of(segments(tmp_path)[-1]).repaired[name].length == torn.torn[name]
    assert before.with_suffix(".torn").stat().st_size == torn.torn[name]
    kept = [r["id"] for r in records(tmp_path) if r["kind"] == "decided"]
    assert kept[: len(acknowledged)] == [f"req_{i:024x}" for i in range(len(acknowledged))]


def test_a_thread_that_dies_denies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        log = log_of(tmp_path)
        await log.start()

        def broken(batch: Any) -> None:
            raise MemoryError

        monkeypatch.setattr(log, "_commit", broken)
        with pytest.raises(AuditError, match="MemoryError"):
            await log.write(decided(1))
        with pytest.raises(AuditError, match="MemoryError"):
            await log.write(decided(2))
        assert log.problems() == ["audit: MemoryError"]
        await log.stop()

    asyncio.run(main())


def test_a_disk_that_does_not_answer_denies_whoever_comes_meanwhile(tmp_path: Path) -> None:
    async def main() -> None:
        log = log_of(tmp_path)
        await log.start()
        log._busy_since = time.monotonic() - 6
        with pytest.raises(AuditError, match="does not keep up"):
            await log.write(decided(1))
        assert "has not answered" in log.problems()[0]
        log._busy_since = 0.0
        await log.write(decided(2))
        await log.stop()
        with pytest.raises(AuditError, match="stopped"):
            await log.write(decided(3))

    asyncio.run(main())


def test_a_write_that_ends_while_it_is_asked_after_is_no_stall(tmp_path: Path) -> None:
    class Racing(AuditLog):
        """Whose disk is busy at the first look, and done at the second."""

        looked = 0

        @property
        def _busy_since(self) -> float:
            self.looked += 1
            return time.monotonic() if self.looked % 2 else 0.0

        @_busy_since.setter
        def _busy_since(self, value: float) -> None:
            return

    async def main() -> int:
        log = Racing(tmp_path, "w0", KEY, spend=fresh, checkpoint_s=3600.0, config="sha256:" + "c" * 64)
        await log.start()
        try:
            return await log.write(decided())
        finally:
            await log.stop()

    assert asyncio.run(main()) == 1


def test_checkpoints_that_cannot_be_signed_are_said_and_end_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        log = log_of(tmp_path, checkpoint_s=0.02)
        await log.start()
        shutil.rmtree(tmp_path / "ends")
        await log.write(decided(1))
        for _ in range(300):
            await asyncio.sleep(0.02)
            if log.problems():
                break
        assert "checkpoint" in log.problems()[0]
        for _ in range(300):
            await asyncio.sleep(0.02)
            if log._dead:
                break
        with pytest.raises(AuditError, match="checkpoint"):
            await log.write(decided(2))
        await log.stop()

    asyncio.run(main())


def test_a_log_of_another_key_is_not_gone_on_with(copy: Path) -> None:
    async def main() -> None:
        log = AuditLog(copy, "w0", PrivateKey.generate())
        with pytest.raises(AuditError, match="another key"):
            await log.start()
        with pytest.raises(AuditError, match="not begun"):
            await log.write(decided())

    asyncio.run(main())


def test_a_gate_does_not_begin_on_ends_that_were_rewritten(copy: Path) -> None:
    path = copy / "ends" / "entries.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"records":', b'"records":1', 1))
    with pytest.raises(LogTamperedError):
        fill(copy, "w5")


# Whoever changes it is found


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from leaves(one, (*at, key))
    elif isinstance(value, list) and value:
        for index, one in enumerate(value):
            yield from leaves(one, (*at, index))
    else:
        yield at


def altered(value: Any, at: tuple[Any, ...]) -> Any:
    value = json.loads(json.dumps(value))
    place = value
    for step in at[:-1]:
        place = place[step]
    old = place[at[-1]]
    if isinstance(old, bool):
        new: Any = not old
    elif isinstance(old, int):
        new = old + 1
    elif isinstance(old, str):
        new = (old[:-1] + ("0" if old[-1] != "0" else "1")) if old else "x"
    else:
        new = ["x"] if old == [] else None
    place[at[-1]] = new
    return value


def rewritten(lines: list[bytes], index: int, value: Any, *, chain: bool) -> bytes:
    """The segment with one line altered; with `chain`, by somebody who makes the chain right again."""
    out = list(lines)
    out[index] = canonical(value)
    if chain:
        last = hash_of(out[index])
        for i in range(index + 1, len(out)):
            later = json.loads(out[i])
            out[i] = canonical({**later, "after": last})
            last = hash_of(out[i])
    return b"\n".join(out) + b"\n"


@pytest.mark.parametrize("chain", [False, True], ids=["one line", "chain mended"])
def test_every_field_of_every_record_altered_in_turn_is_found(copy: Path, chain: bool) -> None:
    assert verify(copy).ok
    tried = 0
    for path in segments(copy):
        original = path.read_bytes()
        lines = original.splitlines()
        for index, line in enumerate(lines):
            value = json.loads(line)
            for at in leaves(value):
                path.write_bytes(rewritten(lines, index, altered(value, at), chain=chain))
                found = verify(copy)
                assert not found.ok, (path.name, index, at)
                assert path.stem in str(found.findings[0]), found.findings
                tried += 1
        path.write_bytes(original)
    assert tried > 350
    assert verify(copy).ok


def test_every_field_of_every_checkpoint_altered_in_turn_is_found(copy: Path) -> None:
    path = copy / "ends" / "entries.jsonl"
    original = path.read_bytes()
    lines = original.splitlines()
    for index, line in enumerate(lines):
        value = json.loads(line)
        for at in leaves(value):
            path.write_bytes(b"\n".join([*lines[:index], canonical(altered(value, at)), *lines[index + 1 :]]) + b"\n")
            found = verify(copy)
            assert "checkpoints" in checks(found), (index, at)
    path.write_bytes(original)
    assert verify(copy).ok


def test_a_byte_flipped_anywhere_is_found(copy: Path) -> None:
    rng = random.Random(9)
    files = [*segments(copy), copy / "ends" / "entries.jsonl", copy / "ends" / "log.json", *(copy / "ends" / "checkpoints").iterdir()]
    for path in files:
        original = path.read_bytes()
        for at in sorted(rng.sample(range(len(original)), min(len(original), 60))):
            path.write_bytes(original[:at] + bytes([original[at] ^ (1 << rng.randrange(8))]) + original[at + 1 :])
            found = verify(copy)
            last = at == len(original) - 1
            assert not found.ok or (last and found.torn), (path.name, at)
        path.write_bytes(original)
    assert verify(copy).ok


def edit(path: Path, change: Any) -> None:
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda lines: lines[:3] + lines[4:], "order"),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], "order"),
        (lambda lines: [*lines[:4], lines[3], *lines[4:]], "order"),
        (lambda lines: lines[:-1], "truncated"),
        (lambda lines: lines[:1], "truncated"),
        (lambda lines: [], "truncated"),
        (lambda lines: lines[1:], "order"),
        (lambda lines: [*lines, line_of(encode(decided(77)), len(lines), hash_of(lines[-1]))], "added"),
        (lambda lines: [b"x" * 100, *lines], "line"),
        (lambda lines: [*lines[:2], lines[0], *lines[2:]], "order"),
        (lambda lines: [lines[0].replace(b'"n":0', b'"n": 0'), *lines[1:]], "line"),
    ],
    ids=["dropped", "swapped", "twice", "last", "all but one", "emptied", "header", "added", "garbage", "header again", "not canonical"],
)  # fmt: skip
def test_lines_dropped_moved_repeated_added_or_cut_off_are_found_by_name(copy: Path, change: Any, name: str) -> None:
    edit(segments(copy)[1], change)
    found = verify(copy)
    assert name in checks(found), found.findings
    assert segments(copy)[1].stem in str(found.findings[0])


def test_a_segment_cut_off_in_the_middle_of_a_line_is_found(copy: Path) -> None:
    path = segments(copy)[0]
    path.write_bytes(path.read_bytes()[:-40])
    assert {"truncated", "previous"} <= checks(verify(copy))


def test_bytes_without_an_end_after_a_signed_end_are_found(copy: Path) -> None:
    path = segments(copy)[0]
    path.write_bytes(path.read_bytes() + b'{"after')
    assert checks(verify(copy)) == {"added"}


def test_a_torn_line_is_named_and_set_aside_by_the_next_start_alone(tmp_path: Path) -> None:
    """What a killed worker leaves: the file as it was before its end was signed, and half a line."""
    folder = tmp_path / "audit"

    async def act(log: AuditLog) -> None:
        await log.write(decided(1))
        shutil.copytree(folder, tmp_path / "killed")

    with_log(folder, act)
    killed = tmp_path / "killed"
    path = segments(killed)[0]
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"after":"00')
    assert (verify(killed).ok, verify(killed).torn) == (True, {path.stem: 12})
    assert seal(killed, KEY, AT) == [path.stem]
    assert seal(killed, KEY, AT) == []
    found = verify(killed)
    assert (found.ok, found.torn, found.signed) == (True, {path.stem: 12}, 2)
    fill(killed, "w1", n=1)
    assert path.read_bytes() == whole
    assert path.with_suffix(".torn").read_bytes() == b'{"after":"00'
    found = verify(killed)
    assert (found.ok, found.torn) == (True, {path.stem: 12})
    path.with_suffix(".torn").write_bytes(b"other")
    assert checks(verify(killed)) == {"torn tail"}


def test_a_long_tail_is_not_taken_for_a_torn_line(tmp_path: Path) -> None:
    folder = tmp_path / "audit"

    async def act(log: AuditLog) -> None:
        await log.write(decided(1))
        shutil.copytree(folder, tmp_path / "killed")

    with_log(folder, act)
    path = segments(tmp_path / "killed")[0]
    whole = path.read_bytes()
    for tail in (b"x" * (2 << 20), b"x" * (9 << 20)):
        path.write_bytes(whole + tail)
        assert checks(verify(tmp_path / "killed")) == {"line"}
    fill(tmp_path / "killed", "w1", n=1)
    assert path.stat().st_size == len(whole) + (9 << 20)
    alerts = [r for r in records(tmp_path / "killed") if r.get("kind") == "alert" and r["severity"] == "critical"]
    assert path.stem in alerts[0]["what"]


def test_where_no_log_is_nothing_holds(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="no audit log"):
        verify(tmp_path)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_whole_segment_dropped_is_found(copy: Path, index: int) -> None:
    path = segments(copy)[index]
    path.unlink()
    found = verify(copy)
    assert "segment missing" in checks(found)
    assert path.stem in str(found.findings)


def test_a_segment_dropped_with_all_checkpoints_is_found_by_the_headers_of_later_ones(copy: Path) -> None:
    segments(copy)[0].unlink()
    shutil.rmtree(copy / "ends")
    assert {"segment missing", "checkpoints"} <= checks(verify(copy))


def test_segments_that_change_names_are_found(copy: Path) -> None:
    a, b, _ = segments(copy)
    a.rename(copy / "x")
    b.rename(a)
    (copy / "x").rename(b)
    assert "header" in checks(verify(copy))


def test_a_segment_by_another_key_is_found(copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"

    async def main() -> None:
        log = AuditLog(other, "w7", PrivateKey.generate())
        await log.start()
        await log.write(decided())
        await log.stop()

    asyncio.run(main())
    shutil.copy(segments(other)[0], copy)
    found = verify(copy)
    assert checks(found) == {"header"}
    assert "another key" in found.findings[0].what


def test_rolling_back_behind_a_checkpoint_is_found_by_whoever_kept_it(tmp_path: Path) -> None:
    folder, before = tmp_path / "audit", tmp_path / "before"
    fill(folder, "w0")
    shutil.copytree(folder, before)
    fill(folder, "w1")
    kept = read_log(folder / "ends").checkpoints[-1].note
    old = read_log(before / "ends").checkpoints[-1].note
    assert verify(folder, kept=[kept, old]).ok
    assert verify(before, kept=[old]).ok
    found = verify(before, kept=[kept])
    assert checks(found) == {"rolled back"}
    fill(before, "w1", first=50)  # and another history from there on
    assert checks(verify(before, kept=[kept])) == {"rewritten"}


def test_a_checkpoint_of_another_log_is_none_of_this_one(copy: Path, tmp_path: Path) -> None:
    async def main() -> None:
        log = AuditLog(tmp_path / "other", "w0", PrivateKey.generate())
        await log.start()
        await log.stop()

    asyncio.run(main())
    note = read_log(tmp_path / "other" / "ends").checkpoints[-1].note
    assert checks(verify(copy, kept=[note])) == {"checkpoint kept"}


def test_the_ends_rolled_back_alone_are_found_by_the_headers(copy: Path) -> None:
    """Without any checkpoint from outside: the last segment says how much was signed when it began."""
    entries = copy / "ends" / "entries.jsonl"
    entries.write_bytes(b"".join(line + b"\n" for line in entries.read_bytes().splitlines()[:2]))
    for note in sorted((copy / "ends" / "checkpoints").iterdir())[2:]:
        note.unlink()
    assert "rolled back" in checks(verify(copy))


def test_the_other_party_witnesses_it_as_any_log(tmp_path: Path) -> None:
    folder, other = tmp_path / "audit", PrivateKey.generate()
    fill(folder, "w0")
    key = NoteKey(f"assay-audit/{KEY.public.keyid[:16]}", KEY.public, 1)
    own = NoteKey("example.org/other", other.public, COSIGNATURE)
    first = witness(tmp_path / "w.json", other, own.name, show(read_log(folder / "ends")), AT // 1000, key)
    assert verify(folder, kept=[first.note], witnesses=[own], need=1).cosigned == 13
    fill(folder, "w1")
    found = verify(folder, kept=[first.note], witnesses=[own], need=1)
    assert (found.ok, found.cosigned, found.signed) == (True, 13, 26)
    assert checks(verify(folder, witnesses=[own], need=1)) == {"cosignatures"}
    assert checks(verify(folder, witnesses=[NoteKey("me", KEY.public, COSIGNATURE)], need=1)) == {"cosignatures"}
    assert witness(tmp_path / "w.json", other, own.name, show(read_log(folder / "ends")), AT // 1000, key).head.size > first.head.size
    entries = folder / "ends" / "entries.jsonl"
    lines = entries.read_bytes().splitlines()
    changed = canonical({**json.loads(lines[0]), "at": 1})
    entries.write_bytes(b"".join(line + b"\n" for line in [changed, *lines[1:]]))
    with pytest.raises(LogTamperedError):
        witness(tmp_path / "w.json", other, own.name, show(read_log(folder / "ends")), AT // 1000, key)


def test_another_key_than_the_one_that_was_told_is_found(copy: Path) -> None:
    told = NoteKey("assay-audit/0123456789abcdef", PrivateKey.generate().public, 1)
    assert checks(verify(copy, log_key=told)) == {"log key"}


def test_checkpoints_are_signed_while_it_writes_and_old_ones_that_nobody_cosigned_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.access.audit.ends.KEPT_NOTES", 5)

    async def act(log: AuditLog) -> None:
        for i in range(200):
            await log.write(decided(i))
            if i % 2:
                await asyncio.sleep(0.01)

    with_log(tmp_path, act, checkpoint_s=0.005)
    view = read_log(tmp_path / "ends")
    assert len(view.lines) > 64
    assert len(view.checkpoints) < 5 + 64
    assert verify(tmp_path).ok


def test_two_processes_ends_are_one_tree(tmp_path: Path) -> None:
    async def main() -> None:
        logs = [log_of(tmp_path, f"w{i}", checkpoint_s=0.005) for i in range(3)]
        for log in logs:
            await log.start()
        for i in range(60):
            await asyncio.gather(*(log.write(decided(i)) for log in logs))
        assert verify(tmp_path).living == 3
        assert verify(tmp_path).ok
        for log in logs:
            await log.stop()

    asyncio.run(main())
    found = verify(tmp_path)
    assert found.ok, found.findings
    assert (found.records, found.signed) == (183, 183)


# Contents


@pytest.fixture(scope="module")
def auditor() -> Any:
    return pyrage.x25519.Identity.generate()


def test_without_auditors_no_content_is_kept_and_digests_tell_nothing(tmp_path: Path) -> None:
    async def act(log: AuditLog) -> None:
        a, b = log.content("request", "", b"yes"), log.content("request", "", b"yes")
        assert a != b
        await log.write(decided(request_digest=a))

    with_log(tmp_path, act)
    assert not list(tmp_path.glob("*.content"))
    assert verify(tmp_path).ok


def test_contents_are_for_the_auditors_alone_and_held_against_their_digests(tmp_path: Path, auditor: Any) -> None:
    fill(tmp_path, auditors=[str(auditor.to_public())])
    path = segments(tmp_path)[0]
    stored = path.with_suffix(".content").read_bytes()
    assert b"breaker" not in stored
    assert base64.b64decode(header_of(path).secret).startswith(b"age-encryption.org/v1")
    contents = contents_of(tmp_path, path.stem, [auditor])
    digests = [r["request_digest"] for r in records(tmp_path) if r["kind"] == "decided"]
    assert [contents[d][0] for d in digests] == ["request"] * 3
    assert json.loads(contents[digests[0]][1])["messages"][0]["content"] == "Is the breaker open?"
    with pytest.raises(AuditError, match="none of these identities"):
        contents_of(tmp_path, path.stem, [pyrage.x25519.Identity.generate()])
    found = verify(tmp_path, identities=[auditor])
    assert (found.ok, found.opened) == (True, 6)


def test_a_digest_that_is_known_already_is_not_made_again(tmp_path: Path, auditor: Any) -> None:
    import hashlib

    async def act(log: AuditLog) -> str:
        digest = log.content("request", "", b"data", hashlib.sha256(b"data").digest())
        await log.write(decided(request_digest=digest))
        return digest

    digest = with_log(tmp_path, act, auditors=[str(auditor.to_public())])
    assert contents_of(tmp_path, segments(tmp_path)[0].stem, [auditor])[digest] == ("request", b"data")


def test_contents_changed_cut_off_or_removed_are_found(tmp_path: Path, auditor: Any) -> None:
    fill(tmp_path, auditors=[str(auditor.to_public())])
    path = segments(tmp_path)[0].with_suffix(".content")
    original = path.read_bytes()
    for at in range(0, len(original), 37):
        path.write_bytes(original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :])
        assert "contents" in checks(verify(tmp_path)), at
    for changed in (original[:-1], original[: len(original) // 2], b""):
        path.write_bytes(changed)
        assert "contents" in checks(verify(tmp_path))
    path.unlink()
    assert "contents" in checks(verify(tmp_path))
    path.write_bytes(original)
    assert verify(tmp_path).ok


@pytest.mark.parametrize("tail", [b"\0" * 5000, b"\xff" * 5000, b"\0" * 44, b"x"], ids=["zeros", "ones", "a header", "a byte"])
def test_what_power_loss_leaves_after_the_last_content_keeps_nothing_from_starting(tmp_path: Path, auditor: Any, tail: bytes) -> None:
    folder = tmp_path / "audit"

    async def act(log: AuditLog) -> None:
        await log.write(decided(1, request_digest=log.content("request", "", b"data")))
        shutil.copytree(folder, tmp_path / "killed")

    with_log(folder, act, auditors=[str(auditor.to_public())])
    killed = tmp_path / "killed"
    path = segments(killed)[0].with_suffix(".content")
    path.write_bytes(path.read_bytes() + tail)
    fill(killed, "w1", n=1)
    found = verify(killed, identities=[])
    assert found.ok, found.findings
    assert contents_of(killed, path.stem, [auditor])[records(killed)[1]["request_digest"]] == ("request", b"data")


def test_a_content_that_was_exchanged_is_not_opened(tmp_path: Path, auditor: Any) -> None:
    """Before anything was signed of it: the digest is bound to the ciphertext."""
    fill(tmp_path, auditors=[str(auditor.to_public())])
    segment = segments(tmp_path)[0]
    path = segment.with_suffix(".content")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    last = [r["answer_digest"] for r in records(tmp_path) if r["kind"] == "ended"][-1]
    with pytest.raises(AuditTamperedError, match="was changed"):
        contents_of(tmp_path, segment.stem, [auditor])[last]


def test_entries_of_ends_are_read_strictly(copy: Path) -> None:
    line = (copy / "ends" / "entries.jsonl").read_bytes().splitlines()[0]
    assert read_end(line).to_line() == line
    with pytest.raises(AuditTamperedError):
        read_end(line.replace(b'"final"', b'"final2"'))
    assert Ends.open(copy / "ends", KEY).head[0] == 6


def test_reading_goes_on_while_it_is_written_to(tmp_path: Path) -> None:
    async def act(log: AuditLog) -> None:
        for i in range(50):
            await log.write(decided(i))
            log.note(ended(i))
            if i % 10 == 0:
                rows = list(search(tmp_path, Query(kinds=("decided",))))
                assert len(rows) == i + 1
                assert verify(tmp_path).ok

    with_log(tmp_path, act, checkpoint_s=0.005)
