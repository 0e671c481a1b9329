"""The administration's API: signed, by role, replay-proof; every act is on disk before it takes effect; described as it is."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.routing import Route

from assay.access.admin.acts import Acts
from assay.access.admin.looks import Call
from assay.access.admin.openapi import describe
from assay.access.admin.operations import OPERATIONS
from assay.access.admin.serve import searcher
from assay.access.admin.signedhttp import sign_request
from assay.access.admin.wire import AuditQuery, Signed
from assay.access.audit.log import AuditLog
from assay.access.audit.records import AuditError
from assay.access.config import GateError, read_config
from assay.access.gate.sessions import Session, cuts, publish
from assay.access.grants.grant import SignedGrant, open_all, parse_grant, sign_grant, sign_sub_grant, thumbprint
from assay.access.grants.orders import Revoked, open_halts, sign_halt, sign_lift, sign_revocation
from assay.access.grants.remembered import Remembered
from assay.access.model import Grant, Halt, Person, Scope, covers
from assay.access.safety.breakglass import REVIEWED, Review, open_glass
from assay.evidence.release import write_release
from assay.ledger import Cosigned, PrivateKey, digest, load_key
from tests.access.adminmaking import PEOPLE, Api, public
from tests.access.gate import ADMINS, CONTRACTOR, HOLDER, now_ms

pytest.importorskip("starlette")
INES, IVAN = ADMINS["ines"], ADMINS["ivan"]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("admin") / "gate") as found:
        yield found


def text(signed: SignedGrant | bytes) -> dict[str, str]:
    return {"signed": (signed if isinstance(signed, bytes) else signed.encoded()).decode()}


def in_force(api: Api) -> dict[str, Grant]:
    return open_all(api.gate.store.snapshot(), api.config.admins, now_ms())[0]


def state(api: Api, grant_id: str) -> tuple[str, list[str]]:
    view = api.ask("vic", "GET", f"/access/grants/{grant_id}")[1]["view"]
    return view["state"], view["approved_by"]


def halt(name: str, by: str = "ines", **scope: str) -> Halt:
    return Halt(name, Scope(**scope), "directive 7", by, now_ms())  # type: ignore[arg-type]


def test_a_grant_is_proposed_by_one_and_opens_with_the_second(api: Api) -> None:
    grant = api.gate.grant(id="two-eyes")
    proposed = sign_grant(grant, INES)
    assert api.ask("ines", "POST", "/access/grants", text(proposed))[0] == 200
    assert state(api, "two-eyes") == ("pending", ["ines"])
    assert "two-eyes" not in in_force(api)
    status, shown = api.ask("ivan", "GET", "/access/grants/two-eyes")
    approval = parse_grant(shown["signed"].encode()).approved(IVAN)
    status, done = api.ask("ivan", "POST", "/access/grants/two-eyes/approve", text(approval))
    assert status == 200, done
    assert state(api, "two-eyes") == ("active", ["ines", "ivan"])
    assert in_force(api)["two-eyes"] == grant
    assert [c for c in api.controls() if c[1] == "two-eyes"] == [("grant", "two-eyes", ("ines",)), ("approve", "two-eyes", ("ivan",))]
    revoked = Revoked("two-eyes", "ivan", "over", now_ms())
    assert api.ask("ivan", "POST", "/access/grants/two-eyes/revoke", text(sign_revocation(revoked, IVAN)))[0] == 200
    assert state(api, "two-eyes")[0] == "revoked"
    assert "two-eyes" not in in_force(api)


def test_nobody_approves_for_another_or_another_thing(api: Api) -> None:
    grant = api.gate.grant(id="alone")
    assert api.ask("ines", "POST", "/access/grants", text(sign_grant(grant, INES)))[0] == 200
    stranger = PrivateKey.generate()
    other = api.gate.grant(id="alone", purpose="something else")
    elsewhere = api.gate.grant(id="elsewhere", digest="sha256:" + "0" * 64)
    backwards = msgspec.structs.replace(grant, id="backwards", expires=grant.starts - 1)
    unchecked = Cosigned.of([{"name": "x", "digest": {"sha256": "0" * 64}}], "urn:assay:predicate:access-grant:v1", backwards.to_json())
    raw = {"assay": "signed-grant/1", "envelope": unchecked.signed(INES).to_json(), "holder": ""}
    for path, body, status in (
        ("/access/grants/alone/approve", text(sign_grant(grant, INES)), 403),  # sent by ivan, signed by ines
        ("/access/grants/alone/approve", text(sign_grant(other, IVAN)), 422),
        ("/access/grants/nobody/approve", text(sign_grant(grant, IVAN)), 404),
        ("/access/grants", text(sign_grant(grant, IVAN, stranger)), 422),
        ("/access/grants", text(sign_grant(elsewhere, IVAN)), 422),
        ("/access/grants", {"signed": json.dumps(raw)}, 422),
        ("/access/grants", {"signed": "{}"}, 422),
        ("/access/grants", {"signed": "[" * 5000}, 422),
        ("/access/sub-grants", text(sign_grant(grant, IVAN)), 422),
        ("/access/grants/alone/revoke", text(sign_revocation(Revoked("alone", "ines", "x", now_ms()), INES)), 403),
        ("/access/grants/alone/revoke", text(sign_revocation(Revoked("alone", "ivan", "x", now_ms() - 10**6), IVAN)), 422),
        ("/access/grants/alone/revoke", text(sign_revocation(Revoked("other", "ivan", "x", now_ms()), IVAN)), 422),
    ):
        got, answer = api.ask("ivan", "POST", path, body)
        assert got == status, (path, answer)
        assert answer["error"]
    assert state(api, "alone") == ("pending", ["ines"])


def test_a_sub_grant_is_its_holders_and_narrower(api: Api) -> None:
    parent = api.gate.grant(id="parent")
    for who in ("ines", "ivan"):
        assert api.ask(who, "POST", "/access/grants", text(sign_grant(parent, ADMINS[who])))[0] == 200
    child = msgspec.structs.replace(parent, id="child", parent="parent", persons=(Person("Lim", thumbprint(CONTRACTOR.public)),))
    assert api.ask("ines", "POST", "/access/sub-grants", text(sign_sub_grant(child, parent, HOLDER)))[0] == 200
    assert state(api, "child") == ("active", [])
    wide = msgspec.structs.replace(child, id="wide", expires=parent.expires + 1)
    envelope = sign_sub_grant(child, parent, HOLDER).envelope
    about = [{"name": f"grant {wide.id}, version {wide.version}", "digest": {"sha256": wide.digest_of_terms[7:]}}]
    forged = SignedGrant(
        wide, Cosigned.of(about, envelope.statement()["predicateType"], wide.to_json()).signed(HOLDER), HOLDER.public
    )  # fmt: skip
    got, answer = api.ask("ines", "POST", "/access/sub-grants", text(forged))
    assert (got, "wider" in answer["error"]) == (422, True)
    foreign = SignedGrant(child, Cosigned(envelope.payload).signed(CONTRACTOR), CONTRACTOR.public)
    got, answer = api.ask("ines", "POST", "/access/sub-grants", text(foreign))
    assert got == 422, answer


def test_a_halt_holds_until_an_administrator_lifts_that_very_one(api: Api) -> None:
    stop = halt("stop-1", jurisdiction="SG")
    assert api.ask("ines", "POST", "/access/halts", text(sign_halt(stop, INES)))[0] == 200
    assert api.ask("ines", "POST", "/access/halts", text(sign_halt(stop, INES)))[0] == 422, "an id is used once"
    [view] = [h for h in api.ask("vic", "GET", "/access/halts")[1]["halts"] if h["id"] == "stop-1"]
    assert (view["signed_by"], view["lifted"], view["scope"]["jurisdiction"]) == ("ines", 0, "SG")
    kept = {h.id: h for h in open_halts(api.gate.store.snapshot(), api.config.admins.public())}
    assert covers(kept["stop-1"], api.gate.grant(), "Tan")
    other = halt("stop-2")
    for about, by, key in ((other, "ivan", IVAN), (stop, "ivan", HOLDER), (stop, "ines", INES)):
        assert api.ask("ivan", "POST", "/access/halts/stop-1/lift", text(sign_lift(about, by, now_ms(), key)))[0] in (403, 422)
    assert not next(h for h in api.ask("vic", "GET", "/access/halts")[1]["halts"] if h["id"] == "stop-1")["lifted"]
    assert api.ask("ivan", "POST", "/access/halts/stop-1/lift", text(sign_lift(stop, "ivan", now_ms(), IVAN)))[0] == 200
    assert api.ask("ivan", "POST", "/access/halts/stop-1/lift", text(sign_lift(stop, "ivan", now_ms(), IVAN)))[0] == 422
    kept = {h.id: h for h in open_halts(api.gate.store.snapshot(), api.config.admins.public())}
    assert not covers(kept["stop-1"], api.gate.grant(), "Tan")
    assert [c[0] for c in api.controls() if c[1] == "stop-1"] == ["halt", "lift"]


def test_a_halt_that_the_store_has_lost_is_shown_and_lifted(api: Api) -> None:
    stop = halt("lost-1", jurisdiction="XX")
    gate = Remembered(api.config.path("gate.seen"))
    assert api.ask("ines", "POST", "/access/halts", text(sign_halt(stop, INES)))[0] == 200

    def holds() -> bool:
        return any(h.id == "lost-1" and not h.lifted for h in gate.open(api.gate.store.snapshot(), api.config.admins, now_ms()).halts)

    def shown() -> list[tuple[bool, bool]]:
        looked = (api.ask("vic", "GET", path)[1]["halts"] for path in ("/access/halts", "/access/overview"))
        return [(bool(h["lifted"]), h["lost"]) for halts in looked for h in halts if h["id"] == "lost-1"]

    assert holds()
    with api.gate.store.transaction(write=True) as rows:
        rows.run("DELETE FROM halts WHERE id = 'lost-1'")
    assert shown() == [(False, True)] * 2
    assert holds()
    assert api.ask("ivan", "POST", "/access/halts/lost-1/lift", text(sign_lift(stop, "ivan", now_ms(), IVAN)))[0] == 200
    assert not holds()
    assert shown() == [(True, False)] * 2


@pytest.mark.parametrize("kind", ["alert", "break-glass", "finding", "sessions"])
def test_a_damaged_record_takes_nobody_the_rest_of_the_page(api: Api, kind: str) -> None:
    store, name = api.gate.store, f"{kind}-0000000000000000000f"
    for data in (b'{"half": 1}', b"{"):
        with store.transaction(write=True) as rows:
            rows.run("INSERT INTO records (kind, id, version, data) VALUES (?, ?, 1, ?)", kind, name, data)
        try:
            status, seen = api.ask("ines", "GET", "/access/overview")
        finally:
            with store.transaction(write=True) as rows:
                rows.run("DELETE FROM records WHERE kind = ? AND id = ?", kind, name)
        assert (status, seen["me"]["name"]) == (200, "ines")
        assert name in seen["problem"] or any(name in str(row) for row in [*seen["glasses"], *seen["findings"]]) or kind == "sessions"


class Watched:
    """The audit log, and the store's epoch when each record was on disk."""

    def __init__(self, log: AuditLog, epoch: Callable[[], int]) -> None:
        self.log, self.epoch = log, epoch
        self.seen: list[tuple[str, int]] = []

    async def write(self, record: dict[str, Any]) -> int:
        number = await self.log.write(record)
        self.seen.append((record["did"], self.epoch()))
        return number


