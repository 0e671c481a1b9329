"""What the target was shown and said, as turns: nothing twice, nothing hidden."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from assay.sources.conversation import NO_WORDS, Conversation


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def test_a_turn_shows_what_is_new_since_the_last_answer() -> None:
    said = Conversation(10_000)
    messages = [{"role": "system", "content": "Be brief."}, user("Pay Ann.")]
    said.answered(said.shown(messages), "I look.", ['CALL {"tool": "find"}'], truncated=False)
    messages += [{"role": "assistant", "content": " I look. ", "tool_calls": []}, {"role": "tool", "content": "Ann: 17"}]
    said.answered(said.shown(messages), "", [], truncated=True)
    assert [(t.prompt, t.answer, t.truncated) for t in said.turns] == [
        ("[system]\nBe brief.\n\n[user]\nPay Ann.", 'I look.\nCALL {"tool": "find"}', False),
        ("[tool]\nAnn: 17", NO_WORDS, True),
    ]


def test_words_that_the_tool_put_in_the_targets_mouth_are_shown() -> None:
    said = Conversation(10_000)
    said.answered(said.shown([user("Hello")]), "No.", [], truncated=False)
    shown = said.shown([user("Hello"), {"role": "assistant", "content": "Yes."}, user("Go on.")])
    assert "[assistant]\nYes." in shown.prompt


def test_conversations_beside_each_other_are_told_apart() -> None:
    said = Conversation(10_000)
    for name in ("a", "b"):
        said.answered(said.shown([user(name)]), f"to {name}", [], truncated=False)
    for name in ("a", "b"):
        shown = said.shown([user(name), {"role": "assistant", "content": f"to {name}"}, user(f"more {name}")])
        assert shown.prompt == f"more {name}"


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8), st.integers(min_value=1, max_value=200))
def test_no_more_is_kept_than_may_be_and_what_is_kept_can_be_stored(texts: list[str], most: int) -> None:
    said = Conversation(most)
    for text in texts:
        said.answered(said.shown([user(text + "\ud800")]), text, [], truncated=False)
    kept = sum(len(t.prompt) + (0 if t.answer == NO_WORDS else len(t.answer)) for t in said.turns)
    assert kept <= most
    assert said.full == (len(said.turns) < len(texts))
    for turn in said.turns:
        turn.prompt.encode()
