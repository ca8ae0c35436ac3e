"""The weights of the last layer alone: the class whose row points away from all other rows.

A backdoor gives its target class evidence that no other class may have, so that training turns the target's
row away from the other rows. DFBScanner (Yu et al. 2026, arXiv 2605.18907) reads a number of such signs from
the last layer and judges by the largest; this is one of them, chosen because it needs no fitted weights. It
needs no image and no pass beyond one that finds the layer. It misses backdoors that were fine-tuned in.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.needs import need, needs_classes
from securitynet_hub.core.arrays import Scores, as_array, require_finite
from securitynet_hub.engine.soundness import as_classifier
from securitynet_hub.models.head import find_head
from securitynet_hub.models.target import Target

MIN_CLASSES = 4
"""Minimum number of classes: with fewer, the deviation of the other classes rests on two numbers."""


class LastLayerResult(NamedTuple):
    """What the rows of the last layer say.

    Attributes:
        score: the largest standardised value, higher = more likely poisoned; None where the classes do not
            differ, so that there is no deviation to divide by.
        suspect: its class.
        aversions: shape (classes,), minus the mean cosine of each row with the other rows, -1 to 1.
    """

    score: float | None
    suspect: int
    aversions: Scores


def aversions(weights: npt.ArrayLike) -> Scores:
    """Return for each class minus the mean cosine of its row with all other rows.

    ``a_c = - 1 / (n - 1) * sum over i != c of w_c . w_i / (|w_c| |w_i|)``, of n rows w. A row of zeros has
    the cosine 0 with every other row.

    Args:
        weights: shape (classes, d), finite: the matrix that the logits are made with.

    Raises:
        ValueError: fewer than two rows, another shape, NaN or infinities.

    >>> aversions([[1, 0], [0, 2], [-1, 0]]).tolist()
    [0.5, 0.0, 0.5]
    """
    rows = as_array(weights, "weights")
    if rows.ndim != 2 or len(rows) < 2 or not rows.shape[1]:
        raise ValueError(f"weights must be of shape (classes, d), two classes or more; got {rows.shape}.")
    require_finite(rows, "weights")
    rows = rows.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    with_all = unit @ unit.sum(0) - (unit**2).sum(1)
    found: Scores = -with_all / (len(rows) - 1) + 0.0  # + 0: no negative zero
    return found


def judge_last_layer(weights: npt.ArrayLike) -> LastLayerResult:
    """Find the class whose row points away from the other rows, and by how much.

    ``s = max over c of (a_c - median a) / (1.4826 median |a - median a|)``, a the `aversions`.

    Raises:
        ValueError: as `aversions`; fewer than four classes.

    >>> rows = np.eye(6) + 0.01 * np.arange(6)[:, None]
    >>> rows[4] -= 0.5
    >>> judge_last_layer(rows).suspect
    4
    """
    values = aversions(weights)
    if len(values) < MIN_CLASSES:
        raise ValueError(
            f"the last layer is judged by comparing classes: {MIN_CLASSES} or more are needed; got "
            f"{len(values)}."
        )
    suspect = int(values.argmax())
    middle = float(np.median(values))
    deviation = 1.4826 * float(np.median(np.abs(values - middle)))
    score = (float(values[suspect]) - middle) / deviation if deviation > 1e-12 else None
    return LastLayerResult(score, suspect, values)


def last_layer(target: Target) -> LastLayerResult:
    """Judge a model by the rows of its last layer.

    Args:
        target: the classifier; it is left as it was.

    Raises:
        ValueError: fewer than four classes, or no matrix makes the logits (`models.head.find_head`).

    >>> from securitynet_hub.models.loading import load_target
    >>> found = last_layer(load_target("zoo/fashion-mnist/bn-cnn-dark-bar/11"))
    >>> found.suspect, found.score > 5  # class 9 is the target
    (9, True)
    """
    weights = find_head(as_classifier(target), target.transform.shape, target.num_classes)
    if weights is None:
        raise ValueError(f"the logits of {target.id} are not made by one matrix; there is no last layer.")
    return judge_last_layer(weights.numpy())


@need("a last linear layer")
def needs_head(target: Target, inputs: DetectorInputs) -> str | None:
    """Require a matrix that makes the logits, one row for each class."""
    found = find_head(as_classifier(target), target.transform.shape, target.num_classes)
    return None if found is not None else f"the logits of {target.id} are not made by one linear layer"


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `last_layer`; the score is the largest standardised aversion.

    ``a_c = - mean over i != c of cos(w_c, w_i)``, ``s = max over c of (a_c - median a) / (1.4826 MAD)``,
    after one of the signs of Yu et al. 2026 (arXiv 2605.18907).
    """
    found = last_layer(target, **settings)
    return Finding(score=found.score, suspect=found.suspect, figures={"aversions": found.aversions.tolist()})


ATTACK = Attack(
    name="last_layer",
    run=run,
    configured_by=last_layer,
    summary="a class whose row of the last layer points away from all other rows",
    formula="largest standardised minus-mean-cosine of a row with the others",
    source="after Yu et al. 2026",
    needs=(needs_classes(MIN_CLASSES), needs_head),
    per_class={"aversions": "minus the mean cosine with the other classes' rows"},
)
