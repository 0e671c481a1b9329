"""Change over checkpoints, drift within a run, and a band for the next checkpoints.

**Change.** A Shiryaev-Roberts e-detector (Shin, Ramdas and Rinaldo 2023, 'E-detectors'; Shiryaev 1963; Roberts 1966). A checkpoint has S
violations in n trials, and for an alternative rate q beside the base rate b

    LR_t = (q / b)^S ((1 - q) / (1 - b))^(n - S),    M_t = LR_t (M_{t-1} + 1),    M_0 = 0.

While the rate is at most b every q > b has E[LR_t | past] <= 1: per trial it is linear and rising in the rate, and 1 at b. For q < b the
same holds while the rate is at least b. So M_t - t is a supermartingale, and so is its mean over a fixed grid of q. If T is the first t at
which the mean is at least A, optional stopping gives A <= E[M_T] <= E[T]: without a change the average run length is at least A
checkpoints, whatever the rates within the bound and however they move.

    detector = ChangeDetector(base_rate=0.01, direction="worse", run_length=200)
    detector.add(violations=4, trials=100)      # True from the first alarm on

The bound needs that n is fixed before the checkpoint is seen, and that each trial violates with a chance of at most b given all before it.
Rates that scatter around b from one checkpoint to the next break it, as do several samples of one item. b is a bound, not an estimate: take
the upper end of `sequences.rate_sequence` over earlier runs. The run length then holds but for that bound's own error.

**Drift.** Anchors asked in each window of a run; see `drift_within_run`.

**Forecast.** See `forecast_band`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.stats.parity import parity_log_e

Floats = NDArray[np.float64]
Direction = Literal["worse", "better"]

POINTS = 12
_ODDS = (1.25, 16.0)
WALKS = (0.0, 0.1, 0.25, 0.6)  # sd of the level's step from one checkpoint to the next, in logits
SCATTERS = (0.0, 0.2, 0.5, 1.0)  # sd of a checkpoint's own rate around the level, in logits
_GRID = 256


def alternatives(base_rate: float, direction: Direction, points: int = POINTS) -> Floats:
    """Rates whose odds are 1.25 to 16 times those of the base rate ("worse") or that part of them ("better"), geometric, shape (points,).

    Wider grids only cost: a change beyond 16 times the odds alarms at once anyway, and every idle point takes its share of the mean.
    """
    odds = base_rate / (1 - base_rate) * np.geomspace(*_ODDS, points) ** (1.0 if direction == "worse" else -1.0)
    return np.asarray(odds / (1 + odds))


class ChangeDetector:
    """Watches one rate over checkpoints. `direction="worse"` looks for a rise above `base_rate`, "better" for a fall below it.

    `base_rate` is an upper bound of the unchanged rate for "worse", a lower bound for "better". `run_length` is A, in checkpoints. `points`
    is the number of `alternatives` or the alternatives themselves, all on the right side of the base rate. ValueError for anything else.

    `checkpoints` counts what was added; `alarm_at` is the number of the first alarming checkpoint, from 1, or None. An alarm stays: after
    it, start a new detector from a new bound.
    """

    def __init__(self, base_rate: float, direction: Direction, run_length: float, points: int | Sequence[float] = POINTS) -> None:
        if not 0.0 < base_rate < 1.0:
            raise ValueError(f"the base rate must lie strictly between 0 and 1, not {base_rate}")
        if direction not in ("worse", "better"):
            raise ValueError(f"the direction is 'worse' or 'better', not {direction!r}")
        if not 1.0 <= run_length < math.inf:
            raise ValueError(f"the run length is a number of checkpoints of at least 1, not {run_length}")
        if isinstance(points, int):
            if points < 1:
                raise ValueError(f"needs at least one alternative, not {points}")
            q = alternatives(base_rate, direction, points)
        else:
            q = np.array(points, dtype=np.float64)
        right = (q > base_rate) & (q < 1) if direction == "worse" else (q < base_rate) & (q > 0)
        if q.ndim != 1 or q.size == 0 or not np.all(right):
            raise ValueError(f"every alternative must lie on the {direction} side of the base rate {base_rate}, within (0, 1)")
        self.base_rate = base_rate
        self.direction: Direction = direction
        self.run_length = run_length
        self.alternatives: Floats = q
        self.checkpoints = 0
        self.alarm_at: int | None = None
        self._violation = np.log(q / base_rate)
        self._safe = np.log1p(-q) - math.log1p(-base_rate)
        self._log_m = np.full(q.shape, -np.inf)

    @property
    def log_m(self) -> float:
        """log of the mean of M over the alternatives now; -inf before the first checkpoint."""
        if self.checkpoints == 0:
            return -math.inf
        top = float(self._log_m.max())
        return top + math.log(float(np.exp(self._log_m - top).mean()))

    def add(self, violations: int, trials: int) -> bool:
        """The next checkpoint; True if this or an earlier one alarmed. ValueError, and no change, for impossible counts."""
        if not 0 <= violations <= trials:
            raise ValueError(f"{violations} violations in {trials} trials is not possible")
        ratio = violations * self._violation + (trials - violations) * self._safe
        self._log_m = ratio + np.logaddexp(self._log_m, 0.0)
        self.checkpoints += 1
        if self.alarm_at is None and self.log_m >= math.log(self.run_length):
            self.alarm_at = self.checkpoints
        return self.alarm_at is not None

    def state(self) -> list[list[float]]:
        """What JSON can keep: [[base rate, 1 for worse or -1 for better, run length], alternatives, [checkpoints, first alarm or 0], log
        M].

        log M is empty before the first checkpoint.
        """
        sign = 1.0 if self.direction == "worse" else -1.0
        log_m: list[float] = self._log_m.tolist() if self.checkpoints else []
        return [
            [self.base_rate, sign, self.run_length],
            self.alternatives.tolist(),
            [float(self.checkpoints), float(self.alarm_at or 0)],
            log_m,
        ]

    def restore(self, state: Sequence[Sequence[float]]) -> None:
        """Continue from `state()` of a detector with the same registration. ValueError, and no change, if it is another's or broken."""
        mine = self.state()
        if len(state) != 4 or list(state[0]) != mine[0] or list(state[1]) != mine[1]:
            raise ValueError("this state belongs to a detector with another base rate, direction, run length or grid")
        checkpoints, alarm = (int(v) for v in state[2])
        log_m = np.array(state[3] if checkpoints else np.full(self.alternatives.shape, -np.inf), dtype=np.float64)
        if not 0 <= alarm <= checkpoints or log_m.shape != self.alternatives.shape or (checkpoints > 0 and not np.all(np.isfinite(log_m))):
            raise ValueError("this state of a change detector is broken")
        self.checkpoints, self.alarm_at, self._log_m = checkpoints, alarm or None, log_m


