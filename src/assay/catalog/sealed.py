"""Sealed banks: prompts that a plan commits to and that nobody reads before they are asked. Pure: `catalog.opening` encrypts and opens.

    file = read_sealed(Path("hard.sealed.json"))        # tier, commitments and ciphertext; no text
    file.registered(), file.hazard(live)                # what a plan's content holds of it
    problems = differs(file.leaves, items)              # opened items against the commitments

A commitment is SHA-256 over a domain tag, 32 random bytes (the item's salt) and the canonical JSON of the item: without the salt a guessed
text cannot be tried, and no other text fits. The root over all commitments is RFC 6962's. Opened texts stand in an `Opened`, which no
encoder takes and no repr shows, so that they cannot get into a run file, a bundle or a message by mistake.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TypeVar

import msgspec
from msgspec import Meta, Struct

from assay.catalog.banks import MAX_BYTES, MAX_ITEMS, ItemId, Line, Prompt, Tag, bank_hazard, bank_provenance
from assay.catalog.content import Catalog, Hazard, HazardTexts, Provenance, SealedBank, Texts
from assay.errors import SealedBankError
from assay.ledger import canonical, leaf_hash, merkle_root
from assay.ledger.proofs import inclusion_path, is_included

T = TypeVar("T")
SALT_BYTES = 32
WITHHELD = "withheld (sealed bank)"
Tier = Literal["public", "semi-sealed", "fully-sealed"]
SealedTier = Literal["semi-sealed", "fully-sealed"]
Ordinal = Annotated[str, Meta(pattern=r"^[0-9]{4,6}$")]
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
Hex32 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Recipient = Annotated[str, Meta(pattern=r"^age1[0-9a-z]{58}$")]
Cipher = Annotated[str, Meta(max_length=MAX_BYTES)]
Retire = Annotated[int, Meta(ge=0, le=1_000_000)]

_HOSTS = "the target's host sees every prompt that it is asked, and so do the hosts of the judges that read the answers"
_QUOTES = "an answer, or a judge's reply, that quotes a prompt stands in the evidence"
_AUTHORS = "whoever wrote and sealed the bank had its texts"
CANNOT: dict[Tier, tuple[str, ...]] = {
    "public": ("anybody can read it, and train on it: a good result may be memory",),
    "semi-sealed": ("each of those it was encrypted to opens it alone, and can leak it or train on it", _HOSTS, _QUOTES, _AUTHORS),
    "fully-sealed": (
        "the two parties together open it, and so does who has both their identities",
        "the runner's memory holds the prompts while it runs",
        _HOSTS,
        _QUOTES,
        _AUTHORS,
    ),
}
"""What each tier cannot protect, in words."""


class SealedItem(Struct, frozen=True, forbid_unknown_fields=True):
    """One item in the clear: its ordinal, its salt, the id that its source gives it, its text by language. Its repr is the ordinal."""

    item: Ordinal
    salt: Hex32
    id: ItemId
    texts: Annotated[dict[Tag, Prompt], Meta(min_length=1)]

    def __repr__(self) -> str:
        return f"SealedItem({self.item})"

    @property
    def commitment(self) -> str:
        """SHA-256("assay/sealed-bank/item/1" 0x00 salt canonical JSON of the item without it): hides the text, and binds to it."""
        value = canonical({"id": self.id, "item": self.item, "texts": self.texts})
        return "sha256:" + hashlib.sha256(b"assay/sealed-bank/item/1\x00" + bytes.fromhex(self.salt) + value).hexdigest()

    @property
    def trial_salt(self) -> str:
        """What goes into the digest of the item in a trial, drawn from the salt: neither tells the other."""
        return hashlib.sha256(b"assay/sealed-bank/trial/1\x00" + bytes.fromhex(self.salt)).hexdigest()


class Content(Struct, frozen=True, forbid_unknown_fields=True, rename={"format": "sealed-content"}):
    """What is encrypted."""

    format: Literal["sealed-content/1"]
    items: tuple[SealedItem, ...]

    def __repr__(self) -> str:
        return f"Content({len(self.items)} items)"


class PartShare(Struct, frozen=True, forbid_unknown_fields=True):
    """One party's half of a fully sealed bank's secret, encrypted to it; `digest` is the half's own, so that a wrong one is known."""

    recipient: Recipient
    digest: Digest
    ciphertext: Annotated[str, Meta(max_length=65_536)]


