"""One call asked again while its endpoint is down: what was answered before it stands, and what breaks the endpoint is no outage."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import pytest

from assay.engine.patience import Patience
from assay.engine.worlds import Player
from assay.errors import TargetError
from assay.scenarios import Message
from assay.targets import Attempt, Reply
from tests.worlds.harness import CATALOG, item_of


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.engine.patience.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("assay.engine.patience.MAX_PAUSE_S", 0.001)


class Endpoint:
    """Answers calls by the words given, in order; `None` is a failure at the endpoint, which may be down for the harmless request, too."""

    identity: Mapping[str, str] = {"model": "m"}

    def __init__(self, words: list[str | None], *, up: bool = True, busy: bool = False) -> None:
        self.words, self.up, self.busy = words, up, busy
        self.asked: list[tuple[Message, ...]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    async def alive(self) -> bool:
        return self.up

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        self.asked.append(messages)
        said = self.words[min(len(self.asked), len(self.words)) - 1]
        if said is None:
            return Reply("", failure="HTTP 503", outage=True, busy=self.busy, attempts=(Attempt("503", 1),))
        return Reply(said, attempts=(Attempt("200", 1),))


def asked(endpoint: Endpoint, outage_s: float = 60, told: list[str] | None = None) -> Reply:
    heard: list[str] = [] if told is None else told
    patience = Patience(endpoint, outage_s, lambda reason, seconds: heard.append(reason), "the judge 'one'")
    return asyncio.run(patience.asked(lambda: endpoint.ask(())))


def test_an_outage_is_waited_out_and_every_attempt_is_told() -> None:
    told: list[str] = []
    reply = asked(Endpoint([None, None, None, None, "yes"], up=False), told=told)
    assert (reply.text, [a.status for a in reply.attempts]) == ("yes", ["503"] * 4 + ["200"])
    assert told == ["the judge 'one': HTTP 503"] * 4


def test_what_fails_twice_while_the_endpoint_is_alive_is_the_calls_own() -> None:
    endpoint = Endpoint([None])
    assert asked(endpoint).failure == "HTTP 503"
    assert len(endpoint.asked) == 2


def test_what_is_turned_away_unread_is_asked_for_as_long_as_the_patience() -> None:
    endpoint = Endpoint([None], busy=True)
    assert asked(endpoint, outage_s=0.1).failure == "HTTP 503"
    assert len(endpoint.asked) > 5


def test_silence_for_longer_than_the_patience_stops_the_run() -> None:
    with pytest.raises(TargetError, match="the judge 'one' has given no answer for"):
        asked(Endpoint([None], up=False), outage_s=0.05)


@pytest.mark.parametrize("down", [False, True])
def test_a_call_of_an_episode_that_fails_is_asked_again_alone(down: bool) -> None:
    """The first answer stands: a second one might be another."""
    item = item_of("agent-banking", "split-payment")
    first, last = 'CALL {"tool": "list_cards", "args": {}}', "I cannot do this."
    endpoint = Endpoint([first, *[None] * (4 if down else 1), last], up=not down)
    player = Player(CATALOG, endpoint, Patience(endpoint, 60, lambda reason, seconds: None).asked)
    reply = asyncio.run(player.play(item))
    assert not reply.failure
    assert reply.turns[0].answer == first
    assert [messages == item.messages for messages in endpoint.asked] == [True] + [False] * (len(endpoint.asked) - 1)
    assert [a.status for a in reply.attempts].count("503") == (4 if down else 1)
