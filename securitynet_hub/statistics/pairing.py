"""How alike the errors of several models' figures are where all were measured on the same samples.

A sample that is easy to place for one model is often easy for the others, so that errors are shared and
differences are surer than those of models on separate samples.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Flags, Scores
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.statistics.rates import CONFIDENCE_LEVEL, Ranking, check_scores, doubled_wins
from securitynet_hub.statistics.roc import rate_at_fpr

PairedFigure = Literal["auc", "advantage", "tpr"]

DOUBT = 2.0
"""So many samples beyond a threshold count as not shared: what few of them share may be luck."""


def figure_correlations(
    scores: npt.ArrayLike, is_member: npt.ArrayLike, figure: PairedFigure, *, fpr: float = 0.0
) -> Scores:
    """Estimate the correlations of the sampling errors of one figure of several models on the same samples.

    Each estimate is, but for terms of higher order, a mean over the members plus one over the non-members.
    Two models' errors have the covariance ``cov(members) / m + cov(non-members) / n`` of these terms:

    - ``auc``: a member's term is the share of non-members that it beats, a non-member's that of the members
      that beat it (DeLong, DeLong & Clarke-Pearson 1988).
    - ``tpr`` at the population's `fpr`: whether a sample lies above the model's own threshold. The members'
      part has the variance ``TPR (1 - TPR) / m``; the non-members' part, by which the threshold varies, has
      the rest of that of `roc.rate_at_fpr`'s interval.
    - ``advantage``: whether a sample lies above the threshold with the largest ``TPR - FPR``.

    Of the last two a correlation of terms is multiplied by ``k / (k + 2)``, with k the number of samples
    above the threshold, or below it if they are fewer: it is on the safe side where few samples decide.

    Args:
        scores: shape (models, n), higher = more likely a member.
        is_member: shape (n,), booleans or 0/1, the same for all models.
        figure: ``auc``, ``advantage`` or ``tpr``.
        fpr: the false-positive rate of ``tpr``.

    Returns:
        Shape (models, models), within -1..1, ones on the diagonal; 0 where an estimate has no spread.

    Raises:
        ValueError: as `rates.check_scores`.
        UnknownNameError: no such figure.

    >>> figure_correlations([[4, 3, 2, 1], [16, 9, 4, 1]], [1, 0, 1, 0], "auc")  # the same order
    array([[1., 1.],
           [1., 1.]])
    """
    rows = [check_scores(row, is_member) for row in np.atleast_2d(np.asarray(scores))]
    members = rows[0][1]
    if figure == "auc":
        placed = [_placements(values, members) for values, _ in rows]
        covariance = np.zeros((len(rows), len(rows)))
        for side in zip(*placed, strict=True):
            if len(side[0]) > 1:
                covariance += np.atleast_2d(np.cov(np.stack(side))) / len(side[0])
        found = _divided(covariance, np.sqrt(np.diag(covariance)))
    elif figure in ("advantage", "tpr"):
        found = _of_thresholds([values for values, _ in rows], members, fpr if figure == "tpr" else None)
    else:
        raise UnknownNameError("figure of which errors are paired", figure, ("auc", "advantage", "tpr"))
    np.fill_diagonal(found, 1)
    correlations: Scores = found.clip(-1, 1)
    return correlations


def _placements(values: Scores, members: Flags) -> tuple[Scores, Scores]:
    """Return the terms of the AUC: of the members, and of the non-members."""
    inside, outside = values[members], values[~members]
    wins, losses = doubled_wins(inside, np.sort(outside)), doubled_wins(outside, np.sort(inside))
    return wins / (2 * len(outside)), -losses / (2 * len(inside))


def _of_thresholds(values: list[Scores], members: Flags, fpr: float | None) -> Scores:
    """Return the correlations of rates above each model's own threshold."""
    above, shares = [], []
    for scores in values:
        ranking = Ranking(np.sort(scores[members]), np.sort(scores[~members]))
        threshold, variances = _advantage(ranking) if fpr is None else _rate(ranking, fpr)
        above.append(scores > threshold)
        shares.append(np.sqrt(variances / (sum(variances) or 1)))
    found = np.zeros((len(values), len(values)))
    for side, part in enumerate((members, ~members)):
        found += _alike(np.stack(above)[:, part]) * np.outer(*[np.array(shares)[:, side]] * 2)
    return found


def _advantage(ranking: Ranking) -> tuple[float, Scores]:
    thresholds = np.r_[-np.inf, np.unique(np.r_[ranking.members, ranking.nonmembers])]
    rates = np.stack([1 - np.searchsorted(side, thresholds, "right") / len(side) for side in ranking])
    best = int(np.argmax(rates[0] - rates[1]))
    rate = rates[:, best]
    return float(thresholds[best]), rate * (1 - rate) / [len(side) for side in ranking]


def _rate(ranking: Ranking, fpr: float) -> tuple[float, Scores]:
    found = rate_at_fpr(ranking, fpr, CONFIDENCE_LEVEL)
    error = (found.ci.high - found.ci.low) / 2 / NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)
    of_members = found.tpr * (1 - found.tpr) / len(ranking.members)
    threshold = -np.inf if found.threshold is None else found.threshold
    return threshold, np.array([min(of_members, error**2), max(0.0, error**2 - of_members)])


def _alike(above: Flags) -> Scores:
    """Return the correlations of indicators of shape (models, samples), nearer to 0 where few decide."""
    rates, n = above.mean(1), above.shape[1]
    both = above.astype(np.float64) @ above.T.astype(np.float64) / n
    few = n * np.minimum(rates, 1 - rates)
    k = np.minimum(few[:, None], few)
    alike: Scores = _divided(both - np.outer(rates, rates), np.sqrt(rates * (1 - rates))) * k / (k + DOUBT)
    return alike


def _divided(covariance: Scores, deviations: Scores) -> Scores:
    """Return correlations; 0 where a deviation is."""
    products = np.outer(deviations, deviations)
    return np.divide(covariance, products, where=products > 0, out=np.zeros_like(products))
