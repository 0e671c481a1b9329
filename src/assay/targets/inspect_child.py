"""python -m assay.targets.inspect_child: a model of Inspect AI behind a pipe; `inspect_wire.py` has what goes in and out.

In a process of its own: importing Inspect costs seconds and 90 MB, its providers' clients are many, and none of that belongs beside the
run file. Standard output is the pipe's alone: what a library prints goes to standard error. It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from importlib.metadata import version
from typing import Any, BinaryIO

import msgspec
import yaml
from inspect_ai.model import GenerateConfig, Model, ModelOutput, ModelUsage, ResponseSchema, get_model
from inspect_ai.util import JSONSchema

from assay.targets.inspect_messages import Conversations, tools_of
from assay.targets.inspect_reading import read_error, read_output
from assay.targets.inspect_wire import REQUEST_LINE, Answer, Ask, Cancel, Ready, Refused, Settings, answer_line, line

MOCK = "mockllm"
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
MARKUP = re.compile(r"\[/?[a-z ]*\]")
NO_RETRIES: dict[str, dict[str, Any]] = {
    name: {"max_retries": 0}
    for name in (
        "anthropic", "cloudflare", "deepseek", "fireworks", "groq", "hf-inference-providers", "meta", "moonshot", "openai", "openai-api",
        "openrouter", "perplexity", "sambanova", "together",
    )
}  # fmt: skip
"""Providers whose own client tries a failed call again, and how it is told not to: each try is Assay's, and is in the trial."""


def main() -> int:
    """Serve until standard input ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        return asyncio.run(_serve(out))
    except BrokenPipeError:
        return 1


async def _serve(out: BinaryIO) -> int:
    reader = asyncio.StreamReader(limit=REQUEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    settings = msgspec.json.decode(await reader.readline(), type=Settings)
    try:
        model = open_model(settings)
    except BaseException as e:  # noqa: BLE001 (a provider ends the process where its client or its key is missing)
        _tell(out, line(Refused(*_refused(e, settings))))
        return 1
    provider = settings.model.partition("/")[0]
    _tell(out, line(Ready(version("inspect_ai"), provider, _address(model))))
    async with model:
        await Server(settings, model, out).serve(reader)
    return 0


def _tell(out: BinaryIO, data: bytes) -> None:
    out.write(data)
    out.flush()


def open_model(settings: Settings) -> Model:
    """The model by its name, as `get_model` makes it: no cache, no retries, no limit on calls but the plan's."""
    options = {name: yaml.safe_load(value) for name, value in settings.options.items()}
    provider = settings.model.partition("/")[0]
    if provider == MOCK:
        options["custom_outputs"] = _mocked
    given = {**NO_RETRIES.get(provider, {}), **options}
    config = GenerateConfig(
        max_tokens=settings.max_tokens, temperature=settings.temperature, max_retries=0, max_connections=settings.connections,
        adaptive_connections=False, cache=False, fail_on_refusal=False, internal_tools=False,
    )  # fmt: skip
    return get_model(
        settings.model, config=config, base_url=settings.url or None, api_key=settings.key or None, memoize=False, **given
    )  # fmt: skip


def _mocked(*_: Any) -> ModelOutput:
    """What the mock says, with its usage: to count tokens it would fetch a tokenizer from the network."""
    output = ModelOutput.from_content(f"{MOCK}/model", "Default output from mockllm/model")
    output.usage = ModelUsage()
    return output


def _address(model: Model) -> str:
    """Where calls go, as far as the provider says; without what may stand in an address for a name and a password."""
    url = model.api.base_url or ""
    return re.sub(r"//[^/@]*@", "//", str(url))[:500]


def _refused(error: BaseException, settings: Settings) -> tuple[str, str]:
    """Why the model could not be opened, in Inspect's words, without markup and without anything that the environment calls a secret."""
    message = getattr(error, "message", None)
    words = " ".join(MARKUP.sub("", str(message if message is not None else error)).split())
    secrets = [settings.key, *(value for name, value in os.environ.items() if SECRET.search(name))]
    for secret in sorted({s for s in secrets if len(s) > 5}, key=len, reverse=True):
        words = words.replace(secret, "[secret]")
    plain = "".join(c if c.isprintable() else "?" for c in words)[:400]
    if isinstance(error, ValueError | ImportError) or message is not None:
        return plain or type(error).__name__, "Names are PROVIDER/MODEL, as inspect eval --model takes them."
    return f"the provider cannot be opened ({type(error).__name__}): {plain}", ""


class Server:
    """All calls of one model. Each runs in a task of its own, so that what Inspect records of it goes when it is over."""

    def __init__(self, settings: Settings, model: Model, out: BinaryIO) -> None:
        self._settings, self._model, self._out = settings, model, out
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._talk = Conversations()

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Until the input ends; then nothing is waited for."""
        decode = msgspec.json.Decoder(Ask | Cancel).decode
        try:
            while found := await reader.readline():
                match decode(found):
                    case Ask() as ask:
                        self._tasks[ask.id] = asyncio.create_task(self._answer(ask))
                    case Cancel(id=number) if number in self._tasks:
                        self._tasks[number].cancel()
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, ask: Ask) -> None:
        try:
            _tell(self._out, await self._line(ask))
        finally:
            del self._tasks[ask.id]

    async def _line(self, ask: Ask) -> bytes:
        try:
            messages, tools, config = self._talk.messages(ask.messages), tools_of(ask.tools), self._config(ask)
        except (ValueError, KeyError, TypeError) as e:
            return line(Answer(ask.id, failure=f"Inspect cannot take these messages ({type(e).__name__})"))
        try:
            output = await self._model.generate(messages, tools=tools, config=config)
            answer = read_output(ask.id, output, self._settings.most_characters)
            self._talk.remember(ask.messages, answer, output)
        except Exception as e:  # noqa: BLE001 (any provider's errors)
            answer = read_error(ask.id, e, self._model)
        data = line(answer)
        if len(data) > answer_line(self._settings.most_characters):
            return line(Answer(ask.id, failure="the answer is too large"))
        return data

    def _config(self, ask: Ask) -> GenerateConfig:
        config = GenerateConfig(seed=ask.seed, max_tokens=ask.max_tokens)
        if ask.form:
            config.response_schema = ResponseSchema(name="reply", json_schema=JSONSchema.model_validate(ask.form), strict=True)
        return config


if __name__ == "__main__":
    sys.exit(main())
