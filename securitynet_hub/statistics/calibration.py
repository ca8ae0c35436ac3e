"""Calibration: how far a classifier's confidence is from its accuracy."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Scores, as_array
from securitynet_hub.statistics.means import resolvable_interval
from securitynet_hub.statistics.rates import CONFIDENCE_LEVEL, Interval, require_level
from securitynet_hub.statistics.signals import confidence, correctness

BINS = 15

MIN_SAMPLES = 100
"""Fewer samples than this get no interval: its coverage was not measured, and it would be wide."""


class Calibration(TypedDict):
    """Calibration of one classifier on labelled samples."""

    ece: float
    debiased_ece: float
    debiased_ece_ci: Interval | None
    bins: int
    brier: float
    brier_ci: Interval | None
    n: int


def measure_calibration(
    outputs: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    from_logits: bool,
    bins: int = BINS,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> Calibration:
    """Measure the calibration of posteriors p against labels y.

        ece    sum_b n_b / n |right_b - conf_b| over bins b of the top posterior, ((b - 1) / B, b / B]
        brier  mean of sum_k (p_k - 1[y = k])^2, in 0..2

    with right_b the share of bin b's samples whose top class is the label and conf_b their mean top
    posterior: the expected calibration error of Guo et al. 2017 (arXiv 1706.04599, eq. 3; 15 bins there),
    and Brier 1950. Smaller is better for both. Ties go to the first class. The ECE of few samples is biased
    upwards, so that of a calibrated classifier is above 0; `debiased_ece` and its interval are those of
    `estimate_ece`. They are about the population's ECE of the same bins.

    Args:
        outputs: shape (n, classes).
        labels: shape (n,), integers.
        from_logits: whether outputs are logits or probabilities.
        bins: the number of bins B, 1 or more.
        confidence_level: level of the intervals.

    Returns:
        ece, debiased_ece with debiased_ece_ci, bins, brier with brier_ci
        (`means.resolvable_interval`), n. Of fewer than `MIN_SAMPLES` samples debiased_ece_ci is None.

    Raises:
        ValueError: as `signals.confidence`, or bins is not a count.

    >>> sure, unsure = [0.9, 0.1], [0.6, 0.4]
    >>> result = measure_calibration([sure, sure, unsure], [0, 1, 0], from_logits=False)
    >>> round(result["ece"], 3)  # 2/3 |1/2 - 0.9| + 1/3 |1 - 0.6|
    0.4
    >>> round(result["brier"], 3)  # (0.02 + 1.62 + 0.32) / 3
    0.653
    """
    right = correctness(outputs, labels, from_logits=from_logits)
    p = _posteriors(as_array(outputs, "outputs"), from_logits)
    p_label = confidence(outputs, labels, from_logits=from_logits)
    top = np.minimum(p.max(1), 1)
    found = _bin(top, right, bins)
    squares = (p**2).sum(1) - 2 * p_label + 1
    n = len(right)
    debiased, ends = _estimate(found, require_level(confidence_level))
    return Calibration(
        ece=float(found.gaps.sum()),
        debiased_ece=debiased,
        debiased_ece_ci=ends if n >= MIN_SAMPLES else None,
        bins=int(bins),
        brier=math.fsum(squares) / n,
        brier_ci=resolvable_interval(squares, bounds=(0, 2), confidence_level=confidence_level),
        n=n,
    )


class DebiasedEce(NamedTuple):
    """An estimate of the population's ECE, and its interval."""

    ece: float
    ci: Interval


