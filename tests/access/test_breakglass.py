"""Break-glass: for an hour at most, signed, told at once, reviewed by another, and never past a halt or a grant's end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.access.audit.records import AuditError, encode
from assay.access.model import Halt, Scope
from assay.access.safety.alerts import listed
from assay.access.safety.breakglass import KIND, REVIEW_MS, BreakGlassError, Exceptions, Opened, open_glass, read_all, review
from assay.access.store.base import Store, StoreError, open_store
from assay.ledger import Cosigned
from tests.access.grantmaking import ADMINS, DAY, HOLDER, NOW, STRANGER, TERMS, grant

PUBLIC = TERMS.public()
MINUTE = 60_000
AT = NOW + DAY


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store("gate.db", tmp_path)
    yield made
    made.close()


def opened(store: Store, **changes: Any) -> Opened:
    given = {"key": ADMINS["ada"], "grant": grant(), "lifts": ("hours",), "reason": "turbine trip at night", "minutes": 30, "now": AT}
    given |= {"record": [].append, **changes}
    key = given.pop("key")
    return open_glass(store, PUBLIC, key, **given)  # type: ignore[arg-type]


def reviewed(store: Store, glass: str, who: str = "bea", at: int = AT + 31 * MINUTE) -> None:
    review(store, PUBLIC, ADMINS[who], glass, justified=True, note="it is in the plant's log", now=at, record=[].append)


def test_it_lifts_what_it_says_for_its_grant_and_time_and_nothing_else(store: Store) -> None:
    one = opened(store)
    now = Exceptions.read(store, PUBLIC, AT + MINUTE)
    assert now.lifts(grant(), "hours", AT + MINUTE) == one.id
    assert now.lifts(grant(), "quota", AT + MINUTE) == ""
    assert now.lifts(grant(id="water"), "hours", AT + MINUTE) == ""
    assert now.lifts(grant(id="power-sub", parent="power"), "hours", AT + MINUTE) == ""
    assert now.lifts(grant(version=2), "hours", AT + MINUTE) == ""
    assert now.lifts(grant(), "hours", AT + 30 * MINUTE) == "", "it ends by itself, though the store is not read again"
    assert now.lifts(grant(), "hours", AT - MINUTE) == ""


def test_it_alerts_at_once_and_moves_the_stores_epoch(store: Store) -> None:
    before = store.epoch()
    one = opened(store, lifts=("quota", "hours", "hours"))
    assert store.epoch() > before
    (alert,) = listed(store, "open")
    assert (alert.kind, alert.severity, alert.grant, alert.person, alert.at) == ("break-glass", "high", "power", "ada", AT)
    assert one.lifts == ("hours", "quota")
    assert "turbine trip" in alert.what


def test_without_a_record_of_the_alert_nothing_is_open(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = store.put_record

    def full(kind: str, *given: Any) -> int:
        if kind == "alert":
            raise StoreError("the disk is full")
        return real(kind, *given)

    monkeypatch.setattr(store, "put_record", full)
    with pytest.raises(StoreError):
        opened(store)
    assert store.records(KIND) == {}


def test_without_a_record_in_the_audit_log_nothing_is_open_or_reviewed(store: Store) -> None:
    def full(value: dict[str, Any]) -> None:
        encode(value)
        raise AuditError("the disk is full")

    with pytest.raises(AuditError, match="full"):
        opened(store, record=full)
    assert store.records(KIND) == {}
    one = opened(store)
    with pytest.raises(AuditError, match="full"):
        review(store, PUBLIC, ADMINS["bea"], one.id, justified=False, note="it is in no log", now=AT + 31 * MINUTE, record=full)
    assert read_all(store, PUBLIC)[one.id].review is None


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"minutes": 61}, "1 to 60 minutes"),
        ({"minutes": 0}, "1 to 60 minutes"),
        ({"reason": "because"}, "no valid paper"),
        ({"reason": "a reason\nin two lines"}, "no valid paper"),
        ({"lifts": ()}, "no valid paper"),
        ({"lifts": ("halt",)}, "no valid paper"),
        ({"lifts": ("decision",)}, "no valid paper"),
        ({"lifts": ("networks",)}, "no valid paper"),
        ({"key": STRANGER}, "no administrator's"),
        ({"key": HOLDER}, "no administrator's"),
        ({"now": NOW - 1}, "does not hold now"),
        ({"now": NOW + 30 * DAY}, "does not hold now"),
        ({"halts": (Halt("stop", Scope(model="m7"), "directive", "ada", NOW),)}, "halt stop"),
        ({"halts": (Halt("stop", Scope(), "all", "ada", NOW),)}, "halt stop"),
        ({"halts": (Halt("stop", Scope(person="Tan"), "one", "ada", NOW),)}, "halt stop"),
    ],
)
def test_what_may_not_be_opened(store: Store, changes: dict[str, Any], what: str) -> None:
    with pytest.raises(BreakGlassError, match=what):
        opened(store, **changes)
    assert store.records(KIND) == {}
    assert listed(store) == []


def test_a_halt_of_others_does_not_matter(store: Store) -> None:
    assert opened(store, halts=(Halt("stop", Scope(model="m8"), "other", "ada", NOW),)).grant == "power"


def test_only_another_administrator_reviews_it_once_and_after_its_end(store: Store) -> None:
    one = opened(store)
    for who, at, what in (("ada", AT + 31 * MINUTE, "another administrator"), ("bea", AT + 29 * MINUTE, "open still")):
        with pytest.raises(BreakGlassError, match=what):
            reviewed(store, one.id, who, at)
    with pytest.raises(BreakGlassError, match="no exception"):
        reviewed(store, "bg-" + "0" * 16)
    with pytest.raises(BreakGlassError, match="no administrator"):
        review(store, PUBLIC, STRANGER, one.id, justified=True, note="it is in the log", now=AT + 31 * MINUTE, record=[].append)
    reviewed(store, one.id)
    assert read_all(store, PUBLIC)[one.id].state(AT + 31 * MINUTE) == "reviewed"
    with pytest.raises(BreakGlassError, match="reviewed already, by bea"):
        reviewed(store, one.id, "cyd")


def test_an_unreviewed_one_blocks_every_other_until_it_is_reviewed(store: Store) -> None:
    one = opened(store)
    end = AT + 30 * MINUTE
    opened(store, grant=grant(id="water"), now=end + REVIEW_MS)
    late = end + REVIEW_MS + 1
    with pytest.raises(BreakGlassError, match=f"{one.id} is not reviewed yet"):
        opened(store, grant=grant(id="rail"), key=ADMINS["cyd"], now=late)
    reviewed(store, one.id, at=late)
    opened(store, grant=grant(id="rail"), key=ADMINS["cyd"], now=late)


def test_one_at_a_time_for_a_grant(store: Store) -> None:
    one = opened(store)
    with pytest.raises(BreakGlassError, match=f"{one.id} is open for this grant"):
        opened(store, now=AT + 29 * MINUTE, key=ADMINS["bea"])
    opened(store, now=AT + 30 * MINUTE)


def _forged(one: dict[str, Any], kind: str, **changes: Any) -> dict[str, Any]:
    """A paper with other words, signed by a stranger."""
    statement = Cosigned.from_json(one).statement()
    return Cosigned.of(statement["subject"], kind, statement["predicate"] | changes).signed(STRANGER).to_json()


@pytest.mark.parametrize("what", ["other words", "longer", "unsigned", "other's name", "another id", "not a paper"])
def test_what_was_not_signed_so_lifts_nothing_and_blocks_new_ones(store: Store, what: str) -> None:
    one = opened(store)
    version, value = store.records(KIND)[one.id]
    paper = value["opened"]
    statement = Cosigned.from_json(paper).statement()
    kind, predicate = statement["predicateType"], statement["predicate"]
    name = one.id
    match what:
        case "other words":
            water = Cosigned.of(statement["subject"], kind, predicate | {"grant": "water"})
            changed: Any = {**paper, "payload": water.to_json()["payload"]}
        case "longer":
            longer = predicate | {"until": one.at + 61 * MINUTE}
            changed = Cosigned.of(statement["subject"], kind, longer).signed(ADMINS["ada"]).to_json()
        case "unsigned":
            changed = Cosigned.of(statement["subject"], kind, predicate).to_json()
        case "other's name":
            changed = Cosigned.of(statement["subject"], kind, predicate).signed(ADMINS["cyd"]).to_json()
        case "another id":
            changed, name = paper, "bg-" + "0" * 16
        case _:
            changed = {"until": 1}
    store.put_record(KIND, name, {"opened": changed, "review": None}, version if name == one.id else 0)
    now = Exceptions.read(store, PUBLIC, AT + MINUTE)
    assert now.lifts(grant(), "hours", AT + MINUTE) == ("" if name == one.id else one.id)
    assert len(now.problems) == 1
    with pytest.raises(BreakGlassError):
        opened(store, grant=grant(id="rail"))


def test_a_review_that_is_forged_or_of_another_paper_is_none(store: Store) -> None:
    one, two = opened(store), opened(store, grant=grant(id="water"))
    reviewed(store, two.id)
    other = store.records(KIND)[two.id][1]["review"]
    version, value = store.records(KIND)[one.id]
    for paper in (other, _forged(other, Cosigned.from_json(other).statement()["predicateType"], id=one.id)):
        version = store.put_record(KIND, one.id, {**value, "review": paper}, version)
        with pytest.raises(BreakGlassError):
            read_all(store, PUBLIC)


def without(*names: str) -> dict[str, Any]:
    return {n: k for n, k in PUBLIC.items() if n not in names}


@pytest.mark.parametrize("left", [("ada",), ("bea",), ("ada", "bea")], ids=["who opened", "who reviewed", "both"])
def test_a_reviewed_exception_stays_closed_when_its_administrators_have_left(store: Store, left: tuple[str, ...]) -> None:
    one = opened(store)
    reviewed(store, one.id)
    now = AT + 10 * DAY
    glass = read_all(store, without(*left))[one.id]
    assert (glass.state(now), set(glass.gone)) == ("reviewed", set(left))
    assert not Exceptions.read(store, without(*left), now).problems
    open_glass(
        store, without(*left), ADMINS["cyd"], grant=grant(), lifts=("hours",), reason="turbine trip 2", minutes=5, now=now, record=[].append
    )


def test_an_exception_whose_opener_has_left_lifts_nothing_and_is_reviewed_by_any_other(store: Store) -> None:
    one = opened(store)
    admins, late = without("ada"), AT + 31 * MINUTE
    now = Exceptions.read(store, admins, AT + MINUTE)
    assert now.lifts(grant(), "hours", AT + MINUTE) == ""
    assert len(now.problems) == 1
    again: dict[str, Any] = {"lifts": ("hours",), "reason": "turbine trip 2", "minutes": 5, "now": late, "record": [].append}
    with pytest.raises(BreakGlassError, match=f"{one.id} is not reviewed yet"):
        open_glass(store, admins, ADMINS["cyd"], grant=grant(id="rail"), **again)
    review(store, admins, ADMINS["cyd"], one.id, justified=False, note="nobody can be asked", now=late, record=again["record"])
    assert open_glass(store, admins, ADMINS["cyd"], grant=grant(id="rail"), **again).grant == "rail"


def test_a_clock_that_runs_back_opens_nothing_before_its_time(store: Store) -> None:
    opened(store)
    early = Exceptions.read(store, PUBLIC, AT - MINUTE)
    assert early.lifts(grant(), "hours", AT - MINUTE) == ""
