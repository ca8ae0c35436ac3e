"""Correlation of logits, beyond what all models of the task have in common."""

from __future__ import annotations

import numpy as np

from securitynet_hub.attacks.provenance.attack import Attack
from securitynet_hub.attacks.provenance.models import Models
from securitynet_hub.core.arrays import Scores


def answer_correlation(models: Models, reference: int) -> Scores:
    """Score each model by how its logits depart from those of all models together, as the reference's do.

    With z the logits less their mean over the classes, divided by their norm over all images, and r the rest
    after the mean of z over all models, ``s(M) = <r_f, r_M> / (|r_f| |r_M|)``, f the reference. Pearson's
    correlation of answers (answers as a representation: Godinot et al. 2025, arXiv 2412.13021)
    without the part that the task itself decides. Higher = more likely derived.

    It stays the same if a model's logits are multiplied, if each image's logits are shifted (so posteriors
    do), and if the classes of all models are permuted.

    Args:
        models: with their answers.
        reference: position of the model that the others are compared with.

    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(size=(4, 50, 3))
    >>> logits[1] = 2 * logits[0] + 7
    >>> found = answer_correlation(Models(outputs=logits, labels=np.zeros(50, int)), 0)
    >>> bool(found[1] > 0.999), bool(found[2:].max() < 0.3)
    (True, True)
    """
    logits = models.outputs.astype(np.float64)
    # A power of two changes no digit, and keeps sums of squares of the largest logits finite.
    logits = np.ldexp(logits, -np.frexp(np.abs(logits).max((1, 2), keepdims=True))[1])
    logits -= logits.mean(2, keepdims=True)
    flat = logits.reshape(len(logits), -1)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    rest = flat - flat.mean(0)
    norms = np.linalg.norm(rest, axis=1)
    scale = np.maximum(norms * norms[reference], np.finfo(np.float64).tiny)
    found: Scores = rest @ rest[reference] / scale
    # Equal rests give the same value up to rounding, which should not break ties.
    return found.round(12)


ATTACK = Attack(
    name="answer_correlation",
    run=answer_correlation,
    summary="its logits depart from those of other models as the reference's do",
    formula="correlation of logits less the mean of all models",
    source="after Godinot et al. 2025, arXiv 2412.13021",
    needs=("independent models",),
    fewest=1,
)
