"""python -m assay.exchange.inspect_log.child LOG OUT: what Assay takes from a log of Inspect AI, as lines that `samples.py` reads.

In a process of its own, since importing Inspect is dear and a log may be hostile: memory, time and output are bounded by the system, an
archive is unpacked once in small pieces before Inspect sees it, and whatever goes wrong is one line of words and exit code 3. Only what
Inspect documents is used; but of a log with more than 5,000 samples, and of version 2, the samples are read straight from the archive
(`direct.py`), while a second process (`--header`) has Inspect read what the log says of itself.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from assay.exchange.inspect_log.direct import Key, Sample, keys_of, read_direct
from assay.exchange.inspect_log.samples import MAX_FIELDS, MAX_SAMPLES, LogHeader, LogSample
from assay.exchange.inspect_log.taking import clean, ms, short, take
from assay.ledger import digest

MEMORY = 4 * 1024**3
CPU_S = 3600
OUTPUT = 4 * 1024**3
MAX_MEMBERS = 2 * MAX_SAMPLES
MAX_MEMBER = 256 * 1024**2
MAX_UNPACKED = 16 * 1024**3
VERSION = 2
TEXTS: dict[str, Any] = {"parse_float": str, "parse_int": str, "parse_constant": str}
DIRECT = 5_000
"""From more samples on they are read straight from the archive."""
BROKEN = (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, ValueError)
HEADER = "--header"
_CHUNK = 32
_PIECE = 1024 * 1024
REFUSED = 3


class RefusedLogError(Exception):
    """The log is not taken, in words."""


def main(arguments: Sequence[str]) -> int:
    """Read the log, write the lines: the samples, then the log itself. 0, or 3 with one line on standard error."""
    source, target = map(Path, arguments[-2:])
    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_FSIZE, OUTPUT)):
        resource.setrlimit(limit, (most, most))
    try:
        with target.open("wb") as out:
            for part in (_read_header(source),) if HEADER in arguments else _parts(source, target):
                out.write(msgspec.json.encode(part) + b"\n")
    except MemoryError:
        return _refuse(f"reading it takes more than {MEMORY >> 30} GiB of memory")
    except RecursionError:
        return _refuse("it is nested too deeply")
    except RefusedLogError as e:
        return _refuse(str(e))
    except (zipfile.BadZipFile, EOFError) as e:
        return _refuse(f"it is no whole archive: {e}")
    except Exception as e:  # noqa: BLE001 (a hostile log may break any of the libraries that read it)
        return _refuse(f"Inspect cannot read it ({type(e).__name__}: {e})")
    return 0


def _refuse(why: str) -> int:
    sys.stderr.write(short(why, 400).replace("\n", " ") + "\n")
    return REFUSED


def _parts(source: Path, target: Path) -> Iterator[LogHeader | LogSample]:
    """The samples, then the log itself. An archive is read sample by sample; a JSON file is in memory as a whole."""
    if not zipfile.is_zipfile(source):
        from inspect_ai.log import read_eval_log

        log = read_eval_log(str(source), resolve_attachments="core", format="json")
        header = _header(log)
        yield from map(take, log.samples or ())
        yield header
        return
    keys = _looked_through(source)
    if keys is not None:
        yield from _direct(source, target.with_suffix(".header"), keys)
        return
    from inspect_ai.log import read_eval_log_sample_summaries

    header = _read_header(source)
    yield from _by_inspect(source, [(s.id, s.epoch) for s in read_eval_log_sample_summaries(str(source), format="eval")])
    yield header


def _looked_through(source: Path) -> list[Key] | None:
    """See that an archive is whole and within bounds. The samples' keys, where they are to be read straight from it: then they are unpacked
    as they are read, and nothing else of them is seen by Inspect. Raises `RefusedLogError`.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            members = listed(archive)
            others = [m for m in members if not m.filename.startswith("samples/")]
            keys = keys_of(archive, MAX_MEMBER) if len(members) - len(others) > DIRECT else None
            drained(archive, members if keys is None else others)
    except BROKEN as e:
        raise RefusedLogError(f"it is no whole archive: {e}") from None
    return keys


def _direct(source: Path, aside: Path, keys: list[Key]) -> Iterator[LogHeader | LogSample]:
    """Samples straight from the archive, while another process reads the header; those that do not fit to the letter last, by Inspect."""
    left: list[Key] = []
    command = [sys.executable, "-P", "-m", "assay.exchange.inspect_log.child", HEADER, str(source), str(aside)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as other:  # noqa: S603 - our own module
        try:
            for key, sample in read_direct(source, keys):
                if sample is None:
                    left.append(key)
                else:
                    yield _filed(key, sample)
            said = other.communicate()[1]
        except BaseException:
            other.kill()
            raise
    if other.returncode:
        raise RefusedLogError(said.decode(errors="replace").strip() or "its header cannot be read")
    header = msgspec.json.decode(aside.read_bytes(), type=LogHeader)
    yield from _by_inspect(source, left)
    yield header


def _by_inspect(source: Path, found: list[Key]) -> Iterator[LogSample]:
    if not found:
        return
    from inspect_ai.log import read_eval_log_samples_by_id

    for at in range(0, len(found), _CHUNK):
        wanted = found[at : at + _CHUNK]
        read = read_eval_log_samples_by_id(str(source), wanted, concurrency=1, resolve_attachments="core", format="eval")
        for key, sample in zip(wanted, read, strict=True):
            yield _filed(key, sample)


def _filed(key: Key, sample: Any | Sample) -> LogSample:
    if (sample.id, sample.epoch) != key:
        raise RefusedLogError(f"sample {key[0]!r} is not what it is filed as")
    return take(sample)


def _read_header(source: Path) -> LogHeader:
    from inspect_ai.log import read_eval_log

    return _header(read_eval_log(str(source), header_only=True, format="eval"))


def listed(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """What an archive says that it holds. Raises `RefusedLogError` for more than is allowed."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise RefusedLogError(f"more than {MAX_MEMBERS:,} files in it")
    samples = [m.filename for m in members if m.filename.startswith("samples/")]
    if len(set(samples)) < len(samples):
        raise RefusedLogError("a sample is in it twice")
    if any(m.file_size > MAX_MEMBER for m in members) or sum(m.file_size for m in members) > MAX_UNPACKED:
        raise RefusedLogError(f"unpacked it is too large: {MAX_MEMBER >> 20} MiB a file, {MAX_UNPACKED >> 30} GiB in all")
    return members


def drained(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> None:
    """Read files to their ends, in pieces: a file that is not what the archive says breaks here."""
    for member in members:
        with archive.open(member) as file:
            while file.read(_PIECE):
                pass


def _header(log: Any) -> LogHeader:
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
        short(s.name, 200): digest(_plain({"name": s.name, "options": s.options, "metadata": s.metadata, **about}))
        for s in (spec.scorers or [])[:MAX_FIELDS]
    }
    return LogHeader(
        status=log.status, created=ms(spec.created), model=short(spec.model, 200), task=short(spec.task, 200),
        solver=short(", ".join(dict.fromkeys(s for s in steps if s)), 200), epochs=epochs, total=max(planned, len(ids) * epochs),
        ids=tuple(clean(i) for i in ids), scorers=scorers,
    )  # fmt: skip


def _plain(value: Any) -> Any:
    """As JSON that can be digested: what the log's classes say of themselves, numbers as texts."""
    return json.loads(json.dumps(value, default=lambda v: v.model_dump() if hasattr(v, "model_dump") else str(v)), **TEXTS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
