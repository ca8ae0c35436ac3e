"""Intervals of a mean over samples, for skewed values too."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import as_array, as_list, is_real, require_finite, shortened
from securitynet_hub.statistics.rates import CONFIDENCE_LEVEL, Interval, require_level

MIN_SAMPLES = 200
"""Fewer samples than this tell nothing certain of a mean that a few large values decide."""


def resolvable_interval(
    values: npt.ArrayLike,
    *,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    confidence_level: float = CONFIDENCE_LEVEL,
) -> Interval | None:
    """Return `mean_interval`, or None for fewer than `MIN_SAMPLES` values: the mean is not resolvable.

    If one value in fifty is large and decides the mean, one sample of 100 values in eight holds none of
    these, and no interval can know of them; of 200 values, one sample in 57. Of rarer values 200 do not know
    either: the interval covers if four large ones or more are expected. Arguments and errors as
    `mean_interval`.

    >>> resolvable_interval([0.25] * 199), resolvable_interval([0.25] * 200)
    (None, Interval(low=0.25, high=0.25))
    """
    found = as_array(values, "values")
    if found.ndim == 1 and len(found) < MIN_SAMPLES:
        require_finite(found, "values")
        return None
    return mean_interval(values, bounds=bounds, confidence_level=confidence_level)


def mean_interval(
    values: npt.ArrayLike,
    *,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    confidence_level: float = CONFIDENCE_LEVEL,
) -> Interval:
    """Return an interval of a mean that allows for skewed values (Hall 1992, J. R. Statist. Soc. B 54:221).

    With mean m, standard deviation s and skewness c of n values, ``T = sqrt(n) (m - mu) / s`` is skewed, too,
    where they are. Its transform ``g(T) = T + c (2 T^2 + 1) / (6 sqrt(n)) + c^2 T^3 / (27 n)`` is nearly
    normal. The interval holds every mu whose transform lies between the quantiles of Student's distribution;
    without skewness it is Student's. A divergence is often near 0 and rarely large: there this one covers
    more than a percentile bootstrap's (docs/numbers.md).

    No sample shows all the large values that there are. So either end is the outer one of two: that of the
    sample, and that of the sample with its most extreme value on that side once more. The second is ours,
    not Hall's, and was chosen by simulation.

    Args:
        values: shape (n,), finite, two or more.
        bounds: between which every value must lie, and therefore the mean.
        confidence_level: of the interval.

    Raises:
        ValueError: fewer than two values, or values that are not finite.

    >>> low, high = mean_interval([0.0, 1.0] * 50)
    >>> round(low, 3), round(high, 3)
    (0.396, 0.604)
    """
    from scipy.special import stdtrit  # slow to import

    least, most = _require_bounds(bounds)
    found = as_array(values, "values")
    if found.ndim != 1 or len(found) < 2:
        raise ValueError(f"values must be two numbers or more in one dimension; got {found.shape}.")
    require_finite(found, "values")
    level = require_level(confidence_level)
    ordered = np.sort(found.astype(np.float64))  # so that the order of the values cannot matter
    n, mean = len(ordered), math.fsum(ordered) / len(ordered)
    if ordered[0] == ordered[-1]:
        return Interval(mean, mean)
    deviations = ordered - mean
    sample = _Moments(n, mean, float(deviations @ deviations), float((deviations**2) @ deviations))
    quantile = float(stdtrit(n - 1, 0.5 + level / 2))
    low = min(_end(each, -quantile) for each in (sample, _with(sample, float(ordered[0]))))
    high = max(_end(each, quantile) for each in (sample, _with(sample, float(ordered[-1]))))
    low, high = (min(max(end, least), most) for end in (low, high))
    return Interval(min(low, mean), max(high, mean))


def _require_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    ends = as_list(bounds, "bounds")
    if len(ends) != 2 or not all(map(is_real, ends)) or not ends[0] <= ends[1]:
        raise ValueError(f"bounds must be two numbers, the lower one first; got {shortened(bounds)}.")
    return float(ends[0]), float(ends[1])


class _Moments(NamedTuple):
    """Of n values: their mean, and the sums of the squares and of the cubes of their deviations from it."""

    n: int
    mean: float
    squares: float
    cubes: float


def _with(sample: _Moments, value: float) -> _Moments:
    """Return the moments with one more value (Terriberry 2007)."""
    n, mean, squares, cubes = sample
    off = value - mean
    return _Moments(
        n + 1,
        mean + off / (n + 1),
        squares + off**2 * n / (n + 1),
        cubes + off**3 * n * (n - 1) / (n + 1) ** 2 - 3 * off * squares / (n + 1),
    )


def _end(sample: _Moments, quantile: float) -> float:
    """Return the mean whose transform is ``-quantile``."""
    n, mean, squares, cubes = sample
    skewness = cubes / n / (squares / n) ** 1.5
    return mean - math.sqrt(squares / (n - 1) / n) * _back(-quantile, skewness, n)


def _back(transformed: float, skewness: float, n: int) -> float:
    """Return the T of a transformed one."""
    scale = skewness / math.sqrt(n)
    if abs(scale) < 1e-6:
        return transformed
    return 3 / scale * (float(np.cbrt(1 + scale * (transformed - scale / 6))) - 1)
