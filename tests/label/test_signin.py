"""Tokens open the page for one person, are kept as digests only, and stay valid over a restart."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from assay.errors import AssayError
from assay.web.languages import INTERFACE, direction, preferred
from assay.web.signin import Person, TokenFile, parse_person


def test_a_token_is_shown_once_and_only_its_digest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "label-tokens.json"
    links = TokenFile(path, "run").invite([parse_person("Aisyah:ms, en", "labeller"), parse_person("Wei", "labeller")])
    assert len(base64.urlsafe_b64decode(links["Aisyah"] + "=")) == 32
    assert links["Aisyah"] != links["Wei"]
    assert not any(token in path.read_text() for token in links.values())
    assert path.stat().st_mode & 0o777 == 0o600
    again = TokenFile(path, "run")
    assert again.who(links["Aisyah"]) == Person("Aisyah", ("ms", "en"))
    assert again.who(links["Wei"]) == Person("Wei")
    for wrong in ("", links["Wei"][:-1], links["Wei"] + "A", "é", "\udc80", "x" * 10_000):
        assert again.who(wrong) is None


def test_links_outlive_a_restart_until_they_are_renewed_or_removed(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "t.json", "run")
    first = tokens.invite([Person("Aisyah", ("ms",))])
    assert TokenFile(tmp_path / "t.json", "run").invite([]) == {}
    assert tokens.invite([Person("Aisyah", ("en",))]) == {}
    assert tokens.who(first["Aisyah"]) == Person("Aisyah", ("en",))
    second = tokens.invite([], renew=True)
    assert tokens.who(first["Aisyah"]) is None
    assert tokens.who(second["Aisyah"]) is not None
    tokens.remove("Aisyah")
    assert tokens.who(second["Aisyah"]) is None
    with pytest.raises(AssayError, match="nobody"):
        tokens.remove("Aisyah")


def test_who_is_shut_out_by_another_process_is_out_at_once(tmp_path: Path) -> None:
    serving, other = TokenFile(tmp_path / "t.json", "run"), TokenFile(tmp_path / "t.json", "run")
    links = serving.invite([Person("Aisyah"), Person("Wei")])
    other = TokenFile(tmp_path / "t.json", "run")
    other.remove("Aisyah")
    assert serving.who(links["Aisyah"]) is None
    assert serving.who(links["Wei"]) is not None
    links |= other.invite([Person("Bala")])
    assert serving.who(links["Bala"]) == Person("Bala")
    (tmp_path / "t.json").unlink()
    assert serving.who(links["Wei"]) is None


def test_tokens_of_another_run_open_nothing(tmp_path: Path) -> None:
    links = TokenFile(tmp_path / "t.json", "one").invite([Person("Aisyah")])
    assert TokenFile(tmp_path / "t.json", "two").who(links["Aisyah"]) is None


def test_one_person_may_label_and_adjudicate(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "t.json", "run")
    tokens.invite([parse_person("Devi:ta", "labeller"), parse_person("Devi:en", "adjudicator")])
    assert tokens.people == [Person("Devi", ("ta", "en"), ("labeller", "adjudicator"))]


@pytest.mark.parametrize("text", ["", ":en", "a/b", "<b>", "x" * 81, "Aisyah:english language", "Aisyah:e", "Ai\nsyah"])
def test_what_is_no_person_is_refused(text: str) -> None:
    with pytest.raises(AssayError):
        parse_person(text, "labeller")


def test_a_damaged_token_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(AssayError, match="cannot be read"):
        TokenFile(tmp_path / "t.json", "run")


@pytest.mark.parametrize(
    ("accept", "tag"),
    [("ta-IN,ta;q=0.9,en;q=0.5", "ta"), ("zh-CN", "zh-Hans"), ("fr", "en"), ("", "en"), ("en;q=0.1, th;q=0.9", "th"), (";;q=x,,", "en")],
)
def test_the_page_speaks_what_the_browser_prefers(accept: str, tag: str) -> None:
    assert preferred(accept) == tag


def test_scripts_have_their_direction() -> None:
    assert [direction(t) for t in ("fa", "ur-PK", "az-Arab", "pa-Guru", "en", "ta", "zh-Hans")] == ["rtl"] * 3 + ["ltr"] * 4
    assert all(direction(t) == "ltr" for t in INTERFACE)