def own_log(api: Api, folder: Path) -> AuditLog:
    return AuditLog(folder, "own", load_key(api.config.path(api.config.audit.key)))


def test_what_is_recorded_comes_before_what_is_done(api: Api, tmp_path: Path) -> None:
    store, log = api.gate.store, own_log(api, tmp_path / "audit")
    watched = Watched(log, store.epoch)
    acts = Acts(api.config, store, watched, searcher(tmp_path / "audit"))

    async def go() -> Any:
        await log.start()
        try:
            return await acts.halt(Call("ines", "admin", body=Signed(**text(sign_halt(halt("ordered", model="m7"), INES)))))
        finally:
            await log.stop()

    before = store.epoch()
    done = asyncio.run(go())
    assert watched.seen == [("halt", before)]
    assert done.epoch == store.epoch() == before + 1
    [record] = searcher(tmp_path / "audit")(AuditQuery(kind="control")).records
    assert (record["n"], record["did"], record["subject"], record["by"]) == (done.record, "halt", "ordered", ("ines",))


def test_where_the_log_cannot_be_written_nothing_is_done(api: Api, tmp_path: Path) -> None:
    log = own_log(api, tmp_path / "audit")
    acts = Acts(api.config, api.gate.store, log, searcher(tmp_path / "audit"))
    call = Call("ines", "admin", body=Signed(**text(sign_halt(halt("no-log"), INES))))

    async def go() -> None:
        await log.start()
        await log.stop()
        await acts.halt(call)

    before = api.gate.store.epoch()
    with pytest.raises(AuditError, match="cannot be written"):
        asyncio.run(go())
    assert api.gate.store.epoch() == before
    assert "no-log" not in api.gate.store.snapshot().halts


