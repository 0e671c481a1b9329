"""The task that Inspect evaluates."""

from __future__ import annotations

from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import Sample, json_dataset
from inspect_ai.model import ChatMessageSystem, ChatMessageUser
from inspect_ai.scorer import includes
from inspect_ai.solver import generate


def sample(record: dict[str, Any]) -> Sample:
    """One prompt of the file."""
    return Sample(
        id=record["id"],
        input=[ChatMessageSystem(content=record["system"]), ChatMessageUser(content=record["user"])],
        target="help",
    )


@task
def bench(prompts: str) -> Task:
    """Every prompt once; correct if the answer contains the word."""
    return Task(dataset=json_dataset(prompts, sample), solver=generate(), scorer=includes())
