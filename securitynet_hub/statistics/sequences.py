"""Intervals of proportions: exact ones for a fixed number of trials, and ones that hold whenever one stops.

An ordinary interval is valid for a number of trials that was fixed before. Who looks after each trial and
stops as soon as the interval is narrow enough needs a confidence sequence: intervals that hold at all
numbers of trials at once (Robbins 1970, Ann. Math. Statist. 41:1397).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.statistics.rates import CONFIDENCE_LEVEL, Interval, require_level

Floats = npt.NDArray[np.float64]

EDGE = 1e-9
"""Distance from 0 and 1 at which a proportion counts as lying there."""

CELLS = 1200
"""Cells of the grid on which several proportions are multiplied."""


class Trials(NamedTuple):
    """Trials with two outcomes of one proportion.

    Attributes:
        successes: how many succeeded.
        n: how many there were.
        concentration: weight of the mixture, as in `log_evidence`.
    """

    successes: int
    n: int
    concentration: float = 1.0


def clopper_pearson_interval(
    successes: int, n: int, *, confidence_level: float = CONFIDENCE_LEVEL
) -> Interval:
    """Return the exact interval of a proportion, for a number of trials that was fixed before.

    Its ends are quantiles of beta distributions: ``low = B(alpha / 2; k, n - k + 1)``, ``high =
    B(1 - alpha / 2; k + 1, n - k)`` (Clopper & Pearson 1934, Biometrika 26:404).

    Raises:
        ValueError: the counts are no counts, or there is no trial.

    >>> low, high = clopper_pearson_interval(0, 36)
    >>> low, round(high, 4)  # 1 - 0.025 ** (1 / 36)
    (0.0, 0.0974)
    """
    from scipy.special import betaincinv  # slow to import

    _require_counts(successes, n)
    if not n:
        raise ValueError("an interval of a proportion needs one trial or more; got none.")
    tail = (1 - require_level(confidence_level)) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return Interval(low, high)


def log_evidence(trials: Trials, proportion: npt.ArrayLike) -> Floats:
    """Return the logarithm of the evidence against each proportion.

    The evidence is the ratio of two probabilities of the trials: under a mixture of proportions with a beta
    distribution that is centred at the tested one, and under the tested one itself::

        M(p) = B(c p + k, c (1 - p) + n - k) / B(c p, c (1 - p)) / (p^k (1 - p)^(n - k))

    with the beta function B, k successes of n and the concentration c. Under the tested proportion M is a
    non-negative martingale that begins at 1, whatever decides when one stops. So it ever reaches 1 / alpha
    with a probability of at most alpha (Ville 1939; Howard, Ramdas, McAuliffe & Sekhon 2021, Ann. Statist.
    49:1055, arXiv 1810.08240, section 3, the two-sided beta-binomial mixture). A large concentration is
    best after many trials, a small one where nearly all trials have one outcome.

    >>> log_evidence(Trials(0, 0), 0.5).item()
    0.0
    >>> round(log_evidence(Trials(60, 60), 0.9).item(), 2)  # sum of log((.9 + i) / (1 + i)), -60 log .9
    5.85
    """
    from scipy.special import betaln  # slow to import

    k, n, c = trials
    p = np.clip(np.asarray(proportion, np.float64), EDGE, 1 - EDGE)
    mixture = betaln(c * p + k, c * (1 - p) + n - k) - betaln(c * p, c * (1 - p))
    evidence: Floats = mixture - k * np.log(p) - (n - k) * np.log1p(-p)
    return evidence


def product_sequence(
    stages: Sequence[Trials], *, confidence_level: float = CONFIDENCE_LEVEL, cells: int = CELLS
) -> Interval:
    """Return an interval of the product of proportions that holds at all numbers of trials at once.

    Trials of the stages may take turns in any way that the outcomes so far decide, and one may stop
    whenever one likes: the product of the stages' `log_evidence` is a martingale, too. The interval holds
    every product whose factors are not refuted together, ``{prod p_i : sum log M_i(p_i) < log(1 /
    alpha)}``. A stage without trials refutes nothing.

    The factors lie on a grid of `cells` cells, of each of which the least evidence counts, so that rounding
    never makes the interval too narrow.

    Args:
        stages: one or more.
        confidence_level: probability that all intervals of the sequence hold the product.
        cells: of the grid.

    Raises:
        ValueError: there is no stage, or counts are no counts.

    >>> alone = product_sequence([Trials(50, 100, 10.0)])
    >>> round(alone.low, 2), round(alone.high, 2)
    (0.35, 0.65)
    >>> product_sequence([Trials(50, 100, 10.0), Trials(0, 0)]).low
    0.0
    """
    if not stages:
        raise ValueError("a product of proportions needs one of them or more; got none.")
    limit = -math.log(1 - require_level(confidence_level))
    for stage in stages:
        _require_counts(stage.successes, stage.n)
    begun = [stage for stage in stages if stage.n]
    if len(begun) < len(stages):  # one that has not begun may have any proportion
        high = product_sequence(begun, confidence_level=confidence_level, cells=cells).high if begun else 1.0
        return Interval(0.0, high)
    lowest = [_lowest(stage, stages, limit) for stage in stages]
    zero = any(low <= EDGE for low in lowest)
    depth = -math.log(max(min(lowest), EDGE))
    step = max(depth, 1e-6) / cells
    # In logarithms a product is a sum: cell i of a stage reaches from -(i + 1) step to -i step.
    evidence = [_least(stage, step, cells) for stage in stages]
    total, width = evidence[0], 1
    for other in evidence[1:]:
        total, width = _added(total, other), width + 1
    possible = np.flatnonzero(total < limit)
    high = math.exp(-step * float(possible[0]))
    low = 0.0 if zero else math.exp(-step * float(possible[-1] + width))
    return Interval(low, high)


def _lowest(stage: Trials, stages: Sequence[Trials], limit: float) -> float:
    """Return the smallest proportion of a stage that the others cannot make possible, by bisection."""
    slack = limit - sum(_smallest(other) for other in stages if other is not stage)
    best = stage.successes / stage.n
    low, high = EDGE, max(best, 2 * EDGE)
    if log_evidence(stage, low).item() < slack:
        return EDGE
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if log_evidence(stage, middle).item() < slack else (middle, high)
    return low


def _smallest(stage: Trials) -> float:
    """Return the least evidence against any proportion of a stage, which lies near its share of successes."""
    best = stage.successes / stage.n
    near = np.clip(best + np.linspace(-0.02, 0.02, 41), 0, 1)
    return min(float(log_evidence(stage, near).min()), 0.0) - 1e-3


def _least(stage: Trials, step: float, cells: int) -> Floats:
    """Return the least evidence in each cell: at one of its ends, or at the share of successes in it."""
    ends = log_evidence(stage, np.exp(-step * np.arange(cells + 1)))
    least: Floats = np.minimum(ends[:-1], ends[1:])
    best = stage.successes / stage.n
    place = int(-math.log(max(best, EDGE)) / step)
    if place < cells:
        least[place] = min(least[place], _smallest(stage))
    return least


def _added(one: Floats, other: Floats) -> Floats:
    """Return the least sum of evidence for each sum of cells."""
    total = np.full(len(one) + len(other) - 1, np.inf)
    for place, value in enumerate(other):
        part = total[place : place + len(one)]
        np.minimum(part, one + value, out=part)
    return total


def _require_counts(successes: int, n: int) -> None:
    if not (isinstance(successes, int | np.integer) and isinstance(n, int | np.integer)) or not (
        0 <= successes <= n
    ):
        raise ValueError(f"trials are two counts, the successes among them; got {successes!r} of {n!r}.")
