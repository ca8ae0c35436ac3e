"""Power: the smallest leak that an audit would find, and how many samples find a given one.

A leak is *found* where the lower end of its interval (`roc_auc_interval`, `tpr_at_fpr`) lies above guessing:
above 1/2, or above the false-positive rate. The *power* is the probability of that. The leaks compared are
those of scores N(d, 1) of members against N(0, 1) of non-members, one d for each size of a leak. A leak that
shows in a few members far above all others is found more easily at low false-positive rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import as_list, is_real, require_count, shortened
from securitynet_hub.statistics.rates import CONFIDENCE_LEVEL, require_level, require_rate

POWER = 0.8
"""The usual power: four leaks of that size in five are found (Cohen 1988)."""

DRAWS = 2000
"""Audits that `smallest_tpr` simulates, with fixed seeds: the power's standard error is 0.009."""

ORDER_STATISTICS = 64
"""Non-members that a simulated audit looks at."""

MOST_SAMPLES = 10**8


class Sizes(NamedTuple):
    """How many members and non-members to audit with."""

    members: int
    nonmembers: int


class Planned(NamedTuple):
    """What an audit can find by one figure.

    Attributes:
        figure: what is measured.
        guessing: its value where nothing leaks.
        smallest: the smallest value that is found; None where none is.
        wanted: a value to find.
        sizes: how many samples find that, in the proportion of the audit's; None where none do.
    """

    figure: str
    guessing: float
    smallest: float | None
    wanted: float
    sizes: Sizes | None

    def shown(self, value: float) -> str:
        """Return a value of this figure as text: a share in per cent, an AUC as a number."""
        return f"{value:.3f}" if self.figure == "AUC" else f"{100 * value:.2g} %"


def plan(
    members: int,
    nonmembers: int,
    target_fprs: Sequence[float],
    *,
    auc: float | None = None,
    tpr: float | None = None,
    confidence_level: float = CONFIDENCE_LEVEL,
    power: float = POWER,
) -> list[Planned]:
    """Return what an audit of so many samples finds by its AUC and by its TPR at each rate.

    Args:
        members: number of members.
        nonmembers: number of non-members.
        target_fprs: false-positive rates.
        auc: an AUC to find; 0.55 unless given.
        tpr: a TPR to find at each rate; twice the rate unless given.
        confidence_level: of the intervals.
        power: how often it must be found.

    Raises:
        ValueError: as `smallest_tpr` and `sizes_for_tpr`.
    """
    settings = {"confidence_level": confidence_level, "power": power}
    wanted = 0.55 if auc is None else auc
    found = [
        Planned(
            "AUC",
            0.5,
            smallest_auc(members, nonmembers, **settings),
            wanted,
            sizes_for_auc(wanted, members, nonmembers, **settings),
        )
    ]
    for fpr in map(require_rate, as_list(target_fprs, "target_fprs")):
        wanted = 2 * fpr if tpr is None else tpr
        found.append(
            Planned(
                f"TPR at {100 * fpr:g} % FPR",
                fpr,
                smallest_tpr(members, nonmembers, fpr, **settings),
                wanted,
                sizes_for_tpr(wanted, fpr, members, nonmembers, **settings),
            )
        )
    return found


def smallest_auc(
    members: int, nonmembers: int, *, confidence_level: float = CONFIDENCE_LEVEL, power: float = POWER
) -> float | None:
    """Return the smallest AUC above 1/2 that so many samples find; None where they find none.

    The A with ``A - 1/2 = (z_level + z_power) sd(A)``, the normal quantiles of the level's upper tail and of
    the power, and Hanley & McNeil's variance (1982): ``m n sd^2 = A (1 - A) + (m - 1) (Q1 - A^2) +
    (n - 1) (Q2 - A^2)``, ``Q1 = A / (2 - A)``, ``Q2 = 2 A^2 / (1 + A)``.

    Args:
        members: number of members.
        nonmembers: number of non-members.
        confidence_level: of the interval whose lower end must lie above 1/2.
        power: the probability with which it does.

    Raises:
        ValueError: a count below 1, or a level or a power that does not lie between 0 and 1.

    >>> round(smallest_auc(500, 1500), 3)
    0.542
    """
    _require(members, nonmembers, power)
    steps = _quantile(require_level(confidence_level), power)

    def found(auc: float) -> bool:
        return auc - 0.5 >= steps * auc_deviation(auc, members, nonmembers)

    # One sample in a class has no interval, and close to 1 the variance vanishes for any number of samples.
    if min(members, nonmembers) < 2 or not found(1 - 1 / (2 * min(members, nonmembers))):
        return None
    return _bisect(found, 0.5, 1 - 1 / (2 * min(members, nonmembers)))


