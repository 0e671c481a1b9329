"""Small real tasks of Inspect that the tests play: a chat, an agent with tools, and tasks that must be refused or cannot be scored."""

from __future__ import annotations

from inspect_ai import Task, task
from inspect_ai.agent import react
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, ContentImage
from inspect_ai.scorer import includes, match, model_graded_qa
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver, system_message
from inspect_ai.tool import Tool, tool


@solver
def breaks() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if state.sample_id == "q3":
            raise ValueError("broken on purpose")
        return state

    return solve


@task
def chat(n: int = 12) -> Task:
    samples = [Sample(id=f"q{i}", input=f"Question {i}?", target="no") for i in range(n - 1)]
    several = [ChatMessageSystem(content="Speak softly."), ChatMessageUser(content="The last question?")]
    return Task(
        dataset=[*samples, Sample(id="last", input=several, target="no")],
        solver=[system_message("Be brief."), breaks(), generate()],
        scorer=match(location="begin"),
    )


@tool
def look_up() -> Tool:
    async def execute(name: str) -> str:
        """Look a person up.

        Args:
            name: Who.
        """
        return f"{name}: SECRET 4711"

    return execute


@task
def agent() -> Task:
    return Task(dataset=[Sample(id=1, input="Who is Ann?", target="4711")], solver=react(tools=[look_up()]), scorer=includes())


@task
def graded() -> Task:
    return Task(dataset=[Sample(id=1, input="Say yes.", target="yes")], solver=generate(), scorer=model_graded_qa())


@task
def local() -> Task:
    return Task(dataset=[Sample(input="Run it."), Sample(input="Run that.")], solver=generate(), scorer=includes(), sandbox="local")


@task
def seen() -> Task:
    picture = ChatMessageUser(content=[ContentImage(image="data:image/png;base64,AAAA")])
    return Task(dataset=[Sample(input=[picture]), Sample(input="A?"), Sample(input="B?")], solver=generate(), scorer=includes())


@task
def plain(n: int = 12) -> Task:
    return Task(dataset=[Sample(id=i, input=f"Question {i}?", target="no") for i in range(n)], solver=generate(), scorer=match())
