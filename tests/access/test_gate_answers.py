"""What leaves the gate and what it leaves behind: hidden reasoning, the grant's record, denials of strangers, counts, what is under way."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.access.audit.records import AnyRecord, Denied
from assay.access.gate.editing import Editing
from assay.access.gate.metricstext import exposition
from assay.access.gate.recording import MOST_OF_ALL, MOST_OF_ONE, Strangers
from assay.access.gate.sessions import GONE_MS, Session, Telling, under_way
from assay.access.gate.teeth import Decided, View
from assay.access.model import DeniedError, Grant, Hours
from assay.access.safety.alerts import Watch
from assay.access.safety.breakglass import Exceptions
from assay.access.store.base import Store, open_store
from tests.access.gate import CHAT, STRANGER, DeniedHere, Gate, now_ms, run
from tests.access.grantmaking import NOW, grant
from tests.access.test_gate_attacks import Liar, _head, wait
from tests.access.test_gate_more import PATH, audited, soon

HIDDEN = "the operator seems to be"
THOUGHT: dict[str, Any] = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": HIDDEN}],
    "encrypted_content": HIDDEN,
}
TEXT = {"type": "output_text", "text": "fine", "annotations": []}
MESSAGE: dict[str, Any] = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [TEXT]}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 1}}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "output": [THOUGHT, MESSAGE],
    "usage": {"input_tokens": 3, "output_tokens": 2},
}


class Thinker(Liar):
    """A model's server that thinks aloud, says the request's instructions again in a response, and waits between words for `user: slow`."""

    async def _say(self, what: str, value: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if not value.get("stream"):
            body = json.dumps(_response(value) if "input" in value else _chat("message")).encode()
            writer.write(_head("Content-Type: application/json", f"Content-Length: {len(body)}") + body)
            await writer.drain()
            return
        writer.write(_head("Content-Type: text/event-stream", "Transfer-Encoding: chunked"))
        for said in _responding(value) if "input" in value else [*[_chat("delta")] * (2000 if what == "slow" else 2), "[DONE]"]:
            data = b"data: " + (said if isinstance(said, str) else json.dumps(said)).encode() + b"\n\n"
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
            await asyncio.sleep(0.01 if what == "slow" else 0)
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def _chat(name: str) -> dict[str, Any]:
    said = {
        "role": "assistant",
        "reasoning_content": HIDDEN,
        "reasoning": HIDDEN,
        "reasoning_details": [{"text": HIDDEN}],
        "content": "fine",
    }
    return {"id": "c", "choices": [{"index": 0, name: said, "finish_reason": "stop"}], "usage": USAGE}


def _response(value: dict[str, Any]) -> dict[str, Any]:
    return {**RESPONSE, "instructions": value.get("instructions"), "metadata": value.get("metadata"), "reasoning": {"summary": "auto"}}


def _responding(value: dict[str, Any]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**_response(value), "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**THOUGHT, "summary": []}},
        {"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "output_index": 0, "delta": HIDDEN},
        {"type": "response.content_part.added", "item_id": "rs_1", "output_index": 0, "part": {"type": "reasoning_text", "text": HIDDEN}},
        {"type": "response.made.up", "item_id": "rs_1", "output_index": 0, "delta": HIDDEN},
        {"type": "response.output_item.done", "output_index": 0, "item": THOUGHT},
        {"type": "response.output_item.added", "output_index": 1, "item": {**MESSAGE, "content": []}},
        {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 1, "content_index": 0, "delta": "fine"},
        {"type": "response.output_item.done", "output_index": 1, "item": MESSAGE},
        {"type": "response.completed", "response": _response(value)},
    ]
    return [{**event, "sequence_number": n} for n, event in enumerate(told)]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("answers")
    (folder / "checks.yaml").write_text("assay: checks/1\nchecks: {canary: {answer: deny}}\n")
    gate = Gate(folder, upstream_port=Thinker().port, checks=["canary"], check_settings="checks.yaml")
    gate.put(gate.grant())
    gate.put(gate.grant(id="marked", canaries=("note",)))
    gate.put(gate.grant(id="all", level="AL3"))
    with gate:
        soon(gate, 200)
        yield gate


def ask(gate: Gate, path: str, grant: str = "power", **value: Any) -> tuple[int, str]:
    async def go() -> tuple[int, Any]:
        async with gate.client(grant=grant) as client:
            return await client(path, value)

    status, answer = run(go())
    return int(status), json.dumps(answer)


# What is not the caller's


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("route", ["chat", "responses"])
def test_hidden_reasoning_leaves_the_gate_for_grants_from_al3_on_only(gate: Gate, route: str, stream: bool) -> None:
    responses: dict[str, Any] = {"model": "m7", "input": "hello", "metadata": {"thinking": "ours"}}
    path = PATH if route == "chat" else "/v1/responses"
    value: dict[str, Any] = CHAT if route == "chat" else responses
    status, answer = ask(gate, path, **value, stream=stream)
    assert status == 200
    assert HIDDEN not in answer
    assert "rs_1" not in answer
    assert "fine" in answer
    assert route == "chat" or '"thinking": "ours"' in answer
    status, answer = ask(gate, path, "all", **value, stream=stream)
    assert (status, HIDDEN in answer) == (200, True)


def test_what_follows_hidden_reasoning_is_numbered_as_if_it_were_not_there(gate: Gate) -> None:
    _, answer = ask(gate, "/v1/responses", model="m7", input="hello", stream=True)
    said = json.loads(answer)
    assert [(e["type"].removeprefix("response."), e.get("output_index")) for e in said] == [
        ("created", None), ("output_item.added", 0), ("output_text.delta", 0), ("output_item.done", 0), ("completed", None),
    ]  # fmt: skip
    assert [item["type"] for item in said[-1]["response"]["output"]] == ["message"]


def test_a_summary_of_hidden_reasoning_is_asked_for_from_al3_on_only(gate: Gate) -> None:
    asked: dict[str, Any] = {"model": "m7", "input": "hello", "reasoning": {"effort": "low", "summary": "auto"}}
    status, answer = ask(gate, "/v1/responses", **asked)
    assert (status, json.loads(answer)["error"]["code"]) == (403, "reasoning")
    assert ask(gate, "/v1/responses", "all", **asked)[0] == 200
    assert ask(gate, "/v1/responses", **{**asked, "reasoning": {"effort": "low"}})[0] == 200


@pytest.mark.parametrize("data", [b'data: {"reasoning', b'data: ["reasoning"]', b'data: {\ndata: "thinking"}'], ids=range(3))
def test_what_may_be_hidden_and_cannot_be_read_does_not_go_on(data: bytes) -> None:
    editing = Editing(stream=True, hide=True, own=None)
    with pytest.raises(DeniedError):
        editing.part(data + b"\n\n")
    assert editing.part(b"reasoning: x\n\n: a thought\n\n") == b""
    assert editing.part(b'data: {"a":1}\n: thinking\n\n') == b'data: {"a":1}\n\n'
    assert editing.part(b'data: {"choices":[]}\n\n: waits\n\n') == b'data: {"choices":[]}\n\n: waits\n\n'


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("own", [{"instructions": "Be brief."}, {}], ids=["own", "none"])
def test_a_response_that_says_the_instructions_again_says_the_callers_own(gate: Gate, own: dict[str, str], stream: bool) -> None:
    status, answer = ask(gate, "/v1/responses", "marked", model="m7", input="hello", stream=stream, **own)
    assert (status, "Access record" in answer, '"cut"' in answer) == (200, False, False)
    said = json.loads(answer)
    found = [e["response"]["instructions"] for e in said if "response" in e] if stream else [said["instructions"]]
    assert found == [own.get("instructions")] * (2 if stream else 1)


# Strangers


def denials(gate: Gate, rule: str) -> list[dict[str, Any]]:
    return [r for r in audited(gate) if r["kind"] == "denied" and r["rule"] == rule]


def test_threat_8_knocking_without_a_key_is_written_down_within_bounds_and_told_of(gate: Gate) -> None:
    async def go() -> list[int]:
        found = []
        async with gate.client() as client:
            mine = client.headers("POST", PATH, b"{}")
            forged = {**mine, "Authorization": f"Assay 1.{'0' * 16}.{'A' * 40}.{'B' * 43}"}
            stolen = {**mine, "X-Assay-Proof": f"1.{now_ms()}.{'0' * 32}.{'A' * 43}"}
            for headers in (*[forged] * 40, *[stolen] * 10):
                async with client.session.post(PATH, data=b"{}", headers=headers) as answer:
                    found.append(answer.status)
        return found

    assert set(run(go())) == {401}
    with pytest.raises(DeniedHere):
        run(_signed_in(gate))
    wait(lambda: bool(denials(gate, "credentials.grant")))
    written = [r for r in audited(gate) if r["kind"] == "denied" and not r.get("grant")]
    assert {"credentials.token", "credentials.proof", "credentials.grant"} <= {r["rule"] for r in written}
    assert {r["network"] for r in written} == {"127.0.0.1"}
    in_an_hour = Counter((r["rule"], r["at"] // 3_600_000) for r in written)
    assert max(in_an_hour.values()) <= MOST_OF_ONE
    assert not denials(gate, "credentials.nonce"), "it is how every client begins"
    watch = Watch()
    found = [a for r in written for a in watch.feed(msgspec.convert(r, AnyRecord))]
    assert [(a.kind, a.grant) for a in found][:1] == [("denied", "")]


async def _signed_in(gate: Gate) -> None:
    async with gate.client(key=STRANGER):
        pass


def test_strangers_write_no_more_than_so_much_in_an_hour_whatever_networks_they_have() -> None:
    noted: list[dict[str, Any]] = []
    strangers = Strangers(noted.append)
    denied, ours = DeniedError("route", 404, "there is nothing at this address"), DeniedError("lease", 503, "the gate cannot know")
    for n in range(100):
        strangers.denied(denied, "", f"192.0.2.{n}", NOW)
        strangers.denied(ours, "", f"198.51.{n}.7", NOW)
    assert len(noted) == MOST_OF_ONE
    assert "more of this kind and network" in noted[-1]["what"]
    for n in range(2 * MOST_OF_ALL):
        strangers.denied(denied, "", f"2001:db8:{n:x}::1", NOW)
    assert len(noted) == MOST_OF_ALL
    strangers.denied(denied, "", "192.0.2.1", NOW + 3_600_000)
    assert len(noted) == MOST_OF_ALL + 1
    strangers.denied(DeniedError("host", 421, "this is not the address of this gate"), "", "192.0.2.1", NOW + 3_600_000)
    assert [r["rule"] for r in noted[-2:]] == ["route", "host"], "one kind does not hide another"
    assert msgspec.convert(noted[0], Denied).network == "192.0.2.0"


def test_a_network_that_knocks_all_day_is_told_of_once_a_day() -> None:
    watch, found = Watch(), []
    for n in range(200):
        record = {"kind": "denied", "at": NOW + n, "rule": "credentials.token", "status": 401, "network": f"192.0.2.{n}"}
        found += watch.feed(msgspec.convert(record, AnyRecord))
    assert [(a.kind, a.at // 86_400_000) for a in found] == [("denied", NOW // 86_400_000)]


# One who is known


def test_threat_8_a_request_that_was_turned_away_opens_nothing_when_it_is_copied(gate: Gate) -> None:
    async def go() -> list[int]:
        async with gate.client() as client:
            body = msgspec.json.encode(CHAT)
            headers = client.headers("POST", PATH, body)

            async def status() -> int:
                async with client.session.post(PATH, data=body, headers=headers) as answer:
                    return answer.status

            halt = gate.stop_all("copied")
            try:
                while (await client(PATH, CHAT))[0] != 403:
                    await asyncio.sleep(0.02)
                first = await status()
            finally:
                gate.lift(halt)
            while (await client(PATH, CHAT))[0] != 200:
                await asyncio.sleep(0.02)
            return [first, await status()]

    assert run(go()) == [403, 401]


def test_another_kind_of_content_is_written_down_with_its_grant_and_counted_once(gate: Gate) -> None:
    before = counted(gate)

    async def go() -> list[int]:
        async with gate.client() as client:
            found = [(await client(PATH, CHAT, **{"Content-Type": "text/plain"}))[0]]
            found.append((await client(PATH, {**CHAT, "tools": [{"type": "function", "function": {"name": "nope"}}]}))[0])
            found += [(await client(PATH, CHAT))[0], (await client(PATH, {**CHAT, "stream": True}))[0], (await client("/v1/models"))[0]]
            body = msgspec.json.encode(CHAT)
            headers = client.headers("POST", PATH, body)
            for _ in range(2):
                async with client.session.post(PATH, data=body, headers=headers) as answer:
                    found.append(answer.status)
        return found

    assert run(go()) == [415, 403, 200, 200, 200, 200, 401]
    wait(lambda: any(r["status"] == 415 and r["person"] == "Tan" for r in denials(gate, "request")))
    got = {key: n - before.get(key, 0) for key, n in counted(gate).items() if n != before.get(key, 0)}
    chat = "operator,chat.completions"
    assert {k: n for k, n in got.items() if k.startswith("m7")} == {
        f"m7,{chat},allow,": 3, f"m7,{chat},deny,request": 1, f"m7,{chat},deny,tools": 1, f"m7,{chat},deny,replay": 1,
        "m7,operator,models,allow,": 1, "m7 first": 1,
    }  # fmt: skip
    assert {k for k in got if k.startswith("other")} <= {
        "other,other,other,deny,credentials.nonce",
        "other,other,other,deny,credentials.proof",
    }


def counted(gate: Gate) -> dict[str, float]:
    """Requests by what was decided, and first tokens."""
    parser = pytest.importorskip("prometheus_client.parser")
    out = {}
    for family in parser.text_string_to_metric_families(exposition(gate.folder / "metrics").decode()):
        for s in family.samples:
            if s.name == "assay_gate_requests_total":
                out[",".join(s.labels[n] for n in ("model", "tier", "route", "decision", "rule"))] = s.value
            elif s.name == "assay_gate_first_token_seconds_count":
                out[f"{s.labels['model']} first"] = s.value
            elif s.name == "assay_gate_first_token_seconds_sum":
                assert s.value >= 0
    return out


def test_what_a_stream_has_brought_so_far_is_told_to_administrators(gate: Gate) -> None:
    async def go() -> list[Session]:
        async with gate.client() as client:
            asking = asyncio.create_task(client(PATH, {**CHAT, "stream": True, "user": "slow"}))
            end = time.monotonic() + 20
            found: list[Session] = []
            while not any(s.tokens for s in found) and time.monotonic() < end:
                await asyncio.sleep(0.1)
                found = [s for told in under_way(gate.store, now_ms()).values() for s in told.live]
            asking.cancel()
            return found

    assert any(s.tokens > 0 and s.grant == "power" for s in run(go()))


# Workers of one number, hours, readiness


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = open_store("gate.db", tmp_path)
    yield found
    found.close()


def test_workers_of_one_number_do_not_hide_each_others_requests(store: Store) -> None:
    """Two containers, each of whose first process has the number 1."""
    told = [Telling(store), Telling(store)]
    for tick in range(3):
        for n, one in enumerate(told):
            one.publish([Session(f"req_{n}", "m7", "power", "Grid Ltd", "Tan", "responses", NOW)], NOW + tick)
    live = under_way(store, NOW + 3)
    assert sorted(s.id for w in live.values() for s in w.live) == ["req_0", "req_1"]
    later = NOW + GONE_MS + 10
    Telling(store).publish([], later)
    assert len(store.records("sessions")) == 2, "it has the record of one that is gone"
    told[0].publish([], later)
    told[1].publish([], later)
    assert len(under_way(store, later)) == 3, "and who lost his record to it begins another"


def test_what_is_under_way_ends_with_the_grants_hours() -> None:
    day = datetime.fromtimestamp(NOW / 1000, UTC)
    minute, midnight = day.hour * 60 + day.minute, NOW - NOW % 86_400_000
    ends = midnight + (minute + 1) * 60_000
    held = grant(hours=(Hours(tuple(range(1, 8)), 0, minute + 1, "UTC"),), starts=NOW - 1000, expires=NOW + 86_400_000)

    class Lifted(Exceptions):
        def lifts(self, grant: Grant, what: Any, now: int) -> str:
            return "glass-1" if what == "hours" else ""

    for exceptions, reason in ((Exceptions(()), "the grant's hours have ended"), (Lifted(()), "")):
        view = View(1, {held.id: held}, (), {held.model: Decided("approve", NOW + 10**9)}, exceptions=exceptions)
        assert view.closed(held.id, held.version, held.persons[0].name, ends - 1) == ""
        assert view.closed(held.id, held.version, held.persons[0].name, ends) == reason


def test_readiness_tells_nobody_where_the_store_is(tmp_path: Path) -> None:
    with Gate(tmp_path / "gate", upstream_port=1, lease_s=0.5) as gate:
        (gate.folder / "gate.db").rename(gate.folder / "away.db")
        (gate.folder / "gate.db").mkdir()

        def problems() -> list[str]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{gate.port}/readyz", timeout=5) as answer:
                    return list(json.loads(answer.read())["problems"])
            except urllib.error.HTTPError as e:
                return list(json.loads(e.read())["problems"])

        wait(lambda: any(p.startswith("store") for p in problems()), 20)
        assert [p for p in problems() if p.startswith("store")] == ["store: what holds cannot be read"]
        assert "gate.db" not in str(problems())
        wait(lambda: any(r["kind"] == "error" and r["what"].startswith("store: ") for r in audited(gate)), 20)
        (gate.folder / "gate.db").rmdir()
        (gate.folder / "away.db").rename(gate.folder / "gate.db")