class SealedFile(Struct, frozen=True, forbid_unknown_fields=True, rename={"format": "sealed-bank"}):
    """A sealed bank. `leaves` has the commitment of every item, `recipients` says to whom it was encrypted (of a fully sealed bank: whose
    two shares open it). `ciphertext` is age's, in its ASCII armour.
    """

    format: Literal["sealed-bank/1"]
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    title: Annotated[str, Meta(min_length=1, max_length=300)]
    licence: Annotated[str, Meta(min_length=1, max_length=300)]
    source: dict[Line, Line]
    languages: Annotated[tuple[Tag, ...], Meta(min_length=1)]
    tier: SealedTier
    leaves: Annotated[dict[Ordinal, Digest], Meta(min_length=2, max_length=MAX_ITEMS)]
    root: Digest
    recipients: Annotated[tuple[Recipient, ...], Meta(min_length=1, max_length=64)]
    ciphertext: Cipher
    retire_after: Retire = 0
    shares: Annotated[tuple[PartShare, ...], Meta(max_length=2)] = ()
    taxonomy: Line = ""
    code: Line = ""

    @property
    def items(self) -> list[Ordinal]:
        """The items, in order."""
        return sorted(self.leaves)

    def hazard(self, live: Sequence[str]) -> Hazard:
        """As a judged hazard whose scenarios are the live items."""
        return bank_hazard(self, live)

    def texts(self) -> dict[str, HazardTexts]:
        """Languages and provenance; the texts are sealed."""
        return {tag: HazardTexts(tag, {}, bank_provenance(self)) for tag in self.languages}

    def registered(self) -> SealedBank:
        """What a plan's content holds of it."""
        return SealedBank(self.tier, self.root, self.leaves, CANNOT[self.tier], self.retire_after)


class LiveBank(Struct, frozen=True):
    """A sealed bank with the items that a plan may draw from: what `load_catalog` takes beside plain banks."""

    file: SealedFile
    live: tuple[str, ...]

    @property
    def name(self) -> str:
        """The bank's name, which is the hazard's."""
        return self.file.name

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that every item is written in."""
        return self.file.languages

    def hazard(self) -> Hazard:
        """The live items as scenarios."""
        return self.file.hazard(self.live)

    def texts(self) -> dict[str, HazardTexts]:
        """None; but languages and provenance."""
        return self.file.texts()


class Opened:
    """The items of opened banks, by hazard and ordinal. In memory only: it is no Struct, so nothing encodes it. Its repr tells nothing."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Mapping[str, SealedItem]]) -> None:
        self._items = items

    def __repr__(self) -> str:
        return f"Opened({', '.join(self._items)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("opened banks stay in memory")

    def __contains__(self, hazard: object) -> bool:
        return hazard in self._items

    def texts(self, hazard: str, languages: Sequence[str]) -> dict[str, HazardTexts]:
        """A bank's texts in these languages, as the builder of items takes them. KeyError for a language that it is not written in."""
        items, nobody = self._items[hazard].values(), Provenance("", "", "none")
        return {tag: HazardTexts(tag, {i.item: Texts(user=i.texts[tag]) for i in items}, nobody) for tag in languages}

    def trial_salt(self, hazard: str, item: str) -> str:
        """The salt of an item's digest in a trial; empty for a hazard that is no sealed bank."""
        return self._items[hazard][item].trial_salt if hazard in self._items else ""

    def prompts(self, hazard: str, item: str) -> Mapping[str, str]:
        """An item's texts by language."""
        return self._items[hazard][item].texts


def root_over(leaves: Mapping[str, str]) -> str:
    """The RFC 6962 root over the commitments, in the order of the items."""
    return merkle_root(_leaf(item, leaves[item]) for item in sorted(leaves))


def _leaf(item: str, commitment: str) -> bytes:
    return canonical({"commitment": commitment, "item": item})


def differs(leaves: Mapping[str, str], items: Sequence[SealedItem], languages: Sequence[str] = ()) -> list[str]:
    """What is wrong with opened items, in words that hold no text: items too many or too few, one that does not fit its commitment."""
    found = {i.item: i for i in items}
    problems = [] if len(found) == len(items) else ["an item stands twice"]
    if missing := sorted(leaves.keys() - found.keys()):
        problems.append(f"{len(missing)} items that it commits to are not in it (first {missing[0]})")
    if extra := sorted(found.keys() - leaves.keys()):
        problems.append(f"{len(extra)} items are in it that it does not commit to (first {extra[0]})")
    wrong = [o for o in sorted(found.keys() & leaves.keys()) if found[o].commitment != leaves[o]]
    if wrong:
        problems.append(f"{len(wrong)} items do not fit their commitments (first {wrong[0]})")
    tags = set(languages) or (set(items[0].texts) if items else set())
    if other := next((i.item for i in items if set(i.texts) != tags), None):
        problems.append(f"item {other} is written in other languages than the bank")
    return problems


