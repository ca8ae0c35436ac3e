"""Lower bounds on the epsilon of differential privacy that a membership attack demonstrates.

If training is (epsilon, delta)-private, every attack has TPR <= e^epsilon FPR + delta, and, with the roles of
accusing and clearing exchanged, TNR <= e^epsilon FNR + delta (Kairouz, Oh & Viswanath 2015). A rate that
exceeds this by more than its uncertainty refutes the epsilon and all smaller ones. A bound of 0 refutes
nothing.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaincinv
from scipy.stats import binom

from securitynet_hub.core.arrays import Scores, as_array, require_finite
from securitynet_hub.statistics.rates import Ranking, check_scores, require_level, split_scores


class EpsilonBound(NamedTuple):
    """A lower bound on epsilon, the threshold that gives it, and the number of thresholds tried."""

    epsilon: float
    threshold: float
    tpr_low: float
    fpr_high: float
    comparisons: int


def epsilon_lower_bound(
    scores: npt.ArrayLike,
    is_member: npt.ArrayLike,
    *,
    thresholds: npt.ArrayLike,
    delta: float = 0.0,
    confidence_level: float = 0.95,
) -> EpsilonBound:
    """Bound epsilon from below by the errors of "score >= threshold" (Nasr et al. 2021).

    epsilon >= max(0, log((TPR - delta) / FPR), log((1 - FPR - delta) / (1 - TPR))) with TPR and FPR at the
    ends of one-sided Clopper-Pearson intervals (1934) that hold together: each of the k thresholds has
    (1 - confidence_level) / (2 k) for either rate, so that the best of them may be reported.

    The thresholds must be chosen **without these scores**: beforehand, or by `choose_threshold` on other
    samples. Each score must come from its own training run: scores of samples of the same training run depend
    on each other, and `one_run_epsilon` is the bound for them.

    Args:
        scores: shape (n,), higher = more likely a member.
        is_member: shape (n,), booleans or 0/1.
        thresholds: one, or shape (k,).
        delta: delta of the (epsilon, delta)-privacy that is tested, in [0, 1).
        confidence_level: confidence level of the bound.

    Raises:
        ValueError: as `statistics.split_scores`, there are no thresholds, or a setting is not a probability.

    Example: all of 500 members above and all of 500 non-members below.

    >>> scores = [1] * 500 + [0] * 500
    >>> bound = epsilon_lower_bound(scores, scores, thresholds=0.5)
    >>> round(bound.epsilon, 2)  # log(0.025 ** (1/500) / (1 - 0.025 ** (1/500)))
    4.91
    """
    ranking = split_scores(scores, is_member)
    grid = np.atleast_1d(as_array(thresholds, "thresholds"))
    if grid.ndim != 1 or not len(grid):
        raise ValueError(f"thresholds must be one number or a list of them; got shape {grid.shape}.")
    require_finite(grid, "thresholds")
    alpha = 1 - require_level(confidence_level)
    epsilons, tpr_low, fpr_high = _bounds(ranking, grid, delta, alpha / (2 * len(grid)))
    best = int(epsilons.argmax())
    return EpsilonBound(
        epsilon=float(epsilons[best]),
        threshold=float(grid[best]),
        tpr_low=float(tpr_low[best]),
        fpr_high=float(fpr_high[best]),
        comparisons=len(grid),
    )


def choose_threshold(
    scores: npt.ArrayLike,
    is_member: npt.ArrayLike,
    *,
    delta: float = 0.0,
    confidence_level: float = 0.95,
) -> float:
    """Return the score that gives the best bound as a threshold, for use on **other** samples.

    The bound that it gives on these scores is too high, because it was chosen on them. Arguments as for
    `epsilon_lower_bound`.

    >>> choose_threshold([3, 2, 1, 0] * 10, [1, 1, 0, 0] * 10)
    2.0
    """
    ranking = split_scores(scores, is_member)
    candidates = np.unique(np.concatenate(ranking))
    epsilons, *_ = _bounds(ranking, candidates, delta, (1 - require_level(confidence_level)) / 2)
    return float(candidates[epsilons.argmax()])


class OneRunBound(NamedTuple):
    """A lower bound on epsilon from one training run, and the guesses behind it."""

    epsilon: float
    correct: int
    guesses: int
    canaries: int


def one_run_epsilon(
    scores: npt.ArrayLike,
    is_member: npt.ArrayLike,
    *,
    k_plus: int,
    k_minus: int,
    delta: float = 0.0,
    confidence_level: float = 0.95,
    seed: int = 0,
) -> OneRunBound:
    """Bound epsilon from below by one training run with random canaries (Steinke, Nasr & Jagielski 2023).

    The auditor guesses that the ``k_plus`` canaries with the highest scores are members and that the
    ``k_minus`` with the lowest scores are non-members, and abstains on the rest (their Algorithm 1).
    `one_run_bound` computes the bound from the number of right guesses. Equal scores are put in an order
    drawn from ``seed``: in the order of the rows, which often has members first, a constant score would guess
    well.

    The bound holds if an independent fair coin decided for each canary whether it was in the training set,
    and if the score, ``k_plus`` and ``k_minus`` were fixed without looking at ``is_member``.

    Args:
        scores: shape (canaries,), higher = more likely a member.
        is_member: shape (canaries,), booleans or 0/1.
        k_plus: number of canaries to guess members.
        k_minus: number of canaries to guess non-members.
        delta: delta of the (epsilon, delta)-privacy that is tested, in [0, 1).
        confidence_level: confidence level of the bound.
        seed: decides the order of equal scores.

    Raises:
        ValueError: as `statistics.split_scores`, or there are no guesses, or more guesses than canaries.

    >>> is_member = [1] * 50 + [0] * 50
    >>> bound = one_run_epsilon(is_member, is_member, k_plus=20, k_minus=20)
    >>> bound.correct, round(bound.epsilon, 2)  # q ** 40 = 0.05, epsilon = log(q / (1 - q))
    (40, 2.55)
    """
    values, membership = check_scores(scores, is_member)
    if not (min(k_plus, k_minus) >= 0 and 1 <= k_plus + k_minus <= len(values)):
        raise ValueError(
            f"k_plus and k_minus must be counts of 1..{len(values)} canaries together; got {k_plus} and "
            f"{k_minus}."
        )
    shuffled = np.random.default_rng(seed).permutation(len(values))
    ranked = membership[shuffled[np.argsort(values[shuffled], kind="stable")]]
    correct = int(ranked[len(ranked) - k_plus :].sum() + (~ranked[:k_minus]).sum())
    guesses, canaries = k_plus + k_minus, len(values)
    epsilon = one_run_bound(canaries, guesses, correct, delta=delta, confidence_level=confidence_level)
    return OneRunBound(epsilon, correct, guesses, canaries)


def one_run_bound(
    canaries: int, guesses: int, correct: int, *, delta: float = 0.0, confidence_level: float = 0.95
) -> float:
    """Return the largest epsilon that this number of right guesses refutes; 0 if it refutes none.

    >>> round(one_run_bound(1000, 100, 75, delta=1e-4), 3)  # the example of the paper's appendix D
    0.673
    """
    level = 1 - require_level(confidence_level)
    _require_delta(delta)
    if not 0 <= correct <= guesses <= canaries or not guesses:
        raise ValueError(
            f"counts must be 0 <= correct <= guesses <= canaries; got {correct}, {guesses}, {canaries}."
        )

    def refuted(epsilon: float) -> bool:
        return one_run_p_value(epsilon, canaries, guesses, correct, delta=delta) < level

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high):
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def one_run_p_value(epsilon: float, canaries: int, guesses: int, correct: int, *, delta: float) -> float:
    """Return an upper bound on the probability of this many right guesses under (epsilon, delta)-privacy.

    With W ~ Binomial(guesses, e^epsilon / (1 + e^epsilon)), Steinke et al. (2023, theorem 5.2, appendix D)
    bound it by ``P[W >= v] + 2 m delta max_{i >= 1} P[v > W >= v - i] / i`` for v right guesses about
    some of m canaries.

    >>> round(one_run_p_value(math.log(3), 100, 100, 75, delta=0), 3)
    0.553
    """
    rate = 1 / (1 + math.exp(-epsilon))
    if not correct:
        return 1.0
    p_value = float(betainc(correct, guesses - correct + 1, rate))  # P[W >= v]
    if delta:
        below = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, rate))
        p_value += 2 * canaries * delta * float(np.max(below / np.arange(1, correct + 1)))
    return min(p_value, 1.0)


def _bounds(
    ranking: Ranking, thresholds: npt.NDArray[Any], delta: float, alpha: float
) -> tuple[Scores, Scores, Scores]:
    """Return epsilon at each threshold, at least 0, and the rates behind it, each at level alpha."""
    _require_delta(delta)
    hits, false_alarms = (len(side) - np.searchsorted(side, thresholds) for side in ranking)
    tpr_low = 1 - _clopper_pearson_upper(len(ranking.members) - hits, len(ranking.members), alpha)
    fpr_high = _clopper_pearson_upper(false_alarms, len(ranking.nonmembers), alpha)
    ratios = np.maximum((tpr_low - delta) / fpr_high, (1 - fpr_high - delta) / (1 - tpr_low))
    return np.log(np.maximum(ratios, 1)), tpr_low, fpr_high


def _clopper_pearson_upper(counts: npt.NDArray[np.int64], trials: int, alpha: float) -> Scores:
    """Return upper ends of one-sided Clopper-Pearson intervals at level alpha; 1 if all trials succeeded."""
    few = np.minimum(counts, trials - 1)
    upper: Scores = np.where(counts < trials, betaincinv(few + 1, trials - few, 1 - alpha), 1.0)
    return upper


def _require_delta(delta: float) -> None:
    if not (isinstance(delta, Real) and 0 <= delta < 1):
        raise ValueError(f"delta must be a probability in [0, 1); got {delta!r}.")
