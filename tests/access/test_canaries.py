"""Canaries: they name the grant that a text came from, through what people do to texts, and nobody where there is no mark."""

from __future__ import annotations

import base64
import codecs
import random
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.access.gate.parse import Parsed, parse
from assay.access.safety.canaries import DAY_MS, Canaries, Issued, Named, day_name, find, marked_response, with_note
from assay.access.safety.style import STYLE_LEVEL, Styler, agreement, sites_of, tail
from assay.access.safety.styled import Styled
from tests.access.grantmaking import NOW, grant

CANARIES = Canaries(bytes(range(32)))
OTHER = Canaries(bytes(range(1, 33)))
GRANTS = [Issued(f"grant-{n}", "m7", NOW - 60 * DAY_MS, NOW) for n in range(40)]
DOCS = sorted((Path(__file__).parents[2] / "docs").glob("*.md"))


def named(text: str, canaries: Canaries = CANARIES) -> set[str]:
    return {n.grant for n in find(text, [canaries], GRANTS, NOW)}


# Records


REWRITTEN = {
    "as it is": lambda t: t,
    "in capitals": str.upper,
    "without hyphens": lambda t: t.replace("-", ""),
    "spaced out": lambda t: " ".join(t),
    "in lines": lambda t: "\n".join(t[i : i + 10] for i in range(0, len(t), 10)),
    "backwards": lambda t: t[::-1],
    "rot13": lambda t: codecs.encode(t, "rot13"),
    "base64": lambda t: base64.b64encode(t.encode()).decode(),
    "full width": lambda t: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in t),
    "in the midst of other text": lambda t: "word " * 5000 + t + " word" * 5000,
    "beyond one reading": lambda t: "word " * 60_000 + t,
}