@dataclass(frozen=True)
class Drift:
    """`log_e` against 'no drift' as it stands; `drifted` once it reaches log(1 / level); one log e for each window after the first."""

    log_e: float
    drifted: bool
    windows: tuple[float, ...]


def drift_within_run(windows: Sequence[ArrayLike], level: float, *, margin: float = 0.0, paired: bool = True) -> Drift:
    """Did the rate on the anchors move between the first window of a run and a later one? Two-sided, valid at every time.

    `windows` holds two or more lists of outcomes (1 violation, 0 safe, NaN not answered yet) in the registered order; two windows are the
    run's halves. The number of windows is registered: one that has not begun is a list of NaN. ValueError for anything else.

    Paired: all windows list the same anchors, and D = later - first for each. The null is |E[D]| <= margin for every anchor. Betting both
    ways by `parity.parity_log_e` and halving the stake gives an e-process for a pair of windows. In run order the first answer of an anchor
    is known before its second, and whoever may stop then could stop before the pairs that will cost. So an anchor with one answer counts
    as if the other were the one that speaks least for drift, on each side. This is the infimum over anchor rates of the conditional
    expectation of the completed bet, hence an e-process for the order in which the answers come. Anchors without any answer count nothing.

    Unpaired: each window holds independent draws with a common rate, and lists may differ in length, which is registered. The null is equal
    rates, with no margin. log e is that of the mean of two e-processes. One bets as above on the k-th answer of both windows, as far as the
    shorter one goes: E[D] = 0 for those too. The other is universal inference (Wasserman, Ramdas and Balakrishnan 2020): a Beta(1/2, 1/2)
    mixture for each window over the greatest likelihood of one common rate. It is below a martingale for every common rate, in any order,
    and uses all answers; it needs more of them, so the first leads where the windows are alike in size.

    With more than two windows log e is that of the mean over the later windows, as they stand. A drift makes the run 'delay'.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, not {level}")
    if not 0.0 <= margin < 1.0 or (margin > 0 and not paired):
        raise ValueError(f"the margin must lie in [0, 1), and be 0 for unpaired windows, not {margin}")
    parts = [np.asarray(w, dtype=np.float64) for w in windows]
    if len(parts) < 2 or any(w.ndim != 1 or not np.all(np.isnan(w) | (w == 0) | (w == 1)) for w in parts):
        raise ValueError("drift needs two or more windows, each a list of 0, 1 or NaN")
    if paired and len({w.size for w in parts}) > 1:
        raise ValueError("paired windows list the same anchors, so they are of one length")
    first = parts[0]
    each = tuple(_pair_log_e(first, later, margin) if paired else _unpaired_log_e(first, later) for later in parts[1:])
    log_e = _log_mean_exp(each)
    return Drift(log_e=log_e, drifted=log_e >= math.log(1 / level), windows=each)


def _pair_log_e(first: Floats, later: Floats, margin: float) -> float:
    asked = ~(np.isnan(first) & np.isnan(later))
    a, b = first[asked], later[asked]
    sides = []
    for before, after in ((a, b), (b, a)):  # a rise from before to after
        low = np.where(np.isnan(after), 0.0, after) - np.where(np.isnan(before), 1.0, before)
        up, down = int((low > 0).sum()), int((low < 0).sum())
        sides.append(parity_log_e(up, low.size - up - down, down, margin, "halt"))
    return _log_mean_exp(sides)


def _unpaired_log_e(first: Floats, later: Floats) -> float:
    both = min(first.size, later.size)
    return _log_mean_exp([_pair_log_e(first[:both], later[:both], 0.0), _common_rate_log_e(first, later)])


def _common_rate_log_e(first: Floats, later: Floats) -> float:
    log_e, total, count = 0.0, 0.0, 0
    for window in (first, later):
        y = window[~np.isnan(window)]
        s, n = float(y.sum()), y.size
        log_e += math.lgamma(s + 0.5) + math.lgamma(n - s + 0.5) - math.lgamma(n + 1) - math.log(math.pi)
        total, count = total + s, count + n
    return log_e - _xlogy(total, total / max(count, 1)) - _xlogy(count - total, 1 - total / max(count, 1))


def _xlogy(x: float, y: float) -> float:
    return x * math.log(y) if x > 0 else 0.0


def _log_mean_exp(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(math.fsum(math.exp(v - top) for v in values) / len(values))


def forecast_band(history: Sequence[tuple[int, int]], ahead: Sequence[int], level: float) -> tuple[Floats, Floats]:
    """(low, high) for the observed rates S / n of the next checkpoints, each of shape (len(ahead),).

    `history` is (violations, trials) for each checkpoint, oldest first; `ahead` the trials of the next ones. Each next rate falls outside
    its own band, ends included, with a chance of about `level`, at most half of it on each side; for all at once use level / len(ahead).
    It describes and does not decide: unlike the tests here its coverage rests on a model. ValueError for impossible counts.

    The model is a local level on the logit scale with overdispersion: logit p_t = level_t + scatter_t, level_t = level_{t-1} + step_t, both
    normal, and S_t ~ Binomial(n_t, p_t) (Harvey 1989, section 2.2, with a binomial observation; Kitagawa 1987 for the filter on a grid).
    Why this and not a beta-binomial by moments: checkpoints drift, so the band must widen with the horizon; and with the few checkpoints
    there are, moments put the overdispersion at zero about half the time and the band is then too narrow. Here both standard deviations
    are averaged over (`WALKS` x `SCATTERS`, equal weights beforehand), so a short history gives a wide band. Checkpoints without a
    violation need no correction. The first level has Jeffreys' prior for a binomial rate.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, not {level}")
    if any(not 0 <= s <= n for s, n in history) or any(m < 1 for m in ahead):
        raise ValueError("violations must lie between 0 and the trials, and a checkpoint ahead has at least one trial")
    grid = _logits(history, len(ahead))
    rate = np.stack((-np.logaddexp(0, -grid), -np.logaddexp(0, grid)))  # log p, log (1 - p)
    scatter = np.stack([_steps(grid, sd) for sd in SCATTERS])
    walk = np.stack([_steps(grid, sd) for sd in WALKS])
    prior = np.exp((rate[0] + rate[1]) / 2)
    weight = np.broadcast_to(prior / prior.sum(), (len(WALKS), len(SCATTERS), grid.size)) / (len(WALKS) * len(SCATTERS))
    for t, (s, n) in enumerate(history):
        if t:
            weight = weight @ walk
        log_likelihood = s * rate[0] + (n - s) * rate[1]
        weight = weight * (scatter @ np.exp(log_likelihood - log_likelihood.max()))
        weight = weight / weight.sum()
    low, high = np.zeros(len(ahead)), np.ones(len(ahead))
    for h, m in enumerate(ahead):
        weight = weight @ walk if history or h else weight
        p = np.einsum("wsg,sgk->k", weight, scatter)
        below = np.cumsum(_binomial(m, rate) @ p)  # P(S <= k), k = 0..m
        low[h] = int(np.searchsorted(below, level / 2, side="right")) / m
        high[h] = min(int(np.searchsorted(below, 1 - level / 2, side="left")), m) / m
    return low, high


