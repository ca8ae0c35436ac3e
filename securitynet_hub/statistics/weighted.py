"""Areas under the ROC curve over weighted samples, and over the pairs within strata."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Scores, as_array
from securitynet_hub.statistics.rates import CONFIDENCE_LEVEL, Interval, check_scores, require_level


class WeightedAuc(NamedTuple):
    """An AUC, its interval, and how many equally weighted samples of each side would tell as much."""

    auc: float
    ci: Interval
    effective_members: float
    effective_nonmembers: float


def weighted_auc(
    scores: npt.ArrayLike,
    is_member: npt.ArrayLike,
    weights: npt.ArrayLike,
    *,
    confidence_level: float = CONFIDENCE_LEVEL,
    inflation: float = 1.0,
) -> WeightedAuc:
    """Return the AUC over pairs of a member and a non-member, each pair with the product of its weights.

    ``AUC = sum_ij w_i w_j (1[s_i > s_j] + 1[s_i = s_j] / 2) / sum_ij w_i w_j``. The interval lies on the
    logit scale. Its variance is DeLong's with weights: ``sum_i (w_i (V_i - AUC))^2 / (sum_i w_i)^2`` for
    each side, V_i the share of the other side's weight that sample i beats. Like that of `roc_auc_interval`
    it is drawn towards ``AUC (1 - AUC)`` with the weight of one sample of the effective number
    ``(sum w)^2 / sum w^2`` (Kish 1965).

    Args:
        scores: shape (n,), higher = more likely a member.
        is_member: shape (n,), booleans or 0/1.
        weights: shape (n,), at least 0, of which some of each side are positive.
        confidence_level: of the interval.
        inflation: the variance is multiplied by it.

    Raises:
        ValueError: as `statistics.split_scores`, or the weights are no such weights.

    >>> weighted_auc([3, 2, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1]).auc
    0.75
    >>> weighted_auc([3, 2, 1, 0], [1, 0, 1, 0], [1, 3, 1, 1]).auc  # the pair that is lost counts three times
    0.625
    """
    require_level(confidence_level)
    values, membership = check_scores(scores, is_member)
    own = as_array(weights, "weights").astype(np.float64)
    if own.shape != values.shape or not np.isfinite(own).all() or (own < 0).any():
        raise ValueError(
            f"weights must be {len(values)} finite numbers of at least 0, one for each score; got "
            f"shape {own.shape}."
        )
    sides = [(values[side], own[side]) for side in (membership, ~membership)]
    if not all(side_weights.sum() > 0 for _, side_weights in sides):
        raise ValueError("weights must be above 0 for some members and some non-members.")
    auc, variance, effective = _area(*sides)
    return WeightedAuc(
        auc, _interval(auc, inflation * variance, min(effective), confidence_level), *effective
    )


def stratified_auc(
    scores: npt.ArrayLike,
    is_member: npt.ArrayLike,
    strata: npt.ArrayLike,
    *,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> WeightedAuc | None:
    """Return the AUC over pairs of one stratum, such as one class; None where no stratum has both sides.

    The mean of the strata's AUCs, each with the weight ``m n / (m + n)`` of its m members and n non-members
    (van Elteren 1960), and the interval that follows from their variances.

    Args:
        scores: shape (n,), higher = more likely a member.
        is_member: shape (n,), booleans or 0/1.
        strata: shape (n,), the stratum of each sample.
        confidence_level: of the interval.

    Raises:
        ValueError: as `statistics.split_scores`, or another number of strata.

    >>> stratified_auc([9, 8, 1, 0], [1, 0, 1, 0], ["a", "a", "b", "b"]).auc
    1.0
    """
    require_level(confidence_level)
    values, membership = check_scores(scores, is_member)
    names = np.asarray(strata)
    if names.shape != values.shape:
        raise ValueError(f"strata must be one for each of {len(values)} scores; got shape {names.shape}.")
    parts = []
    for name in np.unique(names):
        sides = [values[side & (names == name)] for side in (membership, ~membership)]
        m, n = map(len, sides)
        if m and n:
            auc, variance, _ = _area(*((side, np.ones(len(side))) for side in sides))
            parts.append((m * n / (m + n), auc, variance, m, n))
    if not parts:
        return None
    weights, aucs, variances, members, nonmembers = map(np.array, zip(*parts, strict=True))
    auc = float(np.average(aucs, weights=weights))
    variance = float((weights**2 * variances).sum() / weights.sum() ** 2)
    counts = float(members.sum()), float(nonmembers.sum())
    return WeightedAuc(auc, _interval(auc, variance, min(counts), confidence_level), *counts)


def _area(
    members: tuple[Scores, Scores], nonmembers: tuple[Scores, Scores]
) -> tuple[float, float, tuple[float, float]]:
    """Return the AUC of two sides of scores and weights, its variance and the effective numbers."""
    wins = _beaten(members[0], *nonmembers)
    losses = 1 - _beaten(nonmembers[0], *members)
    auc = float(np.average(wins, weights=members[1]))
    variance, effective = 0.0, []
    for placed, weights in ((wins, members[1]), (losses, nonmembers[1])):
        share = weights / weights.sum()
        count = 1 / float((share**2).sum())
        spread = float((share**2 * (placed - auc) ** 2).sum())
        if count > 1:
            spread *= count / (count - 1)
        variance += (count * spread + auc * (1 - auc) / count) / (count + 1)
        effective.append(count)
    return auc, variance, (effective[0], effective[1])


def _beaten(scores: Scores, others: Scores, weights: Scores) -> Scores:
    """Return for each score the share of the others' weight below it, ties counted half."""
    order = np.argsort(others, kind="stable")
    below = np.r_[0, np.cumsum(weights[order])]
    left, right = (np.searchsorted(others[order], scores, side) for side in ("left", "right"))
    beaten: Scores = (below[left] + below[right]) / (2 * below[-1])
    return beaten


def _interval(auc: float, variance: float, smaller: float, confidence_level: float) -> Interval:
    alpha, spread = 1 - confidence_level, auc * (1 - auc)
    if smaller < 2:
        return Interval(0.0, 1.0)
    if spread <= 1e-12:
        certain = (alpha / 2) ** (1 / smaller)
        return Interval(certain, 1.0) if auc > 0.5 else Interval(0.0, 1 - certain)
    centre = math.log(auc / (1 - auc))
    half = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt(variance) / spread
    return Interval(
        *(1 / (1 + math.exp(-min(max(end, -700.0), 700.0))) for end in (centre - half, centre + half))
    )
