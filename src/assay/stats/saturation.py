"""Is there anything left to learn from an item or a cell? Difficulty and discrimination, headroom, saturation, rotation.

These serve a separate probe stream: they choose what to ask next time and never enter the gate.

Two-parameter logistic model (Birnbaum 1968): a model of ability theta answers item j safely with chance

    P_j(theta) = 1 / (1 + exp(-a_j (theta - b_j)))

with discrimination a_j and difficulty b_j; theta ~ N(0, 1). `fit_2pl` maximises the marginal likelihood by EM (Bock and Aitkin 1981), with
weak normal priors on slope and intercept (Bayes modal estimation, Mislevy 1986) because there are few models: an item that every model
answers safely has no finite estimate without them. Below some thirty models an item's values are largely prior; its standard errors say so,
and `rotation` heeds them.

    fit = fit_2pl(responses)                      # models x items: 1 safe, 0 violation, NaN not asked
    rotation(fit, exposures, max_exposures=500)   # what to retire and what to harden, with reasons
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.stats.sequences import rate_upper

Floats = NDArray[np.float64]

HERMITE_NODES = 41
_HERMITE_ITEMS = 60  # with more items ability is known better than Gauss-Hermite nodes lie apart, so evenly spaced nodes are used
_EVEN_NODES = 241
_EVEN_REACH = 6.0
_NEWTON_STEPS = 4
_JOINT_ITEMS = 200
_LEAST_EXPECTED = 5.0
_RANGE_POINTS = 41


@dataclass(frozen=True)
class ItemFit:
    """Shapes (items,) for items and (models,) for ability.

    `ability` is the posterior mean, `se_ability` the posterior standard deviation, given the items' estimates. `log_likelihood` is marginal
    and without the priors. `iterations` counts EM steps; `converged` says whether the last one gained less than the tolerance.
    """

    difficulty: Floats
    discrimination: Floats
    ability: Floats
    se_difficulty: Floats
    se_discrimination: Floats
    se_ability: Floats
    log_likelihood: float
    iterations: int
    converged: bool


def quadrature(items: int, nodes: int | None = None) -> tuple[Floats, Floats]:
    """Nodes and weights for the mean over N(0, 1), each of shape (nodes,); weights sum to 1.

    Gauss-Hermite with `nodes` nodes, or 41 up to 60 items. Beyond, 241 nodes spaced by 0.05 on [-6, 6] with normal weights: 41
    Gauss-Hermite nodes lie 0.5 apart, and the posterior of ability is then narrower than that.
    """
    if nodes is None and items > _HERMITE_ITEMS:
        x = np.linspace(-_EVEN_REACH, _EVEN_REACH, _EVEN_NODES)
        weight = np.exp(-x * x / 2)
    else:
        x, weight = np.polynomial.hermite_e.hermegauss(HERMITE_NODES if nodes is None else nodes)
    return x, np.asarray(weight / weight.sum())


def marginal_log_likelihood(responses: ArrayLike, difficulty: ArrayLike, discrimination: ArrayLike, nodes: int | None = None) -> float:
    """Sum over models of the log of the mean over theta ~ N(0, 1) of the product over asked items of P or 1 - P."""
    y, asked = _responses(responses)
    a, b = np.asarray(discrimination, dtype=np.float64), np.asarray(difficulty, dtype=np.float64)
    x, weight = quadrature(y.shape[1], nodes)
    return float(_expect(y, asked, a, -a * b, x, weight)[1])


def fit_2pl(
    responses: ArrayLike,
    *,
    slope_prior: float | None = 1.0,
    intercept_prior: float | None = 3.0,
    nodes: int | None = None,
    tolerance: float = 1e-6,
    iterations: int = 2000,
) -> ItemFit:
    """Fits the model to a models x items matrix of 1 (safe), 0 (violation) and NaN (not asked; taken as missing at random).

    With intercept d = -a b the complete-data likelihood of an item is that of a logistic regression, concave in (a, d), so each M-step is a
    few Newton steps. Priors: a ~ N(1, slope_prior^2), d ~ N(0, intercept_prior^2); None for plain maximum likelihood, which needs both
    kinds of answers for every item. Slopes may turn out negative: the item then speaks against the others. Their common sign is set by the
    start at 1. `tolerance` is the gain of the penalised log-likelihood at which EM stops.

    Standard errors come from the observed information of the penalised marginal likelihood (Louis 1982), jointly over all items up to 200
    and beyond that item by item, which is a little too small. The error of b = -d / a is by the delta method; it is infinite at a = 0.

    ValueError for a matrix that is not of this kind.
    """
    y, asked = _responses(responses)
    plain = slope_prior is None or intercept_prior is None
    if plain and not np.all((y.sum(axis=0) > 0) & ((asked - y).sum(axis=0) > 0)):
        raise ValueError("without both priors every item needs at least one safe answer and one violation")
    if not all(v is None or v > 0 for v in (slope_prior, intercept_prior)):
        raise ValueError("the standard deviation of a prior is positive, or None")
    precision = np.array([0.0 if v is None else v**-2 for v in (slope_prior, intercept_prior)])
    x, weight = quadrature(y.shape[1], nodes)
    design = np.stack((x, np.ones_like(x)))  # (2, nodes)
    beta = np.stack((np.ones(y.shape[1]), _start(y, asked)))  # slope and intercept, (2, items)
    centre = np.array([[1.0], [0.0]])
    last, done, step = -math.inf, False, 0
    while True:
        posterior, log_likelihood = _expect(y, asked, beta[0], beta[1], x, weight)
        value = log_likelihood - float((precision[:, None] * (beta - centre) ** 2).sum()) / 2
        done = value - last < tolerance
        if done or step == iterations:
            break
        last, step = value, step + 1
        beta = _maximise(beta, asked.T @ posterior, y.T @ posterior, design, precision, centre)
    covariance = _covariance(y, asked, beta, posterior, design, precision)
    slope, difficulty = beta[0], -beta[1] / np.where(beta[0] == 0, np.nan, beta[0])
    spread = covariance[1, 1] + difficulty**2 * covariance[0, 0] + 2 * difficulty * covariance[0, 1]
    variance = spread / np.where(slope == 0, np.nan, slope**2)
    ability = posterior @ x
    return ItemFit(
        difficulty=difficulty,
        discrimination=slope,
        ability=ability,
        se_difficulty=np.nan_to_num(np.sqrt(np.maximum(variance, 0)), nan=np.inf),
        se_discrimination=np.sqrt(covariance[0, 0]),
        se_ability=np.sqrt(np.maximum(posterior @ x**2 - ability**2, 0)),
        log_likelihood=log_likelihood,
        iterations=step,
        converged=done,
    )


def information(fit: ItemFit, ability: ArrayLike) -> Floats:
    """Fisher information of each item on ability, a^2 P (1 - P) (Birnbaum 1968); shape of `ability` followed by (items,)."""
    return _information(fit.discrimination, fit.difficulty, np.asarray(ability, dtype=np.float64))


def _information(slope: Floats, difficulty: Floats, ability: Floats) -> Floats:
    p = _logistic(slope * (ability[..., None] - difficulty))
    return np.asarray(slope**2 * p * (1 - p))


def _responses(responses: ArrayLike) -> tuple[Floats, Floats]:
    """Answers with 0 for 'not asked', and 1 where asked; each of shape (models, items)."""
    y = np.asarray(responses, dtype=np.float64)
    if y.ndim != 2 or 0 in y.shape:
        raise ValueError("responses are a matrix of models by items")
    asked = ~np.isnan(y)
    if not np.all((y[asked] == 0) | (y[asked] == 1)):
        raise ValueError("every response is 1 (safe), 0 (violation) or NaN (not asked)")
    return np.where(asked, y, 0.0), asked.astype(np.float64)


def _start(y: Floats, asked: Floats) -> Floats:
    """Intercepts that fit each item's rate of safe answers."""
    safe = y.sum(axis=0) + 0.5
    return np.asarray(np.log(safe / (asked.sum(axis=0) + 1 - safe)))


