"""Sealed banks: commitments that hide and bind, tiers that open as they should and not otherwise, and a ledger that only grows."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.catalog import Opened, Openers, load_catalog
from assay.catalog.exposures import Exposures, exposures_path, read_exposures
from assay.catalog.opening import decrypt_share, new_identity, open_banks, open_file, read_identities, read_share, seal_bank
from assay.catalog.sealed import (
    DisclosedItem,
    LiveBank,
    SealedFile,
    SealedItem,
    check_registered,
    differs,
    disclose,
    is_disclosed,
    read_sealed,
    root_over,
)
from assay.errors import CommitmentError, SealedBankError
from assay.ledger import PrivateKey, canonical
from assay.plan import parse_plan, read_plan
from assay.runs.exposures import Reservation, Settlement, make_ledger, reserve, settle
from tests.catalog.sealing import Parties, holds_prompts, parties, plain_bank, sealed_plan

ITEM = SealedItem("0007", "ab" * 32, "sabotage-3", {"en": "how is the jar opened?", "ms": "bagaimana balang dibuka?"})


@pytest.fixture
def full(tmp_path: Path) -> Parties:
    return parties(tmp_path)


@pytest.fixture
def semi(tmp_path: Path) -> Parties:
    return parties(tmp_path, "semi-sealed")


def keys(*paths: Path) -> list[Any]:
    return read_identities(paths)


def opens(party: Parties, *identities: Path, shares: tuple[Path, ...] = ()) -> dict[str, SealedItem]:
    mine = keys(*identities)
    return open_file(party.file, mine, [read_share(path, mine) for path in shares])


# Commitments


@pytest.mark.parametrize(
    "changed",
    [
        msgspec.structs.replace(ITEM, salt="ac" * 32),
        msgspec.structs.replace(ITEM, item="0008"),
        msgspec.structs.replace(ITEM, id="sabotage-4"),
        msgspec.structs.replace(ITEM, texts={**ITEM.texts, "en": "how is the jar opened"}),
        msgspec.structs.replace(ITEM, texts={"en": ITEM.texts["en"]}),
        msgspec.structs.replace(ITEM, texts={"en": ITEM.texts["ms"], "ms": ITEM.texts["en"]}),
    ],
    ids=["salt", "ordinal", "id", "text", "language", "swapped"],
)
def test_a_commitment_binds_every_part_of_an_item(changed: SealedItem) -> None:
    assert changed.commitment != ITEM.commitment
    assert differs({"0007": ITEM.commitment}, [changed])


def test_equal_texts_have_unlike_commitments_and_trials_another_salt(full: Parties) -> None:
    again = seal_bank(plain_bank(), "fully-sealed", full.recipients)
    assert not set(again.leaves.values()) & set(full.file.leaves.values())
    items = opens(full, full.institute, full.developer).values()
    assert len({i.salt for i in items} | {i.trial_salt for i in items}) == 2 * len(items)


def test_the_file_shows_no_text_no_id_and_no_order(full: Parties) -> None:
    data = full.bank.read_bytes()
    assert not holds_prompts(data)
    assert b"sabotage" not in data
    assert full.file.items == [f"{n:04d}" for n in range(1, 13)]
    orders = set()
    for _ in range(6):
        secret, public = new_identity()
        other = full.folder / "order.age"
        other.write_text(secret)
        made = seal_bank(plain_bank(), "semi-sealed", [public])
        orders.add(tuple(i.id for i in open_file(made, keys(other)).values()))
    assert len(orders) == 6, "ordinals follow the ids"


def test_opened_texts_are_in_no_repr_and_no_encoding(full: Parties) -> None:
    items = opens(full, full.institute, full.developer)
    opened = Opened({"hard": items})
    shown = f"{opened!r} {opened} {next(iter(items.values()))!r} {items!r}"
    assert not holds_prompts(shown.encode())
    for encode in (msgspec.json.encode, msgspec.to_builtins, pickle.dumps, json.dumps):
        with pytest.raises(TypeError):
            encode(opened)


def test_disclosing_one_item_proves_it_and_tells_nothing_of_the_others(full: Parties) -> None:
    items = opens(full, full.institute, full.developer)
    for ordinal in ("0001", "0007", "0012"):
        found = disclose(full.file, items[ordinal])
        assert is_disclosed(msgspec.json.decode(msgspec.json.encode(found), type=DisclosedItem), full.file.root)
        data = msgspec.json.encode(found)
        assert [i for i, item in items.items() if item.texts["en"].encode() in data or item.salt.encode() in data] == [ordinal]
    replace = msgspec.structs.replace
    assert not is_disclosed(replace(found, item=replace(found.item, texts={**found.item.texts, "en": "another"})), full.file.root)
    assert not is_disclosed(replace(found, index=0), full.file.root)
    assert not is_disclosed(found, "sha256:" + "0" * 64)
    with pytest.raises(SealedBankError, match="does not fit"):
        disclose(full.file, replace(items["0001"], salt="00" * 32))


# Tiers


def test_each_recipient_of_a_semi_sealed_bank_opens_it_alone(semi: Parties) -> None:
    by = [opens(semi, path) for path in (semi.institute, semi.developer)]
    assert by[0] == by[1]
    plain = plain_bank().prompts
    assert {i.id: i.texts["en"] for i in by[0].values()} == plain["en"]
    assert {i.id: i.texts["ms"] for i in by[0].values()} == plain["ms"]
    with pytest.raises(SealedBankError, match="none of these identities"):
        opens(semi, semi.stranger)
    with pytest.raises(SealedBankError, match="no shares"):
        decrypt_share(semi.file, keys(semi.institute))


def test_a_fully_sealed_bank_takes_both_parties(full: Parties) -> None:
    theirs = full.share(full.developer)
    assert len(opens(full, full.institute, shares=(theirs,))) == 12
    assert len(opens(full, shares=(theirs, full.share(full.institute)))) == 12
    for identities, shares in (
        ((full.institute,), ()),
        ((full.developer,), (theirs,)),
        ((), (theirs, theirs)),
        ((full.stranger,), (theirs,)),
        ((full.stranger,), ()),
        ((), ()),
    ):
        with pytest.raises(SealedBankError, match="takes both parties"):
            opens(full, *identities, shares=shares)
    with pytest.raises(SealedBankError, match="none of these identities"):
        decrypt_share(full.file, keys(full.stranger))


def test_a_share_is_random_and_only_both_give_the_secret(full: Parties) -> None:
    halves = [bytes.fromhex(decrypt_share(full.file, keys(path)).value) for path in (full.institute, full.developer)]
    assert bytes(a ^ b for a, b in zip(*halves, strict=True)).startswith(b"AGE-SECRET-KEY-1")
    bits = [[half[i] >> 7 for half in halves] for i in range(len(halves[0]))]
    assert all(a == b for a, b in bits), "the secret is ASCII, so the top bits agree"
    assert 20 < sum(a for a, _ in bits) < 54, "each alone is a fair coin at every place"


def test_a_share_for_the_runner_is_of_use_to_nobody_else(full: Parties) -> None:
    path = full.share(full.developer, to=full.recipients[0])
    assert len(opens(full, full.institute, shares=(path,))) == 12
    with pytest.raises(SealedBankError, match="somebody else"):
        opens(full, full.stranger, shares=(path,))


def test_a_wrong_share_is_named_and_another_banks_share_does_not_count(full: Parties, tmp_path: Path) -> None:
    path = full.share(full.developer)
    value = json.loads(path.read_text())
    last = value["value"][-1]
    path.write_text(json.dumps({**value, "value": value["value"][:-1] + ("0" if last != "0" else "1")}))
    with pytest.raises(SealedBankError, match="1 of the shares are wrong"):
        opens(full, full.institute, shares=(path,))
    other = parties(tmp_path / "other")
    with pytest.raises(SealedBankError, match="1 of 2 shares"):
        opens(full, full.institute, shares=(other.share(other.developer),))


@pytest.mark.parametrize("tier", ["semi-sealed", "fully-sealed"])
def test_a_ciphertext_that_was_changed_or_cut_off_never_opens(tmp_path: Path, tier: Any) -> None:
    party = parties(tmp_path, tier)
    identities = keys(party.institute, party.developer)
    file, lines = party.file, party.file.ciphertext.splitlines()
    swap = lambda line, at: line[:at] + ("A" if line[at] != "A" else "B") + line[at + 1 :]  # noqa: E731
    broken = [
        "\n".join([*lines[:i], swap(lines[i], at), *lines[i + 1 :]]) for i in range(1, len(lines) - 1) for at in (0, len(lines[i]) // 2)
    ]
    broken += ["\n".join(lines[:n]) for n in (0, 1, 5, len(lines) - 2, len(lines) - 1)] + ["", "no age at all"]
    for text in broken:
        with pytest.raises(SealedBankError) as raised:
            open_file(msgspec.structs.replace(file, ciphertext=text), identities)
        assert not holds_prompts(str(raised.value).encode())


def test_other_texts_under_the_same_commitments_are_refused(semi: Parties) -> None:
    """Who knows the recipients can encrypt to them; the commitments say that it is something else."""
    replaced = seal_bank(plain_bank(), "semi-sealed", semi.recipients)
    forged = msgspec.structs.replace(semi.file, ciphertext=replaced.ciphertext)
    with pytest.raises(CommitmentError, match="12 items do not fit their commitments") as raised:
        open_file(forged, keys(semi.institute))
    assert raised.value.exit_code == 1
    shorter = msgspec.structs.replace(semi.file, ciphertext=seal_bank(plain_bank(5), "semi-sealed", semi.recipients).ciphertext)
    with pytest.raises(CommitmentError, match="7 items that it commits to are not in it"):
        open_file(shorter, keys(semi.institute))


def _leaf(value: dict[str, Any]) -> None:
    value["leaves"]["0003"] = value["leaves"]["0004"]


def _drop(value: dict[str, Any]) -> None:
    del value["leaves"]["0003"]


def _root(value: dict[str, Any]) -> None:
    value["root"] = "sha256:" + "0" * 64


def _unknown(value: dict[str, Any]) -> None:
    value["extra"] = 1


def _shares(value: dict[str, Any]) -> None:
    value["shares"] = value["shares"][:1]


def _tier(value: dict[str, Any]) -> None:
    value["tier"] = "semi-sealed"


def _swapped(value: dict[str, Any]) -> None:
    value["shares"].reverse()


@pytest.mark.parametrize("change", [_leaf, _drop, _root, _unknown, _shares, _tier, _swapped], ids=lambda f: f.__name__.strip("_"))
def test_a_file_that_contradicts_itself_is_not_read(full: Parties, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(full.bank.read_bytes())
    change(value)
    full.bank.write_text(json.dumps(value))
    with pytest.raises(SealedBankError, match="not a sealed bank"):
        read_sealed(full.bank)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"sealed-bank": "sealed-bank/2"}', b"[" * 30_000], ids=range(6))
def test_hostile_files_give_one_clear_message(full: Parties, content: bytes) -> None:
    full.bank.write_bytes(content)
    with pytest.raises(SealedBankError, match="not a sealed bank"):
        read_sealed(full.bank)
    share = full.folder / "x.share"
    share.write_bytes(content)
    with pytest.raises(SealedBankError, match="not a share"):
        read_share(share, [])


def test_no_message_shows_a_secret(full: Parties) -> None:
    secret = full.institute.read_text().splitlines()[-1]
    path = full.folder / "broken.age"
    for text in (secret[:-1], secret + "Q", secret.lower() + "x", "  " + secret[:40], f"{secret} {secret}"):
        path.write_text(text)
        with pytest.raises(SealedBankError, match=r"broken\.age:1") as raised:
            read_identities([path])
        assert secret[20:40].lower() not in str(raised.value).lower()
    share = full.share(full.developer)
    value = json.loads(share.read_text())["value"]
    for changed in ({"bank-share": "bank-share/1", "root": full.file.root, "value": value + "zz"}, {value: 1}, {"bank-share": value}):
        share.write_text(json.dumps(changed))
        with pytest.raises(SealedBankError) as raised:
            read_share(share, [])
        assert value[:20] not in str(raised.value)


def test_sealing_refuses_what_cannot_be(full: Parties) -> None:
    one = full.recipients[:1]
    for tier, recipients, what in (
        ("fully-sealed", one, "two recipients, not 1"),
        ("semi-sealed", (), "no recipient"),
        ("semi-sealed", (*one, *one), "twice"),
        ("semi-sealed", ("age1nonsense",), "no age recipient"),
    ):
        with pytest.raises(SealedBankError, match=what):
            seal_bank(plain_bank(), tier, recipients)  # type: ignore[arg-type]


# In a plan's content


def test_the_content_holds_commitments_and_no_text(full: Parties) -> None:
    plan, catalog = read_plan(str(full.plan()))
    assert not holds_prompts(canonical(catalog.to_json()))
    assert catalog.sealed["hard"].leaves == full.file.leaves
    assert [s.id for s in catalog.hazards["hard"].scenarios] == full.file.items
    assert plan.sizes == {"hard": 12}
    assert check_registered(catalog) == []
    opened = open_banks(catalog, full.openers())
    assert "hard" in opened
    assert opened.prompts("hard", "0001")["en"] in plain_bank().prompts["en"].values()


def test_content_without_sealed_banks_reads_as_it_did() -> None:
    catalog = load_catalog(["secret-leakage"], ["en"])
    assert "sealed" not in catalog.to_json()
    plain = load_catalog(["hard"], ["en"], banks=[plain_bank()])
    assert "sealed" not in plain.to_json()
    assert plain.texts["hard"]["en"].texts


def test_content_that_breaks_the_seal_is_found(full: Parties) -> None:
    _, catalog = read_plan(str(full.plan()))
    replace = msgspec.structs.replace
    hazard, bank, texts = catalog.hazards["hard"], catalog.sealed["hard"], catalog.texts["hard"]
    plain = plain_bank().texts()["en"]
    for broken, what in (
        (replace(catalog, texts={"hard": {**texts, "en": plain}}), "its texts stand in the content"),
        (replace(catalog, sealed={"hard": replace(bank, root="sha256:" + "1" * 64)}), "the root is not that of its commitments"),
        (replace(catalog, hazards={"hard": replace(hazard, scenarios=(hazard.scenarios[0],) * 2)}), "stands twice"),
        (replace(catalog, hazards={"hard": replace(hazard, finite=False)}), "is no bank"),
        (replace(catalog, hazards={}), "is no bank"),
        (replace(catalog, sealed={"hard": replace(bank, leaves=dict(list(bank.leaves.items())[1:]))}), "not among its commitments"),
    ):
        assert what in " ".join(check_registered(broken))


def test_another_bank_of_the_name_is_not_opened_for_the_plan(full: Parties, tmp_path: Path) -> None:
    _, catalog = read_plan(str(full.plan()))
    other = parties(tmp_path / "other")
    with pytest.raises(CommitmentError, match="another root"):
        open_banks(catalog, other.openers())
    with pytest.raises(SealedBankError, match="is not here"):
        open_banks(catalog, msgspec.structs.replace(full.openers(), banks=()))
    with pytest.raises(SealedBankError, match="is sealed"):
        open_banks(catalog, Openers((full.bank,)))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (
            {
                "matrix": {"hazards": ["hard"], "languages": ["en"], "attacks": ["best-of-n"], "benign": False},
                "exploration": {"plain": 2},
            },
            "would put the prompts",
        ),
        (
            {"matrix": {"hazards": ["hard", "agent-banking"], "languages": ["en"], "benign": False}, "exploration": {"plain": 2}},
            "episodes keep all that was said",
        ),
        ({"target": {"kind": "recorded", "model": "x", "options": {"answers": "x.json"}}}, "recorded answers"),
        ({"matrix": {"hazards": ["hard"], "languages": ["en", "vi"], "benign": False}}, "no prompts in vi"),
    ],
    ids=["strategy", "world", "recorded", "language"],
)
def test_plans_that_would_tell_the_prompts_are_refused(full: Parties, changes: dict[str, Any], what: str) -> None:
    with pytest.raises(Exception, match=what):
        read_plan(str(full.plan(**changes)))


def test_a_calibration_with_anchors_of_a_sealed_bank_is_refused(full: Parties) -> None:
    item = {"stream": {"hazard": "hard", "language": "en", "attack": "none", "arm": "plain"}, "messages": []}
    anchors = [{"item": item, "answer": "x", "violation": True, "flagged": True}]
    (full.folder / "c.json").write_text(json.dumps({"assay": "calibration/1", "rows": [], "sources": [], "anchors": anchors}))
    judges = {"panel": [{"name": "known", "target": {"kind": "scripted-judge", "model": "0.8/0.97"}}], "calibration": "c.json"}
    with pytest.raises(Exception, match="anchors of the sealed bank"):
        read_plan(str(full.plan(judges=judges)))


# Exposures


def ledger_of(party: Parties) -> Exposures:
    return read_exposures(party.bank, party.file)


def run_id(n: int) -> str:
    return f"sha256:{n:064x}"


def test_a_reservation_counts_everything_until_it_is_settled(tmp_path: Path) -> None:
    party = parties(tmp_path, retire_after=2)
    key = PrivateKey.from_pem(party.key.read_bytes(), where="")
    file, items = party.file, tuple(party.file.items)
    assert sum(ledger_of(party).counts().values()) == 0
    held = reserve(party.bank, file, key, Reservation(run_id(1), items), 5)
    assert set(ledger_of(party).counts().values()) == {1}
    assert ledger_of(party).counts(apart=run_id(1)).total() == 0
    settle(party.bank, file, key, Settlement(run_id(1), (held.line,), {"0003": 7, "0004": 1}, "complete"), 6)
    assert ledger_of(party).counts() == {"0003": 1, "0004": 1}
    second = reserve(party.bank, file, key, Reservation(run_id(2), items), 7)
    assert second.most == 1
    assert [len(ledger_of(party).live(file)), ledger_of(party).counts()["0003"]] == [10, 2]
    assert list(ledger_of(party).unsettled()) == [second.line]
    with pytest.raises(SealedBankError, match="2 of the 12 items were retired meanwhile"):
        reserve(party.bank, file, key, Reservation(run_id(3), items), 8)
    reserve(party.bank, file, key, Reservation(run_id(2), items), 9)  # the run itself goes on
    assert ledger_of(party).counts()["0003"] == 2


def test_nobody_settles_for_another_or_for_what_was_not_reserved(tmp_path: Path) -> None:
    party = parties(tmp_path)
    key, other = PrivateKey.from_pem(party.key.read_bytes(), where=""), PrivateKey.generate()
    file = party.file
    held = reserve(party.bank, file, key, Reservation(run_id(1), ("0001", "0002")), 5)
    before = exposures_path(party.bank).read_bytes()
    for who, done in (
        (other, Settlement(run_id(1), (held.line,), {}, "complete")),
        (key, Settlement(run_id(2), (held.line,), {}, "complete")),
        (key, Settlement(run_id(1), (run_id(9),), {}, "complete")),
        (key, Settlement(run_id(1), (held.line,), {"0003": 1}, "complete")),
    ):
        with pytest.raises(SealedBankError, match="settles"):
            settle(party.bank, file, who, done, 6)
    assert exposures_path(party.bank).read_bytes() == before
    settle(party.bank, file, key, Settlement(run_id(1), (held.line,), {"0001": 1}, "complete"), 6)
    with pytest.raises(SealedBankError, match="settles what it may not"):
        settle(party.bank, file, key, Settlement(run_id(1), (held.line,), {}, "complete"), 7)


def test_whatever_is_changed_in_the_ledger_is_found(tmp_path: Path) -> None:
    party = parties(tmp_path)
    key, file = PrivateKey.from_pem(party.key.read_bytes(), where=""), party.file
    for n in range(3):
        held = reserve(party.bank, file, key, Reservation(run_id(n), tuple(file.items)), n)
        settle(party.bank, file, key, Settlement(run_id(n), (held.line,), {"0001": 1}, "complete"), n)
    path = exposures_path(party.bank)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 7
    changed = [lines[:i] + lines[i + 1 :] for i in range(6)]
    changed += [[*lines[:i], lines[i + 1], lines[i], *lines[i + 2 :]] for i in range(6)]
    changed += [lines[: i + 1] + lines[i:] for i in range(7)]
    changed += [[*lines[:i], lines[i].replace(b'"payload":"e', b'"payload":"f'), *lines[i + 1 :]] for i in range(7)]
    changed += [[*lines[:i], b"{}\n", *lines[i:]] for i in range(7)] + [[]]
    for found in changed:
        path.write_bytes(b"".join(found))
        with pytest.raises(SealedBankError, match="exposures"):
            ledger_of(party)
        with pytest.raises(SealedBankError, match="exposures"):
            reserve(party.bank, file, key, Reservation(run_id(8), tuple(file.items)), 8)
    path.unlink()
    with pytest.raises(SealedBankError, match="cannot read the bank's ledger"):
        read_plan(str(party.plan()))
    with pytest.raises(SealedBankError, match="cannot count exposures"):
        reserve(party.bank, file, key, Reservation(run_id(8), tuple(file.items)), 8)


def test_another_banks_ledger_is_no_ledger_of_this_one(tmp_path: Path) -> None:
    party, other = parties(tmp_path / "a"), parties(tmp_path / "b")
    exposures_path(party.bank).write_bytes(exposures_path(other.bank).read_bytes())
    with pytest.raises(SealedBankError, match="another kind or bank"):
        ledger_of(party)


def test_a_line_that_was_cut_off_is_dropped_and_the_next_follows(tmp_path: Path) -> None:
    party = parties(tmp_path)
    key, file = PrivateKey.from_pem(party.key.read_bytes(), where=""), party.file
    path = exposures_path(party.bank)
    whole = path.read_bytes()
    reserve(party.bank, file, key, Reservation(run_id(1), ("0001",)), 1)
    line = path.read_bytes()[len(whole) :]
    for cut in (1, len(line) // 2, len(line) - 1):
        path.write_bytes(whole + line[:cut])
        assert ledger_of(party).lines == 1
        reserve(party.bank, file, key, Reservation(run_id(2), ("0002",)), 2)
        assert ledger_of(party).counts() == {"0002": 1}


def _race(folder: str, number: int, results: Any) -> None:
    bank = Path(folder) / "hard.sealed.json"
    file, key = read_sealed(bank), PrivateKey.from_pem((Path(folder) / "key.pem").read_bytes(), where="")
    try:
        reserve(bank, file, key, Reservation(run_id(number), tuple(file.items)), number)
        results.put("reserved")
    except SealedBankError as e:
        results.put(e.what)


def test_runs_that_open_at_once_do_not_slip_under_the_limit(tmp_path: Path) -> None:
    party = parties(tmp_path, retire_after=3)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    racing = [context.Process(target=_race, args=(str(tmp_path), n, results)) for n in range(6)]
    for process in racing:
        process.start()
    told = [results.get(timeout=60) for _ in racing]
    for process in racing:
        process.join()
    assert told.count("reserved") == 3
    assert sum("retired meanwhile" in t for t in told) == 3
    assert set(ledger_of(party).counts().values()) == {3}


def test_a_plan_draws_from_live_items_only_and_too_few_are_refused(tmp_path: Path) -> None:
    party = parties(tmp_path, retire_after=1)
    key, file = PrivateKey.from_pem(party.key.read_bytes(), where=""), party.file
    fresh = read_plan(str(party.plan()))[0]
    held = reserve(party.bank, file, key, Reservation(run_id(1), tuple(file.items)), 1)
    with pytest.raises(SealedBankError, match="0 of the 12 items"):
        read_plan(str(party.plan()))
    settle(party.bank, file, key, Settlement(run_id(1), (held.line,), dict.fromkeys(file.items[:7], 1), "complete"), 2)
    plan, catalog = read_plan(str(party.plan()))
    assert [s.id for s in catalog.hazards["hard"].scenarios] == file.items[7:]
    assert plan.sizes == {"hard": 5}
    assert plan.digest != fresh.digest
    with pytest.raises(Exception, match="asks 9 items a cell, and 5 of the 12"):
        read_plan(str(party.plan(exploration={"plain": 9})))
    registered = read_plan(str(party.plan()), registered=catalog)[1]
    assert registered == catalog


def test_a_ledger_is_made_once(full: Parties) -> None:
    with pytest.raises(SealedBankError, match="a ledger of exposures already"):
        make_ledger(full.bank, full.file, PrivateKey.generate(), 1)


def test_a_bank_outside_the_plan_is_not_registered(full: Parties) -> None:
    text = sealed_plan(content=["hard.sealed.json"], matrix={"hazards": ["hate"], "languages": ["en"], "benign": True})
    _, catalog = parse_plan(text, where=str(full.folder / "x.yaml"))
    assert not catalog.sealed


def test_live_items_are_what_the_hazard_has(full: Parties) -> None:
    bank: SealedFile = full.file
    hazard = LiveBank(bank, ("0002", "0005")).hazard()
    assert [s.id for s in hazard.scenarios] == ["0002", "0005"]
    assert root_over(bank.leaves) == bank.root
