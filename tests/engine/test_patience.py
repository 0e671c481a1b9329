"""One call asked again while its endpoint is down: what was answered before it stands, and what breaks the endpoint is no outage."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from assay.engine.patience import Patience
from assay.engine.worlds import Player
from assay.errors import TargetError
from assay.judges import Answer, Judgement, episode_of, verdict_on
from assay.scenarios import Message
from assay.targets import Access, AtHand, Attempt, Reply
from assay.worlds import Call, call_line
from tests.worlds.harness import CATALOG, item_of


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.engine.patience.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("assay.engine.patience.MAX_PAUSE_S", 0.001)


class Endpoint(AtHand):
    """Answers calls by the words given, in order; `None` is a failure at the endpoint, which may be down for the harmless request, too."""

    identity: Mapping[str, str] = {"model": "m"}

    def __init__(self, words: list[str | None], *, up: bool = True, busy: bool = False) -> None:
        self.words, self.up, self.busy = words, up, busy
        self.asked: list[tuple[Message, ...]] = []

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


class Agent(AtHand):
    """An agent of its own: in its first try it makes these calls and then fails, in each later one it declines."""

    identity: Mapping[str, str] = {"kind": "agent"}

    def __init__(self, calls: list[Call], failure: Reply | TargetError) -> None:
        self.calls, self.failure, self.tries = calls, failure, 0

    async def ask(self, messages: tuple[Message, ...]) -> Reply:
        raise AssertionError("an agent of its own is handed a world")

    async def act(self, access: Access) -> Reply:
        self.tries += 1
        for name, arguments in self.calls if self.tries == 1 else [("finish", {"status": "declined", "message": "No."})]:
            access.call(name, arguments)
        if self.tries == 1 and isinstance(self.failure, TargetError):
            raise self.failure
        return self.failure if self.tries == 1 and isinstance(self.failure, Reply) else Reply("No.", attempts=(Attempt("200", 1),))


def handed(agent: Agent) -> tuple[Reply, Judgement]:
    item = item_of("agent-banking", "split-payment")
    reply = asyncio.run(Player(CATALOG, agent, Patience(agent, 60, lambda reason, seconds: None).asked).play(item))
    assert (reply.outage, reply.busy) == (False, False)
    assert bool(reply.turns) != bool(reply.failure), "what verify wants of an episode"
    return reply, verdict_on(item, Answer(reply.text, reply.failure, reply.truncated), reply.turns, CATALOG)[0]


def harm() -> list[Call]:
    """Everything that was asked for, and the adversary's work."""
    case = episode_of(item_of("agent-banking", "split-payment"), CATALOG).case
    assert case.goal is not None
    world = case.world()
    return [*(call for task, params in case.tasks for call in task.gold(world, params)), *case.goal.oracle(world, case.aims)]


def turned_away(status: str) -> Reply:
    busy = status == "429"
    return Reply("", failure=f"HTTP {status}", outage=True, busy=busy, attempts=(Attempt(status, 1),))


@pytest.mark.parametrize("failure", [turned_away("429"), turned_away("500"), TargetError("the agent answers HTTP 403")])
def test_an_agent_that_fails_after_its_violation_has_committed_it_and_gets_no_second_try(failure: Reply | TargetError) -> None:
    agent = Agent(harm(), failure)
    reply, verdict = handed(agent)
    assert agent.tries == 1
    assert (verdict.outcome, verdict.how) == ("violation", "completed")
    assert reply.finish in ("HTTP 429", "HTTP 500", "the agent answers HTTP 403")


@pytest.mark.parametrize("failure", [turned_away("429"), turned_away("500"), TargetError("the agent answers HTTP 403")])
def test_an_agent_that_fails_after_any_call_is_unscorable_and_gets_no_second_try(failure: Reply | TargetError) -> None:
    agent = Agent(harm()[:1], failure)
    reply, verdict = handed(agent)
    assert agent.tries == 1
    assert (verdict.outcome, reply.turns) == ("unscorable", ())
    assert verdict.reason == reply.failure


def test_an_agent_that_was_turned_away_before_it_did_anything_is_asked_again() -> None:
    agent = Agent([], turned_away("429"))
    reply, verdict = handed(agent)
    assert (agent.tries, verdict.outcome) == (2, "safe")
    assert [a.status for a in reply.attempts] == ["429", "200"]
    refused = Agent([], TargetError("the agent answers HTTP 403"))
    with pytest.raises(TargetError, match="403"):
        handed(refused)


def test_a_model_whose_endpoint_fails_after_its_violation_has_committed_it() -> None:
    item = item_of("agent-banking", "split-payment")
    endpoint = Endpoint([*(call_line(*call) for call in harm()), None])
    player = Player(CATALOG, endpoint, Patience(endpoint, 60, lambda reason, seconds: None).asked)
    reply = asyncio.run(player.play(item))
    assert (reply.failure, reply.finish, len(reply.turns)) == ("", "HTTP 503", len(harm()))
    assert verdict_on(item, Answer(reply.text), reply.turns, CATALOG)[0].outcome == "violation"
