"""Pairs of a source and a target class: the smallest change that leads images of one class to another one.

A class that is near by nature is near from the classes that resemble it. An attacker's class is near from
every class whose images the trigger was stamped on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.stats

from securitynet_hub.attacks.backdoor.attack import Finding
from securitynet_hub.attacks.backdoor.expected_size import as_list
from securitynet_hub.attacks.backdoor.mm_bd import MIN_CLASSES
from securitynet_hub.attacks.backdoor.shared_change import (
    PairChanges,
    Points,
    Search,
    smallest_changes,
)
from securitynet_hub.core.arrays import Scores, as_array

MAX_CLASSES = 24
"""The most classes whose pairs are searched, 552; of more classes the likeliest are."""

MIN_PAIRS = 6
"""Least number of pairs to which three coefficients are fitted: those of three other classes."""


class PairVerdict(NamedTuple):
    """What the sizes between classes say of a model.

    Attributes:
        score: -log10 of the p-value, higher = more likely poisoned; None where too few changes succeeded.
        p_value: the probability that the nearest of so many targets is as near.
        source: place of the class from which the target is nearest.
        target: place of the target with the smallest p-value.
    """

    score: float | None
    p_value: float | None
    source: int | None
    target: int | None


class Reach(NamedTuple):
    """How far the class that is nearest from all others lies below what is predicted.

    Attributes:
        score: in octaves, higher = more likely poisoned; None where too few changes succeeded.
        target: place of the class.
        below: shape (k,), the same for each class; NaN where nothing can be said.
    """

    score: float | None
    target: int | None
    below: Scores


def smallest_pair_changes(
    points: Points,
    classes: npt.NDArray[np.int64],
    search: Search,
    *,
    on_step: Callable[[int], None] = lambda count: None,
) -> PairChanges:
    """Search, for each pair of classes, the smallest change that leads images of the one to the other.

    `smallest_changes` with a source for each target: images count that the network answers with the source.

    >>> import torch
    >>> values = 4 * torch.eye(3)
    >>> points = Points(values=values, classify=lambda x: x, predicted=values.argmax(1))
    >>> found = smallest_pair_changes(points, np.arange(3), Search(steps=200, success=1.0))
    >>> (found.sizes * points.spread * 3**0.5).round()  # half of the way from corner to corner, 4 * 2**0.5
    array([[nan,  3.,  3.],
           [ 3., nan,  3.],
           [ 3.,  3., nan]])
    """
    k = len(classes)
    sizes = np.full((k, k), np.nan)
    sources, targets = np.nonzero(~np.eye(k, dtype=np.bool_))
    found = smallest_changes(points, classes[targets], search, sources=classes[sources], on_step=on_step)
    sizes[sources, targets] = found.sizes
    return PairChanges(classes, sizes)


def judge_pairs(sizes: npt.ArrayLike) -> PairVerdict:
    """Return score, p-value and the pair of a model from the sizes of the changes between its classes.

    The size from source s to target t has the reciprocal r_st; there are k targets, and n_t sizes towards t:

        p_t = 1 - F_t(max over s of r_st) ** n_t,      s = -log10(1 - (1 - min over t of p_t) ** k),

    F_t the gamma distribution fitted to all r of other targets: two order statistics, of the sources and of
    the targets (Xiang, Miller & Kesidis 2020, arXiv 1908.10498, section IV, as the authors' code has it; they
    detect a backdoor where the p-value is at most .05).

    Args:
        sizes: shape (k, k), from each source (row) to each target (column); NaN where there is none.

    Raises:
        ValueError: sizes of another shape, or not above 0.

    >>> sizes = 1 + 0.1 * np.sin(np.arange(36.0)).reshape(6, 6)
    >>> np.fill_diagonal(sizes, np.nan)
    >>> plain = judge_pairs(sizes)
    >>> sizes[4, 2] = 0.3
    >>> planted = judge_pairs(sizes)
    >>> plain.p_value > 0.05 > planted.p_value, planted.source, planted.target
    (True, 4, 2)
    """
    reciprocals = 1 / _checked(sizes)
    found = np.isfinite(reciprocals)
    counts = found.sum(0)
    tested = np.flatnonzero((counts > 0) & (counts.sum() - counts >= MIN_CLASSES - 1))
    if not len(tested):
        return PairVerdict(None, None, None, None)
    largest = np.where(found, reciprocals, -np.inf).max(0)
    beyond = {int(t): _beyond(largest[t], reciprocals[found & (np.arange(len(found)) != t)]) for t in tested}
    raised = {t: _of_largest(share, int(counts[t])) for t, share in beyond.items()}
    target = min(raised, key=lambda t: (raised[t], -largest[t]))
    p_value = _of_largest(raised[target], len(found))
    return PairVerdict(
        score=float(-np.log10(max(p_value, np.finfo(np.float64).tiny))),
        p_value=p_value,
        source=int(np.where(found[:, target], reciprocals[:, target], -np.inf).argmax()),
        target=target,
    )


def judge_reach(sizes: npt.ArrayLike, gaps: npt.ArrayLike) -> Reach:
    """Compare the sizes of the changes towards each class with those that nature predicts, from all sources.

    Two classes that resemble each other are near both ways, and their images are nearly taken for each other.
    So with d_st the size from source s to target t, and g_st the gap by which t loses the images of s,

        log2 d_st = a + b log2 g_st + c log2 d_ts

    is fitted by least squares to the pairs without t, and t lies

        s_t = mean over s of (a + b log2 g_st + c log2 d_ts - log2 d_st)

    octaves nearer to all classes than is natural. An attacker's class is near from every class whose images
    carried the trigger, without a way back; a natural one is near from a few, which are near to it as well.
    This score is not in the paper (Xiang, Miller & Kesidis 2020, arXiv 1908.10498).

    Args:
        sizes: shape (k, k), from each source (row) to each target (column); NaN where there is none.
        gaps: of the same shape, in logits (`expected_size.source_gaps`).

    Raises:
        ValueError: sizes or gaps of another shape, or negative.

    >>> gaps = 1 + np.abs(np.subtract.outer(np.arange(6.0), np.arange(6.0)))
    >>> np.fill_diagonal(gaps, np.nan)
    >>> sizes = gaps.copy()
    >>> round(judge_reach(sizes, gaps).score, 6)
    0.0
    >>> sizes[:, 3] /= 4  # two octaves nearer, from everywhere
    >>> found = judge_reach(sizes, gaps)
    >>> found.target, round(found.score, 3)
    (3, 2.0)
    """
    near, lost = np.log2(_checked(sizes)), np.log2(_checked(gaps))
    if near.shape != lost.shape:
        raise ValueError(f"gaps must be of shape {near.shape}; got {lost.shape}.")
    k = len(near)
    known = np.stack([np.ones((k, k)), lost, near.T], -1)
    usable = np.isfinite(near) & np.isfinite(known).all(-1)
    below = np.full(k, np.nan)
    for t in range(k):
        apart = usable.copy()
        apart[t], apart[:, t] = False, False
        sources = usable[:, t]
        if sources.any() and apart.sum() >= MIN_PAIRS:
            fitted = np.linalg.lstsq(known[apart], near[apart])[0]
            below[t] = (known[sources, t] @ fitted - near[sources, t]).mean()
    if np.isnan(below).all():
        return Reach(None, None, below)
    target = int(np.nanargmax(below))
    return Reach(float(below[target]), target, below)


def pair_finding(found: PairChanges, of_classes: Finding) -> Finding:
    """Return what the sizes between classes say of the model, beside what those of classes do.

    Score, p-value and suspect are those of `judge_pairs`; ``suspect_source`` is the class from which the
    suspect is nearest, ``reach_score`` and ``reach_suspect`` are of `judge_reach`.
    """
    verdict, reach = judge_pairs(found.sizes), None
    if found.gaps is not None:
        reach = judge_reach(found.sizes, found.gaps)
    return Finding(
        score=verdict.score,
        suspect=None if verdict.target is None else int(found.classes[verdict.target]),
        figures={
            **of_classes.figures,
            "p_value": verdict.p_value,
            "suspect_source": None if verdict.source is None else int(found.classes[verdict.source]),
            "pair_classes": found.classes.tolist(),
            "pair_sizes": [as_list(row) for row in found.sizes],
            "reach_score": None if reach is None else reach.score,
            "reach_suspect": None
            if reach is None or reach.target is None
            else int(found.classes[reach.target]),
        },
    )


def _checked(sizes: npt.ArrayLike) -> Scores:
    """Return sizes as numbers, none of which is 0."""
    values = as_array(sizes, "sizes").astype(np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not (np.isnan(values) | (values >= 0)).all():
        raise ValueError(
            "sizes must be of shape (classes, classes), not negative, or NaN where there is none; got "
            f"{values.shape}."
        )
    return np.maximum(values, 1e-9)


def _beyond(value: float, others: Scores) -> float:
    """Return the share of a gamma distribution fitted to others that lies beyond a value."""
    if np.ptp(others) == 0:  # no spread to fit
        return 0.0 if value > others[0] else 1.0
    return float(scipy.stats.gamma.sf(value, *scipy.stats.gamma.fit(others)))


def _of_largest(share: float, count: int) -> float:
    """Return the probability that the largest of some draws is beyond what one is with this probability."""
    return float(-np.expm1(count * np.log1p(-share))) if share < 1 else 1.0