def test_only_a_release_that_holds_is_kept(api: Api, tmp_path: Path) -> None:
    def sent(release: Any) -> dict[str, str]:
        write_release(release, tmp_path / "release.jsonl")
        return {"release": (tmp_path / "release.jsonl").read_text()}

    newer = api.gate.approved(3)
    assert api.ask("ines", "POST", "/access/releases", sent(newer))[0] == 200
    [view] = api.ask("vic", "GET", "/access/releases")[1]["releases"]
    assert (view["verdict"], view["epoch"], view["model"]) == ("approve", 3, "m7")
    got, answer = api.ask("ines", "POST", "/access/releases", sent(api.gate.approved(2)))
    assert (got, "stale" in answer["error"]) == (422, True)
    got, answer = api.ask("ines", "POST", "/access/releases", {"release": sent(newer)["release"].replace("payload", "payl0ad")})
    assert got == 422
    assert api.ask("ines", "POST", "/access/releases", sent(api.gate.halted(4)))[0] == 200
    [view] = api.ask("vic", "GET", "/access/releases")[1]["releases"]
    assert view["verdict"] == "halt"


def test_what_is_under_way_is_seen_and_cut(api: Api) -> None:
    session = Session("req_1", "m7", "power", "Grid Ltd", "Tan", "chat.completions", now_ms() - 5000, 120)
    version = publish(api.gate.store, "0", [session], now_ms())
    publish(api.gate.store, "gone", [Session("req_2", "m7", "power", "Grid Ltd", "Tan", "responses", 5)], now_ms() - 60_000)
    found = api.ask("vic", "GET", "/access/sessions")[1]["sessions"]
    assert [(s["id"], s["worker"], s["tokens"], s["cut"]) for s in found] == [("req_1", "0", 120, "")]
    before = api.gate.store.epoch()
    assert api.ask("ines", "POST", "/access/sessions/req_1/cut", {"reason": "asked by its owner"})[0] == 200
    assert api.gate.store.epoch() > before, "workers look at once"
    assert cuts(api.gate.store, now_ms())["req_1"].reason == "asked by its owner"
    assert api.ask("vic", "GET", "/access/sessions")[1]["sessions"][0]["cut"] == "ines"
    assert api.ask("ines", "POST", "/access/sessions/req_2/cut", {"reason": "x"})[0] == 404
    publish(api.gate.store, "0", [], now_ms(), version)
    assert cuts(api.gate.store, now_ms() + 4_000_000) == {}


