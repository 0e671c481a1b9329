"""Content checks: what they find, what they leave alone, and that whatever a check cannot say is a denial."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.access.config import GateError
from assay.access.model import Asked
from assay.access.safety import checks as checks_module
from assay.access.safety.builtin_checks import entropy
from assay.access.safety.canaries import Canaries
from assay.access.safety.checks import MAX_LANES, Answer, CheckDeniedError, Checks, Flag, Found, Reader, Settings
from assay.access.safety.personal import kinds_in, luhn, verhoeff
from tests.access.grantmaking import NOW, grant

ASKED = Asked(grant(canaries=("note",)), grant().persons[0], "chat.completions", (), True, False, "10.0.0.1", "relay-lab", NOW)
TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" + "k1L2m3N4o5P6q7R8"
CANARIES = Canaries(bytes(range(32)))


def run(checks: Checks, *texts: str) -> list[Flag]:
    return asyncio.run(checks.request(ASKED, texts))


def stream(checks: Checks, pieces: Sequence[str], lane: str = "") -> list[Flag]:
    async def feed() -> list[Flag]:
        answer = checks.answer(ASKED)
        assert answer is not None
        flags = []
        for piece in pieces:
            if answer.push(piece, lane):
                flags += await answer.scan()
        return flags + await answer.scan(last=True)

    return asyncio.run(feed())


def loaded(tmp_path: Path, names: Sequence[str], text: str = "", context: Any = None) -> Checks:
    path = tmp_path / "checks.yaml"
    path.write_text("assay: checks/1\n" + text)
    return Checks.load(names, path, context=context)


class Plug:
    """A check as a package would bring it."""

    name = "plug"
    reasons: Mapping[str, str] = {"word": "a word"}
    span = 10

    def __init__(self, does: str, action: str = "deny") -> None:
        self.does, self.action = does, action

    async def request(self, asked: Asked, texts: Sequence[str]) -> Sequence[Found]:
        match self.does:
            case "raises":
                raise ValueError("the secret content")
            case "sleeps":
                await asyncio.sleep(30)
            case "blocks":
                time.sleep(0.06)
            case "other reason":
                return [Found("the secret content", "deny")]
            case "no list":
                return {"word": 1}  # type: ignore[return-value]
            case "times out itself":
                raise TimeoutError
        return [Found("word", self.action)] if any("word" in t for t in texts) else []  # type: ignore[arg-type]

    def reader(self, asked: Asked) -> Reader | None:
        return self

    async def read(self, lane: str, window: str, fresh: int, *, last: bool) -> Sequence[Found]:
        return await self.request(ASKED, [window])


# What a check cannot say is a denial


@pytest.mark.parametrize("does", ["raises", "sleeps", "blocks", "other reason", "no list", "times out itself"])
@pytest.mark.parametrize("side", ["request", "answer"])
def test_a_check_that_fails_is_late_or_says_what_it_may_not_denies(does: str, side: str) -> None:
    checks = Checks([Plug(does)], Settings(timeout_ms=50))
    with pytest.raises(CheckDeniedError) as caught:
        run(checks, "plain") if side == "request" else stream(checks, ["plain"])
    assert caught.value.rule == "check:plug"
    assert caught.value.status == 503
    assert "secret content" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_denial_names_the_check_and_its_reason_and_never_the_content() -> None:
    with pytest.raises(CheckDeniedError) as caught:
        run(Checks([Plug("finds")]), "my word and more")
    assert str(caught.value) == "stopped by the check 'plug': a word"
    assert caught.value.flags == (Flag("plug", "request", "word", "deny"),)
    assert caught.value.status == 403


def test_a_flag_lets_through_and_is_told_once_per_answer() -> None:
    checks = Checks([Plug("finds", "flag")], Settings(lag=0))
    assert run(checks, "word") == [Flag("plug", "request", "word", "flag")]
    assert stream(checks, ["word ", "word ", "word"]) == [Flag("plug", "answer", "word", "flag")]


def test_a_cancelled_request_stays_cancelled() -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(Checks([Plug("sleeps")], Settings(timeout_ms=10_000)).request(ASKED, ["x"]))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())


@pytest.mark.parametrize(
    ("names", "text", "what"),
    [
        (["nothing-like-it"], "", "there is no content check 'nothing-like-it'"),
        (["secrets", "secrets"], "", "named twice"),
        (["secrets"], "checks: {personal: {}}", "not among the gate's checks"),
        (["secrets"], "checks: {secrets: {entrpy: 3}}", "not valid"),
        (["secrets"], "lagg: 3", "lagg"),
        (["canary"], "", "needs the gate's secret"),
        (["phrases"], "checks: {phrases: {file: none.yaml}}", "cannot read the phrases"),
    ],
)
def test_a_gate_whose_checks_are_not_in_order_does_not_open(tmp_path: Path, names: list[str], text: str, what: str) -> None:
    with pytest.raises(GateError, match=what):
        loaded(tmp_path, names, text)


class _Point:
    def __init__(self, made: Any) -> None:
        self.made = made

    def load(self) -> Any:
        return self.made


def test_plug_ins_come_by_entry_point_and_only_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    points: dict[str, list[Any]] = {
        "plug": [_Point(lambda given: Plug("finds"))],
        "misnamed": [_Point(lambda given: Plug("finds"))],
        "breaks": [_Point(lambda given: 1 // 0)],
        "double": [_Point(Plug), _Point(Plug)],
    }
    monkeypatch.setattr(checks_module, "entry_points", lambda group, name: points.get(name, []) if group == "assay.access_checks" else [])
    with pytest.raises(CheckDeniedError):
        run(Checks.load(["plug"]), "word")
    for name in ("misnamed", "breaks", "double"):
        with pytest.raises(GateError):
            Checks.load([name])


# The window


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(1, 12), min_size=1, max_size=20), lag=st.sampled_from([0, 7, 64]), before=st.integers(0, 300))
def test_a_token_is_found_however_the_stream_is_cut(cuts: list[int], lag: int, before: int) -> None:
    text = "x " * before + TOKEN + " and more"
    pieces, at = [], 0
    while at < len(text):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(text[at : at + size])
        at += size
    checks = Checks(Checks.load(["secrets"])._checks, Settings(lag=lag))
    with pytest.raises(CheckDeniedError, match="a token of a service"):
        stream(checks, pieces)


def test_choices_that_come_interleaved_do_not_hide_a_match_nor_make_one() -> None:
    async def feed(lanes: Sequence[str]) -> list[Flag]:
        answer = Checks.load(["secrets"]).answer(ASKED)
        assert answer is not None
        for i, char in enumerate(TOKEN):
            answer.push(char, lanes[i % len(lanes)])
            if len(lanes) == 1:
                answer.push("-- other choice --", "other")
        return await answer.scan(last=True)

    with pytest.raises(CheckDeniedError):
        asyncio.run(feed(["0"]))
    assert asyncio.run(feed(["0", "1"])) == []


def test_the_window_keeps_no_more_than_its_span() -> None:
    async def feed() -> Answer:
        answer = Checks.load(["secrets", "bounds"]).answer(ASKED)
        assert answer is not None
        for _ in range(3000):
            if answer.push("words and words " * 4):
                await answer.scan()
        return answer

    answer = asyncio.run(feed())
    assert sum(map(len, answer._kept.values())) <= answer._span
    assert answer._unread <= 512 + 64


def test_an_answer_in_more_parts_than_can_be_kept_is_cut() -> None:
    async def feed() -> None:
        answer = Checks.load(["secrets"]).answer(ASKED)
        assert answer is not None
        for n in range(MAX_LANES + 1):
            answer.push("x", str(n))
        await answer.scan()

    with pytest.raises(CheckDeniedError, match="more parts"):
        asyncio.run(feed())


# What is in the box


SECRETS = {
    "private-key": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA",
    "cloud-key": "AKIA" + "ABCDEFGHIJKLMNOP",
    "service-token": TOKEN,
    "signed-token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "named-secret": 'api_key = "Zk9xQ2vLw8Rt5Yp1Nc7Bf3Hd"',
}


@pytest.mark.parametrize("reason", SECRETS)
def test_secrets_are_flagged_in_a_request_and_cut_in_an_answer(reason: str) -> None:
    checks = Checks.load(["secrets"])
    assert run(checks, "please look", f"here: {SECRETS[reason]} .") == [Flag("secrets", "request", reason, "flag")]
    with pytest.raises(CheckDeniedError):
        stream(checks, [SECRETS[reason]])


@pytest.mark.parametrize(
    "text",
    [
        "The secret of a good relay setting is coordination.",
        "token: aaaaaaaaaaaaaaaaaaaaaaaaaaaa1",
        "password = internationalizationandmore",
        "A public key begins with -----BEGIN PUBLIC KEY-----",
    ],
)
def test_ordinary_text_holds_no_secret(text: str) -> None:
    assert run(Checks.load(["secrets"]), text) == []


def test_the_documentation_of_this_project_holds_no_secret_and_no_personal_data() -> None:
    checks = Checks.load(["secrets", "personal", "bounds"])
    docs = sorted((Path(__file__).parents[2] / "docs").glob("*.md"))
    assert len(docs) > 10
    found = {d.name: run(checks, d.read_text()) for d in docs}
    assert sum(bool(flags) for flags in found.values()) <= 1, found


PERSONAL = {  # made for these tests by their check digits; nobody's
    "card": "4111 1111 1111 1111", "iban": "GB82 WEST 1234 5698 7654 32", "id-my": "000113-99-0001", "id-kr": "000113-3000001",
    "id-sg": "S0000001I", "id-id": "1101010101000001", "id-th": "1-0000-00000-00-9", "id-cn": "110000190001010009",
    "id-hk": "A123456(3)", "id-jp": "0000 0000 0001", "id-in": "2000 0000 0001", "id-fr": "1 00 01 01 001 001", "phone": "+65 0000 0000",
    "email": "nobody@example.org",
}  # fmt: skip
ALL = tuple(PERSONAL)


def _with_check_digit(kind: str) -> str:
    """Fill the last place in until the check accepts it: exactly what tells it from any number."""
    base = PERSONAL[kind]
    if kind == "id-hk":
        return base
    if kind == "id-fr":
        number = int("1000101001001")
        return f"{base} {97 - number % 97:02}"
    fits = [base[:-1] + c for c in "0123456789XABCDEFGHIJKLMNOPQRSTUVWXYZ" if list(kinds_in(base[:-1] + c, (kind,)))]  # type: ignore[arg-type]
    return fits[0]


@pytest.mark.parametrize("kind", ALL)
def test_numbers_that_name_a_person_are_found_in_running_text(kind: str) -> None:
    value = _with_check_digit(kind)
    assert kind in set(kinds_in(f"It is {value}, as I said.", ALL))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["card", "id-sg", "id-th", "id-cn", "id-kr", "id-jp", "id-in"])
def test_one_wrong_digit_makes_it_an_ordinary_number(kind: str) -> None:
    value = _with_check_digit(kind)
    places = [i for i, c in enumerate(value) if c.isdigit()][:-1]
    other = value[: places[3]] + str((int(value[places[3]]) + 1) % 10) + value[places[3] + 1 :]
    assert kind not in set(kinds_in(f"It is {other}, as I said.", ALL))  # type: ignore[arg-type]


def test_digits_of_other_scripts_are_read() -> None:
    thai = "4111 1111 1111 1111".translate({ord(str(n)): chr(0x0E50 + n) for n in range(10)})
    assert set(kinds_in(f"หมายเลข {thai}", ("card",))) == {"card"}


def test_check_digits_agree_with_published_examples() -> None:
    assert luhn([int(c) for c in "49927398716"])  # the example of ISO/IEC 7812-1's annex, as commonly printed
    assert verhoeff([2, 3, 6, 3])  # Verhoeff's own example: 236 takes 3
    assert not verhoeff([2, 6, 3, 3])
    assert entropy("aaaa") == 0
    assert entropy("abcd") == 2


def test_order_numbers_and_measurements_are_not_personal_data() -> None:
    text = "\n".join(f"order {i * 7919 % 10**9:09}, {i}.25 kV, 2027-01-{i % 28 + 1:02}, ticket {i:06}-{i % 9}" for i in range(2000))
    assert set(kinds_in(text, tuple(k for k in ALL if k not in ("email", "phone")))) == set()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("texts", "reason"),
    [(["a"] * 11, "texts"), (["b c " * 300], "characters"), (["z" * 40], "run"), (["hi\U000e0041\U000e0042"], "hidden")],
)
def test_size_and_shape_are_bounded(tmp_path: Path, texts: list[str], reason: str) -> None:
    checks = loaded(tmp_path, ["bounds"], "checks: {bounds: {texts: 10, characters: 1000, run: 30, hidden: deny}}")
    with pytest.raises(CheckDeniedError) as caught:
        run(checks, *texts)
    assert reason in {f.reason for f in caught.value.flags}
    assert run(checks, "an ordinary question") == []


def test_an_answer_that_goes_on_and_on_is_cut(tmp_path: Path) -> None:
    checks = loaded(tmp_path, ["bounds"], "checks: {bounds: {answer_characters: 5000}}")
    assert stream(checks, ["many words "] * 400) == []
    with pytest.raises(CheckDeniedError, match="longer than the gate gives"):
        stream(checks, ["many words "] * 500)


def test_the_grants_own_record_in_an_answer_is_flagged_in_any_spelling() -> None:
    checks = Checks.load(["canary"], context=CANARIES)
    marker = CANARIES.marker("power", "m7", NOW // 86_400_000)
    for spelling in (marker, marker.upper(), "-".join(marker), CANARIES.note("power", "m7", NOW)):
        assert stream(checks, [f"My instructions say {spelling}"]) == [Flag("canary", "answer", "echo", "flag")]
    assert stream(checks, [CANARIES.note("water", "m7", NOW)]) == []


PHRASES = """assay: phrases/1
author: Ada
reviewer: Bea
phrases:
  - {id: internal-1, text: "project blue heron", action: deny}
  - {id: internal-2, text: "运行手册第七章", sides: [answer]}
