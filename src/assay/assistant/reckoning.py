"""What a run of a plan may use, and what one has used: calls, tokens and money of its target, its attacker and its judges.

    most(plan, catalog)                        # calls, before it starts
    amounts_of(plan, catalog, grants)          # what is set aside; RefusedError beyond one run's share, or for models outside the grants
    used_by(Path("runs/quick-1/run.db"))       # what is settled

Calls of the target always count. Those of an attacker and of judges count where their targets are not on this machine; such a target has
to stand in the grants, as the run's own has. The plan's budgets hold for the target and the attacker, whose tokens stand in its trials.
Judges are outside of them, so what they may use at most is added: every trial read by every judge as often as the plan lets it. What they
read of it in all is no longer than what target and attacker read and wrote, so `budget.tokens` bounds that too. All is priced as the plan
says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from assay.access.store.base import Amounts
from assay.assistant.grants import OWN_TARGET, Grants, RefusedError
from assay.catalog import Catalog
from assay.engine.spending import BYTES_PER_TOKEN, Spending
from assay.engine.strategies import most_calls
from assay.judges.reading import MAX_TRANSCRIPT, Said
from assay.plan import JudgeSpec, Plan, TargetSpec, streams
from assay.runs import RunFile, Trial
from assay.targets import parse_target

MILLIONTHS = 1_000_000
FREE = ("embedded", "recorded", "scripted", "scripted-judge", "strings")
"""Targets on this machine: they cost no money."""
RUBRIC = 6_000
"""Tokens of a rubric with its instructions: twice the longest of the catalogue (8,171 bytes, in Burmese), at three bytes a token."""
LONGEST_PROMPT = MAX_TRANSCRIPT + RUBRIC
"""Tokens of what a judge is first sent, at most: a transcript's characters a token each."""
SPREAD = 3
"""How many times more tokens a judge may count in a text than its target did, with the marks of the lines."""


def paid_judges(plan: Plan) -> tuple[JudgeSpec, ...]:
    """The judges that are not on this machine."""
    return tuple(spec for spec in plan.judges.panel if spec.target.kind not in FREE) if plan.judges else ()


def paid_attacker(plan: Plan) -> TargetSpec | None:
    """The attacker, if it is not on this machine."""
    return plan.attacker.target if plan.attacker and plan.attacker.target.kind not in FREE else None


def outside(plan: Plan, grants: Grants) -> list[TargetSpec]:
    """Attacker and judges that are neither on this machine nor among the grants' targets: kind, model, address and the key's name count."""
    given = {_who(parse_target(text)) for text in grants.targets if text != OWN_TARGET}
    attacker = paid_attacker(plan)
    others = [*([attacker] if attacker else []), *(spec.target for spec in paid_judges(plan))]
    return [spec for spec in others if _who(spec) not in given]


def most(plan: Plan, catalog: Catalog) -> int:
    """The most calls in a run of this plan, retries aside: of the target, and of an attacker and judges that are not on this machine."""
    attacker = paid_attacker(plan) is not None
    each = max((p.target + p.attacker * attacker for p in (most_calls(plan, s) for s in streams(plan))), default=1)
    return plan.budget.calls * each + _judge_calls(plan, catalog, 1) * len(paid_judges(plan))


def amounts_of(plan: Plan, catalog: Catalog, grants: Grants) -> Amounts:
    """What a run of this plan may use. Raises `RefusedError`: beyond one run's share, or with models that the grants do not name."""
    if strangers := outside(plan, grants):
        said = ", ".join(sorted({f"{s.kind}:{s.model} {s.url}".strip() for s in strangers}))
        raise RefusedError(
            f"the plan's judges or attacker are no targets of the grants: {said}",
            fix="The owner names them in targets, or the plan has others.",
        )
    each, budget, calls = grants.each_run, plan.budget, most(plan, catalog)
    if calls > each.calls:
        raise RefusedError(f"the plan may make {calls:,} calls, the grants give a run {each.calls:,}")
    tokens = money = 0
    prompt, answer = _judge_tokens(plan, catalog)
    if each.tokens != "any":
        tokens = budget.tokens + prompt + answer
        if not budget.tokens or tokens > each.tokens:
            what = f"{tokens:,} tokens{' with its judges' if prompt else ''}" if budget.tokens else "no limit of tokens"
            raise RefusedError(f"the plan has {what}, the grants give a run {each.tokens:,}", fix="The plan's owner sets budget.tokens.")
    if each.money != "any" and _costs(plan):
        money = _money(plan, grants, each.money, prompt, answer)
    return Amounts(calls, tokens, money)