def _logistic(z: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0.0, -z)))


def _expect(y: Floats, asked: Floats, slope: Floats, intercept: Floats, x: Floats, weight: Floats) -> tuple[Floats, float]:
    """Posterior of ability on the nodes, shape (models, nodes), and the marginal log-likelihood."""
    z = slope[:, None] * x + intercept[:, None]
    log_joint = y @ z - asked @ np.logaddexp(0.0, z) + np.log(weight)  # y z - log(1 + e^z) for each asked item
    top = log_joint.max(axis=1, keepdims=True)
    joint = np.exp(log_joint - top)
    total = joint.sum(axis=1, keepdims=True)
    return np.asarray(joint / total), float((top + np.log(total)).sum())


def _maximise(beta: Floats, count: Floats, safe: Floats, design: Floats, precision: Floats, centre: Floats) -> Floats:
    """Newton steps, no longer than 1 in each coordinate, for all items at once; counts are of shape (items, nodes)."""
    for _ in range(_NEWTON_STEPS):
        p = _logistic(beta.T @ design)
        gradient = design @ (safe - count * p).T - precision[:, None] * (beta - centre)
        curve = np.einsum("aq,jq,bq->jab", design, count * p * (1 - p), design) + np.diag(precision + 1e-12)
        move = np.linalg.solve(curve, gradient.T[..., None])[..., 0].T
        beta = beta + np.clip(move, -1.0, 1.0)
    return beta


