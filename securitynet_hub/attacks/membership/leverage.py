"""The leverage attack: how well an image is fitted for how much it can move its own prediction.

The leverage of a training sample says by how much its own label moves its prediction, and so how visible its
membership is. Dorseuil, Atif & Cappe (2026, arXiv 2602.15919) show that in Gaussian linear models it decides
the privacy loss of a sample, and generalise it to classifiers by the implicit function theorem, with an
approximation by the last layer. Only the abstract and summaries of their paper could be read here. What
follows is derived, not copied; it is called after the quantity, which is older: the hat matrix, its form for
logistic regression (Pregibon 1981, section 3), and the derivative of a fitted value by its own observation
(Wei, Hu & Fung 1998).

**Gaussian linear model.** With ``h = x' (X'X)^-1 x`` over training samples without x, the residual
``e = y - prediction`` is normal with mean 0 and variance ``s^2 (1 + h)`` if x was not trained on, and
``s^2 / (1 + h)`` if it was. The optimal test of membership from a prediction is therefore

    score = log(1 + h) - (e / s)^2 h (2 + h) / (2 (1 + h)).

**Last layer of a classifier.** Take the label's log-odds ``log p_y - log(1 - p_y)`` as a logistic regression
on the features f that the last layer reads, of which 1 - p_y is the residual and ``w = p_y (1 - p_y)`` the
curvature of the loss:

    H = sum over known members of w f f' + ridge,    h = f' H^-1 f,    leverage g = w h,

and put g for h and ``(1 - p_y)^2 / w`` for (e / s)^2 above. Two assumptions are made: the layers before are
held fixed, and the label's log-odds share one d x d curvature over the classes, where the exact one is
classes d x classes d. For two classes the leverage is exactly Pregibon's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import iadd
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular
from scipy.special import expit

from securitynet_hub.attacks.membership.attack import Attack, Rows
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.core.arrays import Scores, as_array, require_finite
from securitynet_hub.core.shares import Share, alone

Row = TypeVar("Row", bound=np.generic)

CHUNK = 1 << 13
"""Samples whose features are in float64 at a time."""

SUMS = 8
"""Partial sums over the known members, which processes share."""

SMALLEST_WEIGHT = 1e-12
"""Curvature that every sample has at least, so that a model that is certain of all has leverages, too."""


def leverage_scores(inputs: MembershipInputs, rows: Rows, *, ridge: float = 0.01) -> Scores:
    """Score each sample by the log-likelihood ratio of its residual, given its leverage.

    ``score = log(1 + g) - (1 - p_y)^2 h (2 + g) / (2 (1 + g))``, h from `feature_leverages`, g = w h. A
    sample that the model fits well although nothing else would have made it do so scores high; one that the
    model gets wrong scores the lower, the more the model could have been moved by it. The head of this file
    derives it from the leverages of Pregibon (1981, section 3), after Dorseuil et al. 2026.

    Args:
        inputs: what the attacker holds; the known members give the curvature.
        rows: the samples to score.
        ridge: share of the curvature's mean eigenvalue that is added to all, for more features than members.

    Returns:
        Shape (rows,), higher = more likely a member.

    Raises:
        ValueError: no member is known, the features have another length or are not finite, or the ridge is
            not above 0.

    >>> features = np.array([[1.0], [-1.0], [1.0], [-1.0], [1.0], [1.0]])
    >>> inputs = MembershipInputs(
    ...     outputs=2 * np.hstack([features, -features]), labels=[0, 1, 0, 1, 0, 1], from_logits=True,
    ...     is_member=[1, 1, 0, 0, 1, 0], calibration=np.arange(6) < 4, penultimate=features,
    ... )  # fmt: skip
    >>> leverage_scores(inputs, np.array([4, 5])).round(1)  # the second is labelled wrongly
    array([  0.7, -39.9])
    """
    features, margins = checked_features(inputs), inputs.score("logit_margin")
    weights = np.maximum(expit(margins) * expit(-margins), SMALLEST_WEIGHT)
    known = np.flatnonzero(inputs.calibrated_on & inputs.membership)
    h = feature_leverages(
        features, weights, known, rows, ridge=ridge, share=inputs.share, multiply=inputs.multiply
    )
    g, residual = weights[rows] * h, expit(-margins[rows])
    scores: Scores = np.log1p(g) - residual**2 * h * (2 + g) / (2 * (1 + g))
    return scores


def generalised_leverages(
    features: Scores, posteriors: Scores, labels: Rows, members: Rows, rows: Rows, *, ridge: float = 0.01
) -> Scores:
    """Return each sample's leverage ``g = w h`` on the label's log-odds, ``w = p_y (1 - p_y)``.

    Of a training sample it says how strongly its own label shows in its prediction. It is no membership
    score: it says whose membership would show, not who is a member.

    Args:
        features: shape (n, d), the inputs of the last layer.
        posteriors: shape (n, classes).
        labels: shape (n,), integers.
        members: rows of the training samples, which give the curvature.
        rows: the samples asked about; where they are among `members`, their own part is in H, and
            0 <= g < 1.
        ridge: as for `leverage_scores`.

    >>> features, even = np.eye(2), np.full((2, 2), 0.5)
    >>> both = np.arange(2)
    >>> generalised_leverages(features, even, np.zeros(2, int), both, both, ridge=1e-9).round(6)
    array([1., 1.])
    """
    own = np.clip(posteriors[np.arange(len(labels)), labels], 0, 1)
    weights = np.maximum(own * (1 - own), SMALLEST_WEIGHT)
    leverages: Scores = weights[rows] * feature_leverages(features, weights, members, rows, ridge=ridge)
    return leverages


def feature_leverages(
    features: Scores,
    weights: Scores,
    members: Rows,
    rows: Rows,
    *,
    ridge: float = 0.01,
    share: Share = alone,
    multiply: Callable[[Scores, Scores], Scores] = np.matmul,
) -> Scores:
    """Return ``h = f' H^-1 f`` for some samples, ``H = sum over members of w f f' + ridge mean(diag) I``.

    Each feature vector gets a 1 for the bias. All features are divided by their root mean square over the
    members first, so that h does not depend on their unit, nor on a rotation of their axes. Memory is
    `SUMS` x d x d and a chunk of samples; time is O(n d^2), whatever the number of classes.

    Args:
        features: shape (n, d).
        weights: shape (n,), above 0.
        members: rows of the samples that H sums over.
        rows: the samples asked about.
        ridge: above 0.
        share: who works on which chunk of samples, as for `lira_scores`.
        multiply: multiplies two matrices, such as `engine.processes.multiply`, on a GPU where there is one.

    Returns:
        Shape (rows,), at least 0.

    Raises:
        ValueError: there are no members, or the ridge is not above 0.

    >>> x = np.array([[1.0], [-1.0], [1.0], [-1.0], [3.0]])  # the hat matrix of a line through four points
    >>> feature_leverages(x, np.ones(5), np.arange(4), np.array([0, 4]), ridge=1e-9).round(6)
    array([0.5, 2.5])
    """
    if not ridge > 0:
        raise ValueError(f"ridge must be above 0; got {ridge}.")
    if not len(members):
        raise ValueError("leverages need known members, whose features give the curvature; there are none.")
    squares = sum(float((features[part].astype(np.float64) ** 2).sum()) for part in chunks(members, CHUNK))
    unit = np.sqrt(squares / (len(members) * features.shape[1])) or 1.0

    def curved(part: Rows) -> Scores:
        f = _with_bias(features[part], unit)
        return multiply((f * weights[part, None]).T, f)

    curvature = sum_over(curved, chunks(members, CHUNK), share)
    curvature[np.diag_indices(len(curvature))] += ridge * np.trace(curvature) / len(curvature)
    half = solve_triangular(np.linalg.cholesky(curvature), np.eye(len(curvature)), lower=True)

    def leverages(part: Rows) -> Scores:
        found: Scores = (multiply(_with_bias(features[part], unit), half.T) ** 2).sum(1)
        return found

    return np.concatenate([np.empty(0), *share(leverages, chunks(rows, CHUNK))])


def _with_bias(features: Scores, unit: float) -> Scores:
    return np.concatenate([features.astype(np.float64) / unit, np.ones((len(features), 1))], 1)


def sum_over(term: Callable[[Rows], Scores], parts: Sequence[Rows], share: Share) -> Scores:
    """Return the sum of a term over parts, rounded alike for any number of processes.

    >>> sum_over(lambda part: part.astype(float), [np.array([1, 2]), np.array([3, 4])], alone)
    array([4., 6.])
    """

    def partial(several: Sequence[Rows]) -> Scores:
        return reduce(iadd, map(term, several))

    groups = [parts[first::SUMS] for first in range(min(SUMS, len(parts)))]
    return reduce(iadd, share(partial, groups))


def chunks(rows: npt.NDArray[Row], size: int) -> list[npt.NDArray[Row]]:
    """Return rows in parts of a size, the last one as long as the rest.

    >>> [part.tolist() for part in chunks(np.arange(3), 2)]
    [[0, 1], [2]]
    """
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def checked_features(inputs: MembershipInputs) -> Scores:
    """Return the features, one row for each sample."""
    features = as_array(inputs.penultimate, "penultimate")
    if features.ndim != 2 or len(features) != len(inputs.outputs) or not features.shape[1]:
        raise ValueError(
            "penultimate must have one row of features for each of "
            f"{len(inputs.outputs)} samples; got shape {features.shape}."
        )
    require_finite(features, "penultimate")
    return features


ATTACK = Attack(
    name="leverage",
    run=leverage_scores,
    summary="how well an image is fitted for how much it can move its own prediction",
    formula="log(1 + g) - (1 - p_y)^2 h (2 + g) / (2 (1 + g)), h = f' H^-1 f, g = p_y (1 - p_y) h",
    source="leverages of Pregibon 1981, section 3, after Dorseuil et al. 2026; score derived here",
    needs=("labels", "penultimate", "calibration"),
    weights=True,
)
