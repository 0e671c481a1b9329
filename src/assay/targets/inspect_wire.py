"""What Assay and the process that runs Inspect say to each other: one JSON object a line, tagged by `type`.

    in:   Settings, then Ask and Cancel, as they come        out:  Ready or Refused, then one Answer for each Ask

Neither side needs Inspect to read it. A text is bounded by whoever writes it, a line by whoever reads it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from assay.targets.base import Reply, ToolCall

MOST_CALLS = 64
REQUEST_LINE = 256 * 1024 * 1024
NO_OPTIONS = frozenset(
    {"api_key", "base_url", "config", "custom_outputs", "default", "max_retries", "memoize", "model", "required", "role"}
)  # fmt: skip
"""Arguments of `get_model` that are Assay's to give."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The first line: which model, how it decodes, how many calls at once; texts of at most so many characters. The key, where one was
    named, goes this way and no other: not by the command line, and into no file.
    """

    model: str
    url: str
    key: str
    options: dict[str, str]
    connections: int
    max_tokens: int
    temperature: float
    most_characters: int


class Ask(Struct, frozen=True, forbid_unknown_fields=True, tag="ask"):
    """One call of the model. Messages and tools have the form of chat completion interfaces; `form` is a JSON schema for the answer."""

    id: int
    messages: list[dict[str, Any]]
    seed: int
    max_tokens: int
    tools: list[dict[str, Any]] = []
    form: dict[str, Any] = {}


class Cancel(Struct, frozen=True, forbid_unknown_fields=True, tag="cancel"):
    """Nobody waits for this call any more."""

    id: int


class Ready(Struct, frozen=True, forbid_unknown_fields=True, tag="ready"):
    """The model is there. The version of Inspect, and what it calls the provider and the address that it will speak to."""

    inspect: str
    provider: str
    url: str


class Refused(Struct, frozen=True, forbid_unknown_fields=True, tag="refused"):
    """No call can succeed: no such provider, no key, its client is not installed."""

    what: str
    fix: str = ""


class Called(Struct, frozen=True, forbid_unknown_fields=True):
    """A native call in an answer; `text` are its arguments as JSON, or, where Inspect could not read them, its words about that."""

    id: str
    name: str
    text: str


class Answer(Struct, frozen=True, forbid_unknown_fields=True, tag="answer", omit_defaults=True):
    """What became of one call: the answer, or in `failure` why there is none. `status` is for the trial's attempts: an HTTP status or the
    name of an error. `fatal` says that no call can succeed (a refused key, no such model).
    """

    id: int
    text: str = ""
    finish: str = ""
    model: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    truncated: bool = False
    calls: tuple[Called, ...] = ()
    status: str = "200"
    failure: str = ""
    outage: bool = False
    busy: bool = False
    retry_after_s: float = 0.0
    fatal: bool = False

    def reply(self) -> Reply:
        """The same for the engine."""
        calls = tuple([ToolCall(call.id, call.name, call.text) for call in self.calls])
        return Reply(
            self.text, self.finish, self.model, self.prompt_tokens, self.answer_tokens, failure=self.failure, outage=self.outage,
            busy=self.busy, truncated=self.truncated, retry_after_s=self.retry_after_s, calls=calls,
        )  # fmt: skip


def line(message: Struct) -> bytes:
    """One line."""
    return msgspec.json.encode(message) + b"\n"


def answer_line(most_characters: int) -> int:
    """Bytes of a line that any answer fits in: a character is six in JSON at most, in the text and in the calls taken together."""
    return 12 * most_characters + 1024 * 1024