def smallest_tpr(
    members: int,
    nonmembers: int,
    target_fpr: float,
    *,
    confidence_level: float = CONFIDENCE_LEVEL,
    power: float = POWER,
) -> float | None:
    """Return the smallest TPR at a false-positive rate that so many samples find; None where they find none.

    None in particular where the non-members do not resolve the rate. Audits are simulated, always with the
    same seed: the share of non-members above the order statistics around the rate's, and the members above
    them.

    Args:
        members: number of members.
        nonmembers: number of non-members.
        target_fpr: the false-positive rate f, 0 < f < 1.
        confidence_level: of the interval whose lower end must lie above f.
        power: the probability with which it does.

    Raises:
        ValueError: as `smallest_auc`, or a rate that does not lie between 0 and 1.

    >>> smallest_tpr(500, 500, 0.001) is None  # half a false alarm
    True
    """
    _require(members, nonmembers, power)
    fpr = require_rate(target_fpr)
    alpha = 1 - require_level(confidence_level)
    normal = NormalDist()
    if not 0 < fpr < 1 or nonmembers * fpr < 1 - 1e-9:
        return None
    start, most = normal.inv_cdf(fpr), 12.0

    def found(distance: float) -> bool:
        return _tpr_power(members, nonmembers, fpr, alpha, distance) >= power

    if not found(most):
        return None
    return normal.cdf(start + _bisect(found, 0.0, most))


def sizes_for_auc(
    auc: float,
    members: int,
    nonmembers: int,
    *,
    confidence_level: float = CONFIDENCE_LEVEL,
    power: float = POWER,
) -> Sizes | None:
    """Return how many samples, in the proportion of the given ones, find an AUC; None beyond 10^8 of a side.

    >>> sizes_for_auc(0.55, 500, 1500)
    Sizes(members=357, nonmembers=1069)
    """
    _require(members, nonmembers, power)
    if not (is_real(auc) and 0.5 < auc < 1):
        raise ValueError(f"auc must lie between 0.5 and 1; got {shortened(auc)}.")

    def found(sizes: Sizes) -> bool:
        smallest = smallest_auc(*sizes, confidence_level=confidence_level, power=power)
        return smallest is not None and smallest <= auc

    return _fewest(found, members, nonmembers)


def sizes_for_tpr(
    tpr: float,
    target_fpr: float,
    members: int,
    nonmembers: int,
    *,
    confidence_level: float = CONFIDENCE_LEVEL,
    power: float = POWER,
) -> Sizes | None:
    """Return how many samples, in the proportion of the given ones, find a TPR; see `sizes_for_auc`."""
    _require(members, nonmembers, power)
    fpr = require_rate(target_fpr)
    if not (is_real(tpr) and 0 < fpr < tpr < 1):
        raise ValueError(
            f"tpr must lie above the false-positive rate and below 1; got {shortened(tpr)} at {fpr!r}."
        )
    alpha = 1 - require_level(confidence_level)
    distance = NormalDist().inv_cdf(tpr) - NormalDist().inv_cdf(fpr)

    def found(sizes: Sizes) -> bool:
        return sizes.nonmembers * fpr >= 1 - 1e-9 and _tpr_power(*sizes, fpr, alpha, distance) >= power

    return _fewest(found, members, nonmembers)


