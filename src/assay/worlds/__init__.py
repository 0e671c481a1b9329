"""Agent worlds: records, tools and a ledger of what was done, in any language. docs/worlds.md shows how to write a family."""

from assay.worlds.episode import Case, Episode, Logged, draw_case, draw_with_goal, finish, has_plain_names
from assay.worlds.families import FAMILIES, load_family
from assay.worlds.family import Call, Family, Goal, Params, Task
from assay.worlds.protocol import call_line, describe_tools, native_tools, read_calls, results_text
from assay.worlds.values import Dice, Money, Person, Slot, Term, Text
from assay.worlds.words import Words
from assay.worlds.world import Done, Effect, Tool, World, tool

__all__ = [
    "FAMILIES",
    "Call",
    "Case",
    "Dice",
    "Done",
    "Effect",
    "Episode",
    "Family",
    "Goal",
    "Logged",
    "Money",
    "Params",
    "Person",
    "Slot",
    "Task",
    "Term",
    "Text",
    "Tool",
    "Words",
    "World",
    "call_line",
    "describe_tools",
    "draw_case",
    "draw_with_goal",
    "finish",
    "has_plain_names",
    "load_family",
    "native_tools",
    "read_calls",
    "results_text",
    "tool",
]
