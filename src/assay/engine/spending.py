"""What a run has spent of its plan's tokens and money, and whether another trial would go beyond."""

from __future__ import annotations

from typing import Any, Literal

from assay.plan import Plan
from assay.runs import Trial

BYTES_PER_TOKEN = 3
_FIRST_PROMPT = 1000


class Spending:
    """Counts tokens as the target reports them, else by the length of the answer and the mean prompt."""

    def __init__(self, plan: Plan) -> None:
        self._budget = plan.budget
        self._max_answer = plan.generation.max_tokens
        self._metered = bool(plan.budget.tokens or plan.budget.money)
        self._trials = self._prompt = self._answer = 0
        self.under_way = 0

    def add(self, trial: Trial) -> None:
        """A committed trial, which is no longer under way."""
        prompt, answer = trial.tokens
        self._trials += 1
        self._prompt += prompt or (self._prompt // (self._trials - 1) if self._trials > 1 else _FIRST_PROMPT)
        self._answer += answer or len(trial.answer.encode()) // BYTES_PER_TOKEN

    def over(self) -> Literal["tokens", "money", None]:
        """Which budget another trial would overrun, all that is under way counted at the mean prompt and the longest answer."""
        if not self._metered:
            return None
        mean_prompt = self._prompt // self._trials if self._trials else _FIRST_PROMPT
        prompt = self._prompt + (self.under_way + 1) * mean_prompt
        answer = self._answer + (self.under_way + 1) * self._max_answer
        if self._budget.tokens and prompt + answer > self._budget.tokens:
            return "tokens"
        if self._budget.money and self._budget.prices and self._budget.prices.cost(prompt, answer) > self._budget.money:
            return "money"
        return None

    def state(self) -> list[Any]:
        """For a checkpoint."""
        return [self._trials, self._prompt, self._answer]

    def restore(self, state: list[Any]) -> None:
        """Inverse of `state`."""
        self._trials, self._prompt, self._answer = state
