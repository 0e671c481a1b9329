"""The rules of the door: what they allow is what they say, an error never allows, and a bad set of rules is never used."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from cedarpy import Decision, Entities, is_authorized
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.access.grants.narrow import permits
from assay.access.model import Asked, Grant, Hours, Person
from assay.access.rules import facts
from assay.access.rules.check import RuleTest, asked_of, mutants, read_base, read_tests, run_tests
from assay.access.rules.decide import LIBRARY, SCHEMA, Rules, RulesError, source

TESTS = LIBRARY / "tests"
RULES = Rules.load()
PERMIT = '@id("all")\n@says("everybody")\npermit (principal, action, resource);\n'
SCHEMA_TEXT = (LIBRARY / SCHEMA).read_text()


def forbid(ident: str, condition: str = "context.stream") -> str:
    return f'@id("{ident}")\n@says("no streams")\nforbid (principal, action, resource) when {{ {condition} }};\n'


def base(grant: Mapping[str, Any] | None = None, request: Mapping[str, Any] | None = None) -> Asked:
    given_grant, given_request = read_base(TESTS / "base.yaml")
    return asked_of({**given_grant, **(grant or {})}, {**given_request, **(request or {})})[0]


# The built-in rules


@pytest.mark.parametrize("test", read_tests(TESTS), ids=lambda t: f"{t.where.partition(':')[0]}-{t.name}")
def test_the_built_in_rules_do_what_their_tests_say(test: RuleTest) -> None:
    assert run_tests(RULES, [test]).failures == ()


def test_every_rule_has_a_test_that_it_decides() -> None:
    report = run_tests(RULES, read_tests(TESTS))
    assert report.untested == []
    assert report.ok


def test_a_test_notices_every_rule_that_is_gone_or_changed() -> None:
    tests = read_tests(TESTS)
    made = list(mutants(RULES))
    assert {m.rule for m in made} == set(RULES.rules)
    assert len(made) > 100
    assert [f"{m.rule}: {m.what}" for m in made if not run_tests(m.rules, tests).failures] == []


def test_a_test_that_is_wrong_fails_and_says_what_was() -> None:
    (test, *_) = read_tests(TESTS)
    report = run_tests(RULES, [test._replace(rules=("halted",))])
    assert report.failures[0].endswith("allowed by halted, and was allowed by assessors-always")
    assert "halted" in report.untested


def test_the_text_of_a_rule_is_shown_with_its_comment() -> None:
    text = source(RULES.rules["parent"], (LIBRARY / "grant.cedar").read_text())
    assert text.startswith("// A contractor's grant dies")
    assert text.endswith("context.parent_alive };")
    assert '@id("window")' not in text


def test_what_a_caller_is_told_names_the_rule_and_no_detail() -> None:
    refused = RULES.refusal(RULES.decide(base(request={"network": "192.0.2.77"}), "delay", halted=False))
    assert (refused.rule, refused.status, refused.what) == ("network", 403, "only from the grant's networks")
    nothing = RULES.refusal(RULES.decide(base(), "halt", halted=False))
    assert (nothing.rule, nothing.status) == ("nothing-permits", 403)
    error = RULES.refusal(RULES.decide(base(request={"network": "s3cret"}), "delay", halted=False))
    assert (error.rule, error.what) == ("error", "it cannot be judged")


# Against an oracle that knows nothing of Cedar


def oracle(asked: Asked, verdict: str, halted: bool, parent_alive: bool) -> set[str]:
    """What forbids, by hand; `nothing-permits` if the decision does not let the tier in."""
    g = asked.grant
    now = datetime.fromtimestamp(asked.at / 1000, UTC)
    address = ip_address(asked.network)
    address = getattr(address, "ipv4_mapped", None) or address
    broken = {
        "halted": halted,
        "person": asked.person not in g.persons,
        "model": asked.model != g.model,
        "digest": asked.digest != g.digest,
        "parent": bool(g.parent) and not parent_alive,
        "window": not g.starts <= asked.at < g.expires,
        "hours": bool(g.hours) and not any(inside(h, now) for h in g.hours),
        "network": not any(address in ip_network(n) for n in g.networks),
        "route": asked.route not in g.routes,
        "tools": "*" not in g.tools and bool(set(asked.tools) - set(g.tools)),
        "system": not (asked.system in g.systems or ("*" in g.systems and asked.system) or (not g.systems and not asked.system)),
        "logprobs": asked.logprobs and g.level == "AL1",
        "reasoning": bool(asked.reasoning) and g.level != "AL3",
    }
    found = {rule for rule, is_broken in broken.items() if is_broken}
    served = {"assessor": {"approve", "delay", "halt", "none"}, "operator": {"approve", "delay"}, "general": {"approve"}}
    return found or (set() if verdict in served[g.tier] else {"nothing-permits"})


def inside(hours: Hours, now: datetime) -> bool:
    local = now.astimezone(ZoneInfo(hours.zone))
    return local.isoweekday() in hours.days and hours.start * 60 <= local.hour * 3600 + local.minute * 60 + local.second < hours.end * 60


MEI, ARUN = base().grant.persons
ZONES = st.sampled_from(["UTC", "Asia/Singapore", "Asia/Kathmandu", "America/St_Johns", "Pacific/Chatham"])
HOURS = st.builds(
    lambda days, start, length, zone: Hours(tuple(sorted(days)), start, min(1440, start + length), zone),
    st.sets(st.integers(1, 7), min_size=1), st.integers(0, 1439), st.integers(1, 1440), ZONES,
)  # fmt: skip
NAMES = st.sampled_from(["read_alarm", "list_breakers", "open_breaker", "*", "", "tool\n\u202e", '"]);', "ü" * 50])
NAMED = st.sampled_from(["read_alarm", "list_breakers", "open_breaker", "*"])
START = 1_793_491_200_000
TIMES = st.one_of(
    st.integers(START - 90_000_000, START + 90_000_000),
    st.sampled_from([START + d * 86_400_000 + e for d in (0, 1, 7) for e in (-60_001, -60_000, -1, 0, 1, 59_999, 60_000)]),
)
GRANTS = st.builds(
    lambda **changed: msgspec.structs.replace(base().grant, **changed),
    tier=st.sampled_from(["assessor", "operator", "general"]),
    level=st.sampled_from(["AL1", "AL2", "AL3"]),
    routes=st.sampled_from([("chat.completions",), ("responses", "models"), ("chat.completions", "responses", "embeddings", "models")]),
    networks=st.sampled_from([("203.0.113.0/24",), ("2001:db8::/32", "192.0.2.1/32"), ("0.0.0.0/0", "::/0")]),
    starts=st.sampled_from([0, START, START + 30_000]),
    expires=st.sampled_from([START + 45_500, START + 86_400_000, START + 10 * 86_400_000]),
    tools=st.lists(NAMED, max_size=3).map(tuple),
    systems=st.sampled_from([(), ("*",), ("scada-test",), ("a", "b")]),
    hours=st.lists(HOURS, max_size=2).map(tuple),
    parent=st.sampled_from(["", "harbour-all"]),
    persons=st.sampled_from([(MEI,), (MEI, ARUN)]),
)
ASKED = st.builds(
    Asked,
    grant=GRANTS,
    person=st.sampled_from([MEI, MEI, ARUN, Person("Mei Tan", ARUN.key), Person('Mei "Tan\n', MEI.key)]),
    route=st.sampled_from(["chat.completions", "responses", "embeddings", "models"]),
    tools=st.lists(NAMES, max_size=2).map(tuple),
    stream=st.booleans(),
    logprobs=st.booleans(),
    network=st.sampled_from(["203.0.113.9", "::ffff:203.0.113.9", "2001:db8::1", "192.0.2.1", "192.0.2.2", "::1"]),
    system=st.sampled_from(["", "scada-test", "a"]),
    at=TIMES,
    model=st.sampled_from(["m7", "m7", "m7", "m8", "", 'm7"\n']),
    digest=st.sampled_from([base().grant.digest] * 4 + [""]),
    reasoning=st.booleans(),
)
VERDICTS = st.sampled_from(["approve", "delay", "halt", "none"])


@settings(max_examples=400, deadline=None)
@given(ASKED, VERDICTS, st.booleans(), st.booleans())
def test_what_is_decided_is_what_an_oracle_says(asked: Asked, verdict: Any, halted: bool, parent_alive: bool) -> None:
    ruled = RULES.decide(asked, verdict, halted, parent_alive)
    against = oracle(asked, verdict, halted, parent_alive)
    assert ruled.errors == ()
    assert ruled.allowed == (not against)
    if against:
        assert set(ruled.rules) == against


@settings(max_examples=300, deadline=None)
@given(ASKED, VERDICTS)
def test_what_the_rules_allow_the_grant_permits(asked: Asked, verdict: Any) -> None:
    if RULES.decide(asked, verdict, halted=False, parent_alive=True).allowed:
        mapped = ip_address(asked.network)
        plain = msgspec.structs.replace(asked, network=str(getattr(mapped, "ipv4_mapped", None) or mapped))
        assert permits(asked.grant, plain) == []


# What a cache may keep


@settings(max_examples=300, deadline=None)
@given(ASKED, VERDICTS, st.booleans(), st.booleans(), st.data())
def test_a_cached_decision_equals_the_uncached_one(asked: Asked, verdict: Any, halted: bool, alive: bool, data: st.DataObject) -> None:
    cache = {RULES.key(asked, verdict, halted, alive): RULES.decide(asked, verdict, halted, alive)}
    later = asked.at + data.draw(st.sampled_from([-60_000, -1, 0, 1, 1_000, 30_000, 59_999, 60_000, 86_400_000]))
    other = data.draw(ASKED)
    name = data.draw(st.sampled_from([n for n in Asked.__struct_fields__ if n != "at"]))
    for again in (msgspec.structs.replace(asked, at=later), msgspec.structs.replace(asked, at=later, **{name: getattr(other, name)})):
        for given_verdict, is_halted, is_alive in ((verdict, halted, alive), (data.draw(VERDICTS), not halted, not alive)):
            cached = cache.get(RULES.key(again, given_verdict, is_halted, is_alive))
            if cached is not None:
                assert cached == RULES.decide(again, given_verdict, is_halted, is_alive)


@settings(max_examples=300, deadline=None)
@given(ASKED, VERDICTS, st.data())
def test_a_decision_holds_until_it_says_and_its_key_no_longer(asked: Asked, verdict: Any, data: st.DataObject) -> None:
    ruled = RULES.decide(asked, verdict, halted=False, parent_alive=True)
    assert asked.at <= ruled.valid_until < asked.at + 60_000
    between = data.draw(st.integers(asked.at, ruled.valid_until))
    for at in (between, ruled.valid_until):
        again = msgspec.structs.replace(asked, at=at)
        assert RULES.decide(again, verdict, halted=False, parent_alive=True) == ruled
        assert RULES.key(again, verdict, halted=False) == RULES.key(asked, verdict, halted=False)
    after = msgspec.structs.replace(asked, at=ruled.valid_until + 1)
    assert RULES.key(after, verdict, halted=False) != RULES.key(asked, verdict, halted=False)


def test_a_decision_under_other_rules_has_another_key(tmp_path: Path) -> None:
    (tmp_path / "site.cedar").write_text(forbid("no-streams"))
    assert Rules.load(tmp_path).key(base(), "delay", halted=False) != RULES.key(base(), "delay", halted=False)


def test_a_grant_of_the_same_id_and_version_with_other_terms_is_another() -> None:
    rules = Rules.load()
    assert rules.decide(base(), "delay", halted=False).allowed
    assert not rules.decide(base({"tools": []}), "delay", halted=False).allowed
    assert rules.decide(base(), "delay", halted=False).allowed


# Threat 11: the policy fails open


def test_cedar_skips_a_forbid_that_fails_and_the_rules_deny() -> None:
    """The hazard itself: valid by the schema, overflows when it is evaluated, and Cedar alone allows."""
    rules = Rules.parse({"a.cedar": PERMIT, "b.cedar": forbid("late", "context.minute + 9223372036854775807 > 0")}, SCHEMA_TEXT)
    asked = base()
    told = facts.context(asked, facts.Terms.of(asked.grant), verdict="none", halted=False, parent_alive=False)
    entities = Entities.from_json_str(json.dumps(facts.grant_entities(asked.grant) + facts.request_entities(asked)), rules.schema)
    alone = is_authorized(facts.request(asked, told), rules.policies, entities, rules.schema)
    assert alone.decision is Decision.Allow
    ruled = rules.decide(asked, "none", halted=False)
    assert (ruled.allowed, ruled.rules) == (False, ("error",))
    assert "overflow" in ruled.errors[0]


def test_an_error_beside_a_rule_that_forbids_is_told_with_it() -> None:
    texts = {"a.cedar": PERMIT, "b.cedar": forbid("late", "context.minute + 9223372036854775807 > 0") + forbid("no-streams")}
    ruled = Rules.parse(texts, SCHEMA_TEXT).decide(base(), "none", halted=False)
    assert (ruled.allowed, ruled.rules) == (False, ("error", "no-streams"))


def request_and_entities(asked: Asked) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    told = facts.context(asked, facts.Terms.of(asked.grant), verdict="approve", halted=False, parent_alive=False)
    return facts.request(asked, told), facts.grant_entities(asked.grant) + facts.request_entities(asked)


def judged(rules: Rules, request: dict[str, Any], entities: list[dict[str, Any]]) -> bool:
    try:
        known = Entities.from_json_str(json.dumps(entities), rules.schema)
    except ValueError:
        return False
    return rules.judge(request, known).allowed


ALL_MAY = Rules.parse({"a.cedar": PERMIT}, SCHEMA_TEXT)
CONTEXT = sorted(request_and_entities(base())[0]["context"])


@pytest.mark.parametrize("missing", CONTEXT)
def test_a_missing_attribute_of_the_context_denies_whatever_the_rules(missing: str) -> None:
    request, entities = request_and_entities(base())
    assert judged(ALL_MAY, request, entities)
    del request["context"][missing]
    assert not judged(ALL_MAY, request, entities)


@pytest.mark.parametrize(("entity", "missing"), [(n, a) for n, e in enumerate(request_and_entities(base())[1]) for a in e["attrs"]])
def test_a_missing_attribute_of_an_entity_denies_whatever_the_rules(entity: int, missing: str) -> None:
    request, entities = request_and_entities(base())
    del entities[entity]["attrs"][missing]
    assert not judged(ALL_MAY, request, entities)


@pytest.mark.parametrize("missing", ["Grant", "Model", "Person"])
def test_a_missing_entity_denies(missing: str) -> None:
    request, entities = request_and_entities(base())
    assert judged(RULES, request, entities)
    assert not judged(RULES, request, [e for e in entities if e["uid"]["type"] != missing])


@pytest.mark.parametrize(
    "changed",
    [
        {"action": {"type": "Action", "id": "files"}},
        {"action": {"type": "Action", "id": "use"}},
        {"action": {"type": "Person", "id": "x"}},
        {"principal": {"type": "Model", "id": "m7"}},
        {"resource": {"type": "Person", "id": "m7"}},
        {"context": {}},
        {"principal": None},
        {"action": 7},
    ],
    ids=["unknown action", "group of actions", "no action", "a model asks", "a person is asked", "no context", "nobody", "a number"],
)
def test_what_the_schema_does_not_know_is_denied_whatever_the_rules(changed: dict[str, Any]) -> None:
    request, entities = request_and_entities(base())
    assert not judged(ALL_MAY, {**request, **changed}, entities)


JUNK: list[Any] = [
    None, True, 0, -1, 2**63, 1.5, "", "approve", "open", [], {}, ["*"], [1], "\ud800", "\x00", {"__expr": "true"},
    {"__entity": {"type": "Tier", "id": "assessor"}}, {"__entity": {"type": "Verdict", "id": "aprove"}},
    {"__extn": {"fn": "ip", "arg": "x"}},
]  # fmt: skip
WORSE: list[Any] = [*JUNK, b"x", object(), 10**30, float("nan"), ("\ud800",)]
HARMLESS = [("stream", True), ("tools", []), ("tools", {}), ("tools", "")]


def spoil(value: Any, rng: random.Random) -> Any:
    """A JSON value with one place changed, taken away or put in."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(sorted(value))
        if rng.random() < 0.25:
            return {k: v for k, v in value.items() if k != name}
        if rng.random() < 0.1:
            return {**value, "other": rng.choice(JUNK)}
        return {**value, name: spoil(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        n = rng.randrange(len(value))
        return [*value[:n], *([] if rng.random() < 0.2 else [spoil(value[n], rng)]), *value[n + 1 :]]
    return rng.choice(JUNK)


def sound(request: Any, entities: Any) -> bool:
    """Whether all that the built-in rules look at is there and says yes, read without Cedar."""
    by = {(e["uid"]["type"], e["uid"]["id"]): e["attrs"] for e in entities}
    told, grant = request["context"], by["Grant", request["context"]["grant"]["__entity"]["id"]]
    person, model = by["Person", request["principal"]["id"]], by["Model", request["resource"]["id"]]

    def named(entity: Any, kind: str) -> str:
        assert entity["__entity"]["type"] == kind
        return str(entity["__entity"]["id"])

    verdict = named(told["verdict"], "Verdict")
    return (
        {"assessor": True, "operator": verdict in ("approve", "delay"), "general": verdict == "approve"}[named(grant["tier"], "Tier")]
        and told["halted"] is False
        and {"key": person["key"], "name": person["name"]} in grant["persons"]
        and model["name"] == grant["model"]
        and model["digest"] == grant["digest"]
        and (grant["parent"] == "" or told["parent_alive"] is True)
        and named(told["window"], "Window") == "open"
        and told["in_hours"] is True
        and told["in_networks"] is True
        and named(told["route"], "Route") in [named(route, "Route") for route in grant["routes"]]
        and ("*" in grant["tools"] or set(told["tools"]) <= set(grant["tools"]))
        and (
            told["system"] in grant["systems"]
            or (told["system"] != "" and "*" in grant["systems"])
            or [told["system"], *grant["systems"]] == [""]
        )
        and (told["logprobs"] is False or grant["level"] >= 2)
        and (told["reasoning"] is False or grant["level"] >= 3)
    )


@pytest.mark.parametrize("seed", range(8))
def test_spoilt_requests_and_entities_are_never_permitted_by_an_error(seed: int) -> None:
    rng = random.Random(seed)
    asked = base({"tier": rng.choice(["assessor", "operator", "general"]), "level": rng.choice(["AL1", "AL3"])})
    allowed = 0
    for _ in range(400):
        request, entities = request_and_entities(asked)
        for _ in range(rng.choice([1, 1, 2, 3])):
            if rng.random() < 0.5:
                entities = spoil(entities, rng)
            else:
                request = {**request, "context": spoil(request["context"], rng)}
        if judged(RULES, request, entities):
            allowed += 1
            assert sound(request, entities), (request, entities)
    assert allowed < 400


@pytest.mark.parametrize("name", [n for n in Asked.__struct_fields__ if n != "grant"])
def test_a_request_of_the_wrong_types_is_denied_and_raises_nothing(name: str) -> None:
    for junk in WORSE:
        ruled = RULES.decide(msgspec.structs.replace(base(), **{name: junk}), "delay", halted=False)
        assert not ruled.allowed or (name, junk) in HARMLESS, (name, junk)


@pytest.mark.parametrize("name", [n for n in Grant.__struct_fields__ if n in facts.grant_entities(base().grant)[1]["attrs"]])
def test_a_grant_of_the_wrong_types_is_denied_and_raises_nothing(name: str) -> None:
    for junk in WORSE:
        if name in ("jurisdiction", "parent") and isinstance(junk, str):
            continue  # any text is one
        ruled = RULES.decide(
            msgspec.structs.replace(base(), grant=msgspec.structs.replace(base().grant, **{name: junk})), "delay", halted=False
        )
        assert not ruled.allowed or (name, junk) in [("tools", ["*"]), ("systems", ["*"])], (name, junk)


@pytest.mark.parametrize(
    ("verdict", "halted", "alive"),
    [("Approve", False, True), (None, False, True), ("delay", None, True), ("delay", 0, True), ("delay", False, "yes")],
    ids=["verdict", "no verdict", "halted", "number", "alive"],
)
def test_what_the_gate_knows_must_be_said_in_its_own_words(verdict: Any, halted: Any, alive: Any) -> None:
    assert RULES.decide(base(), verdict, halted, alive).rules == ("error",)


# What is refused at load


BAD = {
    "no rule": ({}, "no rule permits"),
    "no permit": ({"a.cedar": forbid("x")}, "no rule permits"),
    "not Cedar": ({"a.cedar": "permit all;"}, "not Cedar"),
    "twice in a file": ({"a.cedar": PERMIT + PERMIT}, "there twice"),
    "twice in two files": ({"a.cedar": PERMIT, "b.cedar": PERMIT}, "there twice, also in a.cedar"),
    "no id": ({"a.cedar": PERMIT.replace('@id("all")', "")}, "without an id"),
    "an id of ours": ({"a.cedar": PERMIT + forbid("error")}, "without an id that can be used"),
    "an id for two lines": ({"a.cedar": PERMIT + forbid("a\\nb")}, "without an id that can be used"),
    "says nothing": ({"a.cedar": PERMIT.replace('@says("everybody")', "")}, "does not say"),
    "steers a terminal": ({"a.cedar": PERMIT.replace("everybody", "\\u{1b}[2J")}, "does not say"),
    "another annotation": ({"a.cedar": '@when("never")\n' + PERMIT}, "means nothing here"),
    "a template": ({"a.cedar": PERMIT + forbid("t").replace("principal,", "principal == ?principal,")}, "template"),
    "no such attribute": ({"a.cedar": PERMIT + forbid("x", "context.hour > 9")}, "the rule 'x'"),
    "no such verdict": ({"a.cedar": PERMIT + forbid("x", 'context.verdict == Verdict::"aprove"')}, "the rule 'x'"),
    "no such action": ({"a.cedar": PERMIT + forbid("x").replace("action,", 'action == Action::"chat",')}, "the rule 'x'"),
    "text for an entity": ({"a.cedar": PERMIT + forbid("x", 'context.verdict == "halt"')}, "the rule 'x'"),
    "a number for truth": ({"a.cedar": PERMIT + forbid("x", "context.minute")}, "the rule 'x'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_set_of_rules_is_refused(name: str) -> None:
    files, why = BAD[name]
    with pytest.raises(RulesError, match=why):
        Rules.parse(files, SCHEMA_TEXT)


def test_a_bad_schema_is_refused() -> None:
    with pytest.raises(RulesError, match="not a schema"):
        Rules.parse({"a.cedar": PERMIT}, "entity ;")


def test_a_site_can_forbid(tmp_path: Path) -> None:
    (tmp_path / "site.cedar").write_text(forbid("no-streams") + forbid("not-from-there", 'context.address.isInRange(ip("203.0.113.0/28"))'))
    rules = Rules.load(tmp_path)
    assert len(rules.rules) == len(RULES.rules) + 2
    assert rules.decide(base(), "delay", halted=False).rules == ("no-streams", "not-from-there")
    assert rules.decide(base(request={"stream": False, "network": "203.0.113.16"}), "delay", halted=False).allowed


@pytest.mark.parametrize(
    ("text", "why"),
    [(PERMIT, "'all' permits"), (forbid("halted"), "there twice, also in decision.cedar"), ("// cut", "no rule in it"), (None, "0 files")],
    ids=["permits", "the id of a built-in rule", "no rule", "no file"],
)
def test_a_site_cannot_widen_or_be_empty(tmp_path: Path, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / "site.cedar").write_text(text)
    with pytest.raises(RulesError, match=why):
        Rules.load(tmp_path)


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="cannot read the rules"):
        Rules.load(tmp_path / "none")
    (tmp_path / "a.cedar").mkdir()
    with pytest.raises(RulesError, match="cannot read"):
        Rules.load(tmp_path)


@pytest.mark.parametrize(("data", "why"), [(b"\xff", "not UTF-8"), (b" " * (1 << 20) + b" ", "larger than")], ids=["bytes", "size"])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "a.cedar").write_bytes(data)
    with pytest.raises(RulesError, match=why):
        Rules.load(tmp_path)


def test_a_reload_with_a_bad_set_keeps_the_old_one_and_says_so(tmp_path: Path) -> None:
    site = tmp_path / "site.cedar"
    site.write_text(forbid("no-streams"))
    rules, problem = RULES.reloaded(tmp_path)
    assert problem == ""
    assert rules.decide(base(), "delay", halted=False).rules == ("no-streams",)
    site.write_text(forbid("no-streams", "context.strem"))
    again, problem = rules.reloaded(tmp_path)
    assert again is rules
    assert "no-streams" in problem


# Tests of rules are files of others too


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("assay: rules-tests/1\ntests: []\n", "length"),
        ("assay: rules-tests/1\ntests: [{name: x, allowed: true, rules: [person], request: {verdict: maybe}}]\n", "verdict"),
        ("assay: rules-tests/1\ntests: [{name: x, allowed: true, rules: [person], request: {hour: 3}}]\n", "hour"),
        ("assay: rules-tests/1\ntests: [{name: x, allowed: true, rules: [person], request: {at: '2026-11-30'}}]\n", "offset"),
        ("assay: rules-tests/1\ntests: [{name: x, allowed: true, rules: [person], grant: {tier: vip}}]\n", "tier|vip"),
        ("assay: rules-tests/1\ntests: [{name: x, allowed: true, rules: []}]\n", "length"),
    ],
    ids=["none", "verdict", "field", "time", "tier", "no rule"],
)
def test_a_bad_test_is_refused_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(RulesError, match=why) as caught:
        read_tests(tmp_path)
    assert "x.yaml:" in caught.value.where


