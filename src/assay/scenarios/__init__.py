"""(catalog, seed, stream, index) -> item. Pure: the same arguments give the same item on any machine."""

from assay.scenarios.adversary import Attack, Context, Path, graphemes, placebo, turned
from assay.scenarios.build import ItemBuilder
from assay.scenarios.draw import Draw
from assay.scenarios.item import Check, Item, Message, Turn, WithheldItem, WorldItem
from assay.scenarios.lint import distinct_items, gaps, lint
from assay.scenarios.lint_worlds import lint_worlds
from assay.scenarios.prf import Prf
from assay.scenarios.slots import GENERATORS

__all__ = [
    "GENERATORS",
    "Attack",
    "Check",
    "Context",
    "Draw",
    "Item",
    "ItemBuilder",
    "Message",
    "Path",
    "Prf",
    "Turn",
    "WithheldItem",
    "WorldItem",
    "distinct_items",
    "gaps",
    "graphemes",
    "lint",
    "lint_worlds",
    "placebo",
    "turned",
]