@pytest.mark.parametrize("how", REWRITTEN)
def test_a_record_is_found_through_what_people_do_to_texts(how: str) -> None:
    note = CANARIES.note("grant-7", "m7", NOW - 3 * DAY_MS)
    assert [(n.grant, n.day, n.by) for n in find(REWRITTEN[how](note), [CANARIES], GRANTS, NOW)] == [
        ("grant-7", day_name((NOW - 3 * DAY_MS) // DAY_MS), "note")
    ]


def test_records_differ_by_grant_model_day_and_secret_and_not_otherwise() -> None:
    assert CANARIES.note("a", "m", NOW) == Canaries(bytes(range(32))).note("a", "m", NOW)
    day = NOW // DAY_MS
    made = {c.marker(g, m, d) for c in (CANARIES, OTHER) for g in ("a", "b") for m in ("m", "n") for d in (day, day + 1)}
    assert len(made) == 16


def test_a_record_of_another_secret_of_no_grant_or_of_another_time_names_nobody() -> None:
    assert named(OTHER.note("grant-7", "m7", NOW)) == set()
    assert named(CANARIES.note("stranger", "m7", NOW)) == set()
    assert named(CANARIES.note("grant-7", "m7", NOW - 90 * DAY_MS)) == set()
    assert {n.grant for n in find(OTHER.note("grant-7", "m7", NOW), [CANARIES, OTHER], GRANTS, NOW)} == {"grant-7"}


def test_a_text_with_the_marks_of_two_grants_names_both() -> None:
    assert named(CANARIES.note("grant-1", "m7", NOW) + CANARIES.response_id("grant-2", "m7", NOW)) == {"grant-1", "grant-2"}


def test_the_note_stands_before_the_instructions_and_changes_nothing_else() -> None:
    body = {"model": "m7", "messages": [{"role": "user", "content": "hi"}]}
    assert with_note(body, "chat.completions", "N")["messages"] == [{"role": "system", "content": "N"}, {"role": "user", "content": "hi"}]
    assert len(body["messages"]) == 1
    assert with_note({"input": "hi"}, "responses", "N") == {"input": "hi", "instructions": "N"}
    assert with_note({"input": "hi", "instructions": "be brief"}, "responses", "N")["instructions"] == "N\n\nbe brief"
    assert with_note({"input": "hi"}, "embeddings", "N") == {"input": "hi"}


# Ids


def test_every_answer_has_an_id_of_its_own_that_names_its_grant() -> None:
    ids = [CANARIES.response_id("grant-3", "m7", NOW - n * DAY_MS) for n in range(50)]
    assert len(set(ids)) == 50
    assert all(re.fullmatch(r"chatcmpl-[0-9a-f]{40}", i) for i in ids)
    for n, one in enumerate(ids):
        (found,) = find(f'{{"id": "{one}", "choices": []}}', [CANARIES], GRANTS, NOW)
        assert (found.grant, found.day, found.by) == ("grant-3", day_name(NOW // DAY_MS - n), "id")
    assert named(CANARIES.fingerprint("grant-4", "m7", NOW)) == {"grant-4"}


def test_an_id_with_one_other_letter_and_ids_of_others_name_nobody() -> None:
    one = CANARIES.response_id("grant-3", "m7", NOW)
    for i in range(len("chatcmpl-"), len(one)):
        assert named(one[:i] + ("a" if one[i] != "a" else "b") + one[i + 1 :]) == set()
    dice = random.Random(3)
    strange = " ".join("".join(dice.choices("0123456789abcdef", k=40)) for _ in range(2000))
    assert named(strange) == set()
    assert named(OTHER.response_id("grant-3", "m7", NOW)) == set()


def test_the_upstreams_id_is_replaced_where_it_is_an_id_only() -> None:
    data = b'data: {"id":"cmpl-1","x":"cmpl-1a cmpl-1"}\n\n'
    assert marked_response(data, b"cmpl-1", b"NEW") == b'data: {"id":"NEW","x":"cmpl-1a cmpl-1"}\n\n'
    assert marked_response(data, b"", b"NEW") == data


# Style


WORDS = Path(__file__).read_text() + "".join(d.read_text() for d in DOCS)
VOCABULARY = sorted({w.lower() for w in re.findall(r"[A-Za-z]{3,10}", WORDS)})


def prose(dice: random.Random, sites: int) -> str:
    """Made-up prose with so many sites, in one author's forms: what a model writes before the gate sets it."""
    parts = []
    apostrophe, dash, ellipsis = dice.choice("'’"), dice.choice([" – ", " — ", "—"]), dice.choice(["...", "…"])
    for _ in range(sites):
        words = " ".join(dice.choices(VOCABULARY, k=dice.randint(4, 14)))
        parts.append(words + dice.choices([f"{apostrophe}s ", f"{dash}{dice.choice(VOCABULARY)} ", f"{ellipsis} "], [5, 3, 1])[0])
    return "".join(parts)


def styled(text: str, styler: Styler, dice: random.Random) -> str:
    out, at = [], 0
    while at < len(text):
        size = dice.randint(1, 9)
        out.append(styler.feed(text[at : at + size]))
        at += size
    return "".join(out) + styler.end()


PIECES = [
    "It’s", " test — and", " isn't", " over...", " We", " don't", "—really", "`", "```", "\n", " ", "    ", "://", "~~~", "x", "…", "....",
    "'", "’", " –", "| ", "{", "é", "ไทย", "\t",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(parts=st.lists(st.sampled_from(PIECES), max_size=30), seed=st.integers(0, 10**6))
def test_the_same_text_comes_out_however_it_was_cut_and_reads_the_same(parts: list[str], seed: int) -> None:
    text = "".join(parts)
    whole = Styler(b"k" * 32)
    once = whole.feed(text) + whole.end()
    assert styled(text, Styler(b"k" * 32), random.Random(seed)) == once

    def bare(t: str) -> str:
        t = t.replace("’", "'").replace("…", "...")
        return re.sub(r" [–—] |—", "-", t)

    assert bare(once) == bare(text)
    assert agreement(sites_of(once), b"k" * 32) == len(sites_of(once))


CHAT = ["It’s a test — and", " it isn't", " over...", " We don't know—", "really. That's", " all"]


def asking(route: str = "chat.completions", **more: Any) -> Parsed:
    body = {"model": "m7", "messages": [], **more} if route == "chat.completions" else {"model": "m7", "input": "q", **more}
    return parse(route, msgspec.json.encode(body), 100)  # type: ignore[arg-type]


def events(*, finish: bool) -> list[bytes]:
    out = []
    for n, text in enumerate(CHAT):
        for index in (0, 1):
            last = finish and n == len(CHAT) - 1
            choice = {"index": index, "delta": {"content": text}, "finish_reason": "stop" if last else None}
            out.append(b"data: " + msgspec.json.encode({"id": "c", "model": "m7", "choices": [choice]}) + b"\n\n")
    return [*out, b'data: {"id":"c","choices":[],"usage":{"total_tokens":3}}\n\n', b"data: [DONE]\n\n"]


def said(data: bytes, index: int) -> str:
    values = [msgspec.json.decode(line[6:]) for line in data.split(b"\n\n") if line.startswith(b"data: {")]
    return "".join(c["delta"].get("content") or "" for v in values for c in v["choices"] if c["index"] == index)


@pytest.mark.parametrize("finish", [True, False])
def test_a_streamed_answer_is_set_as_the_whole_one_is(finish: bool) -> None:
    terms = grant(canaries=("style",))
    styled_answer = Styled(CANARIES, terms, asking(stream=True))
    assert styled_answer.on
    data = b"".join([styled_answer.part(e) for e in events(finish=finish)]) + styled_answer.end()
    whole = msgspec.json.encode({"choices": [{"index": 0, "message": {"content": "".join(CHAT)}}], "usage": {"total_tokens": 3}})
    once = msgspec.json.decode(Styled(CANARIES, terms, asking()).part(whole))
    assert said(data, 0) == said(data, 1) == once["choices"][0]["message"]["content"]
    assert agreement(sites_of(said(data, 0)), CANARIES.style_key(terms.id, "m7")) == len(sites_of("".join(CHAT))) == 7
    assert data.endswith(b"data: [DONE]\n\n")
    assert b'"usage":{"total_tokens":3}' in data
    response = {"output": [{"type": "message", "content": [{"type": "output_text", "text": "".join(CHAT)}]}]}
    read = msgspec.json.decode(Styled(CANARIES, terms, asking("responses")).part(msgspec.json.encode(response)))
    assert read["output"][0]["content"][0]["text"] == said(data, 0)


def test_what_is_no_prose_for_a_person_or_was_not_agreed_to_is_not_set() -> None:
    terms = grant(canaries=("style",))
    off = [
        Styled(CANARIES, grant(canaries=("note", "ids")), asking()),
        Styled(CANARIES, terms, asking(response_format={"type": "json_object"})),
        Styled(CANARIES, terms, asking(logprobs=True)),
        Styled(CANARIES, terms, asking("responses", stream=True)),
        Styled(CANARIES, terms, asking("responses", text={"format": {"type": "json_schema"}})),
    ]
    assert [s.on for s in off] == [False] * 5
    on = Styled(CANARIES, terms, asking(stream=True))
    for odd in (b"data: {not json}\n\n", b": a comment\n\n", b"event: x\ndata: [1]\n\n", b'data: {"choices":[3,{"delta":null}]}\n\n', b""):
        assert on.part(odd) == odd
    call = b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"it\'s"}}]}}]}\n\n'
    assert on.part(call) == call


