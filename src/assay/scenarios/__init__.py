"""(catalog, seed, stream, index) -> item. Pure: the same arguments give the same item on any machine."""

from assay.scenarios.build import ItemBuilder, Transform
from assay.scenarios.draw import Draw
from assay.scenarios.item import Check, Item, Message
from assay.scenarios.lint import lint
from assay.scenarios.prf import Prf
from assay.scenarios.slots import GENERATORS, Path

__all__ = ["GENERATORS", "Check", "Draw", "Item", "ItemBuilder", "Message", "Path", "Prf", "Transform", "lint"]
