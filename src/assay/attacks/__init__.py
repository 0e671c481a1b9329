"""Attacks: item -> item. What an attack costs or gains is the paired difference to its placebo."""

from assay.attacks.transforms import ATTACKS, UNDO

__all__ = ["ATTACKS", "UNDO"]
