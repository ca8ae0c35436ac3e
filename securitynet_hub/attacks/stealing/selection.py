"""Choose the next queries from a pool: at random, or where the surrogate so far is least certain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from securitynet_hub.core.arrays import Scores, as_array, require_finite
from securitynet_hub.core.errors import UnknownNameError

Positions = npt.NDArray[np.int64]

BLOCK_ELEMENTS = 1 << 22
"""Number of distances in memory at once: 32 MiB."""


def select(
    strategy: str,
    n: int,
    *,
    pool_size: int,
    chosen: npt.ArrayLike = (),
    knowledge: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Positions:
    """Choose the next images of a pool to ask about, each at most once and none that was chosen before.

    With q(x) the surrogate's posteriors:

    - ``random``: uniformly, without replacement (Orekondy et al. 2019, Knockoff Nets).
    - ``uncertainty``: the largest entropy of q(x) first (Lewis & Gale 1994; Pal et al. 2020, ActiveThief).
    - ``margin``: the smallest difference of the two largest of q(x) first (Scheffer et al. 2001).
    - ``k_centre``: one after another, the image farthest from its nearest chosen image (Gonzalez 1985; Sener
      & Savarese 2018), by the Euclidean distance of rows of `knowledge`, which may be q(x) or any features.
      The largest distance of an image to its nearest centre is at most twice that of the best n centres.

    The seed breaks ties, and draws the first centre where nothing was chosen before. Distances take 32 MiB
    and a few numbers for each image, besides the features in float64.

    Args:
        strategy: a name from `STRATEGIES`.
        n: number of images, from 0 to the number left in the pool.
        pool_size: number of images in the pool.
        chosen: positions chosen before.
        knowledge: shape (pool_size, d): the surrogate's posteriors, or for ``k_centre`` also features.
            ``random`` needs none.
        seed: decides every random choice.

    Returns:
        Positions in the pool, shape (n,), the first choice first.

    Raises:
        UnknownNameError: no such strategy; the closest names are given.
        ValueError: more images than are left, positions that repeat or lie outside the pool, or `knowledge`
            that is missing, not finite or of another shape.

    >>> select("margin", 2, pool_size=3, knowledge=[[0.9, 0.1], [0.5, 0.5], [0.6, 0.4]])
    array([1, 2])
    >>> select("k_centre", 2, pool_size=4, knowledge=[[0.0], [1.0], [6.0], [9.0]], chosen=[0])
    array([3, 2])
    """
    if strategy not in STRATEGIES:
        raise UnknownNameError("selection strategy", strategy, STRATEGIES)
    before = _require_positions(np.asarray(chosen), pool_size)
    left = np.setdiff1d(np.arange(pool_size), before)
    if not 0 <= n <= len(left):
        raise ValueError(
            f"n must lie in 0..{len(left)}, the images left of {pool_size} after {len(before)}; got {n}."
        )
    candidates = np.random.default_rng(seed).permutation(left)
    if strategy == "random":
        return candidates[:n]
    if knowledge is None:
        raise ValueError(f"the strategy {strategy!r} needs knowledge of the images: posteriors or features.")
    rows = as_array(knowledge, "knowledge")
    if rows.ndim != 2 or len(rows) != pool_size:
        raise ValueError(f"knowledge must be of shape ({pool_size}, d), a row per image; got {rows.shape}.")
    require_finite(rows, "knowledge")
    return _INFORMED[strategy](rows, candidates, before, n)


def _uncertain(rows: npt.NDArray[Any], candidates: Positions, before: Positions, n: int) -> Positions:
    p = rows[candidates].astype(np.float64)
    certainty = (p * np.log(np.where(p > 0, p, 1))).sum(1)
    return candidates[np.argsort(certainty, kind="stable")[:n]]


def _undecided(rows: npt.NDArray[Any], candidates: Positions, before: Positions, n: int) -> Positions:
    largest = np.partition(rows[candidates].astype(np.float64), -2, axis=1)[:, -2:]
    return candidates[np.argsort(largest[:, 1] - largest[:, 0], kind="stable")[:n]]


def _farthest(rows: npt.NDArray[Any], candidates: Positions, before: Positions, n: int) -> Positions:
    features, centres = rows[candidates].astype(np.float64), rows[before].astype(np.float64)
    nearest: Scores = np.full(len(candidates), np.inf)
    size = max(1, BLOCK_ELEMENTS // max(1, len(candidates)))
    for start in range(0, len(centres), size):
        distances = cdist(features, centres[start : start + size], "sqeuclidean")
        np.minimum(nearest, distances.min(1), out=nearest)
    picked = np.empty(n, np.int64)
    for k in range(n):
        picked[k] = farthest = nearest.argmax()
        distances = cdist(features, features[[farthest]], "sqeuclidean")[:, 0]
        np.minimum(nearest, distances, out=nearest)
        nearest[farthest] = -1  # below the 0 of its duplicates
    return candidates[picked]


def _require_positions(chosen: npt.NDArray[Any], pool_size: int) -> Positions:
    positions = chosen.astype(np.int64)
    inside = not len(positions) or 0 <= positions.min() <= positions.max() < pool_size
    if chosen.ndim != 1 or not inside or len(np.unique(positions)) != len(positions):
        raise ValueError(f"chosen must be positions in 0..{pool_size - 1}, each once; got {chosen}.")
    return positions


_INFORMED: dict[str, Callable[[npt.NDArray[Any], Positions, Positions, int], Positions]] = {
    "uncertainty": _uncertain,
    "margin": _undecided,
    "k_centre": _farthest,
}

STRATEGIES = ("random", *_INFORMED)
"""Every strategy by its name."""
