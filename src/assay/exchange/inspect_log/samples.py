"""What the child process says of a log: one JSON line for each sample, then one for the log itself. Inspect is not needed to read it.

    header, samples = read_samples(path)

Everything in it is bounded text and numbers; what a log may hold beside that (images, stores, events) stays in the child.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from assay.errors import CatalogError

MAX_SAMPLES = 200_000
MAX_TEXT = 262_144
MAX_LINE = 16 * 1024 * 1024
MAX_FIELDS = 200
Short = Annotated[str, Meta(max_length=2000)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Count = Annotated[int, Meta(ge=0, lt=10**14)]


class LogScore(Struct, frozen=True, forbid_unknown_fields=True):
    """A score as text. `odd` says why it is none, in the log's words: the grade could not be parsed, for example."""

    value: Short
    explanation: Short = ""
    odd: Short = ""


class LogHeader(Struct, frozen=True, forbid_unknown_fields=True):
    """What the log says of itself. Times are Unix milliseconds. `ids` are the samples that were to be run, each `epochs` times; `total` is
    how many that makes. `scorers` holds the digest of all that is said of each scorer.
    """

    status: Short
    created: Count
    model: Short
    task: Short
    solver: Short
    epochs: Annotated[int, Meta(ge=1, le=10_000)]
    total: Count
    ids: Annotated[tuple[Short, ...], Meta(max_length=MAX_SAMPLES)]
    scorers: Annotated[dict[Short, Short], Meta(max_length=MAX_FIELDS)]


class LogSample(Struct, frozen=True, forbid_unknown_fields=True):
    """One sample in one epoch.

    `unfit` says why its input is no single request in text, `failure` why there is no answer to score. `began` is when it was begun (Unix
    milliseconds, 0 if it does not say), `cached` that a model's answer came from Inspect's cache and is older; `more` that the model was
    shown more than the input. `fields` are the plain values of its metadata, as texts.
    """

    id: Annotated[str, Meta(min_length=1, max_length=180)]
    epoch: Annotated[int, Meta(ge=1, le=10_000)]
    prompt: Text
    unfit: Short
    answer: Text
    failure: Short
    finish: Annotated[str, Meta(max_length=40)]
    truncated: bool
    tokens: tuple[Count, Count]
    scores: Annotated[dict[Short, LogScore], Meta(max_length=MAX_FIELDS)]
    fields: Annotated[dict[Short, Short], Meta(max_length=MAX_FIELDS)]
    began: Count
    cached: bool
    more: bool
    uuid: Short


def read_samples(path: Path, where: str) -> tuple[LogHeader, list[LogSample]]:
    """What the child wrote. Raises `CatalogError` if it is not as it should be: the log's texts are another's."""
    try:
        with path.open("rb") as lines:
            decode = msgspec.json.Decoder(LogSample).decode
            samples = []
            line = lines.readline(MAX_LINE)
            while following := lines.readline(MAX_LINE):
                samples.append(decode(line))
                line = following
                if len(samples) > MAX_SAMPLES:
                    raise CatalogError(f"more than {MAX_SAMPLES:,} samples", where=where)
            header = msgspec.json.decode(line, type=LogHeader)
    except OSError as e:
        raise CatalogError(f"cannot read what was found in it: {e.strerror}", where=where) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise CatalogError(f"a sample of this log is beyond what can be taken: {e}", where=where) from None
    return header, samples