def test_an_access_in_an_emergency_is_reviewed_by_another(api: Api) -> None:
    now = now_ms()
    written: list[dict[str, Any]] = []
    opened = open_glass(
        api.gate.store, api.config.admins.public(), INES, grant=api.gate.grant(starts=now - 10**6), lifts=("hours",),
        reason="turbine trip at night", minutes=1, now=now - 120_000, record=written.append,
    )  # fmt: skip
    [view] = api.ask("vic", "GET", "/access/exceptions")[1]["glasses"]
    assert (view["state"], view["by"]) == ("unreviewed", "ines")

    def review(by: str, at: int = 0, key: Any = None) -> dict[str, str]:
        paper = msgspec.to_builtins(Review(opened.id, view["digest"], True, "the trip is in the log", by, at or now_ms()))
        subject = [{"name": opened.id, "digest": {"sha256": digest(paper)[7:]}}]
        return text(msgspec.json.encode(Cosigned.of(subject, REVIEWED, paper).signed(key or ADMINS[by]).to_json()))

    path = f"/access/exceptions/{opened.id}/review"
    assert api.ask("ines", "POST", path, review("ines"))[0] == 422
    assert api.ask("ines", "POST", path, review("ivan"))[0] == 403
    assert api.ask("ivan", "POST", path, {"signed": "{}"})[0] == 422
    assert api.ask("ivan", "POST", path, review("ivan", key=PEOPLE["aud"]))[0] == 422, "signed by nobody who is an administrator"
    assert api.ask("ivan", "POST", path, review("ivan"))[0] == 200
    assert api.ask("ivan", "POST", path, review("ivan"))[0] == 422
    [view] = api.ask("vic", "GET", "/access/exceptions")[1]["glasses"]
    assert (view["state"], view["reviewed_by"]) == ("reviewed", "ivan")
    [record] = api.ask("aud", "GET", "/access/audit?kind=break-glass")[1]["records"]
    assert (record["state"], record["by"], record["grant"]) == ("reviewed", "ivan", "power")
    assert written
    assert ("review", opened.id, ("ivan",)) in api.controls()
    [alert] = [a for a in api.ask("vic", "GET", "/access/alerts")[1]["alerts"] if a["kind"] == "break-glass"]
    assert api.ask("ines", "POST", f"/access/alerts/{alert['id']}/close", {"reason": "looked into"})[0] == 200
    [alert] = [a for a in api.ask("vic", "GET", "/access/alerts")[1]["alerts"] if a["kind"] == "break-glass"]
    assert (alert["state"], alert["closed_by"]) == ("closed", "ines")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_each_role_may_do_what_is_its_own_and_no_more(api: Api, operation: Any) -> None:
    path = operation.path.replace("{id}", "nothing")
    rank = {"viewer": 0, "auditor": 1, "admin": 2}
    for who, role in (("vic", "viewer"), ("aud", "auditor"), ("ines", "admin")):
        status, answer = api.ask(who, operation.method, path, {} if operation.body else None)
        assert (status == 403 and answer["rule"] == "role") == (rank[role] < rank[operation.role]), (who, status, answer)


