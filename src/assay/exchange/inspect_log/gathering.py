"""From logs to the answers of one model: which sample in which epoch, which were to be there and are not, when the first was begun.

    found = gather([read_log(path)], Chosen(language="en"))
    found.samples[("en", "17", 1)], found.missing, found.made

An epoch is an item of its own: sample `17` in epoch 2 is the item `17~2`. So every answer counts once, and the bank is the set of answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from assay.catalog.banks import MAX_PROMPT
from assay.errors import CatalogError
from assay.exchange.inspect_log.reading import Log
from assay.exchange.inspect_log.samples import LogSample
from assay.ledger import digest

Key = tuple[str, str, int]
"""Language, sample, epoch."""


class Chosen(Struct, frozen=True):
    """What is taken of the logs: the language of all samples, or the metadata field that holds it; only samples whose metadata has these
    values; and whether samples that no bank can hold are left out rather than refused.
    """

    language: str = ""
    language_field: str = ""
    where: Mapping[str, str] = {}
    leave_out: bool = False


class Gathered(Struct, frozen=True):
    """The answers, and the requests (`inputs`) by language and sample. `missing` were to be run and are not in the logs; `made` is when the
    first was begun (Unix milliseconds), 0 if that is not known; `scorers` the digest of all that is said of each scorer that scored.
    """

    model: str
    task: str
    solver: str
    made: int
    logs: dict[str, str]
    scorers: dict[str, str]
    samples: dict[Key, LogSample]
    inputs: dict[tuple[str, str], str]
    missing: tuple[Key, ...]
    left_out: int
    passed_over: int

    def values(self, scorer: str) -> Counter[str]:
        """How often each value of a scorer stands on an answer."""
        return Counter(s.scores[scorer].value for s in self.samples.values() if scorer in s.scores and not s.failure)

    def prompt(self, key: Key) -> str:
        """A sample's request; that of another epoch, or words in its place, where the sample is missing."""
        tag, name, _ = key
        mine = self.samples.get(key)
        return mine.prompt if mine else self.inputs.get((tag, name), f"(The request of sample {name} is not in the log.)")


def item_of(key: Key) -> str:
    """The bank's item of a sample in an epoch."""
    _, name, epoch = key
    return name if epoch == 1 else f"{name}~{epoch}"


def gather(logs: Sequence[Log], chosen: Chosen) -> Gathered:
    """Put logs of one model together. Raises `CatalogError` for a choice between answers, and for samples that no bank can hold."""
    models = {log.header.model for log in logs}
    if len(models) != 1:
        raise CatalogError(f"the logs are of {len(models)} models: {', '.join(sorted(models))[:300]}", fix="Import each by itself.")
    samples: dict[Key, LogSample] = {}
    passed_over = 0
    for log in logs:
        for sample in log.samples:
            if any(sample.fields.get(name) != value for name, value in chosen.where.items()):
                passed_over += 1
                continue
            key = (_language(sample, chosen, log), sample.id, sample.epoch)
            if samples.setdefault(key, sample) != sample:
                raise CatalogError(
                    f"two answers to sample {sample.id!r} in epoch {sample.epoch}", where=log.name, fix="Name one log for each sample."
                )
    missing = _missing(logs, chosen, samples)
    samples, left_out = _fitting(samples, leave_out=chosen.leave_out)
    items: dict[tuple[str, str], Key] = {}
    for key in (*samples, *missing):
        if items.setdefault((key[0], item_of(key)), key) != key:
            raise CatalogError(f"two samples would be the item {item_of(key)!r}")
    return Gathered(
        model=models.pop(), task=_joined(log.header.task for log in logs), solver=_joined(log.header.solver for log in logs),
        made=_made(logs, samples), logs=_named(logs), scorers=_scorers(logs, samples), samples=samples,
        inputs={key[:2]: sample.prompt for key, sample in samples.items()}, missing=missing, left_out=left_out, passed_over=passed_over,
    )  # fmt: skip


