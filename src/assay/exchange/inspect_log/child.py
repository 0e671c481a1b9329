"""python -m assay.exchange.inspect_log.child LOG OUT: what Assay takes from a log of Inspect AI, as lines that `samples.py` reads.

In a process of its own, since importing Inspect is dear and a log may be hostile: memory, time and output are bounded by the system, an
archive is unpacked once in small pieces before Inspect sees it, and whatever goes wrong is one line of words and exit code 3. Only what
Inspect documents is used.
"""

from __future__ import annotations

import json
import resource
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from inspect_ai.log import EvalLog, EvalSample, read_eval_log, read_eval_log_sample_summaries, read_eval_log_samples_by_id
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageUser

from assay.exchange.inspect_log.samples import MAX_FIELDS, MAX_SAMPLES, MAX_TEXT, LogHeader, LogSample, LogScore
from assay.ledger import digest

MEMORY = 4 * 1024**3
CPU_S = 3600
OUTPUT = 4 * 1024**3
MAX_MEMBERS = 2 * MAX_SAMPLES
MAX_MEMBER = 256 * 1024**2
MAX_UNPACKED = 16 * 1024**3
VERSION = 2
TEXTS: dict[str, Any] = {"parse_float": str, "parse_int": str, "parse_constant": str}
_CHUNK = 32
_PIECE = 1024 * 1024
REFUSED = 3


class RefusedLogError(Exception):
    """The log is not taken, in words."""


def main(arguments: Sequence[str]) -> int:
    """Read the log, write the lines. 0, or 3 with one line on standard error."""
    source, target = map(Path, arguments)
    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_FSIZE, OUTPUT)):
        resource.setrlimit(limit, (most, most))
    try:
        with target.open("wb") as out:
            for part in _parts(source):
                out.write(msgspec.json.encode(part) + b"\n")
    except MemoryError:
        return _refuse(f"reading it takes more than {MEMORY >> 30} GiB of memory")
    except RecursionError:
        return _refuse("it is nested too deeply")
    except RefusedLogError as e:
        return _refuse(str(e))
    except Exception as e:  # noqa: BLE001 (a hostile log may break any of the libraries that read it)
        return _refuse(f"Inspect cannot read it ({type(e).__name__}: {e})")
    return 0


def _refuse(why: str) -> int:
    sys.stderr.write(_short(why, 400).replace("\n", " ") + "\n")
    return REFUSED


def _parts(source: Path) -> Iterator[LogHeader | LogSample]:
    """The log itself, then its samples. An archive is read sample by sample; a JSON file is in memory as a whole."""
    if not zipfile.is_zipfile(source):
        log = read_eval_log(str(source), resolve_attachments="core", format="json")
        yield _header(log)
        yield from map(_sample, log.samples or ())
        return
    unpack(source)
    yield _header(read_eval_log(str(source), header_only=True, format="eval"))
    found = [(s.id, s.epoch) for s in read_eval_log_sample_summaries(str(source), format="eval")]
    for at in range(0, len(found), _CHUNK):
        wanted = found[at : at + _CHUNK]
        read = read_eval_log_samples_by_id(str(source), wanted, concurrency=1, resolve_attachments="core", format="eval")
        for (name, epoch), sample in zip(wanted, read, strict=True):
            if (sample.id, sample.epoch) != (name, epoch):
                raise RefusedLogError(f"sample {name!r} is not what it is filed as")
            yield _sample(sample)


def unpack(source: Path) -> None:
    """See that an archive unpacks to what it says, piece by piece, and to no more than is allowed. Raises `RefusedLogError`."""
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise RefusedLogError(f"more than {MAX_MEMBERS:,} files in it")
            samples = [m.filename for m in members if m.filename.startswith("samples/")]
            if len(set(samples)) < len(samples):
                raise RefusedLogError("a sample is in it twice")
            if any(m.file_size > MAX_MEMBER for m in members) or sum(m.file_size for m in members) > MAX_UNPACKED:
                raise RefusedLogError(f"unpacked it is too large: {MAX_MEMBER >> 20} MiB a file, {MAX_UNPACKED >> 30} GiB in all")
            for member in members:
                with archive.open(member) as file:
                    while file.read(_PIECE):
                        pass
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, ValueError) as e:
        raise RefusedLogError(f"it is no whole archive: {e}") from None


def _header(log: EvalLog) -> LogHeader:
    if log.version != VERSION:
        raise RefusedLogError(f"it has version {log.version}, and version {VERSION} is known here")
    spec = log.eval
    ids = [str(i) for i in spec.dataset.sample_ids or ()]
    if len(set(ids)) < len(ids) or len(ids) > MAX_SAMPLES:
        raise RefusedLogError("two samples have the same id, or there are too many")
    epochs = spec.config.epochs or 1
    planned = (log.results.total_samples if log.results else 0) or 0
    steps = [spec.solver or "", *(step.solver for step in log.plan.steps)]
    about = {"roles": spec.model_roles, "packages": spec.packages, "task": spec.task, "version": spec.task_version}
    scorers = {
        _short(s.name, 200): digest(_plain({"name": s.name, "options": s.options, "metadata": s.metadata, **about}))
        for s in (spec.scorers or [])[:MAX_FIELDS]
    }
    return LogHeader(
        status=log.status, created=_ms(spec.created), model=_short(spec.model, 200), task=_short(spec.task, 200),
        solver=_short(", ".join(dict.fromkeys(s for s in steps if s)), 200), epochs=epochs, total=max(planned, len(ids) * epochs),
        ids=tuple(_clean(i) for i in ids), scorers=scorers,
    )  # fmt: skip


