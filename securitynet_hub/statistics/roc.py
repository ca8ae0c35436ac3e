"""The ROC curve at one false-positive rate: the TPR where the population's FPR is f, with its interval.

The threshold that accuses a share f of *all* non-members is unknown. A threshold that accuses a share f of
the n sampled non-members accuses ``(f n + 1) / (n + 1)`` of all on average, and at ``f n = 1`` anything from
a quarter of f to five times f. `tpr_at_fpr` therefore lets the threshold vary as the sampled non-members
allow. `tpr_at_threshold` gives the rates at the sample's own threshold instead.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Rows, Scores
from securitynet_hub.statistics.rates import (
    CONFIDENCE_LEVEL,
    Interval,
    Ranking,
    require_level,
    require_rate,
    split_scores,
    wilson_interval,
)

COMPONENTS = 64
"""Places of the threshold that an interval distinguishes."""

NEGLIGIBLE = 1e-4
"""Share of the places, at either end, that are left out."""


class TprAtFpr(NamedTuple):
    """The true-positive rate at the population's false-positive rate, and the rates at one threshold.

    Attributes:
        target_fpr: the false-positive rate f.
        tpr: the estimate of the TPR where a share f of all non-members is accused.
        achieved_fpr: the share of the sampled non-members above `threshold`.
        threshold: the smallest non-member score that leaves at most ``f n`` non-members above it; None if
            every sample may be accused.
        ci: the interval of `tpr`. Its low end is 0 where the rate is not resolvable.
        resolvable: whether the sampled non-members tell the rate from 0: ``f n >= 1``.
        tpr_at_threshold: the share of the sampled members above `threshold`.
        ci_at_threshold: its interval, Wilson's, for that fixed threshold.
    """

    target_fpr: float
    tpr: float
    achieved_fpr: float
    threshold: float | None
    ci: Interval
    resolvable: bool
    tpr_at_threshold: float
    ci_at_threshold: Interval


class ThresholdRates(NamedTuple):
    """The rates of the sample above one of its own scores; see `tpr_at_threshold`."""

    threshold: float | None
    tpr: float
    achieved_fpr: float
    ci: Interval


def tpr_at_fpr(
    scores: npt.ArrayLike,
    is_member: npt.ArrayLike,
    target_fpr: float,
    *,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> TprAtFpr:
    """Estimate the true-positive rate at a false-positive rate of the population, with its interval.

    **Estimate.** The k-th largest of n non-members has the share ``k / (n + 1)`` of all non-members above it,
    on average. The estimate is the members' share above at the rank ``f (n + 1)``, linear between ranks and
    within tied scores. It is unbiased if members and non-members have the same distribution.

    **Interval.** ``K ~ Binomial(n, f)`` of the sampled non-members lie above the population's threshold.
    Given K = k, the threshold lies between the k-th and the next non-member, with the same probability
    between any two members there. With c of the m members above it the TPR is ``Beta(c + 1/2, m - c + 1/2)``.
    The interval goes from the quantile ``alpha / 2`` of this mixture to ``1 - alpha / 2``. It is computed,
    not drawn: an analytic form of the Bayesian bootstrap of the ROC curve (Gu, Ghosal & Roy 2008, Statistics
    in Medicine 27:5407), whose intervals cover as they say for many samples (Gu & Ghosal 2008, J.
    Nonparametric Statistics 20:229). docs/numbers.md shows how often this one does.

    Where a threshold lies inside a score that many non-members share, its place t in 0..1 between accusing
    none of them and all follows from how many lie above and below, and the TPR from the members above and t
    of those that are tied.

    With ``f n < 1`` the sampled non-members cannot tell the rate from 0: `resolvable` is False, and only the
    upper end of the interval says anything.

    Args:
        scores: shape (n,), higher = more likely a member.
        is_member: shape (n,), booleans or 0/1.
        target_fpr: the false-positive rate f in 0..1.
        confidence_level: of the intervals.

    Raises:
        ValueError: as `split_scores`, or the target is not a rate.

    >>> scores, is_member = list(range(199, 99, -1)) + list(range(100)), [1] * 100 + [0] * 100
    >>> found = tpr_at_fpr(scores, is_member, 0.01)
    >>> found.tpr, found.tpr_at_threshold, found.resolvable
    (1.0, 1.0, True)
    >>> tpr_at_fpr(scores, is_member, 0.001).resolvable
    False
    """
    return rate_at_fpr(split_scores(scores, is_member), target_fpr, confidence_level)


def rate_at_fpr(ranking: Ranking, target_fpr: float, confidence_level: float) -> TprAtFpr:
    """Do what `tpr_at_fpr` does, on scores that `split_scores` has checked."""
    level, fpr = require_level(confidence_level), require_rate(target_fpr)
    own = rates_at_threshold(ranking, fpr, level)
    tpr, resolvable = estimate_tpr(ranking, fpr), len(ranking.nonmembers) * fpr >= 1 - 1e-9
    low, high = _tpr_interval(ranking, fpr, 1 - level)
    ci = Interval(min(low, tpr) if resolvable else 0.0, max(high, tpr))
    return TprAtFpr(fpr, tpr, own.achieved_fpr, own.threshold, ci, resolvable, own.tpr, own.ci)


def tpr_at_threshold(
    scores: npt.ArrayLike,
    is_member: npt.ArrayLike,
    target_fpr: float,
    *,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> ThresholdRates:
    """Return the rates above the threshold that accuses at most ``target_fpr`` of *these* non-members.

    A sample is called a member when its score is **above** the threshold, the smallest non-member score that
    leaves at most ``floor(target_fpr * n_nonmembers)`` non-members above it. Tied non-members are accused
    together or not at all, so ``achieved_fpr <= target_fpr`` always. The threshold is None if every sample
    may be accused.

    The threshold depends on the non-members alone, so the members above it are binomial and the interval is
    Wilson's (1927) for the TPR **at that threshold**, whose false-positive rate among all non-members is
    unknown. It is no interval of the TPR at the population's rate; for that see `tpr_at_fpr`. Arguments and
    errors as there.

    >>> tpr_at_threshold([5, 4, 3, 2, 1, 0], [1, 1, 0, 1, 0, 0], 0.34)[:3]
    (1.0, 1.0, 0.3333333333333333)
    """
    level, fpr = require_level(confidence_level), require_rate(target_fpr)
    return rates_at_threshold(split_scores(scores, is_member), fpr, level)


def rates_at_threshold(ranking: Ranking, target_fpr: float, confidence_level: float) -> ThresholdRates:
    """Do what `tpr_at_threshold` does, on scores that `split_scores` has checked."""
    members, nonmembers = ranking
    n = len(nonmembers)
    allowed = false_alarms_allowed(target_fpr, n)
    threshold = None if allowed >= n else float(nonmembers[n - 1 - allowed])
    hits, false_alarms = (
        len(side) if threshold is None else int(_above(side, threshold)) for side in ranking
    )
    ci = wilson_interval(hits, len(members), confidence_level=confidence_level)
    return ThresholdRates(threshold, hits / len(members), false_alarms / n, ci)


def false_alarms_allowed(target_fpr: float, n_nonmembers: int) -> int:
    """Return how many non-members may be accused at a rate; raise ValueError if it is not a rate."""
    # 0.29 * 100 is 28.999999999999996 in floating point; it allows 29 false alarms.
    return math.floor(round(require_rate(target_fpr) * n_nonmembers, 9))


def estimate_tpr(ranking: Ranking, target_fpr: float) -> float:
    """Return the share of members above the rank ``target_fpr (n_nonmembers + 1)``; see `tpr_at_fpr`.

    >>> estimate_tpr(Ranking(np.array([0.0, 2, 4]), np.array([1.0, 3, 5])), 0.375)  # half way between ranks
    0.16666666666666666
    """
    members, nonmembers = ranking
    n, m = len(nonmembers), len(members)
    rank = target_fpr * (n + 1)
    k = min(n, math.floor(round(rank, 9)))
    ends = []
    for each in (k, min(k + 1, n + 1)):
        if each in (0, n + 1):
            ends.append(m if each else 0.0)
            continue
        score = nonmembers[n - each]
        # The place of this rank among the tied ones: the i-th of s has the share i / (s + 1) above it.
        first, last = (n - int(np.searchsorted(nonmembers, score, side)) for side in ("right", "left"))
        above, reached = (m - int(np.searchsorted(members, score, side)) for side in ("right", "left"))
        ends.append(above + (each - first) / (last - first + 1) * (reached - above))
    return min(1.0, (ends[0] + max(0.0, rank - k) * (ends[1] - ends[0])) / m)


def _tpr_interval(ranking: Ranking, fpr: float, alpha: float) -> tuple[float, float]:
    """Return the quantiles of the mixture that `tpr_at_fpr` describes."""
    from scipy.special import bdtr  # slow to import

    members, nonmembers = ranking
    n, m = len(nonmembers), len(members)
    if fpr in (0, 1):  # no one is accused, or everyone
        return (1.0, 1.0) if fpr else (0.0, (1 - (alpha / 2) ** (1 / m)))
    ks = _places(n, fpr)
    weights = (
        np.diff(np.r_[0.0, bdtr((ks[:-1] + ks[1:] - 1) // 2, n, fpr), 1.0]) if len(ks) > 1 else np.ones(1)
    )
    inside = (ks > 0) & (ks < n)
    upper = np.where(ks > 0, nonmembers[np.minimum(n - ks, n - 1)], np.inf)  # the k-th largest
    lower = np.where(ks < n, nonmembers[np.maximum(n - 1 - ks, 0)], -np.inf)  # the next
    tied = inside & (upper == lower)
    above = np.where(tied, _above(members, upper), m - np.searchsorted(members, upper, "left"))
    reached = np.where(tied, m - np.searchsorted(members, upper, "left"), _above(members, lower))
    between = reached - above
    # In a gap the place is uniform: so many nodes, the middles of equal parts. In a block it is known better.
    nodes = max(1, COMPONENTS // len(ks))
    mean = np.broadcast_to((np.arange(nodes) + 0.5) / nodes, (len(ks), nodes)).copy()
    variance = np.full((len(ks), nodes), 1 / (12 * nodes**2))
    if tied.any():
        first, last = (n - np.searchsorted(nonmembers, upper[tied], side) for side in ("right", "left"))
        place, spread = _place_in_block(fpr, ks[tied], first, last, n)
        mean[tied], variance[tied] = place[:, None], spread[:, None]
    a, b = above[:, None], between[:, None]
    rate = (a + mean * b + 0.5) / (m + 1)
    square = np.where(tied[:, None], mean**2, mean)  # a part t of tied members is certain, not drawn
    spread = ((a + square * b + 0.5) / (m + 1) - rate**2) / (m + 2) + variance * (b / m) ** 2
    sizes = np.maximum(rate * (1 - rate) / np.maximum(spread, 1e-300) - 1, 1e-3)
    mixture = np.repeat(weights / nodes, nodes), (rate * sizes).ravel(), ((1 - rate) * sizes).ravel()
    low, high = beta_mixture_quantiles(*mixture, (alpha / 2, 1 - alpha / 2))
    # With no member above any place of the threshold the rate may be 0, with all of them above it may be 1.
    return (low if reached.max() else 0.0), (high if above.min() < m else 1.0)


def _places(n: int, fpr: float) -> Rows:
    """Return numbers of non-members that may lie above the population's threshold, thinned if many."""
    from scipy.special import bdtrik

    low, high = (int(max(0, math.floor(bdtrik(share, n, fpr)))) for share in (NEGLIGIBLE, 1 - NEGLIGIBLE))
    high = min(n, high + 1)
    return np.unique(np.linspace(low, high, min(high - low + 1, COMPONENTS)).round().astype(np.int64))


