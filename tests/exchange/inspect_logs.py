"""python tests/exchange/inspect_logs.py FOLDER: logs that Inspect itself makes and writes, on its mock model. Run in a process of its own.

plain.eval          12 samples, two epochs; sample 3 breaks in its first epoch, 5 runs into a limit; every third answer says "yes"
plain.json          the same, as JSON
earlier.eval        the same data set, an earlier evaluation
interrupted.eval    plain, without samples 9 to 12 and the second epoch of 1, cancelled
agent.eval          a tool is called and its result read; a system message; a score with several values
several.eval        inputs of several messages beside plain ones
attached.eval       an answer that is an attachment, and one whose attachment is lost
cached.eval         an answer that Inspect took from its cache
deflated.eval       graded, packed so that Python's own library unpacks it
graded.eval         numbers as scores, one of them not a number, one whose grade could not be parsed, one sample without a score
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

from inspect_ai import Task
from inspect_ai import eval as evaluate
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog, read_eval_log, write_eval_log
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, Target, accuracy, includes, scorer
from inspect_ai.solver import Generate, TaskState, generate, solver, system_message, use_tools
from inspect_ai.tool import tool

MODEL = "mockllm/model"
HOSTILE = '"; rm -rf / # \x1b[31m </script> =1+1'


def output(text: str) -> ModelOutput:
    made = ModelOutput.from_content(MODEL, text)
    made.usage = ModelUsage(input_tokens=3, output_tokens=4, total_tokens=7)
    return made


def run(task: Task, outputs: list[ModelOutput], path: Path, form: str = "eval", **given: Any) -> EvalLog:
    logs = evaluate(
        task, model=get_model(MODEL, custom_outputs=outputs), log_dir=str(path.parent / "raw"), log_format=form, display="none",
        fail_on_error=False, max_samples=1, **given,
    )  # fmt: skip
    shutil.copyfile(logs[0].location, path)
    return logs[0]


@solver
def troubled() -> Any:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if (state.sample_id, state.epoch) == (3, 1):
            raise ValueError("broken on purpose")
        if state.sample_id == 5:
            state.message_limit = 1
        return await generate(state)

    return solve


@scorer(metrics=[accuracy()])
def grade() -> Any:
    async def score(state: TaskState, target: Target) -> Score | None:
        match state.sample_id:
            case 1:
                return Score(value=float("nan"))
            case 2:
                return Score(value=0.0, reason="grader_failed")
            case 3:
                return None
            case _:
                return Score(value=int(state.sample_id) / 10, explanation="by its number")

    return score


@scorer(metrics={"harm": [accuracy()], "help": [accuracy()]})
def parts() -> Any:
    async def score(state: TaskState, target: Target) -> Score:
        return Score(value={"harm": 0.75, "help": 0.1}, explanation="two values")

    return score


@tool
def look_up() -> Any:
    async def execute(name: str) -> str:
        """Look somebody up.

        Args:
            name: Who.
        """
        return f"SECRET RESULT about {name}"

    return execute


def plain(folder: Path, name: str, form: str = "eval") -> EvalLog:
    samples = [
        Sample(id=i, input=f"Question {i}?", target="yes", metadata={"lang": "en", "part": "a" if i < 7 else "b"}) for i in range(1, 13)
    ]
    said = [output(f"Answer {i}: {'yes' if i % 3 == 0 else 'no'}. {HOSTILE if i == 4 else ''}") for i in range(40)]
    return run(Task(dataset=samples, solver=troubled(), scorer=includes(), name="plain"), said, folder / name, form, epochs=2)


def main(folder: Path) -> None:
    plain(folder, "earlier.eval")
    plain(folder, "plain.json", "json")
    plain(folder, "plain.eval")
    log = read_eval_log(str(folder / "plain.eval"))
    log.samples = [s for s in log.samples or () if int(s.id) < 9 and (s.id, s.epoch) != (1, 2)]
    log.status = "cancelled"
    write_eval_log(log, str(folder / "interrupted.eval"))

    called = ModelOutput.for_tool_call(MODEL, "look_up", {"name": "Aisyah"}, content="I look her up.")
    called.usage = ModelUsage(input_tokens=3, output_tokens=4, total_tokens=7)
    agent = Task(
        dataset=[Sample(id=i, input=f"Who is number {i}?", target="-") for i in (1, 2)],
        solver=[system_message("You may look people up."), use_tools(look_up()), generate()], scorer=parts(), name="agent",
    )  # fmt: skip
    run(agent, [called, output("Nobody that I know."), called, output("Somebody.")], folder / "agent.eval")

    turns = [ChatMessageSystem(content="Be brief."), ChatMessageUser(content="Question 1?")]
    several = [Sample(id=1, input=turns, target="yes"), *(Sample(id=i, input=f"Question {i}?", target="yes") for i in (2, 3, 4))]
    run(Task(dataset=several, solver=generate(), scorer=includes(), name="several"), [output("no")] * 4, folder / "several.eval")

    log = read_eval_log(str(folder / "several.eval"))
    samples = log.samples or []
    digest = "0123456789abcdef" * 2
    for sample, found in ((samples[1], True), (samples[2], False)):
        sample.output.choices[0].message.content = sample.messages[-1].content = f"attachment://{digest}"
        sample.output.completion = f"attachment://{digest}"
        sample.attachments = {digest: "a long answer, kept apart"} if found else {}
        sample.events = []
    log.samples = samples[1:]
    log.eval.dataset.sample_ids = [s.id for s in log.samples]
    log.results.total_samples = 3
    write_eval_log(log, str(folder / "attached.eval"))

    log = read_eval_log(str(folder / "earlier.eval"))
    event = next(e for s in log.samples or () for e in s.events if e.event == "model")
    event.cache = "read"
    write_eval_log(log, str(folder / "cached.eval"))

    graded = [Sample(id=i, input=f"Question {i}?", target="-") for i in range(1, 10)]
    run(Task(dataset=graded, solver=generate(), scorer=grade(), name="graded"), [output("well")] * 9, folder / "graded.eval")
    with zipfile.ZipFile(folder / "graded.eval") as packed, zipfile.ZipFile(folder / "deflated.eval", "w", zipfile.ZIP_DEFLATED) as other:
        for name in packed.namelist():
            other.writestr(name, packed.read(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