def auc_deviation(auc: float, members: int, nonmembers: int) -> float:
    """Return the standard deviation of an AUC by Hanley & McNeil (1982), as in `smallest_auc`.

    >>> round(auc_deviation(0.5, 500, 500), 4)
    0.0183
    """
    first, second = auc / (2 - auc) - auc**2, 2 * auc**2 / (1 + auc) - auc**2
    spread = auc * (1 - auc) + (members - 1) * first + (nonmembers - 1) * second
    return math.sqrt(spread / (members * nonmembers))


@lru_cache(maxsize=4096)
def _tpr_power(members: int, nonmembers: int, fpr: float, alpha: float, distance: float) -> float:
    """Return how often the interval of the TPR at a rate lies above the rate, over simulated audits."""
    from scipy.special import bdtr, bdtrik, betainc, ndtr, ndtri

    # The gaps between order statistics in which the population's threshold may lie, and how surely.
    low, high = (math.floor(max(0.0, bdtrik(share, nonmembers, fpr))) for share in (1e-7, 1 - 1e-7))
    edges = np.unique(np.linspace(low, high + 1, min(high - low + 2, ORDER_STATISTICS)).round().astype(int))
    edges = edges[edges <= nonmembers + 1]
    weights = np.diff(np.where(edges > 0, bdtr(np.maximum(edges - 1, 0), nonmembers, fpr), 0.0))
    rng = np.random.default_rng(0)
    inner = edges[(edges > 0) & (edges <= nonmembers)]
    steps = np.diff(np.r_[0, inner, nonmembers + 1])
    reached = rng.standard_gamma(steps, (DRAWS, len(steps))).cumsum(1)
    share = ndtr(distance + ndtri(reached[:, :-1] / reached[:, -1:]))  # of the members above each
    hits = np.zeros((DRAWS, len(edges)), np.int64)
    column = int(edges[0] == 0)
    before, above = np.zeros(DRAWS), np.zeros(DRAWS, np.int64)
    for now in share.T:
        rest = np.clip((now - before) / np.maximum(1 - before, 1e-300), 0, 1)
        above = above + rng.binomial(members - above, rest)
        hits[:, column] = above
        before, column = now, column + 1
    if column < len(edges):
        hits[:, column] = members
    # P[TPR < f] given c members above the threshold; c is uniform in its gap.
    most = int(min(members, members * fpr + 40 * math.sqrt(members * fpr) + 200))
    counts = np.arange(most + 1)
    table = np.r_[0, betainc(counts + 0.5, members - counts + 0.5, fpr).cumsum()]
    sums = table[np.minimum(hits[:, :-1], most + 1)], table[np.minimum(hits[:, 1:] + 1, most + 1)]
    below: npt.NDArray[np.float64] = (sums[1] - sums[0]) / (np.diff(hits) + 1) @ weights
    return float((below <= alpha / 2 * weights.sum()).mean())


def _quantile(level: float, power: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2) + NormalDist().inv_cdf(power)


def _bisect(found: Callable[[float], bool], low: float, high: float) -> float:
    """Return the smallest value that is found, between one that is not and one that is."""
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def _fewest(found: Callable[[Sizes], bool], members: int, nonmembers: int) -> Sizes | None:
    """Return the smallest sizes in a proportion that are found, to one per mille."""

    def sizes(scale: float) -> Sizes:
        return Sizes(math.ceil(members * scale), math.ceil(nonmembers * scale))

    low, high = 0.0, 1.0
    while not found(sizes(high)):
        low, high = high, 2 * high
        if max(sizes(high)) > MOST_SAMPLES:
            return None
    while sizes(high) != sizes(low) and high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if found(sizes(middle)) else (middle, high)
    return sizes(high)


def _require(members: int, nonmembers: int, power: float) -> None:
    require_count(members, "members")
    require_count(nonmembers, "nonmembers")
    if not (is_real(power) and 0.5 <= power < 1):
        raise ValueError(f"power must lie in 0.5 to 1; got {shortened(power)}.")
