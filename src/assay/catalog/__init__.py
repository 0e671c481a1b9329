"""The content as data: hazards, languages, scenario texts, attack texts. docs/content.md says how to write them."""

from assay.catalog.banks import BankFile, read_bank
from assay.catalog.content import Anchor, AttackTexts, Catalog, Hazard, HazardTexts, JudgeAttacks, Language, Scenario, SealedBank, Texts
from assay.catalog.files import (
    attack_kinds,
    hazard_ids,
    language_tags,
    load_catalog,
    load_everything,
    read_answers,
    read_judge_attacks,
    with_rubrics,
)
from assay.catalog.opening import Openers, open_banks
from assay.catalog.sealed import WITHHELD, LiveBank, Opened
from assay.catalog.yamlfile import Located

__all__ = [
    "WITHHELD",
    "Anchor",
    "AttackTexts",
    "BankFile",
    "Catalog",
    "Hazard",
    "HazardTexts",
    "JudgeAttacks",
    "Language",
    "LiveBank",
    "Located",
    "Opened",
    "Openers",
    "Scenario",
    "SealedBank",
    "Texts",
    "attack_kinds",
    "hazard_ids",
    "language_tags",
    "load_catalog",
    "load_everything",
    "open_banks",
    "read_answers",
    "read_bank",
    "read_judge_attacks",
    "with_rubrics",
]
