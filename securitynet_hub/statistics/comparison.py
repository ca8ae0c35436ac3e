"""Compare two AUCs: of two attacks on the same samples, or of two models on separate samples."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Scores
from securitynet_hub.statistics.rates import (
    CONFIDENCE_LEVEL,
    Interval,
    auc_interval,
    auc_variance,
    check_scores,
    doubled_wins,
    require_level,
    split_scores,
)


class AucDifference(NamedTuple):
    """The first AUC minus the second, its interval, and the two-sided p-value of no difference.

    The p-value is below ``1 - confidence_level`` exactly where the interval leaves out 0.
    """

    difference: float
    ci: Interval
    p_value: float


def paired_auc_difference(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    is_member: npt.ArrayLike,
    *,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> AucDifference:
    """Compare the AUCs of two attacks on the same samples (DeLong, DeLong & Clarke-Pearson 1988).

    D_i is the share of non-members that member i beats under the first attack minus the share under the
    second; D_j is the same for non-member j. The difference of the AUCs has the variance
    ``var(D_i) / n_members + var(D_j) / n_nonmembers``. Errors that both attacks share cancel.

    Attacks that rank all samples alike differ by exactly 0. If D is constant otherwise (both attacks separate
    the classes completely) or a class has one sample, the variance cannot be estimated, and Hoeffding's
    inequality gives a wider interval.

    Args:
        first: shape (n,), higher = more likely a member.
        second: shape (n,), other scores of the same samples in the same order.
        is_member: shape (n,), booleans or 0/1.
        confidence_level: of the interval.

    Raises:
        ValueError: as `statistics.split_scores`.

    >>> is_member = [1, 1, 1, 0, 0, 0]
    >>> paired_auc_difference([6, 5, 4, 3, 2, 1], [36, 25, 16, 9, 4, 1], is_member)
    AucDifference(difference=0.0, ci=Interval(low=0.0, high=0.0), p_value=1.0)
    """
    alpha = 1 - require_level(confidence_level)
    (a, members), (b, _) = (check_scores(scores, is_member) for scores in (first, second))
    if np.array_equal(_ranks(a), _ranks(b)):
        return AucDifference(0.0, Interval(0.0, 0.0), 1.0)
    n_members, n_nonmembers = int(members.sum()), int((~members).sum())
    of_members, of_nonmembers = (
        doubled_wins(a[side], np.sort(a[~side])) - doubled_wins(b[side], np.sort(b[~side]))
        for side in (members, ~members)
    )
    difference = int(of_members.sum()) / (2 * n_members * n_nonmembers)
    smaller = min(n_members, n_nonmembers)
    variance = 0.0
    if smaller > 1:
        variance += float(np.var(of_members, ddof=1)) / (4 * n_nonmembers**2 * n_members)
        variance += float(np.var(of_nonmembers, ddof=1)) / (4 * n_members**2 * n_nonmembers)
    return _infer(difference, variance, 4 / smaller, alpha)


def auc_difference(
    first: npt.ArrayLike,
    first_is_member: npt.ArrayLike,
    second: npt.ArrayLike,
    second_is_member: npt.ArrayLike,
    *,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> AucDifference:
    """Compare the AUCs of two models on separate samples.

    The variance is the sum of the two AUCs' (`auc_variance`). If an AUC is 0 or 1 or a class has one
    sample, the variance cannot be estimated, and Hoeffding's inequality gives a wider interval. If both
    models are tested on the same samples, use `paired_auc_difference`, which detects smaller differences.

    Args:
        first: shape (n,), higher = more likely a member.
        first_is_member: shape (n,), booleans or 0/1.
        second: shape (k,).
        second_is_member: shape (k,).
        confidence_level: of the interval.

    Raises:
        ValueError: as `statistics.split_scores`.

    >>> auc_difference([3, 2, 1, 0], [1, 1, 0, 0], [3, 2, 1, 0], [1, 0, 1, 0]).difference
    0.25
    """
    alpha = 1 - require_level(confidence_level)
    rankings = split_scores(first, first_is_member), split_scores(second, second_is_member)
    aucs = [auc_interval(ranking, confidence_level)[0] for ranking in rankings]
    smaller = [min(map(len, ranking)) for ranking in rankings]
    parts = [
        auc_variance(ranking, auc) if few > 1 else 0.0
        for ranking, auc, few in zip(rankings, aucs, smaller, strict=True)
    ]
    return _infer(
        aucs[0] - aucs[1], sum(parts) if all(parts) else 0.0, sum(1 / few for few in smaller), alpha
    )


def _infer(difference: float, variance: float, width: float, alpha: float) -> AucDifference:
    """Return interval and p-value by the normal distribution; by Hoeffding (1963) if the variance is 0.

    An AUC is a U-statistic over ``n = min(n_members, n_nonmembers)`` disjoint pairs. So it deviates by t with
    probability at most ``2 exp(-2 t**2 / width)``, where width is the sum of range**2 / n over its parts.
    """
    if variance:
        error = math.sqrt(variance)
        slack = NormalDist().inv_cdf(1 - alpha / 2) * error
        p_value = math.erfc(abs(difference) / error / math.sqrt(2))
    else:
        slack = math.sqrt(math.log(2 / alpha) * width / 2)
        p_value = min(1.0, 2 * math.exp(-2 * difference**2 / width))
    return AucDifference(
        difference, Interval(max(-1.0, difference - slack), min(1.0, difference + slack)), p_value
    )


def _ranks(scores: Scores) -> npt.NDArray[np.intp]:
    return np.unique(scores, return_inverse=True)[1]