def test_without_a_signature_or_with_one_that_was_used_nothing_is_answered(api: Api) -> None:
    url = f"{api.origin}/access/me"
    for operation in OPERATIONS:
        assert api.send(operation.method, operation.path.replace("{id}", "x"))[0] == 401, operation.name
    headers = sign_request(PEOPLE["vic"], "GET", url, b"", now_s=int(time.time()))
    assert api.send("GET", "/access/me", headers=headers)[0] == 200
    status, _, answer = api.send("GET", "/access/me", headers=headers)
    assert (status, answer["rule"]) == (401, "replay")
    stranger = sign_request(PrivateKey.generate(), "GET", url, b"", now_s=int(time.time()))
    assert api.send("GET", "/access/me", headers=stranger)[0] == 401
    late = sign_request(PEOPLE["vic"], "GET", url, b"", now_s=int(time.time()) - 120)
    assert api.send("GET", "/access/me", headers=late)[0] == 401
    body = json.dumps({"reason": "a"}).encode()
    sent = sign_request(INES, "POST", f"{api.origin}/access/sessions/x/cut", body, now_s=int(time.time()))
    assert api.send("POST", "/access/sessions/x/cut", b'{"reason":"b"}', sent)[0] == 401


def test_browsers_other_hosts_and_other_networks_are_turned_away(api: Api) -> None:
    url = f"{api.origin}/access/me"

    def send(**headers: str) -> int:
        signed = sign_request(PEOPLE["vic"], "GET", url, b"", now_s=int(time.time()))
        return api.send("GET", "/access/me", headers={**signed, **{k.replace("_", "-"): v for k, v in headers.items()}})[0]

    assert send() == 200
    assert send(Origin=api.origin) == 403
    assert send(Cookie="a=b") == 403
    assert send(Sec_Fetch_Site="same-origin") == 403
    assert send(Host="evil.example") == 400
    assert send(Host=f"localhost:{api.port}") == 401, "the host is signed"
    for path in ("/metrics", "/healthz", "/readyz"):
        assert api.send("GET", path)[0] == 200
        assert api.send("GET", path, client="203.0.113.9")[0] == 403
        assert api.send("GET", path, client="nonsense")[0] == 403


