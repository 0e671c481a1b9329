"""Searching, taking out and proving what the audit log holds, also at the command line."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pyrage
import pytest

from assay.access.audit.export import COLUMNS, Prover, cell, check_proofs, write_csv, write_jsonl
from assay.access.audit.log import AuditLog
from assay.access.audit.read import CLOCK_MS, LONGEST_MS, Query, lines_between, search
from assay.access.audit.records import AuditError, AuditTamperedError
from assay.access.audit.segment import segments
from assay.access.audit.text import readable
from assay.access.audit.who import who
from assay.evidence.log import read_log
from assay.evidence.witness import show, witness
from assay.ledger import PrivateKey
from assay.ledger.notes import COSIGNATURE, NoteKey
from tests.access.audited import AT, KEY, PURPOSE, decided, ended, fill, with_log
from tests.cli.test_errors import assay, assert_refused

LOG_KEY = NoteKey(f"assay-audit/{KEY.public.keyid[:16]}", KEY.public, 1)


@pytest.fixture(scope="module")
def auditor() -> Any:
    return pyrage.x25519.Identity.generate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, auditor: Any) -> Path:
    """Two workers' segments whose requests alternate in time, by two persons on two models; one is cut, one never ends."""
    folder = tmp_path_factory.mktemp("read") / "audit"

    def some(first: int) -> Any:
        async def act(log: AuditLog) -> None:
            for i in range(first, 12, 2):
                who_is = {"person": "Ben Lim", "organisation": "Water of Singapore", "grant": "water-1"} if i % 3 == 0 else {}
                more = {"model": "m8", "system": ""} if i in (4, 5) else {}
                asked = log.content("request", "", json.dumps({"messages": [{"content": f"question {i} é"}]}).encode())
                await log.write(decided(i * 10, request_digest=asked, **who_is, **more))
            for i in range(first, 12, 2):
                if i != 7:
                    parts = [f'data: {{"choices":[{{"delta":{{"content":"{p}"}}}}]}}' for p in ("answ", f"er {i}")]
                    answer = log.content("answer", "", "\n\n".join([*parts, "data: [DONE]", ""]).encode())
                    how = {"how": "halted", "halt": "halt-1", "first_ms": -1, "tokens": 0} if i == 2 else {}
                    log.note(ended(i * 10, answer_digest=answer, **how))
            log.note(
                {"kind": "denied", "at": AT + 1000 + first, "rule": "quota", "person": "Ada Tan", "rules": ["forbid-night"], "model": "m7"}
            )

        return act

    for worker in (0, 1):
        with_log(folder, some(worker), f"w{worker}", auditors=[str(auditor.to_public())])
    return folder


def ids(rows: Any) -> list[int]:
    return [int(row.record.id[4:], 16) // 10 for row in rows]


def test_everything_comes_in_order_of_time_with_its_end(folder: Path) -> None:
    rows = list(search(folder, Query(kinds=("decided",))))
    assert ids(rows) == list(range(12))
    assert [r.ended is not None for r in rows] == [i != 7 for i in range(12)]
    assert all(r.ended is None or r.ended.id == r.record.id for r in rows)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(person="Ben Lim"), [0, 3, 6, 9]),
        (Query(organisation="Water of Singapore", since=AT + 30, until=AT + 60), [3, 6]),
        (Query(grant="power-sg-1", model="m8"), [4, 5]),
        (Query(system="scada-lab", grant="water-1"), [0, 3, 6, 9]),
        (Query(rule="operators-under-delay", since=AT + 100), [10, 11]),
        (Query(route="chat.completions", decision="delay", until=AT + 10), [0, 1]),
        (Query(halt="halt-1"), [2]),
        (Query(how="halted"), [2]),
        (Query(id=f"req_{70:024x}"), [7]),
        (Query(network="203.0.113.1"), []),
        (Query(person='Ben Lim","grant":"water-1'), []),
        (Query(digest="sha256:" + "a" * 64, model="m8"), [4, 5]),
    ],
    ids=lambda v: "",
)
def test_what_is_asked_for_is_found_and_nothing_else(folder: Path, query: Query, found: list[int]) -> None:
    assert ids(search(folder, query)) == found


