"""Alerts: what must be told is, what is ordinary is not, in seeded simulations; and what the store keeps of them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.access.audit.records import Alert as Noted
from assay.access.audit.records import Decided, Denied, Ended, encode
from assay.access.safety.alerts import KIND, Alert, AlertError, Watch, alert_id, close, keep, listed, noted
from assay.access.safety.habits import Habits, HabitSettings, Request, Unusual, block_of
from assay.access.safety.likeness import Alike, Likeness, LikenessSettings, Prompt
from assay.access.safety.sketches import Sketcher, last_words, likeness, read
from assay.access.store.base import Store, open_store
from tests.access.grantmaking import NOW

HOUR = 3_600_000
DAY = 24 * HOUR
MONDAY = 1_800_230_400_000  # 2027-01-18, 00:00 UTC
SKETCHER = Sketcher(bytes(range(32)))
BEGINNINGS, ENDS = ("re", "vol", "tur", "gri", "pum", "val", "nod", "ser"), ("nt", "ld", "rk", "mps", "x", "st")
WORDS = [f"{a}{b}{c}" for a in BEGINNINGS for b in "aeiou" for c in ENDS]


def asked(at: int, **changes: Any) -> Request:
    return msgspec.structs.replace(Request(at, "Grid Ltd", "power", "Tan", "192.0.2.7", "sha256:" + "0" * 64), **changes)


def fed(habits: Habits, requests: list[Request]) -> list[Unusual]:
    return [u for r in requests for u in habits.feed(r)]


# Networks and hours


def test_a_new_network_is_told_once_and_the_first_is_the_habit() -> None:
    habits = Habits()
    assert fed(habits, [asked(NOW), asked(NOW + 1, network="192.0.2.200")]) == []
    (found,) = fed(habits, [asked(NOW + 2, network="198.51.100.9"), asked(NOW + 3, network="198.51.100.10"), asked(NOW + 4)])
    assert (found.kind, found.period) == ("network", "198.51.100.0/24")
    assert fed(habits, [asked(NOW + 5, person="Lim", network="203.0.113.1")]) == []


@pytest.mark.parametrize(
    ("address", "block"),
    [("192.0.2.7", "192.0.2.0/24"), ("::ffff:192.0.2.7", "192.0.2.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48"), ("nowhere", "nowhere")],
)
def test_networks_are_blocks(address: str, block: str) -> None:
    assert block_of(address) == block


def office(dice: random.Random, days: int, a_day: int, **changes: Any) -> list[Request]:
    """Somebody's working weeks: hours around ten, none on week-ends."""
    out = []
    for day in range(days):
        if day % 7 < 5:
            for _ in range(max(1, round(dice.lognormvariate(math.log(a_day), 0.4)))):
                hour = min(17.9, max(8.0, dice.gauss(12, 2.5)))
                out.append(asked(MONDAY + day * DAY + int(hour * HOUR) + dice.randrange(1000), **changes))
    return sorted(out, key=lambda r: r.at)


def test_an_hour_at_which_somebody_never_works_is_told_and_ordinary_weeks_are_not() -> None:
    dice = random.Random(1)
    false = 0
    for person in range(60):
        habits = Habits()
        found = [u for u in fed(habits, office(dice, 56, 12, person=f"p{person}")) if u.kind == "hours"]
        false += len(found)
        night = [asked(MONDAY + 57 * DAY + 2 * HOUR + i, person=f"p{person}") for i in range(5)]
        assert [u.kind for u in fed(habits, night)].count("hours") == 1
    assert false <= 3, "60 persons in 8 weeks"


# Volume


def test_ten_times_the_usual_is_told_within_the_hour_and_ordinary_weeks_are_not() -> None:
    dice = random.Random(2)
    false = found = 0
    for n in range(40):
        habits = Habits()
        false += sum(u.kind == "volume" for u in fed(habits, office(dice, 42, 60, grant=f"g{n}")))
        burst = [asked(MONDAY + 43 * DAY + 10 * HOUR + i * 1000, grant=f"g{n}") for i in range(300)]
        found += any(u.kind == "volume" for u in fed(habits, burst))
    assert false == 0, "40 grants in 6 weeks"
    assert found >= 38


