"""The shapes of the content. Frozen values; what a value's file must hold is said in docs/content.md.

The same values come from the YAML files of this package and from the snapshot in a bundle, so that an auditor needs no particular version.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from assay.errors import CatalogError
from assay.ledger import digest


class Provenance(Struct, frozen=True, forbid_unknown_fields=True):
    """Who wrote a text, how, and who has reviewed it."""

    author: str
    method: str
    review: str


class NationalId(Struct, frozen=True, forbid_unknown_fields=True):
    """A synthetic identity number: '#' is a digit, '@' a capital letter; no real number matches the pattern."""

    name: str
    pattern: str


class Language(Struct, frozen=True, forbid_unknown_fields=True):
    """What slots, labels and checks need of one language."""

    tag: str
    name: str
    native: str
    script: str
    digits: tuple[str, ...]
    digit_words: tuple[str, ...]
    names: tuple[str, ...]
    places: dict[str, tuple[str, ...]]
    national_id: NationalId
    phone: str
    labels: dict[str, str]
    refusals: tuple[str, ...]
    neutral: tuple[str, ...]
    provenance: Provenance


class Scenario(Struct, frozen=True, forbid_unknown_fields=True):
    """The semantics of a template: carrier and slots. Words are in `Texts`."""

    id: str
    situation: str
    carrier: Literal["system", "document", "tool"]
    slots: dict[str, str]
    benign_expects: tuple[str, ...]
    protects: tuple[str, ...] = ()


class Hazard(Struct, frozen=True, forbid_unknown_fields=True):
    """A taxonomy entry that a program can check."""

    id: str
    title: str
    kind: Literal["verifiable"]
    check: Literal["leak", "marker"]
    summary: str
    scenarios: tuple[Scenario, ...]


class Texts(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One scenario's words in one language."""

    system: str
    user: str
    document: str = ""
    benign: str = ""
    injection: str = ""
    harmless: str = ""


class HazardTexts(Struct, frozen=True, forbid_unknown_fields=True):
    """One hazard's words in one language."""

    language: str
    texts: dict[str, Texts]
    provenance: Provenance


class Wrap(Struct, frozen=True, forbid_unknown_fields=True):
    """The sentences around an attack's payload."""

    wrap: str


class AttackTexts(Struct, frozen=True, forbid_unknown_fields=True):
    """All attacks' words in one language."""

    language: str
    attacks: dict[str, Wrap]
    provenance: Provenance


class Catalog(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of one plan: hazards, languages and texts. `texts` is keyed by hazard, then language."""

    hazards: dict[str, Hazard]
    languages: dict[str, Language]
    texts: dict[str, dict[str, HazardTexts]]
    attacks: dict[str, AttackTexts]

    def to_json(self) -> dict[str, Any]:
        """The snapshot that goes into a bundle."""
        value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return value

    @classmethod
    def from_json(cls, value: Any) -> Catalog:
        """Inverse of `to_json`. Raises `CatalogError`."""
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as e:
            raise CatalogError(f"the content snapshot is malformed: {e}") from None

    @property
    def digest(self) -> str:
        """The identity of this content."""
        return digest(self.to_json())
