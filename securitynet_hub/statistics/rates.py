"""Rates, areas and intervals for membership and backdoor scores, in NumPy alone.

Scores are oriented **higher = more likely a member** (or poisoned). Ties count one half in an AUC and
fall on the same side of every threshold. Every function refuses NaN, infinite, empty or one-class
input, leaves its arguments untouched and computes in float64.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import (
    Flags,
    Rows,
    Scores,
    as_array,
    in_order,
    is_real,
    name_rows,
    require_finite,
    shortened,
)

CONFIDENCE_LEVEL = 0.95
"""The default level of every interval."""

PSEUDO = 0.2
"""Weight of the pseudo-samples in `roc_auc_interval`, chosen by simulation."""


class Interval(NamedTuple):
    """A two-sided confidence interval."""

    low: float
    high: float


class Sides(NamedTuple):
    """The names of the two sides of a comparison in error messages."""

    truth: str = "is_member"
    mark: str = "membership"
    positives: str = "members"
    negatives: str = "non-members"


MEMBERSHIP = Sides()


class Ranking(NamedTuple):
    """Finite scores separated by membership, each side sorted upwards, so that row order cannot matter."""

    members: Scores
    nonmembers: Scores


def split_scores(scores: npt.ArrayLike, is_member: npt.ArrayLike, *, sides: Sides = MEMBERSHIP) -> Ranking:
    """Check scores and membership once and separate them into sorted member and non-member scores.

    Args:
        scores: shape (n,), finite real numbers, higher = more likely a member.
        is_member: shape (n,), booleans or 0/1.
        sides: the names to use in error messages.

    Raises:
        ValueError: shapes differ, input is empty, a score is NaN or infinite (the rows are named), a
            membership is neither 0 nor 1, or one of the two classes is absent.

    >>> split_scores([0.1, 0.9], [0, 1])
    Ranking(members=array([0.9]), nonmembers=array([0.1]))
    """
    values, membership = check_scores(scores, is_member, sides=sides)
    return Ranking(np.sort(values[membership]), np.sort(values[~membership]))


def check_scores(
    scores: npt.ArrayLike, is_member: npt.ArrayLike, *, sides: Sides = MEMBERSHIP
) -> tuple[Scores, Flags]:
    """Return scores as float64 and membership as booleans, in the rows' order; check as `split_scores`.

    Integers that float64 cannot tell apart become their ranks (`in_order`).
    """
    truth, mark, positives, negatives = sides
    values, membership = as_array(scores, "scores"), as_array(is_member, truth)
    for name, array in (("scores", values), (truth, membership)):
        if array.ndim != 1:
            raise ValueError(f"{name} must have one dimension, one entry per sample; got {array.shape}.")
    if len(values) != len(membership):
        raise ValueError(
            f"scores and {truth} must have one entry per sample each; got {len(values)} scores and "
            f"{len(membership)} {mark}s."
        )
    if not len(values):
        raise ValueError(f"scores and {truth} are empty; {positives} and {negatives} are needed.")
    require_finite(values, "scores")
    if membership.dtype.kind not in "biufO":
        raise ValueError(f"{truth} must hold booleans or 0/1; got {membership.dtype}.")
    if membership.dtype != np.bool_:
        strange = np.flatnonzero((membership != 0) & (membership != 1))
        if len(strange):
            raise ValueError(
                f"{truth} must hold booleans or 0/1; {name_rows(strange)} hold something else, the first "
                f"is {membership[strange[0]]!r}."
            )
        membership = membership.astype(np.bool_)
    if membership.all() or not membership.any():
        present = positives if membership.all() else negatives
        raise ValueError(
            f"{truth} must name both {positives} and {negatives}; all {len(values)} samples are {present}."
        )
    return in_order(values), membership


def roc_auc(scores: npt.ArrayLike, is_member: npt.ArrayLike) -> float:
    """Return the area under the ROC curve: P[member > non-member] + P[member = non-member] / 2.

    This is the Mann-Whitney U statistic over ``n_members * n_nonmembers`` (Hanley & McNeil 1982), so
    a constant score gives exactly 0.5. For the arguments and errors see `split_scores`.

    >>> roc_auc([0.9, 0.8, 0.3, 0.3], [1, 0, 1, 0])  # pairs: win, win, loss, tie
    0.625
    """
    return _auc(split_scores(scores, is_member))


def roc_auc_interval(
    scores: npt.ArrayLike, is_member: npt.ArrayLike, *, confidence_level: float = CONFIDENCE_LEVEL
) -> Interval:
    """Return a confidence interval for `roc_auc`.

    The quantiles of a beta distribution, which stays inside [0, 1] and is skewed near its ends. Its mean and
    variance are those of DeLong, DeLong & Clarke-Pearson (1988): a member's placement is the share of
    non-members below it, a non-member's the share of members above it, and the AUC's variance is the sum of
    the two sides' ``variance of the placements / number of samples``. Samples that mostly tie, few samples,
    or an AUC near 1 may show no bad placement where there are some. So a pseudo-sample is added at placement
    0 and one at placement 1: on each side with the weight ``2 PSEUDO * other side / both sides``, which a
    side of many samples does not notice. docs/numbers.md shows how often the interval covers: 93 to 98 % up
    to an AUC of 0.9, and 92 to 100 % above.

    At an AUC of 1 all ``n = min(n_members, n_nonmembers)`` disjoint pairs are ordered correctly. This has a
    probability of at least alpha/2 only if the AUC is above ``(alpha/2) ** (1/n)``. The same holds at 0.
    With fewer than two samples in a class the interval is [0, 1].

    Example: five members that all score above five non-members do not prove an AUC of one.

    >>> low, high = roc_auc_interval([6, 7, 8, 9, 10, 1, 2, 3, 4, 5], [1] * 5 + [0] * 5)
    >>> round(low, 3), high
    (0.478, 1.0)
    """
    return auc_interval(split_scores(scores, is_member), confidence_level)[1]


def auc_interval(ranking: Ranking, confidence_level: float) -> tuple[float, Interval]:
    """Return the AUC and its interval in one pass over scores that `split_scores` has checked."""
    alpha = 1 - require_level(confidence_level)
    auc = _auc(ranking)
    smaller = min(map(len, ranking))
    if smaller < 2:
        return auc, Interval(0.0, 1.0)
    spread = auc * (1 - auc)
    if spread == 0:
        certain = (alpha / 2) ** (1 / smaller)
        return auc, Interval(certain, 1.0) if auc else Interval(0.0, 1 - certain)
    from scipy.special import betaincinv  # slow to import

    mean, variance = auc, 0.0
    for side, other in ((ranking.members, ranking.nonmembers), (ranking.nonmembers, ranking.members)):
        pseudo = 2 * PSEUDO * len(other) / (len(side) + len(other))
        total = len(side) + 2 * pseudo
        shrunk = (len(side) * auc + pseudo) / total
        square = (len(side) * (_placement_variance(side, other, ddof=0) + auc**2) + pseudo) / total
        mean += shrunk - auc
        variance += (square - shrunk**2) / (total + 1)
    size = mean * (1 - mean) / variance - 1
    ends = betaincinv(mean * size, (1 - mean) * size, [alpha / 2, 1 - alpha / 2])
    return auc, Interval(min(auc, float(ends[0])), max(auc, float(ends[1])))


def auc_variance(ranking: Ranking, auc: float) -> float:
    """Return DeLong's variance of an AUC, each side's shrunk towards ``AUC (1 - AUC)`` by one sample.

    At an AUC of 0 or 1 it is 0, which is no estimate.
    """
    members, nonmembers = ranking
    spread = auc * (1 - auc)
    return sum(
        (len(side) * _placement_variance(side, other) + spread) / (len(side) + 1) / len(side)
        for side, other in ((members, nonmembers), (nonmembers, members))
    )


def require_rate(target_fpr: float) -> float:
    """Return a false-positive rate as a float; raise ValueError unless it lies between 0 and 1."""
    return require_share(target_fpr, "target_fpr")


def require_share(share: float, name: str) -> float:
    """Return a rate as a float; raise ValueError unless it is a number between 0 and 1."""
    if not (is_real(share) and 0 <= share <= 1):
        raise ValueError(f"{name} must be a rate between 0 and 1; got {shortened(share)}.")
    return float(share)


def advantage(scores: npt.ArrayLike, is_member: npt.ArrayLike) -> float:
    """Return the membership advantage: the largest TPR - FPR over all thresholds (Yeom et al. 2018).

    Signed by the orientation of the scores: an inverted score has an advantage near 0, the value at
    the threshold that accuses no one. Being a maximum, it is biased upwards on few samples.

    >>> advantage([3, 2, 1, 0], [1, 0, 1, 0])
    0.5
    """
    return advantage_interval(split_scores(scores, is_member), CONFIDENCE_LEVEL)[0]


def advantage_interval(ranking: Ranking, confidence_level: float) -> tuple[float, Interval]:
    """Return the advantage and an interval of the population's.

    Let s be the standard error of TPR - FPR at the threshold where it is largest. **Below**, the choice of
    the threshold matters, since the largest of many differences lies above the population's. The one-sided
    error over all thresholds exceeds ``sqrt(log(2 / alpha) / 2 * (1 / m + 1 / n))`` with a probability of
    about alpha / 2 (Smirnov 1939, where both sides have one distribution). Elsewhere it is smaller as s is.
    So the lower end lies the smaller of that and of ``sqrt(2 log(3 / alpha)) s`` below. **Above**, the choice
    is on the safe side, and the upper end is the normal one. docs/numbers.md shows how often it covers.
    """
    alpha = 1 - require_level(confidence_level)
    members, nonmembers = ranking
    # TPR - FPR is largest where the threshold is a member's score: lowering it further only to reach
    # a non-member adds false alarms alone.
    tpr = 1 - np.searchsorted(members, members) / len(members)
    fpr = 1 - np.searchsorted(nonmembers, members) / len(nonmembers)
    best = int(np.argmax(tpr - fpr))
    value = max(0.0, float(tpr[best] - fpr[best]))
    error = 0.0
    for side, rate in ((members, tpr[best]), (nonmembers, fpr[best])):
        hits = rate * len(side) if value else 0.0  # at the threshold that accuses no one
        smooth = (hits + 1) / (len(side) + 2)  # so that a rate of 0 or 1 is not taken for certain
        error += smooth * (1 - smooth) / len(side)
    error = math.sqrt(error)
    over_all = math.sqrt(math.log(2 / alpha) / 2 * (1 / len(members) + 1 / len(nonmembers)))
    below = min(over_all, math.sqrt(2 * math.log(3 / alpha)) * error)
    above = NormalDist().inv_cdf(1 - alpha / 2) * error
    return value, Interval(max(0.0, value - below), min(1.0, value + above))


def wilson_interval(successes: int, trials: int, *, confidence_level: float = CONFIDENCE_LEVEL) -> Interval:
    """Return Wilson's score interval (1927) for a binomial rate, which is also valid at 0 and at ``trials``.

    >>> low, high = wilson_interval(0, 100)
    >>> low, round(high, 4)
    (0.0, 0.037)
    """
    level = require_level(confidence_level)
    proper = all(is_real(count) and math.isfinite(count) for count in (successes, trials))
    if not (proper and successes == int(successes) and 0 <= successes <= trials and trials >= 1):
        raise ValueError(
            f"successes must be a count in 0..trials with trials >= 1; got {shortened(successes)} of "
            f"{shortened(trials)}."
        )
    successes, trials = int(successes), int(trials)
    z = NormalDist().inv_cdf((1 + level) / 2)
    rate, weight = successes / trials, z * z / trials
    centre = (rate + weight / 2) / (1 + weight)
    half_width = z * math.sqrt(rate * (1 - rate) / trials + weight / (4 * trials)) / (1 + weight)
    # At the ends the formula gives 0 and 1 up to rounding; return them exactly.
    low = 0.0 if successes == 0 else max(0.0, centre - half_width)
    return Interval(low, 1.0 if successes == trials else min(1.0, centre + half_width))


def anomaly_index(norms: npt.ArrayLike) -> float:
    """Return how far the smallest trigger norm lies below the median, in robust standard deviations.

    ``(median - min) / (1.4826 * MAD)`` with ``MAD = median |norm - median|`` and the median of an even
    count being the mean of the middle two (Neural Cleanse, Wang et al. 2019; above 2 is
    suspicious). The index is one-sided: a large norm is no sign of a backdoor and never raises it. If more
    than half of the norms are equal, the MAD is zero, and the mean absolute deviation times sqrt(pi / 2)
    is used instead (Iglewicz & Hoaglin 1993). If all norms are equal, the index is 0.

    Args:
        norms: shape (classes,), at least three norms, finite and not negative.

    >>> round(anomaly_index([10, 50, 60, 70, 80]), 4)  # median 60, MAD 10
    3.3725
    """
    values = as_array(norms, "norms")
    if values.ndim != 1 or len(values) < 3:
        raise ValueError(f"norms must be one norm for each of at least three classes; got {values.shape}.")
    require_finite(values, "norms")
    values = values.astype(np.float64)
    if values.min() < 0:
        raise ValueError(f"norms must not be negative; {name_rows(np.flatnonzero(values < 0))} are.")
    median, scale = median_and_scale(values)
    return float(median - values.min()) / scale if scale else 0.0


def median_and_scale(values: Scores) -> tuple[float, float]:
    """Return the median and 1.4826 MAD, or sqrt(pi / 2) times the mean deviation if the MAD is zero.

    >>> median_and_scale(np.array([1.0, 2.0, 3.0]))
    (2.0, 1.4826)
    """
    median = float(np.median(values))
    deviations = np.abs(values - median)
    scale = 1.4826 * float(np.median(deviations)) or math.sqrt(math.pi / 2) * float(np.mean(deviations))
    return median, scale


def _auc(ranking: Ranking) -> float:
    members, nonmembers = ranking
    return int(doubled_wins(members, nonmembers).sum()) / (2 * len(members) * len(nonmembers))


def doubled_wins(values: Scores, others: Scores) -> Rows:
    """Return 2 * (others below) + (others equal) for each value, as exact integers."""
    return np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")


def _placement_variance(side: Scores, other: Scores, ddof: int = 1) -> float:
    """Return the sample variance of the share of the other side that each value beats."""
    return float(np.var(doubled_wins(side, other), ddof=ddof)) / (2 * len(other)) ** 2


def require_level(confidence_level: float) -> float:
    """Return a confidence level as a float; raise ValueError unless it lies strictly between 0 and 1."""
    # 1 - 1e-16 rounds to where the normal quantile is infinite.
    if not (is_real(confidence_level) and 1e-9 < confidence_level < 1 - 1e-9):
        raise ValueError(
            f"confidence_level must lie strictly between 0 and 1; got {shortened(confidence_level)}."
        )
    return float(confidence_level)
