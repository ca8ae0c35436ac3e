"""The space of the logits: with fewer features than classes, logits fill only what the last layer spans."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.provenance.attack import Attack
from securitynet_hub.attacks.provenance.models import Models
from securitynet_hub.core.arrays import Scores
from securitynet_hub.models.target import Target

GAP = 100.0
"""Least ratio of neighbouring singular values that ends the features; float32 leaves 1e5 or so."""


def feature_width(logits: npt.NDArray[Any]) -> int | None:
    """Return how many features a model's last layer reads, from its logits alone.

    Logits ``W h + b`` of n images lie in a space of as many dimensions as h has, where these are fewer than
    classes and images: after it the singular values fall by orders of magnitude (Carlini et al. 2024, arXiv
    2403.06634, section 4.1). Means over images and over classes are removed first, with b and what a softmax
    hides.

    Args:
        logits: shape (n, classes).

    Returns:
        The width; None where there is no gap: it is not below the number of classes or images.

    >>> rng = np.random.default_rng(0)
    >>> feature_width(rng.normal(size=(60, 8)) @ rng.normal(size=(8, 40)) + rng.normal(size=40))
    8
    >>> feature_width(rng.normal(size=(60, 8)) @ rng.normal(size=(8, 5))) is None
    True
    """
    return _space(logits)[0]


def logit_space(models: Models, reference: int) -> Scores:
    """Score each model by how far its logits fill the same space as the reference's.

    With U and V orthonormal bases of the two spaces in the classes' dimensions, of widths u and v,
    ``s(M) = |U' V|^2 / max(u, v)``, the mean squared cosine of the principal angles: 1 for one last layer,
    about u / classes for independent ones. A model that keeps the reference's last layer has the same space,
    whatever became of its features. Carlini et al. 2024 (arXiv 2403.06634), section 4.2, recover the space.
    Higher = more likely derived.

    Args:
        models: with their answers.
        reference: position of the model that the others are compared with.

    Returns:
        Shape (models,); where a model's space has no gap, it is taken to be all classes' (then all are 1).

    >>> rng = np.random.default_rng(0)
    >>> heads = [rng.normal(size=(4, 30)) for _ in range(3)]
    >>> answers = np.stack([rng.normal(size=(50, 4)) @ heads[k] for k in (0, 0, 1, 2)])
    >>> found = logit_space(Models(outputs=answers, labels=np.zeros(50, int)), 0)
    >>> round(float(found[1]), 3), bool(found[2:].max() < 0.4)
    (1.0, True)
    """
    spaces = [_space(outputs)[1] for outputs in models.outputs]
    own = spaces[reference]
    found = [np.square(own.T @ other).sum() / max(own.shape[1], other.shape[1]) for other in spaces]
    return np.array(found).round(9)  # what is left are rounding errors of the answers


def _space(logits: npt.NDArray[Any]) -> tuple[int | None, Scores]:
    """Return the width, and a basis of the space, shape (classes, width)."""
    rest = logits.astype(np.float64)
    rest = rest - rest.mean(0)
    rest = rest - rest.mean(1, keepdims=True)
    _, values, vectors = np.linalg.svd(rest, full_matrices=False)
    most = min(len(rest) - 1, rest.shape[1] - 1)  # the means took a dimension each
    values = values[:most]
    floor = max(values[0], np.finfo(np.float64).tiny) * 1e-13 if len(values) else 0.0
    falls = values[:-1] / np.maximum(values[1:], floor)
    if len(falls) and falls.max() >= GAP:
        width = int(falls.argmax()) + 1
        return width, vectors[:width].T
    return None, vectors[:most].T


def figures(models: Models, confidence_level: float) -> dict[str, Any]:
    """Return the widths of reference and suspect; None where there is no gap."""
    return {
        "reference_width": feature_width(models.outputs[0]),
        "width": feature_width(models.outputs[1]),
    }


def why_not(reference: Target, suspect: Target) -> str | None:
    """Return why logits cannot be expected to fill less than all classes, or None."""
    if reference.num_classes < FEWEST:
        return f"features are rarely fewer than {reference.num_classes} classes"
    return None


FEWEST = 50
"""Number of classes from which the attack is run where it is not asked for by name."""

ATTACK = Attack(
    name="logit_space",
    run=logit_space,
    summary="its logits fill the same space, that of the last layer",
    formula="mean squared cosine of the principal angles of two logit spaces",
    source="after Carlini et al. 2024, section 4.1",
    needs=("independent models", "features fewer than classes"),
    figures=figures,
    why_not=why_not,
)
