"""Addresses of stores and references to runs: what they say, what they refuse, and where a password goes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import RunFileError
from assay.runs import is_run, read_run, reopen_run, run_path
from assay.runs.address import RunAddress, StoreAddress, address_text, is_address, known_store, parse_run, parse_store, password_for
from assay.runs.opening import read_reference, write_reference
from assay.runs.pgsession import _parameters

RUN = "3f0c9a77" * 8


@pytest.mark.parametrize(
    ("text", "user", "hosts", "ports", "database"),
    [
        ("postgresql://a@db.example/x", "a", ("db.example",), (), "x"),
        ("postgres://a@db.example:5433/x", "a", ("db.example",), ("5433",), "x"),
        ("postgresql://one,two:5433/x", "", ("one", "two"), ("5432", "5433"), "x"),
        ("postgresql://[::1]:5433/x", "", ("::1",), ("5433",), "x"),
        ("postgresql:///x", "", (), (), "x"),
        ("postgresql:///x?host=/run/pg&port=6", "", ("/run/pg",), ("6",), "x"),
        ("postgresql://%2Frun%2Fpg/x%20y", "", ("/run/pg",), (), "x y"),
        ("postgresql:///?host=h&user=a&dbname=x", "a", ("h",), (), "x"),
    ],
)
def test_an_address_is_read_as_libpq_reads_it_also_as_a_path(
    text: str, user: str, hosts: tuple[str, ...], ports: tuple[str, ...], database: str
) -> None:
    found = parse_store(text)
    assert (found.user, found.hosts, found.ports, found.database) == (user, hosts, ports, database)
    assert parse_store(found.text) == found
    assert parse_store(Path(text)) == parse_store(Path(found.text)) == found
    run = parse_run(Path(f"{text}#{RUN}"))
    assert run == RunAddress(found, RUN)
    assert is_address(text)
    assert is_run(Path(text))
    assert run_path(Path(text)) == Path(text)


NAME = st.text(st.characters(exclude_categories=["C", "Zs", "Zl", "Zp"], exclude_characters=","), min_size=1, max_size=20)


@given(NAME, st.lists(NAME, min_size=1, max_size=3), NAME, st.sampled_from([(), ("5433",)]))
def test_what_is_shown_is_read_back_and_holds_no_password(user: str, hosts: list[str], database: str, ports: tuple[str, ...]) -> None:
    names = tuple(h.replace(":", "").replace("[", "") or "h" for h in hosts)
    address = StoreAddress(user, names, ports * len(hosts), database, (), "top secret")
    again = parse_store(Path(address.text))
    assert (again.user, again.hosts, again.ports, again.database, again.password) == (user, names, address.ports, database, "")
    assert "top secret" not in repr(address) + address.text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("run.db", "not the address"),
        ("http://h/x", "not the address"),
        ("postgresql://h", "names no database"),
        ("postgresql://a@h/", "names no database"),
        ("postgresql://h:99999/x", "a port is"),
        ("postgresql://h:1x/x", "no host that could be"),
        ("postgresql://h/x?password=p", "a password in the query"),
        ("postgresql://h/x?passfile=/etc/shadow", "does not take"),
        ("postgresql://h/x?sslkey=/keys/k", "does not take"),
        ("postgresql://h/x?options=-c%20fsync", "does not take"),
        ("postgresql://h/x?require_auth=none", "does not take"),
        ("postgresql://h/x?sslmode=a&sslmode=b", "everything once"),
        ("postgresql://h/x?service=s", "names everything by itself"),
        ("postgresql://h/x#1234", "address of a run"),
        ("postgresql://h/x y", "without spaces"),
        ("postgresql://h/x\n", "without spaces"),
        ("postgresql://h/" + "x" * 2000, "at most"),
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_without_quoting_a_password(text: str, what: str) -> None:
    with pytest.raises(RunFileError, match=what):
        parse_store(text)
    with pytest.raises(RunFileError) as refused:
        parse_store(text.replace("://", "://me:topsecret@", 1) if "://" in text else "postgresql://me:topsecret@")
    assert "topsecret" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:12?Secr3t@db/x",
        "postgresql://u:12/Secr3t@db",
        "postgresql://u:12/Secr3t@db/x",
        "postgresql://u:12/x?Secr3t@db=1",
        "postgresql://u:12/x?sslmode=Secr3t@db",
        "postgresql://u:12?Secr3t",
        "postgresql://u:12/x?Secr3t=1",
        "postgresql://u:12#Secr3t@db/x",
    ],
)
def test_a_password_that_is_not_escaped_is_refused_and_no_piece_of_it_quoted(text: str) -> None:
    for read in (parse_store, parse_run, address_text):
        for form in (text, text + "#" + RUN):
            with pytest.raises(RunFileError) as refused:
                read(form)
            assert "Secr3t" not in str(refused.value)
    assert parse_store("postgresql://u:12%3FSecr3t%40@db/x%40y").database == "x@y"


@pytest.mark.parametrize("run", ["", "#", "#12345", "#" + "g" * 64, "#" + "A" * 64, "#" + "a" * 65])
def test_a_run_is_named_by_the_digits_of_its_digest(run: str) -> None:
    with pytest.raises(RunFileError, match="8 or more digits"):
        parse_run(f"postgresql://h/x{run}")


def test_a_password_goes_only_where_it_is_meant_for() -> None:
    here, user = parse_store("postgresql://a@db.example/x"), parse_store("postgresql://db.example/x")
    url = {"ASSAY_STORE_URL": "postgresql://a:p%40ss@db.example:5432/x?sslmode=require"}
    assert password_for(here, typed=False, surroundings=url) == "p@ss"
    assert password_for(user, typed=False, surroundings=url) == "p@ss"
    for other in (
        "postgresql://a@evil.example/x",
        "postgresql://a@db.example:5433/x",
        "postgresql://a@db.example/y",
        "postgresql://b@db.example/x",
    ):
        assert password_for(parse_store(other), typed=False, surroundings=url) == ""
    own = known_store(parse_store("postgresql://a@db.example/x?sslmode=disable"), url)
    assert own is not None
    assert own.options == (("sslmode", "require"),), "a reference of others cannot take TLS away"
    assert known_store(parse_store("postgresql://a@evil.example/x"), url) is None
    pg = {"PGPASSWORD": "p"}
    assert password_for(here, typed=True, surroundings=pg) is None, "libpq takes PGPASSWORD"
    assert password_for(here, typed=False, surroundings=pg) == "", "a reference from anybody must not be sent it"
    assert password_for(here, typed=False, surroundings={**pg, "PGHOST": "db.example"}) is None
    assert password_for(here, typed=False, surroundings={**pg, "PGHOST": "evil.example"}) == ""
    assert password_for(parse_store("postgresql://a:own@h/x"), typed=False, surroundings=url) == "own"


def test_other_machines_are_spoken_to_with_tls_and_never_told_a_bare_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGSSLMODE", "PGREQUIREAUTH"):
        monkeypatch.delenv(name, raising=False)
    far = _parameters(parse_store("postgresql://a@db.example/x"), None, write=True)
    assert far["sslmode"] == "verify-full"
    assert far["require_auth"] == "!password,!md5"
    assert far["target_session_attrs"] == "read-write"
    assert "password" not in far
    assert _parameters(parse_store("postgresql://a@db.example/x?sslmode=disable"), "p", write=False)["sslmode"] == "disable"
    for near in ("postgresql://127.0.0.1/x", "postgresql:///x?host=/run/pg", "postgresql://[::1]/x", "postgresql://localhost/x"):
        assert "sslmode" not in _parameters(parse_store(near), None, write=False)
    assert "sslmode" in _parameters(parse_store("postgresql://localhost,db.example/x"), None, write=False)


def test_a_reference_holds_no_password(tmp_path: Path) -> None:
    address = RunAddress(parse_store("postgresql://a:topsecret@db.example/x?sslmode=require"), RUN)
    path = tmp_path / "new" / "run.ref"
    write_reference(path, address)
    assert "topsecret" not in path.read_text()
    found = read_reference(path)
    assert found.text == address.text
    assert not found.store.password


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "truncated"),
        (b"[" * 4000, "not a reference"),
        (b"\xff\xfe", "not a reference"),
        (b" " * 5000, "larger than"),
        (b'{"assay":"run-reference/1","store":"postgresql://a:p@h/x","run":"' + RUN.encode() + b'"}', "holds a password"),
        (b'{"assay":"run-reference/1","store":"postgresql://h/x?passfile=/x","run":"' + RUN.encode() + b'"}', "does not take"),
        (b'{"assay":"run-reference/1","store":"postgresql://h/x","run":"3f0c9a77"}', "regex"),
        (b'{"assay":"run-reference/2","store":"postgresql://h/x","run":"' + RUN.encode() + b'"}', "Invalid enum value"),
        (b'{"assay":"run-reference/1","store":"/etc/passwd","run":"' + RUN.encode() + b'"}', "not the address"),
        (b'{"assay":"run-reference/1","store":"postgresql://h/x","run":"' + RUN.encode() + b'","more":1}', "unknown field"),
    ],
)  # fmt: skip
def test_a_hostile_reference_is_refused_before_anything_is_asked(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "run.ref"
    path.write_bytes(content)
    for act in (read_run, reopen_run):
        with pytest.raises(RunFileError, match=what) as refused:
            act(tmp_path)
        assert refused.value.where == str(path)


def test_a_folder_with_a_file_and_a_reference_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.db").touch()
    (tmp_path / "run.ref").write_bytes(msgspec.json.encode({}))
    with pytest.raises(RunFileError, match="may be two runs"):
        read_run(tmp_path)