def _language(sample: LogSample, chosen: Chosen, log: Log) -> str:
    if chosen.language:
        return chosen.language
    found = sample.fields.get(chosen.language_field, "").replace("_", "-")
    if not found:
        fields = ", ".join(sorted(sample.fields))[:300] or "none"
        raise CatalogError(
            f"sample {sample.id!r} has no field '{chosen.language_field}' for its language", where=log.name, fix=f"Fields: {fields}."
        )
    return found


def _missing(logs: Sequence[Log], chosen: Chosen, samples: Mapping[Key, LogSample]) -> tuple[Key, ...]:
    """What was to be run and is not there: an interrupted evaluation ends where it looks good as easily as anywhere."""
    wanted: dict[tuple[str, int], None] = {}
    for log in logs:
        if not log.header.ids and not log.header.total:
            raise CatalogError("it does not say which samples it was to hold", where=log.name)
        wanted |= {(name, epoch): None for name in log.header.ids for epoch in range(1, log.header.epochs + 1)}
        unnamed = log.header.total - (len(log.header.ids) * log.header.epochs or len(log.samples))
        wanted |= {(f"missing {i + 1} of {log.name}"[:180], 1): None for i in range(unnamed)}
    there = {(s.id, s.epoch) for log in logs for s in log.samples}
    lacking = [pair for pair in wanted if pair not in there]
    if lacking and (chosen.language_field or chosen.where):
        what = f"{len(lacking):,} samples are missing from the log, and so is the metadata that --language-field and --where ask for"
        raise CatalogError(what, where=", ".join(log.name for log in logs)[:300], fix="Import it by --language alone.")
    return tuple((chosen.language, *pair) for pair in lacking)


def _fitting(samples: dict[Key, LogSample], *, leave_out: bool) -> tuple[dict[Key, LogSample], int]:
    """The samples that a bank can hold, and how many are not among them. Raises `CatalogError` if they are not to be left out."""

    def unfit(sample: LogSample) -> str:
        return sample.unfit or (f"a request of more than {MAX_PROMPT:,} characters" if len(sample.prompt) > MAX_PROMPT else "")

    why = Counter(reason for sample in samples.values() if (reason := unfit(sample)))
    if why and not leave_out:
        most = "; ".join(f"{count:,} have {reason}" for reason, count in why.most_common(3))
        raise CatalogError(
            f"{why.total():,} of {len(samples):,} samples have an input that a bank cannot hold, which is one request in text: {most}",
            fix="Leave them out with --leave-out; the decision then says nothing of them.",
        )
    names = {(tag, name) for (tag, name, _), sample in samples.items() if unfit(sample)}
    kept = {key: sample for key, sample in samples.items() if key[:2] not in names}
    return kept, len(samples) - len(kept)


def _made(logs: Sequence[Log], samples: Mapping[Key, LogSample]) -> int:
    """The earliest time that anything says; 0 where an answer came from a cache, or does not say when it was begun."""
    answered = [s for s in samples.values() if not s.failure]
    if any(s.cached or not s.began for s in answered):
        return 0
    return min([log.header.created for log in logs] + [s.began for s in answered])


def _scorers(logs: Sequence[Log], samples: Mapping[Key, LogSample]) -> dict[str, str]:
    """A digest for each name that stands on an answer: of a value of a scorer with several, that scorer's."""
    names = sorted({name for sample in samples.values() for name in sample.scores})
    out = {}
    for name in names:
        described = [_described(name, log.header.scorers) or _described(name.rpartition(".")[0], log.header.scorers) for log in logs]
        out[name] = digest({"score": name, "scorer": sorted(set(described))})
    return out


def _described(name: str, scorers: Mapping[str, str]) -> str:
    return scorers.get(name) or next((d for known, d in scorers.items() if known.rpartition("/")[2] == name), "")


def _named(logs: Sequence[Log]) -> dict[str, str]:
    """File names and digests; the same name twice gets a number."""
    out: dict[str, str] = {}
    for log in logs:
        name, number = log.name, 2
        while name in out:
            name, number = f"{log.name} ({number})", number + 1
        out[name] = log.digest
    return out


def _joined(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name for name in names if name))[:200]
