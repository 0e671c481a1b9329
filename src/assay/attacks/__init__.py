"""Attacks: item -> item. Each comes with its placebo; what an attack costs or gains is the paired difference to it."""

from assay.attacks.transforms import ATTACKS

__all__ = ["ATTACKS"]
