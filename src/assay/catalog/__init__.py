"""The content as data: hazards, languages, scenario texts, attack texts. docs/content.md says how to write them."""

from assay.catalog.banks import BankFile, read_bank
from assay.catalog.content import Anchor, AttackTexts, Catalog, Hazard, HazardTexts, JudgeAttacks, Language, Scenario, Texts
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
from assay.catalog.yamlfile import Located

__all__ = [
    "Anchor",
    "AttackTexts",
    "BankFile",
    "Catalog",
    "Hazard",
    "HazardTexts",
    "JudgeAttacks",
    "Language",
    "Located",
    "Scenario",
    "Texts",
    "attack_kinds",
    "hazard_ids",
    "language_tags",
    "load_catalog",
    "load_everything",
    "read_answers",
    "read_bank",
    "read_judge_attacks",
    "with_rubrics",
]