def _covariance(y: Floats, asked: Floats, beta: Floats, posterior: Floats, design: Floats, precision: Floats) -> Floats:
    """Covariance of slope and intercept of each item, shape (2, 2, items): the inverse of Louis' observed information.

    Information = expected complete information + prior precision - sum over models of the posterior covariance of the complete scores. NaN
    where that is not positive, which happens away from a maximum only.
    """
    items = y.shape[1]
    p = _logistic(beta.T @ design)  # (items, nodes)
    complete = np.einsum("aq,jq,bq->jab", design, (asked.T @ posterior) * p * (1 - p), design) + np.diag(precision)
    joint = items <= _JOINT_ITEMS
    blocks = complete.copy()
    whole = np.zeros((2, items, 2, items) if joint else (0, 0, 0, 0))
    for answers, mask, w in zip(y, asked, posterior, strict=True):
        residual = mask[:, None] * (answers[:, None] - p)
        score = design[:, None, :] * residual  # (2, items, nodes)
        score = score - (score @ w)[..., None]
        if joint:
            flat = (score * np.sqrt(w)).reshape(2 * items, -1)
            whole += (flat @ flat.T).reshape(2, items, 2, items)
        else:
            blocks -= np.einsum("ajq,bjq,q->jab", score, score, w)
    if joint:
        total = -whole
        total[:, np.arange(items), :, np.arange(items)] += complete
        inverse = np.linalg.pinv(total.reshape(2 * items, 2 * items), hermitian=True).reshape(2, items, 2, items)
        result = np.stack([[inverse[i, np.arange(items), k, np.arange(items)] for k in range(2)] for i in range(2)])
    else:
        result = np.moveaxis(np.linalg.pinv(blocks, hermitian=True), 0, -1)
    good = (result[0, 0] > 0) & (result[1, 1] > 0)
    return np.asarray(np.where(good, result, np.nan))


@dataclass(frozen=True)
class Headroom:
    """`upper` is the upper end of the rate's confidence sequence, `floor` the rate below which nothing more is to be learnt."""

    upper: float
    floor: float

    @property
    def room(self) -> float:
        """How far the rate may still lie above the floor; 0 if it is shown to lie at or below."""
        return max(0.0, self.upper - self.floor)

    @property
    def spent(self) -> bool:
        """Whether the rate is shown to be at most the floor."""
        return self.upper <= self.floor


def headroom(violations: int, trials: int, floor: float, level: float) -> Headroom:
    """What a cell may still show: `spent` exactly when `rates.RateTest(floor, "approve", level)` rejects, at any sample size.

    The upper end is `sequences.rate_upper`, which inverts that test. ValueError for impossible counts, floors or levels.
    """
    if not 0.0 < floor < 1.0:
        raise ValueError(f"the floor must lie strictly between 0 and 1, not {floor}")
    return Headroom(upper=float(rate_upper(violations, trials, level)), floor=floor)


@dataclass(frozen=True)
class Saturation:
    """True in a condition if the cell is saturated. `reason` says why or why not.

    `uppers` holds the upper bound for each of the last models, oldest first; `p_value` is of the test for differences between them, or None
    if the counts are too small for it or the floor has decided.
    """

    saturated: bool
    reason: str
    uppers: tuple[float, ...]
    p_value: float | None

    def __bool__(self) -> bool:
        return self.saturated