def test_bodies_are_bounded_and_strict(api: Api) -> None:
    assert api.ask("ines", "POST", "/access/sessions/x/cut", b"x" * 10_000)[0] == 413
    assert api.ask("ines", "GET", "/access/me", b"{}")[0] == 413
    for body in (b"", b"{", b'{"reason":"a","more":1}', b'{"reason":""}', b'{"reason":"a\\u0000"}', b"\xff", b"[" * 5000):
        assert api.ask("ines", "POST", "/access/sessions/x/cut", body)[0] == 422, body
    for query in ("?limit=0", "?limit=1001", "?kind=hats", "?unknown=1", "?kind=control&kind=token", "?since=-1"):
        assert api.ask("aud", "GET", f"/access/audit{query}")[0] in (422, 503), query
    assert api.ask("ines", "GET", "/access/nothing")[0] == 404
    assert api.ask("ines", "GET", "/access/me/")[0] == 404
    assert api.ask("ines", "POST", "/access/me")[0] == 405


def test_the_description_is_valid_and_says_every_route_and_no_other(api: Api) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    status, headers, served = api.send("GET", "/access/openapi.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    validator.validate(served)
    assert served["openapi"].startswith("3.1")
    app: Any = api.app
    routes = {(m, r.path) for r in app._app.routes if isinstance(r, Route) for m in r.methods or () if m != "HEAD"}
    routes |= {("GET", "/healthz"), ("GET", "/readyz")}
    assert {(m.upper(), path) for path, methods in served["paths"].items() for m in methods} == routes
    assert {o.name for o in OPERATIONS} <= {v["operationId"] for p in served["paths"].values() for v in p.values()}
    assert "\\Z" not in json.dumps(served)
    assert served == json.loads(msgspec.json.encode(describe(OPERATIONS)))


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.method == "GET" and "{" not in o.path], ids=lambda o: o.name)
def test_answers_are_as_described(api: Api, operation: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    description = api.send("GET", "/access/openapi.json")[2]
    status, answer = api.ask("ines", "GET", operation.path)
    assert status == 200
    schema = {"$ref": f"#/components/schemas/{operation.answer.__name__}", "components": description["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer)
    assert "secret" not in json.dumps(answer).lower() or operation.name == "search-audit"


def test_the_configuration_is_shown_without_secrets(api: Api) -> None:
    shown = json.dumps(api.ask("aud", "GET", "/access/config")[1])
    for secret in (*api.gate.folder.glob("*.pem"), api.gate.folder / "gate.secret"):
        assert secret.read_text().split("\n")[1 if secret.suffix == ".pem" else 0] not in shown
        assert secret.name not in shown
    assert "UPSTREAM_KEY" not in shown


def test_the_newest_records_come_first_and_more_are_said_to_be_there(api: Api) -> None:
    for i in range(4):
        assert api.ask("ines", "POST", "/access/halts", text(sign_halt(halt(f"many-{i}", grant=f"g-{i}"), INES)))[0] == 200
    found = api.ask("aud", "GET", "/access/audit?kind=control&limit=3")[1]
    assert [r["subject"] for r in found["records"]] == ["many-3", "many-2", "many-1"]
    assert found["more"] is True
    everything = api.ask("aud", "GET", "/access/audit?kind=control&limit=1000")[1]
    assert everything["more"] is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"listen": "0.0.0.0:8471"}, "this machine only"),
        ({"viewers": {"ines": public(CONTRACTOR)}}, "names and keys of their own"),
        ({"viewers": {"vic": public(INES)}}, "names and keys of their own"),
        ({"scrapers": ["10.0.0.1/8"]}, "no network"),
        ({"hosts": []}, "length"),
    ],
    ids=["open", "name", "key", "network", "hosts"],
)
def test_a_listener_that_is_open_to_others_or_people_with_two_roles_are_refused(
    api: Api, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    import yaml

    value = yaml.safe_load((api.gate.folder / "gate.yaml").read_text())
    value["administration"] |= change
    (tmp_path / "gate.yaml").write_text(yaml.safe_dump(value))
    with pytest.raises(GateError, match=message):
        read_config(tmp_path / "gate.yaml")