def check_registered(catalog: Catalog) -> list[str]:
    """What is wrong with the sealed banks of a plan's content, in words: none may hold a text, and every item must be committed to."""
    problems = []
    for name, bank in catalog.sealed.items():
        hazard, texts = catalog.hazards.get(name), catalog.texts.get(name, {})
        if hazard is None or not hazard.finite or hazard.check != "none":
            problems.append(f"'{name}' is sealed, and is no bank of the content")
            continue
        if any(t.texts or t.literal for t in texts.values()):
            problems.append(f"'{name}' is sealed, and its texts stand in the content")
        if root_over(bank.leaves) != bank.root:
            problems.append(f"'{name}': the root is not that of its commitments")
        ids = [s.id for s in hazard.scenarios]
        if len(set(ids)) < len(ids) or not set(ids) <= bank.leaves.keys():
            problems.append(f"'{name}': an item that it asks is not among its commitments, or stands twice")
    return problems


class DisclosedItem(Struct, frozen=True, forbid_unknown_fields=True, rename={"format": "bank-item"}):
    """One item made public after the run: its text and salt, and the proof that it was among those committed to (RFC 6962, 2.1.1)."""

    format: Literal["bank-item/1"]
    name: str
    root: Digest
    size: Annotated[int, Meta(ge=1, le=MAX_ITEMS)]
    index: Annotated[int, Meta(ge=0, le=MAX_ITEMS)]
    item: SealedItem
    path: Annotated[tuple[Hex32, ...], Meta(max_length=32)]


def disclose(file: SealedFile, item: SealedItem) -> DisclosedItem:
    """An item with its proof. Raises `SealedBankError` for one that the bank does not commit to."""
    if file.leaves.get(item.item) != item.commitment:
        raise SealedBankError(f"item {item.item} does not fit its commitment", where=file.name)
    ordinals = file.items
    hashes = [leaf_hash(_leaf(o, file.leaves[o])) for o in ordinals]
    index = ordinals.index(item.item)
    path = tuple(h.hex() for h in inclusion_path(hashes, index))
    return DisclosedItem("bank-item/1", file.name, file.root, len(ordinals), index, item, path)


def is_disclosed(found: DisclosedItem, root: str) -> bool:
    """Whether the item's text was committed to under this root."""
    leaf = leaf_hash(_leaf(found.item.item, found.item.commitment))
    path = [bytes.fromhex(h) for h in found.path]
    return found.root == root and is_included(leaf, found.index, found.size, path, bytes.fromhex(root.removeprefix("sha256:")))


def is_sealed(path: Path) -> bool:
    """Whether a bank file is a sealed one, by its first bytes or its name. False for what cannot be read: whoever reads it says why."""
    if path.name.endswith(".sealed.json"):
        return True
    try:
        with path.open("rb") as file:
            return b'"sealed-bank"' in file.read(4096)
    except OSError:
        return False


def read_sealed(path: Path) -> SealedFile:
    """A sealed bank's file, checked as far as it can be without opening it. Raises `SealedBankError`."""
    file = read_json(path, SealedFile, "sealed bank", "Make one with: assay bank seal")
    problem = ""
    if root_over(file.leaves) != file.root:
        problem = "its root is not that of its commitments"
    elif len(set(file.languages)) < len(file.languages) or len(set(file.recipients)) < len(file.recipients):
        problem = "a language or a recipient stands twice"
    elif file.tier == "fully-sealed" and tuple(s.recipient for s in file.shares) != file.recipients:
        problem = "a fully sealed bank has two shares, one for each recipient"
    elif file.tier == "fully-sealed" and len(file.shares) != 2:
        problem = "a fully sealed bank has two shares"
    elif file.tier == "semi-sealed" and file.shares:
        problem = "a semi-sealed bank has no shares"
    if problem:
        raise SealedBankError(f"not a sealed bank: {problem}", where=str(path))
    return file


def read_json(path: Path, kind: type[T], what: str, fix: str = "", most: int = MAX_BYTES) -> T:
    """A JSON file as a value of one type. Raises `SealedBankError`; its message says where the file is wrong, and shows nothing of it."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as e:
        raise SealedBankError(f"cannot read this {what}: {e.strerror}", where=str(path), fix=fix) from None
    if len(data) > most:
        raise SealedBankError(f"larger than {most:,} bytes", where=str(path))
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise SealedBankError(f"not a {what}: {type(e).__name__}: {shape(e)}", where=str(path), fix=fix) from None


def shape(error: Exception) -> str:
    """What a decoder says is wrong, without any value: msgspec names types and places only, but may quote an invalid tag or key."""
    text = str(error)
    return text if "Invalid" not in text and "unknown field" not in text else "something that does not belong there"
