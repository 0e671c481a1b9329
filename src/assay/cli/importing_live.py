"""`assay import inspect-task|agentdojo`: samples of other tools, to be played live. What they do is in `importing_sources`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from assay.sources.file import MEMORY_MB, SAMPLE_S

_COMMON = (
    click.option("--name", required=True, help="The bank's name: the hazard that the plan names."),
    click.option("--title", default="", help="For people who label: what is a violation, in a sentence."),
    click.option("--target", default="", metavar="T", help="The system under test, as in `assay run --target`; else edit the plan."),
    click.option("--python", default="", metavar="PATH", help="The interpreter that has the tool, if it is not this one."),
    click.option("--sample-s", type=click.IntRange(1, 86_400), default=SAMPLE_S, show_default=True, help="Seconds that a sample may take."),
    click.option("--calls", type=click.IntRange(1, 10_000), default=300, show_default=True, help="Calls of the target in a sample."),
    click.option("--memory-mb", type=click.IntRange(0), default=MEMORY_MB, show_default=True, help="Of the worker; 0 for no limit."),
    click.option("--out", type=click.Path(path_type=Path), help="Folder for bank, list of samples and plan; NAME unless given."),
)


def _common(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_COMMON):
        function = option(function)
    return function


@click.command("inspect-task")
@click.argument("task")
@_common
@click.option("--language", required=True, help="Language tag of the samples.")
@click.option("--licence", required=True, help="Of the data set.")
@click.option("--scorer", default="", help="Whose word flags answers: NAME, or NAME.VALUE of one with several values.")
@click.option("--violation", multiple=True, metavar="VALUE", help="A value that means a violation, or a comparison such as '>=0.5'.")
@click.option("--safe", multiple=True, metavar="VALUE", help="One that means none; the opposites of --violation unless given.")
@click.option("-T", "arguments", multiple=True, metavar="NAME=VALUE", help="An argument of the task, as with `inspect eval`.")
@click.option("--role", "roles", multiple=True, metavar="NAME=MODEL", help="A model that the task asks beside its own: grader=openai/...")
@click.option(
    "--env", "environment", multiple=True, metavar="NAME", help="An environment variable that the worker may see: a grader's key."
)
@click.option("--epochs", type=click.IntRange(1, 1000), default=1, show_default=True, help="Items a sample: `ID~2` is its second time.")
@click.option(
    "--sandbox", type=click.Choice(["docker", "local"]), default=None, help="Instead of the task's own. `local` isolates nothing."
)
@click.option("--leave-out", is_flag=True, help="Leave samples out that cannot be played in text: images.")
def inspect_task(**given: Any) -> None:
    """Any Inspect task, played sample by sample: TASK is a task of an installed package, or a file.

    Assay draws the samples, Inspect plays and scores them, and people decide what the scorer flags: `assay label`. The worker runs the
    task's code: import what you would run with `inspect eval`.

    \b
    Examples:
      assay import inspect-task my_task.py@chat --name mine --language en --licence CC-BY-4.0 --scorer match --violation I
      assay import inspect-task inspect_evals/agentic_misalignment --name misaligned --language en --licence MIT \\
        --scorer harmfulness_scorer --violation '>=1' --role grader=openai/gpt-x --env OPENAI_API_KEY
    """
    from assay.cli.importing_sources import import_inspect_task

    import_inspect_task(given)


@click.command("agentdojo")
@click.argument("suites", nargs=-1, required=True, metavar="SUITE...")
@_common
@click.option("--attack", default="important_instructions_no_names", show_default=True, help="Of AgentDojo's own; empty for none.")
@click.option("--benchmark", default="v1.2.2", show_default=True, help="Version of its tasks.")
@click.option("--called", default="", metavar="NAME", help="What the attack calls the model, where it calls it by name.")
@click.option("--licence", default="MIT", show_default=True, help="AgentDojo's own.")
def agentdojo(**given: Any) -> None:
    """AgentDojo's suites, played task by task: SUITE is workspace, travel, banking, slack or all.

    An injected goal that is reached is a violation; the user tasks with nothing injected have a bank of their own. Needs an interpreter
    with agentdojo: --python, or ASSAY_AGENTDOJO_PYTHON.

    \b
    Examples:
      assay import agentdojo banking --name dojo --python .venvs/agentdojo/bin/python
      assay import agentdojo all --name dojo --attack tool_knowledge --called Claude
    """
    from assay.cli.importing_sources import import_agentdojo

    import_agentdojo(given)