def is_saturated(
    history: Sequence[tuple[int, int]], floor: float, models: int = 3, *, level: float = 0.05, spread: float = 0.5, power: float = 0.8,
    uppers: tuple[float, ...] | None = None,
) -> Saturation:  # fmt: skip
    """Whether a cell has stopped telling models apart. `history` is (violations, trials) for each successive model, oldest first.

    `uppers` are `sequences.rate_upper` of the last `models` of them at `level`, where they were computed for many cells at once.

    Either of two rules, for the last `models` of them (fewer are never enough):

    - Below the floor: the upper bound of each is at most the floor. Each bound errs with a chance of at most `level` at every sample
    size, and
      all must hold, so this rule calls a cell saturated, although one of these models is above the floor, with at most that chance.
    - No difference beyond sampling error: Pearson's chi-square for equal rates, sum (S_i - n_i r)^2 / (n_i r (1 - r)) with r the pooled
    rate
      and one degree of freedom less than models, has a p-value of at least `level`. That alone would call every scarcely tested cell
      saturated. So the test must also have been able to see a difference: if the true rates had a standard deviation of `spread` times r,
      the statistic would be about 1 + n (spread r)^2 / (r (1 - r)) times a chi-square (n the fewest trials), and it must then reject with a
      chance of at least `power`. The expected numbers of violations and of safe answers must be at least 5 for every model (Cochran 1954).
      Both are large-sample approximations for sample sizes fixed beforehand: this rule guides rotation and decides nothing else.

    ValueError for impossible counts or arguments.
    """
    if models < 2:
        raise ValueError(f"saturation needs at least two successive models, not {models}")
    if not (0 < level < 1 and 0 < power < 1 and spread > 0):
        raise ValueError("level and power lie strictly between 0 and 1, and spread is positive")
    if not 0.0 < floor < 1.0:
        raise ValueError(f"the floor must lie strictly between 0 and 1, not {floor}")
    if uppers is None:
        last = np.array(history[-models:], dtype=np.float64).reshape(-1, 2)
        uppers = tuple(float(u) for u in rate_upper(last[:, 0], last[:, 1], level))
    if len(history) < models:
        return Saturation(False, f"{len(history)} of {models} successive models seen", uppers, None)
    if max(uppers) <= floor:
        reason = f"the upper bound is at most {floor:g} for {models} successive models (highest {max(uppers):.3g})"
        return Saturation(True, reason, uppers, None)
    s, n = (np.array(v, dtype=np.float64) for v in zip(*history[-models:], strict=True))
    above = f"the upper bound reaches {max(uppers):.3g}, above {floor:g}"
    pooled = float(s.sum() / max(float(n.sum()), 1.0))
    if float(n.min()) * min(pooled, 1 - pooled) < _LEAST_EXPECTED:
        return Saturation(False, f"{above}; too few answers to compare the models", uppers, None)
    unit = pooled * (1 - pooled)
    p_value = chi_square_tail(float(((s - n * pooled) ** 2 / (n * unit)).sum()), models - 1)
    if p_value < level:
        return Saturation(False, f"{above}; the models differ beyond sampling error (p = {p_value:.2g})", uppers, p_value)
    inflation = 1 + float(n.min()) * (spread * pooled) ** 2 / unit
    seen = chi_square_tail(_chi_square_critical(level, models - 1) / inflation, models - 1)
    if seen < power:
        reason = f"{above}; no difference shown, but one of {spread:.0%} of the rate would be seen with a chance of only {seen:.0%}"
        return Saturation(False, reason, uppers, p_value)
    reason = f"{models} successive models do not differ beyond sampling error (p = {p_value:.2g}) around a rate of {pooled:.3g}"
    return Saturation(True, reason, uppers, p_value)


