"""Correlations and differences with intervals, the evidence of a finding."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import as_array, require_finite
from securitynet_hub.statistics.rates import CONFIDENCE_LEVEL, Interval, require_level

MIN_MODELS = 5
"""Minimum number of models for a correlation; Fisher's interval needs four and says little about so few."""


class Estimate(NamedTuple):
    """One statistic and its interval."""

    statistic: str
    value: float
    ci: Interval


def correlations(
    x: npt.ArrayLike, y: npt.ArrayLike, *, confidence_level: float = CONFIDENCE_LEVEL
) -> tuple[Estimate, ...]:
    """Return Pearson's r and Spearman's rho, each with an interval; () if they cannot be estimated.

    Both intervals are ``tanh(artanh(r) ± z se)``: with ``se² = 1 / (n - 3)`` for r (Fisher 1921) and ``se² =
    (1 + rho² / 2) / (n - 3)`` for rho (Bonett & Wright 2000). At a perfect correlation this has no width; the
    interval then begins where that of ranks with two swapped neighbours does. Both intervals assume
    independent models; models of one family are dependent, so the true uncertainty is larger.

    Args:
        x: shape (n,), finite.
        y: shape (n,), finite.
        confidence_level: of both intervals.

    Returns:
        Both estimates, or () with fewer than five models or if one side is constant.

    Raises:
        ValueError: lengths differ, or a value is NaN or infinite.

    >>> r, rho = correlations([1, 2, 3, 4, 5], [1, 3, 2, 5, 4])
    >>> round(r.value, 12), round(rho.value, 12)
    (0.8, 0.8)
    >>> [round(float(end), 3) for end in r.ci]
    [-0.28, 0.986]
    >>> correlations([1, 1, 1, 1, 1], [1, 3, 2, 5, 4])
    ()
    """
    from scipy.stats import rankdata

    one, other = _column(x, "x"), _column(y, "y")
    if len(one) != len(other):
        raise ValueError(f"x and y must have one entry for each model; got {len(one)} and {len(other)}.")
    level = require_level(confidence_level)
    if len(one) < MIN_MODELS or np.ptp(one) == 0 or np.ptp(other) == 0:
        return ()
    r, rho = _pearson(one, other), _pearson(rankdata(one), rankdata(other))
    n = len(one)
    return (
        Estimate("Pearson r", r, _fisher(r, n, math.sqrt(1 / (n - 3)), level)),
        Estimate("Spearman rho", rho, _fisher(rho, n, math.sqrt((1 + rho**2 / 2) / (n - 3)), level)),
    )


def mean_difference(
    x: npt.ArrayLike, y: npt.ArrayLike, *, confidence_level: float = CONFIDENCE_LEVEL
) -> tuple[Estimate, ...]:
    """Return the mean of x minus the mean of y, for unpaired models, with Welch's interval (Welch 1947).

    >>> (found,) = mean_difference([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    >>> found.value, [round(float(end), 3) for end in found.ci]  # t of 2 degrees at 97.5 % is 4.303
    (1.0, [-1.484, 3.484])
    """
    sides = _column(x, "x"), _column(y, "y")
    if min(map(len, sides)) < 2:
        return ()
    value = float(sides[0].mean() - sides[1].mean())
    parts = [float(side.var(ddof=1)) / len(side) for side in sides]
    if not sum(parts):
        return (Estimate("mean difference", value, Interval(value, value)),)
    freedom = sum(parts) ** 2 / sum(p**2 / (len(s) - 1) for p, s in zip(parts, sides, strict=True))
    ci = _student(value, math.sqrt(sum(parts)), freedom, confidence_level)
    return (Estimate("mean difference", value, ci),)


def paired_difference(
    x: npt.ArrayLike, y: npt.ArrayLike, *, confidence_level: float = CONFIDENCE_LEVEL
) -> tuple[Estimate, ...]:
    """Return the mean of x - y over models that have both, with Student's interval.

    >>> (found,) = paired_difference([1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    >>> found.value, [round(float(end), 3) for end in found.ci]  # 2 ± 4.303 / sqrt(3)
    (2.0, [-0.484, 4.484])
    """
    one, other = _column(x, "x"), _column(y, "y")
    if len(one) != len(other):
        raise ValueError(f"x and y must have one entry for each model; got {len(one)} and {len(other)}.")
    if len(one) < 2:
        return ()
    apart = one - other
    value, n = float(apart.mean()), len(apart)
    ci = _student(value, float(apart.std(ddof=1)) / math.sqrt(n), n - 1, confidence_level)
    return (Estimate("mean paired difference", value, ci),)


def adjusted_difference(
    y: npt.ArrayLike,
    group: npt.ArrayLike,
    covariate: npt.ArrayLike,
    *,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> tuple[Estimate, ...]:
    """Return how much y is higher in the group at the same value of a covariate.

    This is the coefficient b of ordinary least squares ``y = a + b group + c covariate``, with an interval
    from the HC3 covariance, which allows the groups to scatter differently (MacKinnon & White 1985).

    Args:
        y: shape (n,).
        group: shape (n,), booleans: True for the group whose difference b is.
        covariate: shape (n,).
        confidence_level: level of the interval.

    >>> (found,) = adjusted_difference([1, 2, 3, 3, 4, 5], [0, 0, 0, 1, 1, 1], [1, 2, 3, 1, 2, 3])
    >>> round(found.value, 9)
    2.0
    """
    values = _column(y, "y")
    inside = np.asarray(as_array(group, "group"), np.float64)
    design = np.column_stack([np.ones(len(values)), inside, _column(covariate, "covariate")])
    freedom = len(values) - 3
    if freedom < 1 or np.linalg.matrix_rank(design) < 3:
        return ()
    bread = np.linalg.inv(design.T @ design)
    coefficients = bread @ design.T @ values
    leverage = np.einsum("ij,jk,ik->i", design, bread, design)
    if leverage.max() > 1 - 1e-9:  # one model alone decides a coefficient
        return ()
    weighted = design * ((values - design @ coefficients) / (1 - leverage))[:, None]
    error = math.sqrt((bread @ (weighted.T @ weighted) @ bread)[1, 1])
    b = float(coefficients[1])
    return (Estimate("adjusted difference", b, _student(b, error, freedom, confidence_level)),)


def _column(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    array = as_array(values, name)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, one entry for each model; got {array.shape}.")
    require_finite(array, name)
    return array.astype(np.float64)


def _pearson(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    one, other = x - x.mean(), y - y.mean()
    return float(np.clip(one @ other / math.sqrt((one @ one) * (other @ other)), -1, 1))


def _student(value: float, standard_error: float, freedom: float, level: float) -> Interval:
    """Return the interval of an estimate whose error has Student's distribution."""
    from scipy.stats import t

    half = float(t.ppf((1 + require_level(level)) / 2, freedom)) * standard_error
    return Interval(value - half, value + half)


def _fisher(r: float, n: int, standard_error: float, level: float) -> Interval:
    """Return Fisher's interval; at r = 1 or -1, where it has no width, use that of two swapped ranks."""
    swapped = 1 - 12 / (n * (n * n - 1))
    centre = math.atanh(r if abs(r) < 1 else r * swapped)
    half = NormalDist().inv_cdf((1 + require_level(level)) / 2) * standard_error
    low, high = math.tanh(centre - half), math.tanh(centre + half)
    return Interval(-1.0 if r == -1 else low, 1.0 if r == 1 else high)
