"""Bank files: finite sets of prompts that others have made, with their licence, as content that a plan can name.

    bank = read_bank(Path("mlc-ipv.bank.json"))
    bank.hazard(), bank.texts()

`assay import` writes them. A bank is JSON, so that it is read quickly; its texts are taken as they are, without slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta, Struct

from assay.catalog.content import AttackKind, Hazard, HazardTexts, Provenance, Scenario, Texts
from assay.errors import CatalogError

MAX_BYTES = 512 * 1024 * 1024
MAX_ITEMS = 200_000
MAX_PROMPT = 32_000
Tag = Annotated[str, Meta(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$")]
ItemId = Annotated[str, Meta(min_length=1, max_length=200)]
Prompt = Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT)]
Line = Annotated[str, Meta(max_length=2000)]


class BankAttack(Struct, frozen=True, forbid_unknown_fields=True):
    """An attack that was put on a bank's prompts elsewhere: what it is, whose, and what it left of every prompt, by language and item.

    The texts are the attack: whoever has them needs nothing that made them.
    """

    title: Annotated[str, Meta(min_length=1, max_length=300)]
    source: Annotated[str, Meta(min_length=1, max_length=2000)]
    prompts: Annotated[dict[Tag, dict[ItemId, Prompt]], Meta(min_length=1)]


AttackId = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}$")]


class BankFile(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"format": "assay-bank"}):
    """One hazard's prompts. `prompts` is keyed by language, then by item; every language has the same items, and so has every attack.

    `source` names where the set came from and the SHA-256 of every file read; `hazard` is the code that the source gives.
    """

    format: Literal["bank/1"]
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    title: Annotated[str, Meta(min_length=1, max_length=300)]
    licence: Annotated[str, Meta(min_length=1, max_length=300)]
    source: dict[Line, Line]
    prompts: Annotated[dict[Tag, dict[ItemId, Prompt]], Meta(min_length=1)]
    taxonomy: Line = ""
    code: Line = ""
    attacks: Annotated[dict[AttackId, BankAttack], Meta(max_length=100)] = {}

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that every item is written in."""
        return tuple(self.prompts)

    @property
    def items(self) -> list[ItemId]:
        """The items, in the order of their ids."""
        return sorted(next(iter(self.prompts.values())))

    def hazard(self) -> Hazard:
        """As a judged hazard with one scenario per item."""
        return bank_hazard(self, self.items)

    def texts(self) -> dict[str, HazardTexts]:
        """As texts by language."""
        provenance = bank_provenance(self)
        return {
            tag: HazardTexts(
                tag, {i: Texts(user=p) for i, p in each.items()}, provenance, attacked={a: v.prompts[tag] for a, v in self.attacks.items()}
            )
            for tag, each in self.prompts.items()
        }  # fmt: skip

    def kinds(self) -> dict[str, AttackKind]:
        """Its attacks, as the catalogue describes attacks."""
        return {a: AttackKind(v.title, family="recorded", words="recorded", source=v.source) for a, v in self.attacks.items()}


class Described(Protocol):
    """What every bank file says of itself, its texts aside."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def licence(self) -> str: ...  # noqa: D102
    @property
    def source(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def taxonomy(self) -> str: ...  # noqa: D102
    @property
    def code(self) -> str: ...  # noqa: D102


def bank_hazard(bank: Described, items: Iterable[str]) -> Hazard:
    """A bank as a judged hazard with one scenario for each of these items."""
    frameworks = {bank.taxonomy: bank.code} if bank.taxonomy and bank.code else {}
    summary = f"Imported from {', '.join(bank.source) or 'elsewhere'}; licence {bank.licence}."
    scenarios = tuple(Scenario(id=i, situation="", carrier="user") for i in items)
    return Hazard(bank.name, bank.title, "judged", summary, scenarios, frameworks=frameworks, finite=True)


def bank_provenance(bank: Described) -> Provenance:
    """Whose texts they are."""
    return Provenance(author=", ".join(bank.source) or "unknown", method="imported", review="none", licence=bank.licence)


def read_bank(path: Path) -> BankFile:
    """A bank file, checked. Raises `CatalogError`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CatalogError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
        bank = msgspec.json.decode(path.read_bytes(), type=BankFile)
    except OSError as e:
        raise CatalogError(f"cannot read this bank: {e.strerror}", where=str(path), fix="Make one with: assay import") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise CatalogError(f"not a bank file: {e}", where=str(path), fix="Make one with: assay import") from None
    check_bank(bank, str(path))
    return bank


def check_bank(bank: BankFile, where: str) -> None:
    """Every language has the same items, and not more than can be handled. Raises `CatalogError`."""
    first, *others = bank.prompts.items()
    if len(first[1]) > MAX_ITEMS or len(first[1]) < 2:
        raise CatalogError(f"{len(first[1]):,} items; a bank has 2 to {MAX_ITEMS:,}", where=where)
    for tag, prompts in others:
        if prompts.keys() != first[1].keys():
            raise CatalogError(f"'{tag}' and '{first[0]}' do not have the same items", where=where, fix="Make a bank of each.")
    for name, attack in bank.attacks.items():
        if attack.prompts.keys() != bank.prompts.keys() or any(attack.prompts[t].keys() != p.keys() for t, p in bank.prompts.items()):
            raise CatalogError(f"the attack '{name}' is not there for every item in every language", where=where)
    for tag, prompts in bank.prompts.items():
        empty = next((i for i, text in prompts.items() if not text.strip()), None)
        if empty is not None:
            raise CatalogError(f"item {empty!r} has no text in '{tag}'", where=where)