def test_a_folder_without_tests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="0 files of tests"):
        read_tests(tmp_path)
    with pytest.raises(RulesError, match="cannot read the tests"):
        read_tests(tmp_path / "none")


def test_alone_every_rule_says_what_it_says() -> None:
    said = RULES.each(base(request={"tools": ["open_breaker"]}), "delay", halted=False)
    assert list(said) == list(RULES.rules)
    assert {rule for rule, what in said.items() if what == "applies"} == {"operators-approve-delay", "tools"}
    assert set(RULES.each(base(request={"network": "x"}), "delay", halted=False).values()) == {"error"}


def test_a_full_memory_of_grants_is_emptied_and_decides_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.access.rules.decide.MAX_KNOWN", 3)
    rules = Rules.load()
    for n in range(20):
        ruled = rules.decide(base({"id": f"g{n % 5}"}, {"model": f"m{n % 8}"}), "delay", halted=False)
        assert ruled.rules == (("operators-approve-delay",) if n % 8 == 7 else ("model",))
        assert len(rules._known) <= 3


def test_nothing_is_kept_of_what_a_caller_makes_up() -> None:
    rules = Rules.load()
    assert rules.decide(base(), "delay", halted=False).allowed
    kept = len(rules._known)
    for n in range(5):
        assert rules.decide(base(request={"model": f"m{n}"}), "delay", halted=False).rules == ("model",)
        assert not rules.decide(base(request={"person": {"name": f"Eve {n}", "key": MEI.key}}), "delay", halted=False).allowed
    assert len(rules._known) == kept == 2


def test_the_biggest_grant_is_judged() -> None:
    grant = base().grant
    big: Grant = msgspec.structs.replace(
        grant,
        persons=(*(Person(f"p{n}", f"{n:043d}") for n in range(199)), MEI),
        tools=tuple(f"t{n}" for n in range(200)),
        networks=(*(f"10.{n}.0.0/16" for n in range(99)), "203.0.113.0/24"),
    )
    asked = msgspec.structs.replace(base(), grant=big, tools=tuple(f"t{n}" for n in range(200)))
    assert RULES.decide(asked, "delay", halted=False).allowed
    assert RULES.decide(msgspec.structs.replace(asked, tools=(*asked.tools, "t200")), "delay", halted=False).rules == ("tools",)
