"""Sends every prompt of a file with PyRIT.

pyrit_program.py PROMPTS CONCURRENCY WORK
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from pyrit.executor.attack import AttackExecutor, AttackScoringConfig, PromptSendingAttack
from pyrit.models import Message
from pyrit.prompt_target import OpenAIChatTarget
from pyrit.score import SubStringScorer
from pyrit.setup import initialize_pyrit_async


async def run(prompts: Path, concurrency: int, work: Path) -> None:
    """One attack a prompt, each with its own system prompt."""
    await initialize_pyrit_async("SQLite", db_path=work / "pyrit.db", load_defaults=False, silent=True)
    records = [json.loads(line) for line in prompts.read_text().splitlines()]
    attack = PromptSendingAttack(
        objective_target=OpenAIChatTarget(temperature=0, extra_body_parameters={"max_tokens": 64}),
        attack_scoring_config=AttackScoringConfig(objective_scorer=SubStringScorer(substring="help", categories=["help"])),
    )
    results = await AttackExecutor(max_concurrency=concurrency).execute_attack_async(
        attack=attack,
        objectives=[record["user"] for record in records],
        field_overrides=[
            {"prepended_conversation": Message.from_system_prompts(record["system"]), "memory_labels": {"id": str(record["id"])}}
            for record in records
        ],
    )
    print(len(results))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