def test_tokens_are_watched_like_requests() -> None:
    habits = Habits()
    for r in office(random.Random(3), 42, 40):
        habits.feed(r)
        assert habits.tokens(r, 900) == []
    late = asked(MONDAY + 44 * DAY + 10 * HOUR)
    habits.feed(late)
    assert [u.kind for u in habits.tokens(late, 5_000_000)] == ["tokens"]


def test_days_that_grow_are_told_and_days_that_do_not_seldom_are() -> None:
    """The null is exchangeable days: the mean time between false alerts is at least 1 / level days of a kind."""
    dice = random.Random(4)
    level = 1 / 50
    false = days = 0
    for n in range(30):
        habits = Habits(HabitSettings(level=level))
        false += sum(u.kind == "drift" for u in fed(habits, office(dice, 350, 6, grant=f"g{n}")))
        days += 250 - 10
    assert 0 < false <= days * level, (false, days)
    told = []
    for n in range(20):
        habits = Habits()
        fed(habits, office(dice, 70, 8, grant=f"g{n}"))
        more = [msgspec.structs.replace(r, at=r.at + 70 * DAY) for r in office(dice, 28, 32, grant=f"g{n}")]
        drift = [u for u in fed(habits, more) if u.kind == "drift"]
        told.append((drift[0].request.at - more[0].at) // DAY if drift else 99)
    assert sorted(told)[17] <= 14, told


# Denials


def test_many_denials_are_told_and_a_few_are_not() -> None:
    dice = random.Random(5)
    false = 0
    for n in range(200):
        habits = Habits()
        mixed = [asked(NOW + i, person=f"p{n}", denied="quota" if dice.random() < 0.15 else "") for i in range(400)]
        false += any(u.kind == "denied" for u in fed(habits, mixed))
    assert false == 0
    habits = Habits()
    probing = [asked(NOW + i, denied="credentials", grant="", person="", network="203.0.113.9") for i in range(40)]
    (found, *_) = fed(habits, probing)
    assert found.kind == "denied"
    assert "credentials" in found.what
    half = Habits()
    assert any(u.kind == "denied" for u in fed(half, [asked(NOW + i, denied="route" if i % 2 else "") for i in range(100)]))


# Sketches


def text(dice: random.Random, words: int) -> str:
    return " ".join(dice.choices(WORDS, k=words))


def test_a_sketch_estimates_the_jaccard_similarity_and_holds_no_text() -> None:
    dice = random.Random(6)

    def shingles(t: str) -> set[bytes]:
        data = " ".join(t.casefold().split()).encode()
        return {data[i : i + 8] for i in range(len(data) - 7)}

    errors = []
    for _ in range(150):
        one = text(dice, 60).split()
        other = [w if dice.random() > 0.12 else dice.choice(WORDS) for w in one]
        a, b = " ".join(one), " ".join(other)
        true = len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b))
        left, right = read(SKETCHER.sketch(a)), read(SKETCHER.sketch(b))
        assert left is not None
        assert right is not None
        errors.append(likeness(left, right) - true)
    assert abs(sum(errors) / len(errors)) < 0.02
    assert (sum(e * e for e in errors) / len(errors)) ** 0.5 < 0.09
    sketch = SKETCHER.sketch("Explain the interlocking of the second feeder in ten steps, please, and why")
    assert len(sketch) == 172
    assert sketch == SKETCHER.sketch("  explain the INTERLOCKING of the second  feeder in ten steps, please, and why")
    assert sketch != Sketcher(bytes(32)).sketch("Explain the interlocking of the second feeder in ten steps, please, and why")


@pytest.mark.parametrize("short", ["", "yes, go on", "continue"])
def test_a_text_too_short_to_be_told_from_others_has_no_sketch(short: str) -> None:
    assert SKETCHER.sketch(short) == ""


@pytest.mark.parametrize("bad", ["", "!!", "AAAA", "A" * 400])
def test_what_is_no_sketch_is_passed_over(bad: str) -> None:
    assert read(bad) is None
    assert Likeness().feed(Prompt(NOW, "A", "a", "x", bad, "d")) == []