def test_what_is_older_or_younger_is_not_read_at_all(tmp_path: Path) -> None:
    hour = 3_600_000

    async def act(log: AuditLog) -> None:
        for i in range(3000):
            log.note(decided(i * hour))
            log.note(ended(i * hour))
        await log.write(decided(3000 * hour))

    with_log(tmp_path, act)
    path = segments(tmp_path)[0]
    for first, last in ((0, 0), (1000, 1010), (2999, 3000), (17, 18), (3000, 4000)):
        since, until = AT + first * hour, AT + last * hour
        expected = [i for i in range(first, last + 1) if i <= 3000]
        rows = list(search(tmp_path, Query(since=since, until=until, kinds=("decided",))))
        assert [(r.record.at - AT) // hour for r in rows] == expected
        assert all(json.loads(path.read_bytes().splitlines()[r.n])["record"]["at"] == r.record.at for r in rows[:2])
        assert all(r.ended is not None for r in rows if r.record.at < AT + 3000 * hour)
        assert sum(s.requests for s in who(tmp_path, "m7", since, until)) == len(expected)
        lines = [n for _, n, _ in lines_between([path], since, until)]
        assert lines == list(range(lines[0], lines[-1] + 1))
        assert len(lines) < 2 * (len(expected) + 4 + (CLOCK_MS + LONGEST_MS) // hour) + 2 * 65_536 // 200


def test_denials_are_found_by_their_rule(folder: Path) -> None:
    assert [r.record.at for r in search(folder, Query(rule="quota"))] == [AT + 1000, AT + 1001]
    assert len(list(search(folder, Query(rule="forbid-night", kinds=("denied",))))) == 2


def test_text_is_sought_in_contents_by_auditors_alone(folder: Path, auditor: Any) -> None:
    assert ids(search(folder, Query(text="QUESTION 4 É"), [auditor])) == [4]
    assert ids(search(folder, Query(text="answer 5"), [auditor])) == [5]  # over two parts of a stream
    assert ids(search(folder, Query(text="nothing of the kind"), [auditor])) == []
    with pytest.raises(AuditError, match="encrypted"):
        list(search(folder, Query(text="x")))
    with pytest.raises(AuditError, match="none of these identities"):
        list(search(folder, Query(text="x"), [pyrage.x25519.Identity.generate()]))


def test_contents_are_read_whatever_they_are() -> None:
    assert readable(b'{"a":["x",{"b":"y"}],"n":1}') == "x\ny"
    assert readable(b"{broken") == "{broken"
    assert readable(b"\xff\xfe") == "\ufffd\ufffd"
    assert readable(b'data: {"type":"response.output_text.delta","delta":"a"}\n\ndata: {"delta":"b"}\n\n') == "ab"
    assert readable(b"data: broken\n") == "data: broken"
    assert readable(b"[" * 100_000) == "[" * 100_000


def test_who_saw_what_of_which_model_for_what_purpose(folder: Path) -> None:
    ada, ben, *rest = who(folder, "m7")
    assert (ada.person, ada.purpose, ada.system, ada.requests) == ("Ada Tan", PURPOSE, "scada-lab", 6)
    assert (ada.answered, ada.complete, ada.open, ada.denied) == (4, 4, 1, 0)
    assert (ben.person, ben.organisation, ben.requests, ben.tokens) == ("Ben Lim", "Water of Singapore", 4, 2048)
    assert ben.routes == {"chat.completions": 4}
    assert ben.tools == {"read_file": 4}
    # the denials knew no purpose: a line of their own
    assert [s.denied for s in rest] == [2]
    assert [s.requests for s in who(folder, "m8")] == [2]
    assert [s.requests for s in who(folder, "m7", since=AT + 60, until=AT + 70)] == [1, 1]
    assert who(folder, "m9") == []
    assert sum(s.requests for s in who(folder, "sha256:" + "a" * 64)) == 12


# Export


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", " =1", "\uff1d1", "'=1", "\n=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text).startswith("'")
    assert "\x1b" not in cell("a\x1b[31m\u202e")


def test_csv_has_a_row_a_record_and_escapes_what_comes_from_outside(tmp_path: Path) -> None:
    async def act(log: AuditLog) -> None:
        await log.write(decided(1, system='=HYPERLINK("x")', person="@Ada"))

    with_log(tmp_path, act)
    out = io.BytesIO()
    assert write_csv(search(tmp_path, Query(kinds=("decided",))), out) == 1
    (row,) = csv.DictReader(io.StringIO(out.getvalue().decode()))
    assert tuple(row) == COLUMNS
    assert (row["system"], row["person"], row["at"]) == ('\'=HYPERLINK("x")', "'@Ada", "2030-03-17T17:46:40.001Z")
    assert (row["reserved_tokens"], row["stream"]) == ("4500", "true")


def test_every_field_of_every_kind_has_a_column(tmp_path: Path) -> None:
    fill(tmp_path)
    for row in search(tmp_path, Query(kinds=("decided", "denied", "token", "control", "alert", "break-glass", "error"))):
        assert row.flat().keys() <= set(COLUMNS)


@pytest.fixture
def proven(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    with path.open("wb") as out:
        assert write_jsonl(search(folder, Query(person="Ben Lim")), out, Prover(folder)) == 4
    return path


def test_exported_records_are_proven_without_the_log(proven: Path) -> None:
    assert check_proofs(proven, LOG_KEY).proven == 8
    other = PrivateKey.generate()
    with pytest.raises(AuditTamperedError, match="not signed"):
        check_proofs(proven, NoteKey(LOG_KEY.name, other.public, 1))
    with pytest.raises(AuditTamperedError, match="cosignatures"):
        check_proofs(proven, LOG_KEY, [NoteKey("w", KEY.public, COSIGNATURE)], 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"person":"Ben Lim"', '"person":"Ben Lin"'), ('\\"person\\":\\"Ben Lim\\"', '\\"person\\":\\"Ben Lin\\"'), ('"n":', '"n":1'),
        ('"path":["', '"path":["' + "0" * 64 + '","'), ('"end_index":', '"end_index":1'), ('"how":"complete"', '"how":"halted"'),
        ('"segment":"w0', '"segment":"w9'), ('"proof":{', '"proof":null,"x":{'), ('"record":', '"recorded":'),
    ],
    ids=["record", "line", "place", "path", "end", "ended", "segment", "no proof", "field"],
)  # fmt: skip
def test_an_exported_record_that_was_changed_is_named(proven: Path, old: str, new: str) -> None:
    first, *lines = proven.read_text().splitlines()
    assert old in lines[0]
    proven.write_text("\n".join([first, lines[0].replace(old, new, 1), *lines[1:]]) + "\n")
    with pytest.raises(AuditTamperedError, match="line 2"):
        check_proofs(proven, LOG_KEY)


def test_an_export_without_proofs_has_nothing_to_check(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with path.open("wb") as out:
        write_jsonl(search(folder, Query()), out)
    with pytest.raises(AuditError, match="without proofs"):
        check_proofs(path, LOG_KEY)


def test_proofs_are_against_the_latest_cosigned_checkpoint_if_there_is_one(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    fill(folder, "w0", n=1, others=False)
    own = NoteKey("example.org/other", (other := PrivateKey.generate()).public, COSIGNATURE)
    note = witness(tmp_path / "w.json", other, own.name, show(read_log(folder / "ends")), AT // 1000, LOG_KEY).note
    (folder / "ends" / "checkpoints" / "000000000002.note").write_bytes(note.to_bytes())
    fill(folder, "w1", n=1, first=5, others=False)
    path = tmp_path / "x.jsonl"
    with path.open("wb") as out:
        write_jsonl(search(folder, Query(kinds=("decided",))), out, Prover(folder))
    found = check_proofs(path, LOG_KEY, [own], 1)
    assert (found.proven, found.unproven) == (2, 2)


def test_a_segment_that_was_changed_proves_nothing(tmp_path: Path) -> None:
    fill(tmp_path, n=2)
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b"Ada Tan", b"Eve Tan", 1))
    with pytest.raises(AuditTamperedError, match="not what was signed"):
        write_jsonl(search(tmp_path, Query()), io.BytesIO(), Prover(tmp_path))


# At the command line


@pytest.fixture
def place(folder: Path, auditor: Any, tmp_path: Path) -> Path:
    (tmp_path / "id.txt").write_text(f"{auditor}\n")
    (tmp_path / "audit").symlink_to(folder)
    return tmp_path


def run(place: Path, *arguments: str) -> Any:
    return assay("access", "audit", *arguments, cwd=place)


def test_the_commands_in_order(place: Path) -> None:
    done = run(place, "verify", "audit", "--log-key", "audit/ends/log.vkey", "--identity", "id.txt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything holds: 27 records in 2 segments" in done.stdout
    assert "23 opened" in done.stdout
    assert "1 requests went upstream and have no end" in done.stdout
    table = run(place, "who", "audit", "m7").stdout
    assert table.splitlines()[0].split()[:4] == ["person", "organisation", "grant", "purpose"]
    assert PURPOSE in table
    assert json.loads(run(place, "who", "audit", "m7", "--from", "2030-03-17", "--to", "2030-03-17", "--json").stdout)[0]["requests"] == 6
    assert "Nobody" in run(place, "who", "audit", "m7", "--to", "2030-03-16").stdout
    assert next(csv.DictReader(io.StringIO(run(place, "who", "audit", "m7", "--csv").stdout)))["person"] == "Ada Tan"
    found = run(place, "search", "audit", "--person", "Ben Lim", "--limit", "2", "--json")
    assert [json.loads(line)["record"]["person"] for line in found.stdout.splitlines()] == ["Ben Lim"] * 2
    assert "There are more" in found.stderr
    assert "question 4" in run(place, "decrypt", "audit", f"req_{40:024x}", "--identity", "id.txt").stdout
    assert "answer 4" in run(place, "decrypt", "audit", f"req_{40:024x}", "--identity", "id.txt").stdout
    assert run(place, "decrypt", "audit", f"req_{40:024x}", "--identity", "id.txt", "--out", "out").returncode == 0
    assert len(list((place / "out").iterdir())) == 2
    assert run(place, "export", "audit", "--proofs", "--out", "x.jsonl").returncode == 0
    proofs = run(place, "verify", "x.jsonl", "--log-key", "audit/ends/log.vkey")
    assert (proofs.returncode, proofs.stdout.split(" records")[0]) == (0, "27")
    assert run(place, "checkpoint", "audit", "--out", "kept.note").stdout.startswith("assay-audit/")
    assert run(place, "verify", "audit", "--checkpoint", "kept.note").returncode == 0
    assert run(place, "checkpoint", "audit", "--since", "1").stdout.startswith("old 1\n")


def test_what_does_not_hold_is_exit_code_1(place: Path, folder: Path) -> None:
    bad = place / "bad"
    bad.mkdir()
    fill(bad, n=1)
    segment = segments(bad)[0]
    segment.write_bytes(segment.read_bytes().replace(b"Ada Tan", b"Eve\\u001b", 1))
    done = run(place, "verify", "bad", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["findings"][0]["check"] in ("line", "chain")
    assert_refused(run(place, "verify", "bad", "--log-key", "nothing.vkey"), "nothing.vkey")
    assert_refused(run(place, "search", "audit", "--text", "x"), "--identity")
    assert_refused(run(place, "search", "audit", "--from", "yesterday"), "no time")
    assert_refused(run(place, "decrypt", "audit", "req_none", "--identity", "id.txt"), "req_none")
    assert_refused(run(place, "export", "audit", "--proofs", "--format", "csv"), "jsonl")


def test_text_of_others_is_made_safe_for_the_terminal(tmp_path: Path) -> None:
    async def act(log: AuditLog) -> None:
        await log.write(decided(1, system="\x1b[31mred\u202e"))
        log.note({"kind": "alert", "at": AT, "alert": "x", "what": "\x1b]0;title\x07"})

    with_log(tmp_path / "audit", act)
    for command in (["search", "audit"], ["who", "audit", "m7"]):
        out = run(tmp_path, *command).stdout
        assert "\x1b" not in out
        assert "<U+001B>" in out


def test_the_programme_in_figures_is_signed_and_counts_what_the_log_has(folder: Path, tmp_path: Path) -> None:
    from assay.access.audit.statistics import statistics
    from assay.report.paper.programme import read_programme

    value = statistics(folder, KEY)
    path = tmp_path / "access.json"
    path.write_text(json.dumps(value))
    found = read_programme(path, KEY.public.keyid[:16]).statistics
    rows = list(search(folder, Query()))
    decided_rows = [r for r in rows if r.kind == "decided"]
    assert found.requests == len(decided_rows)
    assert found.persons == len({r.flat()["person"] for r in decided_rows})
    assert found.cut == sum(bool(r.ended and r.ended.halt) for r in decided_rows)
    assert found.denied == sum(r.kind == "denied" for r in rows)
    assert sum(r.tokens for r in found.rows) == sum(r.ended.tokens for r in decided_rows if r.ended)
    assert not any(str(r.flat().get("person")) in path.read_text() for r in decided_rows)
    with pytest.raises(AuditError, match="nothing was asked"):
        statistics(folder, KEY, since=1, until=2)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    first = segments(copy)[0]
    first.write_bytes(first.read_bytes().replace(b'"tokens":', b'"tokens" :', 1))
    with pytest.raises(AuditTamperedError):
        statistics(copy, KEY)


@pytest.mark.parametrize("change", ["signature", "counts", "another key", "no statistics", "nothing"])
def test_statistics_that_are_not_what_was_signed_are_refused(folder: Path, tmp_path: Path, change: str) -> None:
    import base64

    from assay.access.audit.statistics import statistics
    from assay.report.paper.programme import read_programme
    from assay.report.pieces import PaperError

    value = statistics(folder, KEY)
    if change == "signature":
        value["envelope"]["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    if change == "counts":
        data = base64.b64decode(value["envelope"]["payload"])
        value["envelope"]["payload"] = base64.b64encode(data.replace(b'"denied":', b'"denied":1', 1)).decode()
    if change == "no statistics":
        value["assay"] = "other/1"
    path = tmp_path / "access.json"
    path.write_text(json.dumps(value) if change != "nothing" else "")
    with pytest.raises(PaperError):
        read_programme(path, "0" * 16 if change == "another key" else "")