def _logits(history: Sequence[tuple[int, int]], ahead: int) -> Floats:
    """Evenly spaced logits, shape (_GRID,), five standard errors and three steps of the widest walk beyond the data."""
    counts = np.array([(s + 0.5, n - s + 0.5) for s, n in history] or [(0.5, 0.5)])
    centre = np.log(counts[:, 0] / counts[:, 1])
    reach = 5 / np.sqrt(counts.min(axis=1)) + 3 * max(WALKS) * math.sqrt(ahead + 1)
    return np.linspace(float((centre - reach).min()), float((centre + reach).max()), _GRID)


def _steps(grid: Floats, sd: float) -> Floats:
    """Transition of a normal step on the grid, rows summing to 1, shape (len(grid), len(grid))."""
    if sd == 0:
        return np.eye(grid.size)
    kernel = np.exp(-0.5 * ((grid[:, None] - grid[None, :]) / sd) ** 2)
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))


def _binomial(n: int, rate: Floats) -> Floats:
    """P(S = k) for each k = 0..n and each rate, shape (n + 1, number of rates)."""
    factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    k = np.arange(n + 1)
    choose = factorial[n] - factorial - factorial[::-1]
    return np.asarray(np.exp(choose[:, None] + k[:, None] * rate[0] + (n - k)[:, None] * rate[1]))
