"""Stratified bootstrap intervals, for figures whose variance has no formula.

Each resample draws as many members and as many non-members as there are, with replacement (Efron &
Tibshirani 1993, chapter 13: percentile intervals). A resample is a table of counts over the sorted distinct
scores, so nothing is sorted again. Resamples are drawn in blocks, which bounds the memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Scores, require_count, require_seed, shortened
from securitynet_hub.statistics.rates import (
    CONFIDENCE_LEVEL,
    Interval,
    Ranking,
    auc_interval,
    require_level,
    split_scores,
)
from securitynet_hub.statistics.roc import false_alarms_allowed

Counts = npt.NDArray[np.int64]

BLOCK_ELEMENTS = 1 << 18
"""Numbers in one block of resamples: 2 MiB per array."""


MOST_RESAMPLES = 10_000_000
"""More would be kept in gigabytes of memory, and tell no more."""


def auc_bootstrap_interval(
    scores: npt.ArrayLike,
    is_member: npt.ArrayLike,
    *,
    resamples: int = 2000,
    seed: int = 0,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> Interval:
    """Return the percentile interval of the AUC over resampled members and non-members.

    `roc_auc_interval` is as good and needs no resampling; this interval shares no assumption with it. If no
    pair is ordered wrongly, no resample has such a pair either. So at an AUC of 0 or 1, or with one sample in
    a class, the interval is that of `roc_auc_interval`.

    Args:
        scores: shape (n,), higher = more likely a member.
        is_member: shape (n,), booleans or 0/1.
        resamples: number of resamples.
        seed: seed of the resamples.
        confidence_level: level of the interval.

    Raises:
        ValueError: as `statistics.split_scores`, or fewer than one resample.

    >>> low, high = auc_bootstrap_interval([4, 3, 2, 1] * 25, [1, 1, 0, 1] * 25)
    >>> round(low, 2), round(high, 2)
    (0.56, 0.77)
    """
    resamples, seed = _require_draws(resamples, seed)
    ranking = split_scores(scores, is_member)
    auc, exact = auc_interval(ranking, confidence_level)
    if auc in (0, 1) or min(map(len, ranking)) < 2:
        return exact
    values = np.unique(ranking.nonmembers)
    places = np.searchsorted(values, ranking.nonmembers)
    beaten, reached = (np.searchsorted(values, ranking.members, side) for side in ("left", "right"))
    wins = []
    for members, nonmembers in _draws(ranking, resamples, seed):
        rows = np.arange(len(members))[:, None]
        below = np.zeros((len(members), len(values) + 1), np.int64)
        np.cumsum(_count(places[nonmembers], len(values)), 1, out=below[:, 1:])
        # Twice the non-members below each drawn member, and once those equal to it.
        found = (below.take(each[members] + rows * below.shape[1]) for each in (beaten, reached))
        wins.append(sum(each.sum(1) for each in found))
    pairs = len(ranking.members) * len(ranking.nonmembers)
    return _percentiles(np.concatenate(wins) / (2 * pairs), confidence_level)


def tpr_bootstrap_interval(
    scores: npt.ArrayLike,
    is_member: npt.ArrayLike,
    target_fpr: float,
    *,
    resamples: int = 2000,
    seed: int = 0,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> Interval:
    """Return the percentile interval of `tpr_at_threshold`, the choice of the threshold included.

    Every resample chooses its own threshold. Resampling hardly varies a threshold that rests on a handful of
    non-members: this interval covers 72 to 82 % at one allowed false alarm, and 88 % or more from about five
    on. The interval of `tpr_at_fpr` holds from one on and needs no resampling.

    Args:
        scores: shape (n,), higher = more likely a member.
        is_member: shape (n,), booleans or 0/1.
        target_fpr: the false-positive rate allowed.
        resamples: number of resamples.
        seed: seed of the resamples.
        confidence_level: level of the interval.

    Raises:
        ValueError: as `auc_bootstrap_interval`, or the target is not a rate.

    >>> low, high = tpr_bootstrap_interval([4, 3, 2, 1] * 25, [1, 1, 0, 0] * 25, 0.5)
    >>> low, high
    (1.0, 1.0)
    """
    ranking = split_scores(scores, is_member)
    n_members, n_nonmembers = map(len, ranking)
    kept = n_nonmembers - false_alarms_allowed(target_fpr, n_nonmembers)
    rates = []
    for members, nonmembers in resampled_counts(ranking, resamples, seed):
        threshold = (nonmembers.cumsum(1) < kept).sum(1)
        below = np.where(np.arange(members.shape[1]) <= threshold[:, None], members, 0).sum(1)
        rates.append(1 - below / n_members if kept else np.ones(len(members)))
    return _percentiles(np.concatenate(rates), confidence_level)


def _require_draws(resamples: int, seed: int) -> tuple[int, int]:
    resamples = require_count(resamples, "resamples")
    if resamples > MOST_RESAMPLES:
        raise ValueError(f"resamples must be at most {MOST_RESAMPLES:,}; got {shortened(resamples)}.")
    return resamples, require_seed(seed)


def resampled_counts(ranking: Ranking, resamples: int, seed: int) -> Iterator[tuple[Counts, Counts]]:
    """Yield blocks of counts (draws, distinct scores upwards) of the drawn members and of the non-members."""
    values = np.unique(np.concatenate(ranking))
    places = [np.searchsorted(values, side) for side in ranking]
    for drawn in _draws(ranking, resamples, seed):
        members, nonmembers = (
            _count(place[rows], len(values)) for place, rows in zip(places, drawn, strict=True)
        )
        yield members, nonmembers


def _draws(ranking: Ranking, resamples: int, seed: int) -> Iterator[tuple[Counts, Counts]]:
    """Yield blocks of the drawn members and non-members as positions, shapes (draws, size of the side)."""
    resamples, seed = _require_draws(resamples, seed)
    rng = np.random.default_rng(seed)
    size = max(1, BLOCK_ELEMENTS // max(len(np.unique(np.concatenate(ranking))), *map(len, ranking)))
    for start in range(0, resamples, size):
        draws = min(size, resamples - start)
        members, nonmembers = (rng.integers(len(side), size=(draws, len(side))) for side in ranking)
        yield members, nonmembers


def _count(places: Counts, values: int) -> Counts:
    """Return how often each value occurs in each row, shape (draws, values)."""
    draws = len(places)
    places += np.arange(draws)[:, None] * values
    return np.bincount(places.ravel(), minlength=draws * values).reshape(draws, values)


def _percentiles(figures: Scores, confidence_level: float) -> Interval:
    alpha = 1 - require_level(confidence_level)
    low, high = np.quantile(figures, [alpha / 2, 1 - alpha / 2])
    return Interval(float(low), float(high))