def test_code_json_tables_links_and_quotes_from_them_are_left_alone() -> None:
    text = (
        "```\nx = 'it's' — ok...\n```\n    it's — code\n| it's | a — b |\n{\"a\": \"it's\"}\n"
        "see https://example.org/it's — and so\n`it's` then it's\n"
    )
    for n in range(20):
        styler = Styler(bytes([n]) * 32)
        assert styler.feed(text) + styler.end() == text
    assert sites_of(text) == {}


def detected(sites: int, runs: int, seed: int, change: float = 0.0, cut: float = 1.0) -> tuple[float, int]:
    """(share of texts that name their grant, texts that name another), of 40 grants; a share of sites set back to one form, a part kept."""
    dice = random.Random(seed)
    right = wrong = 0
    for run in range(runs):
        grant = f"grant-{run % 40}"
        text = styled(prose(dice, sites), CANARIES.styler(grant, "m7"), dice)
        start = dice.randint(0, int(len(text) * (1 - cut)))
        text = text[start : start + int(len(text) * cut)]
        text = re.sub("’", lambda m: "'" if dice.random() < change else m.group(), text)
        text = re.sub(" – ", lambda m: " — " if dice.random() < change else m.group(), text)
        found = named(text)
        right += grant in found
        wrong += bool(found - {grant})
    return right / runs, wrong


def test_style_names_the_grant_of_a_long_answer_and_nobody_else() -> None:
    """How many sites it takes stands in docs/access-safety.md."""
    assert detected(40, 60, seed=1) == (1.0, 0)
    share, wrong = detected(60, 60, seed=2, change=0.2)
    assert share >= 0.85
    assert wrong == 0
    share, wrong = detected(120, 40, seed=3, cut=0.5)
    assert share >= 0.95
    assert wrong == 0


def test_style_says_nothing_of_a_short_answer_or_where_all_forms_were_made_alike() -> None:
    assert detected(12, 40, seed=4) == (0.0, 0)
    assert detected(60, 40, seed=5, change=1.0) == (0.0, 0)


def test_the_chance_of_a_false_alarm_is_the_binomial_tail() -> None:
    """Against fresh keys, any author's text passes level 1/20 in at most one of 20 cases; so the stated chance is one."""
    dice = random.Random(6)
    texts = [prose(dice, 40) for _ in range(5)]
    agreeing = [sites_of(t) for t in texts]
    keys = [dice.randbytes(32) for _ in range(1500)]
    chances = [tail(agreement(s, k), len(s)) for s in agreeing for k in keys]
    for level in (0.2, 0.05, 0.01):
        share = sum(c <= level for c in chances) / len(chances)
        assert share <= level + 3 * (level * (1 - level) / len(chances)) ** 0.5
        assert share >= level / 3, "so cautious that nothing would be found"


def test_texts_without_canaries_name_nobody() -> None:
    """Every document of this repository, and made-up prose in every author's forms, against 40 grants of 60 days."""
    dice = random.Random(7)
    texts = [d.read_text() for d in DOCS] + [prose(dice, 80) for _ in range(60)]
    for text in texts:
        assert find(text, [CANARIES], GRANTS, NOW) == []
    assert STYLE_LEVEL == 1e-6


def test_what_is_named_says_how_sure_it_is() -> None:
    (found,) = find(CANARIES.note("grant-7", "m7", NOW), [CANARIES], GRANTS, NOW)
    assert found == Named("grant-7", "m7", day_name(NOW // DAY_MS), "note", found.chance, "plain")
    assert 0 < found.chance < 1e-20


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Canaries(b"short")
