"""Which candidates are members: lists with a false-discovery rate, from the scores of known non-members.

A candidate is an image whose membership is in question. Scores are oriented higher = more likely a member (or
poisoned). The guarantees rest on one assumption alone: the candidates that are non-members and the known
non-members are exchangeable, as where both are drawn from the same source and no score was fitted on any of
them. Members may score as they like. Ties are allowed, since they count against an accusation.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import (
    Rows,
    Scores,
    as_array,
    in_order,
    is_real,
    require_finite,
    require_flag,
    shortened,
)
from securitynet_hub.statistics.rates import CONFIDENCE_LEVEL, require_level, require_share

FDR = 0.1
"""The default false-discovery rate."""

SLACK = 1 + 1e-12
"""What a bound on a p-value is multiplied by, so that rounding refuses none that equals it."""

STEP = 1.5
"""Ratio of neighbouring thresholds, in known non-members above them, of the simultaneous bound."""


class MemberList(NamedTuple):
    """Candidates in the order of suspicion, how many of them are accused, and how many of these are wrong.

    Attributes:
        order: shape (m,), the candidates' rows, highest score first; equal scores keep their order.
        listed: the first so many of `order` are accused; the expected share of non-members among them is at
            most the rate that was asked for.
        p_values: shape (m,), in the candidates' own order; see `conformal_p_values`.
        most_wrong: shape (m + 1,): among the first r of `order` at most ``most_wrong[r]`` are non-members,
            for all r at once at the confidence level.
        shortest: number of candidates that a list must have at least to be found with so many known
            non-members.
    """

    order: Rows
    listed: int
    p_values: Scores
    most_wrong: Rows
    shortest: int

    @property
    def rows(self) -> Rows:
        """The rows of the accused candidates, highest score first."""
        return self.order[: self.listed]

    @property
    def at_most_wrong(self) -> int:
        """The bound on the number of non-members among the accused."""
        return int(self.most_wrong[self.listed])


def member_list(
    candidates: npt.ArrayLike,
    nonmembers: npt.ArrayLike,
    *,
    fdr: float = FDR,
    adaptive: bool = True,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> MemberList:
    """Accuse candidates of being members, so that the expected share of wrongly accused is at most `fdr`.

    The candidates are those that `benjamini_hochberg` picks by their `conformal_p_values`; `most_wrong`
    bounds the number of wrongly accused. The rate is an expectation, of wrongly accused / max(1, accused),
    also over the draw of the known non-members. If nothing leaks, some candidate is accused with a
    probability of at most `fdr`.

    Args:
        candidates: shape (m,), higher = more likely a member.
        nonmembers: shape (n,), scores of known non-members.
        fdr: the false-discovery rate, in 0..1.
        adaptive: estimate the number of non-members among the candidates, rather than assume that it is all.
        confidence_level: of the bound on the number of wrongly accused, see `most_wrong`.

    Raises:
        ValueError: scores are empty, not finite or of more than one dimension; a rate or level is outside
            0..1; or there are fewer known non-members than a list at this rate needs (`nonmembers_needed`).

    >>> found = member_list([9, 8, 7, 1, 2], range(6), fdr=0.5)
    >>> found.rows, found.p_values[:3].round(3), found.at_most_wrong
    (array([0, 1, 2]), array([0.143, 0.143, 0.143]), 3)
    """
    if not (is_real(fdr) and 0 < fdr < 1):
        raise ValueError(f"the false-discovery rate must lie between 0 and 1; got {shortened(fdr)}.")
    require_level(confidence_level)
    require_flag(adaptive, "adaptive")
    judged, known = _columns(candidates, nonmembers)
    n, m = len(known), len(judged)
    if n < nonmembers_needed(fdr):
        raise ValueError(
            f"{n:,} known non-members are too few for a false-discovery rate of {fdr:g}, as the smallest "
            f"p-value is 1 / ({n:,} + 1); it takes {nonmembers_needed(fdr):,} or more."
        )
    order = np.argsort(-judged, kind="stable")
    above = _above(judged, known)
    p_values = (above + 1) / (n + 1)
    nulls = estimate_nonmembers(p_values, n) if adaptive else float(m)
    return MemberList(
        order=order,
        listed=benjamini_hochberg(p_values, fdr=fdr, nonmembers=nulls),
        p_values=p_values,
        most_wrong=_most_wrong(judged[order], above[order] + 1, known, 1 - confidence_level),
        shortest=math.ceil(nulls / (fdr * (n + 1)) / SLACK),
    )


def benjamini_hochberg(p_values: npt.ArrayLike, *, fdr: float = FDR, nonmembers: float | None = None) -> int:
    """Return how many candidates are accused: those with the smallest p-values, so many.

    The largest r with ``p_(r) <= fdr * r / m0`` (Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57:289), m0
    the number of non-members among the candidates, or an estimate of it; all m of them unless it is given.

    Args:
        p_values: shape (m,), of being a non-member.
        fdr: the false-discovery rate.
        nonmembers: m0.

    Raises:
        ValueError: the p-values or the rate are no numbers in 0..1, or m0 is negative.

    >>> benjamini_hochberg([0.01, 0.2, 0.02, 0.9], fdr=0.1), benjamini_hochberg([0.04, 0.9], fdr=0.05)
    (2, 0)
    """
    given = as_array(p_values, "p_values")
    if given.ndim != 1:
        raise ValueError(f"p_values must have one dimension, one entry per candidate; got {given.shape}.")
    require_finite(given, "p_values")
    ordered = np.sort(given.astype(np.float64))
    if len(ordered) and not 0 <= ordered[0] <= ordered[-1] <= 1:
        raise ValueError(f"p_values must lie in 0..1; got {ordered[0]:g} to {ordered[-1]:g}.")
    require_share(fdr, "fdr")
    m0 = len(ordered) if nonmembers is None else nonmembers
    if not (is_real(m0) and 0 <= m0 < math.inf):
        raise ValueError(f"nonmembers must be a number of candidates, 0 or more; got {shortened(m0)}.")
    # With a margin, as 0.1 * 3 is not 0.3.
    found = np.flatnonzero(ordered * m0 <= fdr * np.arange(1, len(ordered) + 1) * SLACK)
    return int(found[-1]) + 1 if len(found) else 0


def estimate_nonmembers(p_values: npt.ArrayLike, n: int) -> float:
    """Estimate the number of non-members among candidates from conformal p-values, a little too high.

    ``m0 = (1 + #{p >= l}) / (1 - l)`` with ``l = ceil((n + 1) / 2) / (n + 1)`` (Storey, Taylor & Siegmund
    2004, J. R. Stat. Soc. B 66:187, with "1 +" and a point l that p takes).

    With it `benjamini_hochberg` keeps its rate in finite samples although all p-values share the same n known
    non-members (Bates et al. 2023, arXiv 2104.08279, prove positive dependence without ties; Marandon et al.
    2024, arXiv 2208.06685, treat the adaptive procedure). The argument, with ties: fix a non-member j, the
    scores of the other candidates, and the *set* of the n + 1 scores of j and of the known non-members. All
    p-values are then functions of j's rank in that set that do not fall when the rank rises, and the rank is
    uniform or, with ties, larger. So ``E[1{p_j <= c R} / R] <= c`` for the number R of accused and any fixed
    c. The rate is at most ``fdr * sum over the non-members of E[1 / m0]``, m0 as if j had the highest score,
    and that sum is at most 1: given the known scores, each of the other non-members has p >= l with one
    probability B, which has a beta distribution with ``E[1 / B] = 1 / (1 - l)``, and ``E[1 / (1 + Bin(k - 1,
    B))] <= 1 / (k B)``.

    Args:
        p_values: shape (m,), from `conformal_p_values`.
        n: number of known non-members.

    >>> estimate_nonmembers([0.1, 0.2, 0.6, 1.0], 9)
    6.0
    """
    least = -(-(n + 1) // 2)
    ranks = np.rint(np.asarray(p_values, np.float64) * (n + 1))
    return float(1 + np.count_nonzero(ranks >= least)) / (1 - least / (n + 1))


def nonmembers_needed(fdr: float) -> int:
    """Return how many known non-members a list at a false-discovery rate needs: ``1 / (n + 1) <= fdr``.

    >>> nonmembers_needed(0.1), nonmembers_needed(0.01)
    (9, 99)
    """
    return max(1, math.ceil(1 / fdr / SLACK) - 1)


def conformal_p_values(candidates: npt.ArrayLike, nonmembers: npt.ArrayLike) -> Scores:
    """Return each candidate's p-value of being a non-member, from the scores of known non-members.

    ``p = (1 + #{nonmembers >= s}) / (n + 1)`` (Vovk, Gammerman & Shafer 2005; Bates et al. 2023, arXiv
    2104.08279). If the candidate is a non-member exchangeable with the known ones, ``P[p <= t] <= t`` for
    every t. Small = more likely a member. Ties count as larger scores.

    Args:
        candidates: shape (m,), higher = more likely a member.
        nonmembers: shape (n,).

    Raises:
        ValueError: scores are empty, not finite or of more than one dimension.

    >>> conformal_p_values([0.5, 2.0, 3.0], [1.0, 2.0, 0.0])
    array([0.75, 0.5 , 0.25])
    """
    judged, known = _columns(candidates, nonmembers)
    p_values: Scores = (_above(judged, known) + 1) / (len(known) + 1)
    return p_values


def most_wrong(
    candidates: npt.ArrayLike, nonmembers: npt.ArrayLike, *, confidence_level: float = CONFIDENCE_LEVEL
) -> Rows:
    """Bound the number of non-members among the highest-scoring candidates, for every length of the list.

    Let V_k be the number of non-members among the candidates that score above the k-th highest known
    non-member. With m0 such candidates all orders of the m0 + n scores are equally likely, so that V_k has a
    negative hypergeometric distribution (the Polya urn of Gazin, Blanchard & Roquain 2024, arXiv 2310.18108):
    ``P[V_k > b] = P[H <= k - 1]``, H the known non-members among the first b + k of m0 + n. Its quantiles b_k
    at the level ``(1 - confidence_level) / number of k`` hold at once for k = 1, 2, 3, 5, 8, ..., each half
    as large again (Bonferroni). A list whose last score has a known non-members at or above it has at most
    b_k wrong, k the next such number above a. m0 is not known. It is at most m, and at most b_k plus the
    number of candidates not above the k-th; the largest m0 that agrees with all of this is taken. Last, a
    list has no more wrong than a longer one, and no more than a shorter one plus what was added.

    Song, Jin & Candes (2026, arXiv 2605.20726) draw an envelope of the same counts at random; this one needs
    no seed, and covers a little more than it promises.

    Args:
        candidates: shape (m,), higher = more likely a member.
        nonmembers: shape (n,), scores of known non-members.
        confidence_level: with which all bounds hold together.

    Returns:
        Shape (m + 1,), integers: among the first r candidates, highest score first, at most ``[r]`` are
        non-members.

    Raises:
        ValueError: as `conformal_p_values`, or the level is outside 0..1.

    >>> most_wrong([5, 4, 3], range(-99, 1)).tolist()  # a hundred known non-members, all below
    [0, 1, 1, 1]
    """
    require_level(confidence_level)
    judged, known = _columns(candidates, nonmembers)
    ordered = np.sort(judged)[::-1]
    return _most_wrong(ordered, _above(ordered, known) + 1, known, 1 - confidence_level)


def _columns(candidates: npt.ArrayLike, nonmembers: npt.ArrayLike) -> tuple[Scores, Scores]:
    """Return both as float64, the known non-members sorted; integers beyond float64 become ranks."""
    sides = {
        "candidates": as_array(candidates, "candidates"),
        "nonmembers": as_array(nonmembers, "nonmembers"),
    }
    for name, side in sides.items():
        if side.ndim != 1 or not len(side):
            raise ValueError(
                f"{name} must have one dimension, one score each, at least one; got {side.shape}."
            )
        require_finite(side, name)
    both = in_order(np.concatenate(list(sides.values())))
    m = len(sides["candidates"])
    return both[:m], np.sort(both[m:])


def _above(judged: Scores, known: Scores) -> Rows:
    """Return for each candidate the number of known non-members that score as high or higher."""
    found: Rows = len(known) - np.searchsorted(known, judged, "left")
    return found


def _most_wrong(ordered: Scores, ranks: Rows, known: Scores, alpha: float) -> Rows:
    m, n = len(ordered), len(known)
    steps = [1]
    while steps[-1] < n:
        steps.append(min(n, math.ceil(STEP * steps[-1])))
    grid = np.array(steps)
    # Candidates that may lie below the k-th highest known non-member: those not surely above it.
    below = m - np.searchsorted(-ordered, -known[n - grid], "left")
    nulls = m
    while True:
        bounds = np.array(_upper_quantiles(nulls, n, tuple(steps), alpha / len(steps)))
        fewer = min(nulls, int((bounds + below).min()))
        if fewer == nulls:
            break
        nulls = fewer
    place = np.searchsorted(grid, ranks)  # the next k at or above; beyond the last there is none
    wrong = np.append(0, np.append(bounds, nulls)[place])
    lengths = np.arange(m + 1)
    wrong = np.minimum.accumulate(wrong[::-1])[::-1]
    found: Rows = lengths + np.minimum.accumulate(wrong - lengths)
    return found


@lru_cache(maxsize=2048)
def _upper_quantiles(nulls: int, n: int, steps: tuple[int, ...], level: float) -> tuple[int, ...]:
    """Return, for each k of the steps, the smallest b with ``P[V_k > b] <= level``; see `most_wrong`."""
    from scipy.stats import hypergeom  # slow to import

    ks = np.array(steps)
    low, high = np.full(len(ks), -1), np.full(len(ks), nulls)
    while (high - low > 1).any():
        middle = (low + high) // 2
        enough = hypergeom.cdf(ks - 1, nulls + n, n, middle + ks) <= level
        high, low = np.where(enough, middle, high), np.where(enough, low, middle)
    return tuple(high.tolist())