def _sample(s: EvalSample) -> LogSample:
    prompt, unfit = _request(s)
    answer, odd = _said(s)
    usage = s.output.usage
    models = [e for e in s.events if e.event == "model"]
    times = [_ms(s.started_at)] + [round(e.timestamp.timestamp() * 1000) for e in s.events] if s.started_at else [0]
    before = [m for m in s.messages if m.role != "assistant"]
    return LogSample(
        id=_clean(str(s.id)), epoch=s.epoch, prompt=prompt[:MAX_TEXT], unfit=unfit, answer=answer[:MAX_TEXT],
        failure=_short(_failure(s) or odd), finish=_short(s.output.stop_reason if s.output.choices else "", 40),
        truncated=len(answer) > MAX_TEXT,
        tokens=(usage.input_tokens, usage.output_tokens) if usage else (0, 0),
        scores=dict(_scores(s)), fields=dict(_fields(s.metadata)), began=max(0, min(times)),
        cached=any(e.cache == "read" for e in models), more=[m.text for m in before] != [prompt] if not unfit else False,
        uuid=_short(s.uuid or "", 100),
    )  # fmt: skip


def _request(s: EvalSample) -> tuple[str, str]:
    """The input as one text; or why it is none."""
    messages: list[ChatMessage] = [ChatMessageUser(content=s.input)] if isinstance(s.input, str) else list(s.input)
    if len(messages) != 1 or messages[0].role != "user":
        return "", f"{len(messages)} messages ({', '.join(m.role for m in messages[:6])})"
    text, odd = _text(messages[0])
    return (text.strip(), "" if text.strip() else "no text") if not odd else ("", odd)


def _said(s: EvalSample) -> tuple[str, str]:
    """All that the model said and called, in order, and its output last; or why that is no text."""
    parts: list[str] = []
    for message in s.messages:
        if isinstance(message, ChatMessageAssistant) and message.source != "input":
            text, odd = _text(message)
            if odd:
                return "", f"the answer holds {odd}"
            calls = [_call(c.function, c.arguments) for c in message.tool_calls or ()]
            parts += [part for part in (text, *calls) if part.strip()]
    last = _clean(s.output.completion)
    if last.startswith("attachment://"):  # Inspect puts attachments back into messages, not into the output, which repeats the last one
        if not parts:
            return "", "the answer is an attachment that the log does not have"
        last = ""
    if last.strip() and last.strip() not in (p.strip() for p in parts[-1:]):
        parts.append(last)
    return "\n".join(parts), ""


def _text(message: ChatMessage) -> tuple[str, str]:
    """A message's text, what a server's own tools were asked included, reasoning left out; or what in it is no text."""
    if isinstance(message.content, str):
        text = _clean(message.content)
        return ("", "an attachment that the log does not have") if text.startswith("attachment://") else (text, "")
    parts = []
    for content in message.content:
        if content.type == "text":
            parts.append(_clean(content.text))
        elif content.type == "tool_use":
            parts.append(_call(content.name, content.arguments))
        elif content.type != "reasoning":
            return "", f"content that is no text ({content.type})"
    if any(part.startswith("attachment://") for part in parts):
        return "", "an attachment that the log does not have"
    return "\n".join(parts), ""


def _call(name: str, arguments: Any) -> str:
    """A call in the form in which Assay writes calls."""
    return _clean(f"CALL {json.dumps({'tool': name, 'arguments': arguments}, ensure_ascii=False, default=str)}")


def _failure(s: EvalSample) -> str:
    """Why a sample has no answer that can be scored."""
    if s.error is not None:
        return f"errored in the log: {s.error.message}"
    if s.invalidation is not None:
        return "invalidated in the log"
    if s.limit is not None:
        return f"stopped by a limit in the log ({s.limit.type})"
    if s.output.error:
        return f"the model's call failed in the log: {s.output.error}"
    if s.started_at and not s.completed_at:
        return "not completed in the log"
    return ""


def _scores(s: EvalSample) -> Iterator[tuple[str, LogScore]]:
    """Every score by its scorer's name; of a score with several values each, by `scorer.value`."""
    for name, score in list((s.scores or {}).items())[:MAX_FIELDS]:
        edited = f"(edited {len(score.history)} times) " if score.history else ""
        explanation, odd = _short(edited + (score.explanation or "")), _short(score.reason or "")
        values: Iterable[tuple[str, Any]] = [("", score.value)]
        if isinstance(score.value, dict):
            values = [(f".{k}", v) for k, v in score.value.items()]
        elif isinstance(score.value, list):
            values = [(f".{i}", v) for i, v in enumerate(score.value)]
        for key, value in list(values)[:MAX_FIELDS]:
            yield _short(name + key, 200), LogScore(_value(value), explanation, odd)


def _value(value: Any) -> str:
    """A plain value as text: `true`, `1` (also for 1.0), `0.25`, a word."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return _short(str(value), 1000)


def _fields(metadata: dict[str, Any]) -> Iterator[tuple[str, str]]:
    plain = [(k, v) for k, v in metadata.items() if isinstance(v, str | int | float | bool)]
    for key, value in plain[:MAX_FIELDS]:
        yield _short(key, 200), _value(value)


def _plain(value: Any) -> Any:
    """As JSON that can be digested: what the log's classes say of themselves, numbers as texts."""
    return json.loads(json.dumps(value, default=lambda v: v.model_dump() if hasattr(v, "model_dump") else str(v)), **TEXTS)


def _ms(when: str | None) -> int:
    """Unix milliseconds of an ISO time; 0 where there is none."""
    if not when:
        return 0
    time = datetime.fromisoformat(when)
    return max(0, round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000))


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _short(text: str, most: int = 2000) -> str:
    return _clean(text)[:most]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