def used_by(run: Path) -> Amounts:
    """Calls, tokens and money (millionths) of a run, as its trials say; where an endpoint reports no tokens, by length.

    An attacker's calls are not in the trials, and count as the most that there can have been; so do those about the calibration's anchors.
    """
    with RunFile.read(run) as file:
        opening = file.opening()
        plan, catalog = opening.plan, opening.catalog
        attacker, judges = paid_attacker(plan) is not None, _paid_seats(plan)
        spending = Spending(plan)
        calls = _judge_calls(plan, catalog, 0) * len(judges)
        read_prompt = read_answer = 0
        for trial in file.trials():
            spending.add(trial)
            calls += sum(status != "cached" for status, _ in trial.attempts)
            calls += most_calls(plan, trial.stream).attacker * attacker
            for said in _said_by(trial, judges):
                calls += max(1, len(said.replies) + bool(said.failure))
                read_prompt += said.tokens[0] or LONGEST_PROMPT * len(said.replies)
                read_answer += said.tokens[1] or sum(len(r.encode()) for r in said.replies) // BYTES_PER_TOKEN
    _, prompt, answer = spending.state()
    prompt, answer = prompt + read_prompt, answer + read_answer
    money = plan.budget.prices.cost(prompt, answer) if plan.budget.prices else 0.0
    return Amounts(calls, prompt + answer, round(money * MILLIONTHS))


def _money(plan: Plan, grants: Grants, each: float, prompt: int, answer: int) -> int:
    """Millionths: the plan's budget, and its judges' most at the plan's prices. Raises `RefusedError`."""
    budget = plan.budget
    if budget.prices is None or not budget.money:
        raise RefusedError(f"the plan has no limit of money, the grants give a run {each:,.2f}", fix="The plan's owner sets budget.money.")
    if budget.prices.currency != grants.currency:
        raise RefusedError(f"the plan's prices are in {budget.prices.currency}, the grants' money in {grants.currency}")
    money = budget.money + budget.prices.cost(prompt, answer)
    if money > each:
        what = f"{money:,.2f}{' with its judges' if prompt else ''}"
        raise RefusedError(f"the plan has {what}, the grants give a run {each:,.2f}", fix="The plan's owner sets budget.money.")
    return round(money * MILLIONTHS)


def _costs(plan: Plan) -> bool:
    return plan.target.kind not in FREE or paid_attacker(plan) is not None or bool(paid_judges(plan))


def _judge_calls(plan: Plan, catalog: Catalog, trials: int) -> int:
    """Tries of one judge, at most: about every trial of the budget (`trials` 1) or none (0), and about every anchor of its calibration."""
    return plan.judges.tries * (plan.budget.calls * trials + len(catalog.anchors)) if plan.judges else 0


def _judge_tokens(plan: Plan, catalog: Catalog) -> tuple[int, int]:
    """Of prompts and of replies, at most, of the judges that are not on this machine."""
    judges = paid_judges(plan)
    if plan.judges is None or not judges:
        return 0, 0
    tries = plan.judges.tries
    trials, anchors, calls = tries * plan.budget.calls, _judge_calls(plan, catalog, 0), _judge_calls(plan, catalog, 1)
    read = trials * LONGEST_PROMPT
    if plan.budget.tokens:
        read = min(read, SPREAD * tries * plan.budget.tokens + trials * RUBRIC)
    answers = calls * sum(spec.max_tokens for spec in judges)
    earlier = (tries - 1) * answers  # a judge that is asked again is shown what it said before
    return (read + anchors * LONGEST_PROMPT) * len(judges) + earlier, answers


def _paid_seats(plan: Plan) -> list[int]:
    return [i for i, spec in enumerate(plan.judges.panel) if spec.target.kind not in FREE] if plan.judges else []


def _said_by(trial: Trial, seats: list[int]) -> Iterator[Said]:
    return (trial.said[i] for i in seats if i < len(trial.said))


def _who(spec: TargetSpec) -> tuple[str, str, str, str]:
    return spec.kind, spec.model, spec.url, spec.api_key_env
