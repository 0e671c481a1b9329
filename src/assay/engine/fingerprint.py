"""Take a target's fingerprint: ask the fixed probes, several samples each, and keep the answers.

    async with make_target(spec, decoding, LIMITS, print) as target:
        fingerprint = await take_fingerprint(target, read_probes(), decoding, samples=8, clock=now_ms)

A call that the endpoint failed (after the target's own retries) ends it: half a fingerprint would be compared as a whole one. A request
that the endpoint refuses to serve is an answer like any other.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence

from assay.catalog.probes import Probe
from assay.errors import TargetError
from assay.plan import NO_ATTACK, Generation, Limits, Stream
from assay.runs.fingerprint import MAX_NAMES, MAX_SAMPLES, MAX_TEXT, Answered, Fingerprint, Told
from assay.scenarios import Check, Item, Message
from assay.targets import Reply, Target
from assay.targets.base import reply_to
from assay.version import __version__

HAZARD = "fingerprint"
LIMITS = Limits(concurrency=4, timeout_s=120, max_answer_bytes=16_384)
_SEEDS = 2**31 - 2**20  # decoding seeds count up from the first


def decoding(seed: int, *, temperature: float, max_tokens: int) -> Generation:
    """How probes are asked. The first decoding seed is a hash of `seed`, so that those of two fingerprints lie far apart. At temperature 0,
    where nothing is drawn, it is 0.
    """
    first = int.from_bytes(hashlib.sha256(b"assay/fingerprint/1\x00%d" % seed).digest()[:8], "big") % _SEEDS
    return Generation(max_tokens=max_tokens, temperature=temperature, seed=first if temperature else 0)


async def take_fingerprint(
    target: Target,
    probes: Sequence[Probe],
    decoding: Generation,
    *,
    samples: int,
    clock: Callable[[], int],
    concurrency: int = LIMITS.concurrency,
    told: Callable[[int], None] = lambda _: None,
) -> Fingerprint:
    """Ask every probe `samples` times, sample by sample, so that a change under way touches all probes. The target must be open.

    `clock` gives Unix milliseconds; `told` hears how many answers there are. Raises `TargetError` where a call got no answer.
    """
    if not 1 <= samples <= MAX_SAMPLES:
        raise TargetError(f"between 1 and {MAX_SAMPLES} samples a probe, not {samples}", where="--samples")
    answers: dict[tuple[int, int], Reply] = {}
    places = iter([(k, i) for k in range(samples) for i in range(len(probes))])

    async def worker() -> None:
        for k, i in places:
            reply = await reply_to(target, probe_item(probes[i], i, i * samples + k))
            if reply.outage:
                raise TargetError(f"no answer to the probe '{probes[i].id}': {reply.failure}", fix="Take the fingerprint again later.")
            answers[i, k] = reply
            told(len(answers))

    began = clock()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())
    except ExceptionGroup as e:
        raise e.exceptions[0] from None
    replies = [answers[i, k] for i in range(len(probes)) for k in range(samples)]
    return Fingerprint(
        "fingerprint/1",
        {str(k)[:200]: str(v)[:2000] for k, v in target.identity.items()},
        decoding,
        tuple(Answered(p, tuple(_told(answers[i, k]) for k in range(samples))) for i, p in enumerate(probes)),
        models=_names(r.model for r in replies),
        systems=_names(r.system for r in replies),
        began=began,
        ended=clock(),
        version=__version__,
    )


def probe_item(probe: Probe, index: int, sample: int) -> Item:
    """A probe as targets are asked it. `sample` counts over all probes, so that no two answers share a decoding seed."""
    stream = Stream(HAZARD, probe.language, NO_ATTACK, "plain")
    return Item(stream, index, probe.id, (Message("user", probe.prompt),), Check("leak", forbidden=(probe.id,)), sample)


def _told(reply: Reply) -> Told:
    return Told(reply.text[:MAX_TEXT] if not reply.failure else "", reply.failure[:200])


def _names(given: Iterable[str]) -> tuple[str, ...]:
    """The different ones, in order; of a path on this machine only its last part."""
    plain = (name.rpartition("/")[2] if name.startswith("/") else name for name in given)
    return tuple(dict.fromkeys(name[:200] for name in plain if name))[:MAX_NAMES]
