"""The cost of a trial, as a ratio to a bare client measured in the same minute: a regression shows, a slow machine does not."""

from __future__ import annotations

from pathlib import Path

from bench.engine import Bench, prompts_file
from bench.measure import local_server

FEW, MANY = 500, 4_000
MOST = 2.6  # `make bench-engine` has 1.5 to 1.8; this is for noisy machines, and still catches a commit or a client per trial


def test_a_trial_costs_little_more_than_a_bare_client(tmp_path: Path) -> None:
    """The better of a few pairs, since everything else that a machine does only adds."""
    ratios = []
    with local_server() as url:
        bench = Bench(tmp_path, repeat=1)
        prompts = {n: prompts_file(tmp_path, url, n) for n in (FEW, MANY)}
        for _ in range(3):
            bare = [bench.client("aiohttp", url, prompts[n]).cpu_s for n in (FEW, MANY)]
            whole = [bench.assay(url, n)[0].cpu_s for n in (FEW, MANY)]
            ratios.append((whole[1] - whole[0]) / (bare[1] - bare[0]))
            if ratios[-1] <= MOST:
                return
    raise AssertionError(f"a trial costs {min(ratios):.2f} times a bare call")