def _place_in_block(fpr: float, k: Rows, first: Rows, last: Rows, n: int) -> tuple[Scores, Scores]:
    """Return mean and variance of the threshold's place in a block of equal non-members, 0 = accuse none.

    `first` non-members lie above the block and ``n - last`` below. On the scale of the population's FPR the
    block's upper edge lies ``f Beta(k - first + 1/2, first + 1/2)`` left of f, and its lower edge ``(1 - f)
    Beta(last - k + 1/2, n - last + 1/2)`` right of it.
    """
    left, left_variance = _beta_moments(k - first + 0.5, first + 0.5)
    right, right_variance = _beta_moments(last - k + 0.5, n - last + 0.5)
    left, right = fpr * left, (1 - fpr) * right
    place = left / (left + right)
    relative = fpr**2 * left_variance / left**2 + (1 - fpr) ** 2 * right_variance / right**2
    return place, np.minimum((place * (1 - place)) ** 2 * relative, place * (1 - place))


def _beta_moments(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> tuple[Scores, Scores]:
    total = a + b
    return a / total, a * b / (total**2 * (total + 1))


def beta_mixture_quantiles(
    weights: Scores, a: Scores, b: Scores, shares: tuple[float, ...]
) -> tuple[float, ...]:
    """Return quantiles of a mixture of Beta(a, b) distributions.

    >>> found = beta_mixture_quantiles(np.ones(1), np.ones(1), np.ones(1), (0.25, 0.5))
    >>> [round(x, 6) for x in found]
    [0.25, 0.5]
    """
    from scipy.special import betainc, betaln

    parts, constant = weights / weights.sum(), betaln(a, b)
    means = a / (a + b)
    mean = float(parts @ means)
    deviation = math.sqrt(parts @ (means * (1 - means) / (a + b + 1) + (means - mean) ** 2))
    found = []
    for share in shares:
        low, high = 0.0, 1.0
        rate = mean + deviation * NormalDist().inv_cdf(share)
        for _ in range(60):  # Newton's method, halving where it would leave the bracket
            if not low < rate < high:
                rate = (low + high) / 2
            error = float(parts @ betainc(a, b, rate)) - share
            low, high = (rate, high) if error < 0 else (low, rate)
            density = float(parts @ np.exp((a - 1) * math.log(rate) + (b - 1) * math.log1p(-rate) - constant))
            if abs(error) < 1e-9 or high - low < 1e-12:
                break
            rate = rate - error / density if density > 0 else low
        found.append(rate)
    return tuple(found)


def _above(ordered: Scores, score: float | Scores) -> Rows:
    return len(ordered) - np.searchsorted(ordered, score, "right")
