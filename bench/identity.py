"""How small a change of model a fingerprint shows: `python -m bench.identity [FOLDER]` takes fingerprints of the two embedded models (a
quarter of an hour or more; those that are in FOLDER already are used again) and compares parts of them, drawn again and again.

False alarms: two parts of one model's answers. Power: one model's against the other's, against answers of which a share are the other's
(as if a provider served it to some callers), and against the same model at temperature 0.7. Writes bench/results/identity.json.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.catalog.probes import read_probes
from assay.engine.fingerprint import LIMITS, decoding, take_fingerprint
from assay.runs.fingerprint import read_fingerprint, write_fingerprint
from assay.stats.equality import answer_kernel
from assay.targets import make_target, parse_target

RESULTS = Path(__file__).parent / "results" / "identity.json"
SMALL, OTHER = "embedded:smollm2-135m-instruct", "embedded:qwen2.5-coder-0.5b-instruct"
TAKEN = {"small-1": (SMALL, 11, 1.0), "small-2": (SMALL, 12, 1.0), "small-cool": (SMALL, 13, 0.7), "other": (OTHER, 21, 1.0)}
SAMPLES = 32
LEVEL, PERMUTATIONS, REPLICATES = 0.01, 499, 1000
Floats = NDArray[np.float64]
Texts = list[list[str]]


async def _take(name: str, path: Path) -> None:
    target_text, seed, temperature = TAKEN[name]
    how = decoding(seed, temperature=temperature, max_tokens=24)
    async with make_target(parse_target(target_text), how, LIMITS, print) as target:
        clock = lambda: time.time_ns() // 1_000_000  # noqa: E731
        write_fingerprint(path, await take_fingerprint(target, read_probes(), how, samples=SAMPLES, clock=clock))


def told_apart(one: Texts, two: Texts, samples: int, share: float, generator: np.random.Generator, replicates: int = REPLICATES) -> float:
    """How often parts of `samples` answers a probe differ at `LEVEL`, where a `share` of the second part is drawn from `two`."""
    kernels = [answer_kernel([*a, *b]) for a, b in zip(one, two, strict=True)]
    weights = np.repeat([1 / samples, -1 / samples], samples)
    count = 0
    for _ in range(replicates):
        observed, permuted = 0.0, np.zeros(PERMUTATIONS)
        for kernel, a, b in zip(kernels, one, two, strict=True):
            own, other = generator.permutation(len(a)), len(a) + generator.permutation(len(b))
            second = np.where(generator.random(samples) < share, other[:samples], own[samples : 2 * samples])
            part = kernel[np.ix_(picked := np.concatenate([own[:samples], second]), picked)]
            dealt = weights[np.argsort(generator.random((PERMUTATIONS, 2 * samples)), axis=1)]
            observed += float(weights @ part @ weights)
            permuted += ((dealt @ part) * dealt).sum(axis=1)
        count += int((1 + (permuted >= observed - 1e-9).sum()) / (1 + PERMUTATIONS) <= LEVEL)
    return count / replicates


def main() -> None:
    """Take what is missing, compare, print a table, write the results."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[str, Texts] = {}
    for name in TAKEN:
        path = folder / f"{name}.json"
        if not path.exists():
            asyncio.run(_take(name, path))
        texts[name] = read_fingerprint(path).texts()
    one = [a + b for a, b in zip(texts["small-1"], texts["small-2"], strict=True)]
    generator = np.random.default_rng(1)
    cases = [("same_model", "other", 0.0), ("other_model", "other", 1.0), ("half_other", "other", 0.5)]
    cases += [("quarter_other", "other", 0.25), ("temperature_0_7", "small-cool", 1.0)]
    results: dict[str, float] = {"level": LEVEL, "replicates": REPLICATES, "probes": len(one)}
    print(f"{'answers a probe':<18}" + "".join(f"{n:>8}" for n in (2, 4, 8, 16, 32)))
    for name, two, share in cases:
        row = {n: told_apart(one, texts[two], n, share, generator) for n in (2, 4, 8, 16, 32)}
        results |= {f"{name}_n{n}": rate for n, rate in row.items()}
        print(f"{name:<18}" + "".join(f"{rate:>8.3f}" for rate in row.values()))
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
