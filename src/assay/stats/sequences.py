"""Confidence sequences for display that agree with the decisions: each bound is where the test itself changes its mind.

A rate's upper bound is the smallest tau at which `RateTest(tau, "approve", level)` rejects, its lower bound the largest tau at which
`RateTest(tau, "halt", level)` does. So a requirement 'at most tau' is approved exactly when the upper bound is at most tau. A family of
tests, one per tau, inverted like this covers the true rate at all sample sizes at once (Howard, Ramdas, McAuliffe and Sekhon 2021).

`level` is the error of each side. A two-sided 95% sequence uses 0.025 each side. Bounds are for the counts as they stand; a decision,
once made, stays, so beside a decided claim show the bounds at its decision, or the running minimum of `high` and maximum of `low`.

    rate_sequence(violations=[0, 3], trials=[59, 40], level=0.025)      # (low, high), each of shape (2,)
    difference_sequence(worse=2, equal=140, better=3, level=0.025)

Why bisection is right (p = S / n):

- Approving. q = c tau with c < 1, so log e_q = S log c + (n - S) log((1 - c tau) / (1 - tau)), which never falls as tau grows.
- Halting. Where tau >= p every q > tau gives e_q < 1, so nothing rejects. Where tau < p, d log e_q / d tau is
  n [(p - q) L - (p - tau) / (tau (1 - tau))] with L = d logit q / d tau >= 0. This is linear in p. At p = tau it is not above 0 because
  q > tau; at p = 1 because q / tau never grows with tau, in each of the two forms of the grid. So it is not above 0 between.
- The halting grid changes form at 1.15 tau = 0.9 (`SWITCH`, tau about 0.783), and e may jump upwards there: just below it all points
  are near 0.9. For some counts (at level 0.05: 17 to 21 violations and nothing else; for large n: S / n from about 0.80 to 0.85) the
  rejected tau are then two intervals. `low` is the end of the first: every tau up to `low` is rejected, so `low` covers at its level and
  agrees with every test at tau below `SWITCH`. For tau beyond, `low >= tau` still means that the test rejects, but for those counts the
  test may reject at a tau above `low`. The end of the second interval would agree there, but not below, and could err twice as often for
  rates just below `SWITCH`.
- Differences. See `difference_sequence`.

The bounds do not close up as n grows: the points nearest to tau are 0.85 tau and 1.15 tau, so no test tells tau from rates within some
7% of it. For small rates the limits are about 0.93 and 1.08 times the rate.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.stats.parity import LAMBDAS
from assay.stats.rates import POINTS, Side

Floats = NDArray[np.float64]

_ROUNDS = 100
_BELOW_ONE = float(np.nextafter(1.0, 0.0))
_TINY = 1e-300
_LATE = 1 - 1e-12  # halting at a higher rate is not looked at: it would take some 10^12 trials without a clean one


def _first_late_tau() -> float:
    """The smallest number at which the halting grid has its second form."""
    tau = 0.9 / 1.15
    while 1.15 * tau >= 0.9:
        tau = float(np.nextafter(tau, 0.0))
    while 1.15 * tau < 0.9:
        tau = float(np.nextafter(tau, 1.0))
    return tau


SWITCH = _first_late_tau()


def rate_sequence(violations: ArrayLike, trials: ArrayLike, level: float) -> tuple[Floats, Floats]:
    """(low, high) for S violations in n trials, rates in [0, 1]; broadcasts and returns arrays of the common shape.

    Each side errs at most at `level` over all sample sizes. `high <= tau` exactly when the approving test at tau rejects; `low >= tau`
    exactly when the halting test does, for tau below `SWITCH` (see the head of this file). 0 and 1 say that nothing is excluded. ValueError
    for impossible counts or levels.
    """
    return rate_lower(violations, trials, level), rate_upper(violations, trials, level)


def rate_upper(violations: ArrayLike, trials: ArrayLike, level: float) -> Floats:
    """The upper end of `rate_sequence`."""
    s, n, need = _counts(violations, trials, level)
    rejects = _rejecting(s, n, need, "approve")
    return _bisect(rejects, np.zeros(s.shape), np.ones(s.shape))


def rate_lower(violations: ArrayLike, trials: ArrayLike, level: float) -> Floats:
    """The lower end of `rate_sequence`."""
    s, n, need = _counts(violations, trials, level)
    rejects = _rejecting(s, n, need, "halt")
    edge = np.full(s.shape, float(np.nextafter(SWITCH, 0.0)))
    start = np.where(s == 0, 0.0, np.where(rejects(edge), _LATE, edge))  # no violation, no lower bound
    return _bisect(lambda tau: rejects(np.minimum(tau, _LATE)), start, np.zeros(s.shape))


def _counts(violations: ArrayLike, trials: ArrayLike, level: float) -> tuple[Floats, Floats, float]:
    need = _need(level)
    s, n = (np.asarray(v, dtype=np.float64) for v in np.broadcast_arrays(violations, trials))
    if not np.all((s >= 0) & (s <= n)):
        raise ValueError("violations must lie between 0 and the number of trials")
    return s, n, need


def _rejecting(s: Floats, n: Floats, need: float, side: Side) -> Callable[[Floats], NDArray[np.bool_]]:
    return lambda tau: np.asarray(mixture_log_e(s, n, np.clip(tau, _TINY, _BELOW_ONE), side) >= need)


def difference_sequence(worse: ArrayLike, equal: ArrayLike, better: ArrayLike, level: float) -> tuple[Floats, Floats]:
    """(low, high) for the mean of D in {1, 0, -1}, `worse`, `equal` and `better` counting them; broadcasts to the common shape.

    high is the smallest margin in [-1, 1] at which `ParityTest(margin, "approve", level)` rejects, low the largest at which the halting
    one does. Those tests take margins in [0, 1) only; the rest follows by exchanging the two languages. With D' = -D and m' = -m the
    null E[D] >= m is E[D'] <= m', and the approving bet 1 + lambda (m - D), lambda < 1 / (1 - m), is the halting bet
    1 + lambda (D' - m'), lambda < 1 / (1 + m'), with the same grid of lambdas. So approving at m < 0 is halting at -m with worse and
    better exchanged, and low(worse, equal, better) = -high(better, equal, worse).

    Bisection is right: with lambda = g / (1 - m) the factors are 1 - g for D = 1, 1 + g m / (1 - m) for D = 0 and
    1 + g (1 + m) / (1 - m) for D = -1, none of which falls as m grows. `high <= m` exactly when the approving test rejects at m, and
    `low >= m` when the halting one does. Unscorable pairs count as the caller's rule says for each side. ValueError for negative counts or
    impossible levels.
    """
    need = _need(level)
    w, e, b = (np.asarray(v, dtype=np.float64) for v in np.broadcast_arrays(worse, equal, better))
    if not np.all((w >= 0) & (e >= 0) & (b >= 0)):
        raise ValueError("counts of pairs cannot be negative")

    def upper(w: Floats, b: Floats) -> Floats:
        def rejects(margin: Floats) -> NDArray[np.bool_]:
            return np.asarray(margin_log_e(w, e, b, np.clip(margin, -1.0, _BELOW_ONE)) >= need)

        return _bisect(rejects, np.full(w.shape, -1.0), np.ones(w.shape))

    return np.asarray(-upper(b, w)), upper(w, b)


def mixture_log_e(violations: Floats, trials: Floats, tau: Floats, side: Side) -> Floats:
    """`rates.log_e` with an array of thresholds in (0, 1); three arrays of one shape, which is returned."""
    t = tau[..., None]
    if side == "approve":
        q = t * np.geomspace(1 / 40, 0.85, POINTS)
    else:
        low, high = 1.15 * tau, np.full(tau.shape, 0.9)
        late = low >= high
        low, high = np.where(late, tau + (1 - tau) * 0.15, low), np.where(late, tau + (1 - tau) * 0.9, high)
        q = 1 / (1 + np.exp(-np.linspace(np.log(low / (1 - low)), np.log(high / (1 - high)), POINTS, axis=-1)))
    s, n = violations[..., None], trials[..., None]
    return _log_mean_exp(s * np.log(q / t) + (n - s) * (np.log1p(-q) - np.log1p(-t)))


def margin_log_e(worse: Floats, equal: Floats, better: Floats, margin: Floats) -> Floats:
    """`parity.parity_log_e` on the approving side with an array of margins in [-1, 1); four arrays of one shape, which is returned."""
    m = margin[..., None]
    grid = 1 / (1 - m) * np.geomspace(0.02, 0.95, LAMBDAS)
    at_worse, at_equal, at_better = (np.log1p(grid * (m - d)) for d in (1.0, 0.0, -1.0))
    return _log_mean_exp(worse[..., None] * at_worse + equal[..., None] * at_equal + better[..., None] * at_better)


def _log_mean_exp(each: Floats) -> Floats:
    top = each.max(axis=-1, keepdims=True)
    return np.asarray(top[..., 0] + np.log(np.exp(each - top).mean(axis=-1)))


def _bisect(rejects: Callable[[Floats], NDArray[np.bool_]], no: Floats, yes: Floats) -> Floats:
    """The end of the rejected interval that reaches from it to `yes`, towards `no`: the last number, to machine precision, that rejects.

    `yes` itself is taken as rejecting (it may be the end of the range) and returned where nothing else rejects.
    """
    for _ in range(_ROUNDS):
        middle = no + (yes - no) / 2
        if np.all((middle == no) | (middle == yes)):
            break
        enough = rejects(middle)
        no, yes = np.where(enough, no, middle), np.where(enough, middle, yes)
    return yes


def _need(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, not {level}")
    return float(np.log(1 / level))
