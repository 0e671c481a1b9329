"""Grants: what signatures open, what is narrower, and that whatever a sub-grant permits its parent permits."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.access.credentials import dpop
from assay.access.grants.grant import (
    GrantError,
    narrower,
    open_grant,
    parse_grant,
    permits,
    problems,
    sign_grant,
    sign_sub_grant,
    thumbprint,
)
from assay.access.grants.narrow import in_hours, networks_within
from assay.access.model import Asked, DeniedError, Grant, Hours, Person, Quota
from assay.errors import AssayError
from assay.ledger import Cosigned, PrivateKey, PublicKey
from tests.access.grantmaking import ADMINS, CONTRACTOR, DAY, HOLDER, NOW, STRANGER, TERMS, approved, grant, sub_grant

KEYS = TERMS.public()
WORK = Hours((1, 2, 3, 4, 5), 8 * 60, 18 * 60, "Asia/Singapore")


def denied(signed: Any, parents: dict[str, Any] | None = None, now: int = NOW, threshold: int = 2) -> str:
    with pytest.raises(DeniedError) as e:
        open_grant(signed, KEYS, threshold, parents or {}, now)
    return e.value.what


def test_thumbprint_is_the_one_of_rfc_8037() -> None:
    public = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    assert thumbprint(PublicKey(public)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"  # RFC 8037, appendix A.3
    assert dpop.thumbprint(HOLDER.public) == thumbprint(HOLDER.public)  # what proofs of possession name


def test_two_administrators_open_a_grant_for_its_time() -> None:
    signed = approved()
    assert open_grant(signed, KEYS, 2, {}, NOW) == grant()
    assert parse_grant(signed.encoded()) == signed
    assert "has not begun" in denied(signed, now=NOW - 1)
    assert "has expired" in denied(signed, now=NOW + 30 * DAY)
    assert "approved by 2" in denied(signed, threshold=3)
    assert "approved by 1" in denied(approved(None, "ada"))
    assert "nobody" in denied(sign_grant(grant(), STRANGER, HOLDER))


def test_another_grant_put_beside_the_signatures_opens_nothing() -> None:
    wide = msgspec.structs.replace(approved(), grant=grant(networks=("0.0.0.0/0",)))
    assert "another grant" in denied(wide)
    other = approved(grant(version=2)).envelope.signatures
    mixed = msgspec.structs.replace(approved(), envelope=Cosigned(approved().envelope.payload, other))
    assert "does not hold" in denied(mixed)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xff", b'{"assay":"signed-grant/1","envelope":{},"holder":""}', b"[" * 10_000, b" " * (2 << 20)],
    ids=["empty", "list", "object", "bytes", "no-envelope", "deep", "long"],
)
def test_what_is_no_signed_grant_is_refused(data: bytes) -> None:
    with pytest.raises(AssayError):
        parse_grant(data)


def test_a_signed_statement_that_says_more_or_less_than_a_grant_is_refused() -> None:
    for change in ({"extra": 1}, {"tools": None}):
        terms = {**grant().to_json(), **change}
        subject = [{"name": "grant power, version 1", "digest": {"sha256": hashlib.sha256(b"x").hexdigest()}}]
        envelope = Cosigned.of(subject, "urn:assay:predicate:access-grant:v1", terms).signed(ADMINS["ada"])
        with pytest.raises(AssayError):
            parse_grant(json.dumps({"assay": "signed-grant/1", "envelope": envelope.to_json(), "holder": ""}).encode())
    terms = grant().to_json()
    del terms["systems"]  # what is left out would stand for its default
    envelope = Cosigned.of([], "urn:assay:predicate:access-grant:v1", terms).signed(ADMINS["ada"])
    with pytest.raises(GrantError, match="another grant"):
        parse_grant(json.dumps({"assay": "signed-grant/1", "envelope": envelope.to_json(), "holder": ""}).encode())


def test_a_sub_grant_opens_by_its_holders_signature_and_only_under_its_parent() -> None:
    child = sign_sub_grant(sub_grant(), grant(), HOLDER)
    parents = {"power": approved()}
    assert open_grant(parse_grant(child.encoded()), KEYS, 2, parents, NOW) == sub_grant()
    assert "is gone" in denied(child)
    assert "approved by 1" in denied(child, {"power": approved(None, "ada")})
    left = grant(version=2, persons=(Person("Koh", thumbprint(STRANGER.public)),))
    assert "nobody whom its parent names" in denied(child, {"power": approved(left)})
    assert "wider than its parent" in denied(child, {"power": approved(grant(version=2, tools=()))})
    with pytest.raises(GrantError, match="no person's"):
        sign_sub_grant(sub_grant(), grant(), STRANGER)
    with pytest.raises(GrantError, match="parent's holder"):
        sign_grant(sub_grant(), ADMINS["ada"])
    forged = msgspec.structs.replace(child, holder=STRANGER.public, envelope=child.envelope.signed(STRANGER))
    assert "nobody whom its parent names" in denied(forged, parents)
    unsigned = msgspec.structs.replace(child, envelope=Cosigned(child.envelope.payload))
    assert "not signed by its holder" in denied(unsigned, parents)
    by_admins = Cosigned(child.envelope.payload).signed(ADMINS["ada"]).signed(ADMINS["bea"])
    assert "not signed" in denied(msgspec.structs.replace(child, envelope=by_admins), parents)


PARENT = grant(
    hours=(WORK,), quotas=(Quota("day", 100, 10_000, 10_000), Quota("minute", 10, 1000, 1000)), per_person_a_minute=10,
    routes=("chat.completions", "models"), tools=("read_log", "list_units"), canaries=("style",),
)  # fmt: skip
CHILD = {"canaries": ("style",), "hours": (WORK,), "quotas": PARENT.quotas, "per_person_a_minute": 10, "tools": ("read_log",)}


def test_a_sub_grant_may_be_the_same_or_smaller_in_every_field() -> None:
    assert narrower(sub_grant(**CHILD), PARENT) == []
    smaller = sub_grant(**{
        **CHILD, "purpose": "harden relays: firmware", "level": "AL1", "routes": ("models",),
        "networks": ("10.1.0.0/16", "2001:db8:1::/48"),
        "quotas": (Quota("day", 1, 1, 1), Quota("minute", 0, 0, 0), Quota("total", 5, 5, 5)), "starts": NOW + 1, "expires": NOW + 2,
        "hours": (Hours((2,), 1 * 60, 9 * 60, "UTC"),), "tools": (), "per_person_a_minute": 1,
    })  # fmt: skip
    assert narrower(smaller, PARENT) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("parent", ""), ("parent", "water"), ("id", "power"), ("organisation", "Other Ltd"), ("sector", "water"), ("jurisdiction", "MY"),
        ("purpose", "anything"), ("purpose", "harden relayss"), ("model", "m8"), ("digest", "sha256:" + "b" * 64), ("tier", "general"),
        ("tier", "assessor"), ("level", "AL3"), ("routes", ("embeddings",)), ("networks", ("10.0.0.0/7",)), ("networks", ("0.0.0.0/0",)),
        ("networks", ("::/0",)), ("networks", ("11.0.0.0/8",)), ("quotas", (Quota("day", 100, 10_000, 10_000),)),
        ("quotas", (Quota("day", 101, 1, 1), Quota("minute", 1, 1, 1))), ("quotas", (Quota("day", 1, 1, 1), Quota("minute", 1, 1001, 1))),
        ("quotas", (Quota("day", 1, 1, 10_001), Quota("minute", 1, 1, 1))), ("starts", NOW - 1), ("expires", NOW + 30 * DAY + 1),
        ("tools", ("*",)), ("tools", ("read_log", "open_breaker")), ("systems", ()), ("systems", ("relay-lab", "grid")),
        ("systems", ("*",)), ("canaries", ()),
        ("hours", ()), ("hours", (Hours((6,), 480, 1080, "Asia/Singapore"),)), ("hours", (Hours((1,), 479, 1080, "Asia/Singapore"),)),
        ("hours", (Hours((1,), 480, 1081, "Asia/Singapore"),)), ("hours", (Hours((1,), 480, 1080, "UTC"),)),
        ("hours", (WORK, Hours((7,), 0, 1, "UTC"))), ("per_person_a_minute", 11), ("persons", PARENT.persons),
        ("persons", (Person("New", PARENT.persons[0].key),)),
    ],
)  # fmt: skip
def test_a_sub_grant_that_is_wider_in_one_field_is_found(field: str, value: Any) -> None:
    found = narrower(sub_grant(**{**CHILD, field: value}), PARENT)
    assert found, field
    assert len(found) == 1 or field == "id"


def test_a_sub_grant_has_no_sub_grants() -> None:
    child = sub_grant(**CHILD)
    third = msgspec.structs.replace(child, id="third", parent="power-sub", persons=(Person("X", thumbprint(STRANGER.public)),))
    assert any("sub-grant itself" in what for what in narrower(third, child))


def test_every_field_of_a_grant_is_compared() -> None:
    """A field that is added to grants and forgotten in `narrower` is found here."""
    known = {
        "assay", "id", "version", "organisation", "sector", "jurisdiction", "purpose", "persons", "model", "digest", "tier", "level",
        "routes", "canaries", "networks", "quotas", "starts", "expires", "tools", "systems", "hours", "per_person_a_minute", "parent",
    }  # fmt: skip
    assert set(Grant.__struct_fields__) == known


ZONES = ["UTC", "Asia/Singapore", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
hours_of = st.lists(
    st.builds(
        lambda days, start, width, zone: Hours(tuple(sorted(days)), start, min(1440, start + width), zone),
        st.sets(st.integers(1, 7), min_size=1), st.sampled_from([0, 60, 480, 540, 1020, 1380]), st.sampled_from([1, 60, 540, 1440]),
        st.sampled_from(ZONES),
    ),
    max_size=2,
).map(tuple)  # fmt: skip
V4 = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "10.1.2.3/32"]
blocks = st.sampled_from([*V4, "::/0", "2001:db8::/32", "2001:db8:1::/48"])
ADDRESSES = ["10.1.2.3", "10.200.0.1", "9.9.9.9", "2001:db8:1::1", "::1"]
names = st.sets(st.sampled_from(["a", "b", "c"]), max_size=3).map(lambda s: tuple(sorted(s)))
names_or_any = st.one_of(names, st.just(("*",)))
SPAN = 300 * DAY


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Grant, Grant]:
    """A parent, and a child that is the parent but for some fields that are drawn anew: narrower, wider, or neither."""

    def fields() -> dict[str, Any]:
        starts = NOW + draw(st.sampled_from([0, 1, 40, 100])) * DAY
        return {
            "level": draw(st.sampled_from(["AL1", "AL2", "AL3"])),
            "routes": tuple(sorted(draw(st.sets(st.sampled_from(["chat.completions", "responses", "embeddings", "models"]), min_size=1)))),
            "networks": tuple(sorted(draw(st.sets(blocks, min_size=1, max_size=3)))),
            "tools": draw(names_or_any), "systems": draw(names_or_any), "hours": draw(hours_of),
            "starts": starts, "expires": starts + draw(st.sampled_from([1, 30, 200])) * DAY,
        }  # fmt: skip

    parent = grant(**fields())
    kept = {name: getattr(parent, name) for name in fields()}
    other = fields()
    changed = draw(st.sets(st.sampled_from(sorted(kept)), max_size=3))
    return parent, sub_grant(**{**kept, **{name: other[name] for name in changed}})


@settings(max_examples=250, deadline=None)
@given(pairs(), st.data())
def test_whatever_a_sub_grant_permits_its_parent_permits(pair: tuple[Grant, Grant], data: st.DataObject) -> None:
    parent, child = pair
    if problems(child) or narrower(child, parent):
        return
    for _ in range(10):
        asked = Asked(
            grant=child, person=child.persons[0], route=data.draw(st.sampled_from(child.routes)), tools=data.draw(names), stream=False,
            logprobs=data.draw(st.booleans()), network=data.draw(st.sampled_from(ADDRESSES)),
            system=data.draw(st.sampled_from(["", "a", "b", "c", "z"])), at=data.draw(st.integers(child.starts - 1, child.expires + 1)),
        )  # fmt: skip
        if not permits(child, asked):
            assert permits(parent, asked) == [], (asked, parent)


def test_the_property_is_about_something() -> None:
    """Of children that differ, both kinds are common."""
    counts = {True: 0, False: 0}

    @settings(max_examples=200, deadline=None, database=None, derandomize=True)
    @given(pairs())
    def count(pair: tuple[Grant, Grant]) -> None:
        counts[not narrower(pair[1], pair[0])] += 1

    count()
    assert min(counts.values()) > 15, counts


@settings(max_examples=150, deadline=None)
@given(hours_of, hours_of, st.data())
def test_hours_in_other_zones_are_within_at_every_offset(inner: tuple[Hours, ...], outer: tuple[Hours, ...], data: st.DataObject) -> None:
    child, parent = sub_grant(hours=inner, expires=NOW + SPAN), grant(hours=outer, expires=NOW + SPAN)
    within = not any(what.startswith("hours") for what in narrower(child, parent))
    ats = [data.draw(st.integers(NOW, NOW + SPAN)) for _ in range(30)] + [NOW + i * 37 * 60_000 for i in range(0, 11_000, 11)]
    counter = [at for at in ats if in_hours(inner, at) and not in_hours(outer, at)]
    if within:
        assert not counter, datetime.fromtimestamp(counter[0] / 1000, UTC)


def test_hours_that_summer_time_moves_out_are_found() -> None:
    berlin = (Hours((1, 2, 3, 4, 5), 9 * 60, 17 * 60, "Europe/Berlin"),)
    winter = (Hours((1, 2, 3, 4, 5), 8 * 60, 16 * 60, "UTC"),)
    january, july = int(datetime(2027, 1, 10, tzinfo=UTC).timestamp() * 1000), int(datetime(2027, 7, 10, tzinfo=UTC).timestamp() * 1000)
    base = grant(hours=berlin, starts=january, expires=january + 365 * DAY)
    assert narrower(sub_grant(hours=winter, starts=january, expires=january + 10 * DAY), base) == []
    assert narrower(sub_grant(hours=winter, starts=january, expires=july), base)
    assert narrower(sub_grant(hours=winter, starts=july, expires=july + 10 * DAY), base)
    assert narrower(sub_grant(hours=(Hours((1,), 8 * 60, 15 * 60, "UTC"),), starts=january, expires=july), base) == []


def test_networks_are_within_the_union_of_blocks_and_of_their_own_kind() -> None:
    assert networks_within(("10.0.0.0/8",), ("10.0.0.0/9", "10.128.0.0/9"))
    assert not networks_within(("10.0.0.0/8",), ("10.0.0.0/9", "10.64.0.0/10"))
    assert not networks_within(("::ffff:10.0.0.1/128",), ("10.0.0.0/8",))
    assert not networks_within(("10.0.0.1/32",), ("::/0",))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"expires": NOW}, "expires"), ({"expires": NOW + 367 * DAY}, "366 days"), ({"networks": ("10.0.0.1/8",)}, "CIDR"),
        ({"networks": ("any",)}, "CIDR"), ({"persons": (Person("A", "k" * 43), Person("B", "k" * 43))}, "persons"),
        ({"persons": (Person("A", "k" * 43), Person("A", "l" * 43))}, "persons"), ({"hours": (Hours((1, 1), 1, 2),)}, "hours"),
        ({"quotas": (Quota("day", 1, 1, 1), Quota("day", 2, 2, 2))}, "quotas"), ({"hours": (Hours((1,), 60, 60),)}, "hours"),
        ({"hours": (Hours((1,), 1, 2, "Mars/Olympus"),)}, "time zone"), ({"hours": (Hours((1,), 1, 2, "../../etc/passwd"),)}, "time zone"),
        ({"parent": "power"}, "parent"), ({"routes": ("models", "models")}, "routes"),
    ],
    ids=str,
)  # fmt: skip
def test_what_types_cannot_say_is_found(change: dict[str, Any], says: str) -> None:
    assert any(says in what for what in problems(grant(**change)))
    if "parent" not in change:
        with pytest.raises(GrantError):
            sign_grant(grant(**change), ADMINS["ada"])


def test_a_sub_grants_key_is_its_own() -> None:
    assert thumbprint(CONTRACTOR.public) != thumbprint(HOLDER.public)
    assert narrower(sub_grant(), grant()) == []
    assert narrower(sub_grant(persons=(Person("Lim", thumbprint(HOLDER.public)),)), grant())
    assert PrivateKey.generate().public != HOLDER.public