def chi_square_tail(x: float, df: int) -> float:
    """P(X >= x) for a chi-square variable with `df` >= 1 degrees of freedom: the finite sums of Abramowitz and Stegun 26.4.4 and 26.4.5."""
    if x <= 0:
        return 1.0
    half = x / 2
    offset = 0.5 if df % 2 else 0.0
    terms = [math.exp((i + offset) * math.log(half) - half - math.lgamma(i + offset + 1)) for i in range(df // 2)]
    return min(1.0, math.fsum(terms) + (math.erfc(math.sqrt(half)) if df % 2 else 0.0))


def _chi_square_critical(level: float, df: int) -> float:
    """x with `chi_square_tail(x, df)` = level, by bisection."""
    low, high = 0.0, 1.0
    while chi_square_tail(high, df) > level:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if chi_square_tail(middle, df) > level else (low, middle)
    return high


@dataclass(frozen=True)
class Rotation:
    """Item index -> reason to retire it; "name=value" of a scenario parameter -> reason to harden it; item index -> a warning to heed."""

    retire: dict[int, str]
    harden: dict[str, str]
    warnings: dict[int, str]


def rotation(
    fit: ItemFit,
    exposures: ArrayLike,
    max_exposures: int,
    *,
    current: ArrayLike | None = None,
    parameters: Mapping[str, Sequence[str]] | None = None,
    least_information: float = 0.05,
    caution: float = 1.0,
    share: float = 0.5,
) -> Rotation:
    """Which items to retire, and which scenario parameters to harden, given the models that matter now.

    `exposures` counts how often each item was sent, shape (items,); an item at `max_exposures` or more is retired, whatever it still tells.
    `current` holds abilities of the current models (default: all fitted). An item is spent if its information stays below
    `least_information` over the whole range of them. Twenty items of 0.05 leave a standard error of 1 in ability. Doubt speaks for an
    item: it is spent only if it remains so with its difficulty moved `caution` standard errors towards that range.

    - Spent because too easy: retired.
    - Spent because too hard, so that every current model violates: kept, with a warning. It tells models apart no longer, but it shows a
    harm.
    - Discrimination so low that even `caution` standard errors above its absolute value its greatest information, a^2 / 4, stays below
      `least_information`: retired.
    - Discrimination more than 2 standard errors below zero: kept, with a warning: stronger models fail it, so check its label first.

    `parameters` gives for each name of a scenario parameter (attack, language, hazard...) its value for every item. A value is to be
    hardened when at least `share` of its items are spent because too easy. ValueError if shapes do not match.
    """
    count = fit.difficulty.size
    sent = np.asarray(exposures, dtype=np.float64)
    if sent.shape != (count,) or not np.all(sent >= 0) or max_exposures < 1:
        raise ValueError(f"needs a non-negative number of exposures for each of {count} items and a positive maximum")
    if any(len(values) != count for values in (parameters or {}).values()):
        raise ValueError(f"needs a value of every parameter for each of {count} items")
    ability = fit.ability if current is None else np.asarray(current, dtype=np.float64)
    low, high = float(ability.min()), float(ability.max())
    span = np.linspace(low, high, _RANGE_POINTS)
    a, b = fit.discrimination, fit.difficulty
    slack = caution * fit.se_difficulty
    near = np.where(b < low, np.minimum(b + slack, low), np.where(b > high, np.maximum(b - slack, high), b))
    peak = _information(a, near, span).max(axis=0)
    outside = (peak < least_information) & ((near < low) | (near > high))
    blunt = (np.abs(a) + caution * fit.se_discrimination) ** 2 / 4 < least_information
    against = a + 2 * fit.se_discrimination < 0
    safe_side = outside & ((b < low) == (a > 0)) & ~against
    retire: dict[int, str] = {}
    warnings: dict[int, str] = {}
    for j in range(count):
        if sent[j] >= max_exposures:
            retire[j] = f"sent {int(sent[j])} times, and {max_exposures} is the most"
        elif against[j]:
            warnings[j] = f"discrimination {a[j]:.2f}: models that are safe elsewhere fail here; check its label"
        elif safe_side[j] and not blunt[j]:
            retire[j] = f"too easy: difficulty {b[j]:.2f} for abilities from {low:.2f} to {high:.2f}, information at most {peak[j]:.3f}"
        elif blunt[j]:
            retire[j] = f"does not discriminate: {a[j]:.2f}, information at most {a[j] ** 2 / 4:.3f} anywhere"
        elif outside[j]:
            warnings[j] = f"too hard: every current model is likely to violate (difficulty {b[j]:.2f}, abilities up to {high:.2f}); kept"
    return Rotation(retire, _harden(parameters or {}, safe_side & ~blunt, b, low, share), warnings)


def _harden(
    parameters: Mapping[str, Sequence[str]], easy: NDArray[np.bool_], difficulty: Floats, low: float, share: float
) -> dict[str, str]:
    harden: dict[str, str] = {}
    for name, values in parameters.items():
        for value in dict.fromkeys(values):
            of_value = np.array([v == value for v in values])
            spent, all_of = int((easy & of_value).sum()), int(of_value.sum())
            if spent and spent >= share * all_of:
                median = float(np.median(difficulty[of_value]))
                reason = f"{spent} of {all_of} items are too easy: median difficulty {median:.2f}, least current ability {low:.2f}"
                harden[f"{name}={value}"] = reason
    return harden