def test_the_part_that_is_the_persons_own_is_what_they_said_last() -> None:
    said = [{"role": "system", "content": "S"}, {"role": "user", "content": "one"}, {"role": "user", "content": [{"text": "two"}]}]
    assert last_words({"messages": said}) == "two"
    assert last_words({"input": "ask"}) == "ask"
    assert last_words({"input": ["a", "b"]}) == "a\nb"
    assert last_words({"input": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]}) == "q"
    assert last_words({}) == ""


# Likeness: distillation over many identities (threat 13)


class World:
    """Organisations that ask for their own work: templates of their own, free text, and now and then a test that is public."""

    def __init__(self, seed: int, public: float) -> None:
        self.dice = random.Random(seed)
        self.public = public
        self.tests = [text(self.dice, 30) for _ in range(40)]
        self.templates: dict[str, list[list[str]]] = {}
        self.at = NOW

    def prompt(self, organisation: str, person: str, words: str) -> Prompt:
        self.at += 60_000
        return Prompt(self.at, organisation, f"grant-{organisation}", person, SKETCHER.sketch(words), f"d{self.at}")

    def ordinary(self, organisation: str) -> Prompt:
        own = self.templates.setdefault(organisation, [text(self.dice, 25).split() for _ in range(6)])
        draw = self.dice.random()
        if draw < self.public:
            words = self.dice.choice(self.tests)
        elif draw < 0.5:
            words = " ".join([*self.dice.choice(own), *self.dice.choices(WORDS, k=6)])
        else:
            words = text(self.dice, self.dice.randint(15, 60))
        return self.prompt(organisation, f"{organisation}-{self.dice.randrange(3)}", words)

    def grid(self, organisation: str, cell: int) -> Prompt:
        """One cell of a grid over one template: what somebody who distils asks through several identities, each cell once."""
        topic, step, style = WORDS[cell % 60], WORDS[60 + cell // 60 % 60], WORDS[120 + cell % 7]
        stem = "write a detailed and complete explanation for an experienced engineer of the concept of"
        words = f"{stem} {topic} as it is used in {step}, with worked reasoning, in a {style} style"
        return self.prompt(organisation, f"{organisation}-0", words)


def test_organisations_at_their_own_work_are_not_told_of() -> None:
    """20 worlds of 6 organisations with 400 prompts each, 3% of them public tests that others ask as well."""
    alerted = 0
    for seed in range(20):
        world, watch = World(seed, public=0.03), Likeness()
        found: list[Alike] = []
        for _ in range(400):
            for name in "ABCDEF":
                found += watch.feed(world.ordinary(name))
        alerted += bool(found)
    assert alerted == 0


@pytest.mark.parametrize("identities", [3, 8])
def test_a_grid_that_is_shared_out_over_identities_is_told_of(identities: int) -> None:
    """A tenth to a fifth of what each asks; the rest is ordinary. Both questions find it; how soon is in docs/access-safety.md."""
    names = "ABCDEFGH"[:identities]
    for seed in range(6):
        world, watch = World(100 + seed, public=0.03), Likeness()
        found: list[Alike] = []
        spent = cell = 0
        while spent < 6000 and {f.kind for f in found} != {"sharing", "grid"}:
            name = names[spent % identities]
            if world.dice.random() < 0.2:
                found += watch.feed(world.grid(name, cell))
                cell += 1
            else:
                found += watch.feed(world.ordinary(name))
            spent += 1
        assert {f.kind for f in found} == {"sharing", "grid"}, (seed, spent, cell)
        sharing = next(f for f in found if f.kind == "sharing")
        grid = next(f for f in found if f.kind == "grid")
        assert sharing.evidence
        assert set(sharing.others) <= set(names)
        assert len(grid.persons) >= 2
        assert len(grid.evidence) <= 40


def test_the_sharing_tests_error_is_bounded_at_its_limit() -> None:
    """An organisation shares at exactly `chance`; the part of worlds that ever alert stays below `level`, looked at after each prompt."""
    level = 0.2
    alerted = 0
    for seed in range(60):
        dice = random.Random(500 + seed)
        watch = Likeness(LikenessSettings(chance=0.1, level=level, grid=10**6))
        hall = [SKETCHER.sketch(text(dice, 20)) for _ in range(30)]
        for n, sketch in enumerate(hall):
            watch.feed(Prompt(NOW, "Hall", "hall", "h", sketch, f"h{n}"))
        told = False
        for n in range(300):
            sketch = dice.choice(hall) if dice.random() < 0.1 else SKETCHER.sketch(text(dice, 20))
            told = told or bool(watch.feed(Prompt(NOW + n, "A", "a", "x", sketch, f"a{n}")))
        alerted += told
    assert alerted / 60 <= level / 6 + 3 * (level / 6 / 60) ** 0.5  # the second organisation has 1/6 of the level


def test_memory_is_bounded_and_a_busy_organisation_does_not_push_others_out() -> None:
    dice = random.Random(9)
    watch = Likeness(LikenessSettings(most=2000, grid=10**6))
    stem = text(dice, 40)
    watch.feed(Prompt(NOW, "Quiet", "q", "q", SKETCHER.sketch(stem), "first"))
    for n in range(900):
        watch.feed(Prompt(NOW + n, "Busy", "b", "b", SKETCHER.sketch(f"{stem} {WORDS[n % len(WORDS)]} {n}"), f"b{n}"))
    assert watch._sharing["Busy"].shared == 900
    for n in range(5000):
        watch.feed(Prompt(NOW + n, "Busy", "b", "b", SKETCHER.sketch(text(dice, 20)), f"c{n}"))
    kept = {id(e) for generation in (watch._new, watch._old) for bucket in generation.values() for e in bucket}
    assert len(kept) <= 2000


# From records to the store


def decided(n: int, at: int, **changes: Any) -> Decided:
    base = Decided(
        at=at, id=f"r{n}", grant="power", version=1, person="Tan", organisation="Grid Ltd", purpose="harden relays", model="m7",
        digest="", route="chat.completions", network="192.0.2.7", request_digest="sha256:" + f"{n:064x}",
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def ended(n: int, at: int, **changes: Any) -> Ended:
    return msgspec.structs.replace(Ended(at=at, id=f"r{n}", how="complete", tokens=100), **changes)


def watch_all(records: list[Any], store: Store) -> list[Alert]:
    watch = Watch()
    return [alert for record in records for alert in keep(store, watch.feed(record))]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store("gate.db", tmp_path)
    yield made
    made.close()


def test_records_as_the_audit_log_writes_them_give_alerts(store: Store) -> None:
    sketch = SKETCHER.sketch("a prompt that is long enough to have a sketch of its own, and that says nothing")
    records = [
        decided(1, NOW),
        ended(1, NOW + 5, flags=("personal: card (answer)",), sketch=sketch),
        decided(2, NOW + 10, network="198.51.100.1"),
        ended(2, NOW + 15, how="stopped by the check 'secrets': a private key"),
        Noted(at=NOW + 17, alert="content", what="canary: echo (answer)", grant="power", person="Tan", organisation="Grid Ltd", id="r2"),
        Noted(at=NOW + 18, alert="other", what="of the gate itself", grant="power", person="Tan", organisation="Grid Ltd"),
        Denied(at=NOW + 20, rule="check:phrases", status=403, grant="power", person="Tan", organisation="Grid Ltd", network="192.0.2.7"),
    ]
    for record in records:
        encode(msgspec.to_builtins(record))
    new = watch_all(records, store)
    flagged, denied = ("content", "medium"), ("content", "high")
    assert [(a.kind, a.severity) for a in new] == [flagged, ("network", "medium"), denied, flagged, denied]
    assert all(a.grant == "power" and a.person == "Tan" and a.evidence for a in new[:3])
    assert watch_all(records, store) == [], "the same records give the same alerts, which are there already"
    assert len(listed(store)) == 5


def test_the_same_flag_is_one_alert_a_day() -> None:
    watch = Watch()
    found = []
    for n in range(50):
        watch.feed(decided(n, NOW + n))
        found += watch.feed(ended(n, NOW + n, flags=("personal: card (answer)",)))
    assert len(found) == 1


def test_what_the_log_says_was_found_is_not_found_again(store: Store) -> None:
    denied = Denied(at=NOW, rule="check:phrases", status=403, grant="power", person="Tan", organisation="Grid Ltd", network="192.0.2.7")
    [alert] = watch_all([denied], store)
    record = msgspec.json.decode(encode(noted(msgspec.structs.replace(alert, what="x" * 500), NOW + 1)), type=Noted)
    assert (record.severity, record.id, record.what[:9], len(record.what)) == ("high", alert.id, "content: ", 300)
    assert Watch().feed(record) == []


def test_what_comes_late_does_not_begin_an_hour_or_a_day_anew() -> None:
    habits, late = Habits(), [h for day in range(30) for h in hours(day)]
    in_order = sorted(late, key=lambda r: r.at)
    late[1::2], late[::2] = in_order[::2], in_order[1::2]  # every two change places, over the ends of hours and days too
    assert fed(habits, late) == []
    grant = habits._grants["power"]
    assert len(grant.requests.sorted) == 30 * 8 - 1
    assert max(grant.requests.sorted) <= 21
    assert grant.day == late[-2].at // DAY


def hours(day: int) -> list[Request]:
    """Twenty requests in each of the hours 20 to 4."""
    return [asked(MONDAY + day * DAY + (20 + h) * HOUR + n * HOUR // 20) for h in range(8) for n in range(20)]


def test_two_organisations_with_one_grid_reach_the_store(store: Store) -> None:
    world = World(11, public=0.0)
    records: list[Any] = []
    for n in range(700):
        name = "AB"[n % 2]
        prompt = world.grid(name, n)
        records += [
            decided(n, prompt.at, grant=prompt.grant, organisation=name, person=prompt.person),
            ended(n, prompt.at + 10, sketch=prompt.sketch),
        ]
    new = watch_all(records, store)
    kinds = {a.kind: a for a in new}
    assert {"sharing", "grid"} <= kinds.keys()
    assert kinds["grid"].severity == "high"
    assert {"A", "B"} <= set(kinds["grid"].others)


def test_an_alert_is_closed_once_by_somebody_for_a_reason_and_stays(store: Store) -> None:
    alert = Alert(alert_id("network", "power", "Tan", "x"), "network", "medium", "a new network", NOW, grant="power", person="Tan")
    assert keep(store, [alert, alert]) == [alert]
    for by, why in (("ada", ""), ("ada", "  "), ("", "asked by telephone")):
        with pytest.raises(AlertError):
            close(store, alert.id, by, why, NOW)
    closed = close(store, alert.id, "ada", " asked by telephone ", NOW + 5)
    assert (closed.state, closed.closed_by, closed.closed_at, closed.why) == ("closed", "ada", NOW + 5, "asked by telephone")
    with pytest.raises(AlertError, match="closed already, by ada"):
        close(store, alert.id, "bea", "again, to be sure", NOW + 6)
    with pytest.raises(AlertError, match="no alert"):
        close(store, "network-" + "0" * 20, "ada", "not there", NOW)
    assert keep(store, [alert]) == []
    assert listed(store, "open") == []
    assert listed(store, "closed") == [closed]


def test_a_damaged_alert_is_said_to_be_so(store: Store) -> None:
    store.put_record(KIND, "network-" + "0" * 20, {"id": "network-" + "1" * 20, "kind": "network"}, 0)
    with pytest.raises(AlertError, match="damaged"):
        listed(store)


def test_the_gravest_and_newest_stand_first(store: Store) -> None:
    made = [
        Alert(alert_id("hours", str(n)), "hours", severity, "x", NOW + n)  # type: ignore[arg-type]
        for n, severity in enumerate(["low", "high", "medium", "high"])
    ]
    keep(store, made)
    assert [a.at - NOW for a in listed(store)] == [3, 1, 2, 0]