def estimate_ece(
    confidences: npt.ArrayLike,
    right: npt.ArrayLike,
    *,
    bins: int = BINS,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> DebiasedEce:
    """Estimate the population's expected calibration error of fixed bins, ``sum_b |g_b|``, with an interval.

    With ``g_b = E[(right - confidence) 1(bin b)]`` and its mean G_b in the sample, the sample's ECE
    ``T = sum_b |G_b|`` lies above the population's on average, by up to ``sqrt(2 / pi) sum_b s_b``.
    Resampling T doubles that. So T is compared with its own distribution under candidates: **hybrid
    resampling** (Chuang & Lai 2000, Statistica Sinica 10:1), without random numbers.

    - The candidates are the likeliest g of each ECE: ``|g_b| = max(0, |G_b| - c s_b^2)`` for every real c.
    - Under g, each |G_b| is a folded normal with the binomial variance at ``right = confidence +- gap``.
      Their sum T has the mean, variance and skewness of theirs, and the shape of a gamma distribution
      (Wilson & Hilferty 1931).
    - The estimate is the candidate whose mean is T. The interval holds all of which T is neither the lowest
      nor the highest ``alpha / 2``.

    Above, three things keep it honest where the sample shows little: binomial variances are those of
    Wilson's interval, so that a bin without an error is not certain; T counts as no less than the mean of a
    calibrated classifier; and the end lies no lower than that of ``|accuracy - mean confidence|``, which no
    ECE falls below. The choice of candidates is an assumption; docs/numbers.md shows how often the interval
    covers. Sun et al. 2024 (arXiv 2408.08998) have an interval of the squared (l2) error instead.

    Args:
        confidences: shape (n,), the posterior of the predicted class, in 0..1.
        right: shape (n,), whether that class is the label.
        bins: the number of bins.
        confidence_level: of the interval.

    Raises:
        ValueError: the two have different lengths or are empty, a confidence lies outside 0..1, or bins is
            not a count.

    >>> found = estimate_ece([0.75] * 400, [1, 1, 1, 0] * 100)  # calibrated
    >>> found.ece, [round(end, 3) for end in found.ci]
    (0.0, [0.0, 0.056])
    """
    top, hits = as_array(confidences, "confidences"), as_array(right, "right")
    if top.ndim != 1 or top.shape != hits.shape or not len(top):
        raise ValueError(
            f"confidences and right must be one number for each sample; got {top.shape} and {hits.shape}."
        )
    if not ((top >= 0) & (top <= 1)).all():
        raise ValueError("confidences must be posteriors in 0..1.")
    found = _bin(top.astype(np.float64), hits.astype(np.float64), bins)
    return DebiasedEce(*_estimate(found, require_level(confidence_level)))


class _Bins(NamedTuple):
    """Of the bins that hold samples: their counts, mean and variance of the confidence, and their gaps.

    `gaps` are ``|G_b|``, and `signs` 1 where more are right than the confidence says. `overall` is the gap of
    all samples and `error` its standard error.
    """

    counts: Scores
    confidence: Scores
    variance: Scores
    gaps: Scores
    signs: Scores
    overall: float
    error: float


def _bin(top: Scores, right: Scores, bins: int) -> _Bins:
    if not isinstance(bins, (int, np.integer)) or bins < 1:
        raise ValueError(f"bins must be a count of 1 or more; got {bins!r}.")
    place = np.clip(np.ceil(top * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    held, n, gaps = counts > 0, len(top), right - top
    counts, sums, squares, differences = (
        np.bincount(place, weights, minlength=bins)[held] for weights in (None, top, top**2, gaps)
    )
    mean = sums / counts
    return _Bins(
        counts.astype(np.float64),
        mean,
        np.maximum(squares / counts - mean**2, 0),
        np.abs(differences) / n,
        np.where(differences < 0, -1.0, 1.0),
        abs(float(gaps.mean())),
        float(gaps.std()) / math.sqrt(n),
    )


def _estimate(found: _Bins, level: float) -> tuple[float, Interval]:
    """Return the estimate and the interval that `estimate_ece` describes."""
    from scipy.optimize import brentq  # slow to import

    z, observed = NormalDist().inv_cdf((1 + level) / 2), float(found.gaps.sum())
    n = found.counts.sum()
    smooth = (found.counts * found.confidence + 0.5) / (found.counts + 1)  # no variance is 0
    variances = found.counts * smooth * (1 - smooth) / n**2

    def candidate(c: float) -> Scores:
        likeliest: Scores = np.maximum(0, found.gaps - c * variances)
        return likeliest

    def solve(total: float, z: float | None) -> float:
        """Return the candidate ECE under which `total` is the quantile at z, or the mean."""
        most, least = float((found.gaps / variances).max()), -1 / math.sqrt(variances.sum())
        if _total(found, candidate(most), z) >= total:
            return 0.0
        while _total(found, candidate(least), z) < total:
            least *= 2
        c = brentq(lambda c: _total(found, candidate(c), z) - total, least, most, rtol=1e-7)
        return float(candidate(c).sum())

    at_least = max(observed, _total(found, np.zeros_like(found.gaps), None))
    estimate, low, high = solve(observed, None), solve(observed, z), solve(at_least, -z)
    high = min(1.0, max(high, found.overall + z * found.error, estimate))
    return estimate, Interval(min(low, estimate), high)


def _total(found: _Bins, gaps: Scores, z: float | None) -> float:
    """Return a quantile of the sample's ECE where the population has these gaps; its mean where z is None."""
    from scipy.special import ndtr

    n = found.counts.sum()
    share = found.counts / n
    rate = np.clip(found.confidence + found.signs * gaps / share, 0, 1)
    if z is not None and z < 0:
        rate = (found.counts * rate + z**2 / 2) / (found.counts + z**2)
    variance = (share * (rate * (1 - rate) + found.variance) + gaps**2 * (1 - share) / share) / n
    spread = np.sqrt(np.maximum(variance, 1e-18))
    # The first three moments of the absolute value of a normal variable.
    ratio = gaps / spread
    density, sign = np.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi), 2 * ndtr(ratio) - 1
    mean = 2 * spread * density + gaps * sign
    if z is None:
        return float(mean.sum())
    square = spread**2 + gaps**2
    cube = gaps * (gaps**2 + 3 * spread**2) * sign + 2 * (gaps**2 + 2 * spread**2) * spread * density
    own = (square - mean**2).sum()
    shared = ((gaps * sign).sum() ** 2 - ((gaps * sign) ** 2).sum()) / n  # a sample is in one bin only
    deviation = math.sqrt(max(own - shared, own / 20, 1e-18))
    skewness = float((cube - 3 * mean * square + 2 * mean**3).sum()) / deviation**3
    if abs(skewness) > 1e-4:
        z = 2 / skewness * ((1 + skewness * z / 6 - skewness**2 / 36) ** 3 - 1)
    return float(mean.sum()) + deviation * z


def _posteriors(outputs: npt.NDArray[Any], from_logits: bool) -> Scores:
    from scipy.special import softmax

    values: Scores = outputs.astype(np.float64)
    if not from_logits:
        return values
    posteriors: Scores = softmax(values, axis=1)
    return posteriors