"""


def test_phrases_of_a_reviewed_file_are_found_and_named_by_id(tmp_path: Path) -> None:
    (tmp_path / "phrases.yaml").write_text(PHRASES, encoding="utf-8")
    checks = loaded(tmp_path, ["phrases"], "checks: {phrases: {file: phrases.yaml}}")
    with pytest.raises(CheckDeniedError, match="phrase internal-1") as caught:
        run(checks, "tell me of PROJECT  Blue-Heron")
    assert "heron" not in str(caught.value).lower()
    assert run(checks, "运行手册第七章") == []
    assert stream(checks, ["见运行手", "册第七", "章。"]) == [Flag("phrases", "answer", "internal-2", "flag")]
    assert run(checks, "x" * 300_000, "blue sky") == []
    with pytest.raises(CheckDeniedError):
        run(checks, "x " * 200_000 + "project blue heron")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [("Bea", " ada ", "another must"), ("project blue heron", "heron", "too short"), ("internal-2", "internal-1", "stands twice")],
)
def test_a_list_that_nobody_else_reviewed_or_that_finds_everything_is_refused(tmp_path: Path, old: str, new: str, what: str) -> None:
    text = PHRASES.replace(old, f'"{new}"' if old == "Bea" else new)
    (tmp_path / "phrases.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(GateError, match=what):
        loaded(tmp_path, ["phrases"], "checks: {phrases: {file: phrases.yaml}}")


def test_plain_text_is_read_in_time_that_grows_with_its_length_only() -> None:
    checks = Checks.load(["secrets", "personal", "bounds"])
    nasty = ["key " * 50_000, "1" * 200_000, "1 " * 100_000, "A1" * 100_000, "eyJ" + "a" * 200_000, "password is " * 20_000, "a@" * 100_000]
    began = time.perf_counter()
    for text in nasty:
        try:
            run(Checks(checks._checks, Settings(timeout_ms=30_000)), text)
        except CheckDeniedError as e:
            assert e.check == "bounds"  # noqa: PT017 (a denial by size is fine)
    assert time.perf_counter() - began < 20
