"""A link opens once, a cookie's value until its limits, and neither is kept."""

from __future__ import annotations

import base64
import hmac

import pytest

from assay.web.sessions import Sessions, digest, new_token

IDLE, LONGEST = 30.0, 100.0
STRANGE = ("", "guess", "é", "\udc80", "x" * 10_000)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def entered(sessions: Sessions) -> str:
    value = sessions.enter(sessions.link())
    assert value
    return value


def test_a_link_opens_once_and_the_one_before_not_at_all() -> None:
    sessions = Sessions()
    first, second = sessions.link(), sessions.link()
    assert sessions.enter(first) == ""
    value = sessions.enter(second)
    assert sessions.holds(value)
    assert sessions.enter(second) == ""
    assert sessions.holds(value), "a link that is tried again ends nobody's session"


@pytest.mark.parametrize("wrong", STRANGE)
def test_what_was_not_given_out_opens_nothing(wrong: str) -> None:
    sessions = Sessions()
    assert sessions.enter(wrong) == "", "there is no link yet"
    token = sessions.link()
    assert sessions.enter(wrong) == ""
    value = sessions.enter(token)
    assert sessions.enter(wrong) == ""
    for other in (wrong, token, value[:-1], value + "A", digest(value)):
        assert not sessions.holds(other)
        sessions.leave(other)
    assert sessions.holds(value)


def test_who_leaves_is_out_and_the_others_stay() -> None:
    sessions = Sessions()
    one, other = entered(sessions), entered(sessions)
    assert one != other
    sessions.leave(one)
    sessions.leave(one)
    assert not sessions.holds(one)
    assert sessions.holds(other)


def test_a_session_ends_when_it_is_idle_for_longer_than_its_limit() -> None:
    clock = Clock()
    sessions = Sessions(idle_s=IDLE, longest_s=LONGEST, clock=clock)
    value, looked = entered(sessions), entered(sessions)
    clock.now += IDLE
    assert sessions.holds(value, used=True)
    assert sessions.holds(looked, used=False)
    clock.now += 1
    assert sessions.holds(value, used=False), "it was used a second ago"
    assert not sessions.holds(looked, used=True), "a look keeps nothing alive"
    clock.now -= 1
    assert not sessions.holds(looked, used=True), "what has ended stays ended"


def test_a_session_ends_at_its_longest_however_much_it_is_used() -> None:
    clock = Clock()
    sessions = Sessions(idle_s=IDLE, longest_s=LONGEST, clock=clock)
    value = entered(sessions)
    for _ in range(int(LONGEST // 10)):
        clock.now += 10
        assert sessions.holds(value)
    clock.now += 1
    assert not sessions.holds(value)


def test_without_limits_a_session_lasts_as_long_as_the_process() -> None:
    clock = Clock()
    sessions = Sessions(clock=clock)
    value = entered(sessions)
    clock.now += 1e9
    assert sessions.holds(value, used=False)


def test_only_digests_are_kept() -> None:
    sessions = Sessions()
    value, token = entered(sessions), sessions.link()
    kept = repr(vars(sessions))
    assert value not in kept
    assert token not in kept
    assert digest(value) in kept
    assert digest(token) in kept


def test_digests_are_compared_in_constant_time_every_one(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions()
    values = [entered(sessions) for _ in range(3)]
    compared = []

    def compare(a: str, b: str) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for asked in (values[0], "guess"):
        compared.clear()
        sessions.holds(asked)
        assert compared == [(digest(v), digest(asked)) for v in values]
    token = sessions.link()
    compared.clear()
    sessions.enter("guess")
    assert compared == [(digest(token), digest("guess"))]


def test_a_token_has_the_strength_of_a_key() -> None:
    assert len(base64.urlsafe_b64decode(new_token() + "=")) == 32
