"""What a target is called where people read: its model's name, with its kind before it where that name alone says nothing.

title_of({"kind": "scripted", "model": "0.4"}), title_of({"kind": "http", "model": "my-model"})      # "scripted:0.4", "my-model"
"""

from __future__ import annotations

from collections.abc import Mapping

RATES = ("scripted", "scripted-judge")
"""Kinds whose model is no name but how often they do what."""


def title_of(target: Mapping[str, str]) -> str:
    """The title of a target's record; `target` where it names no model."""
    model = target.get("model", "target")
    return f"{target['kind']}:{model}" if target.get("kind") in RATES else model
