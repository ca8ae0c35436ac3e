"""HopSkipJump as an attack: the nearest misclassified image, from labels alone."""

from __future__ import annotations

import numpy as np
import torch

from securitynet_hub.attacks.evasion.attack import Attack
from securitynet_hub.attacks.evasion.classifier import PixelClassifier
from securitynet_hub.attacks.evasion.threat import Threat
from securitynet_hub.data.pixels import to_pixels
from securitynet_hub.engine.boundary_search import search_boundary


def hop_skip_jump(
    classifier: PixelClassifier,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    threat: Threat,
    budget: int = 1000,
    gradient_queries: int = 50,
    seed: int = 0,
) -> torch.Tensor:
    """Look for a misclassified image within eps, from predicted labels alone.

    ``x_t + |x_t - x| / sqrt(t) normal(x_t)``, bisected towards x (Chen, Jordan & Wainwright 2020, arXiv
    1904.02144, algorithm 2, L2); see `engine.boundary_search`. Queries have whole grey levels, and the
    search for an image ends as soon as one within eps is found. It starts from the other images of the
    batch, the nearest first.

    Args:
        classifier: asked for labels only.
        images: whole grey levels as pixels of 0 to 1, shape (n, channels, height, width).
        labels: shape (n,), the right classes.
        threat: what the attacker may do, in L2.
        budget: most images that are asked about for one image.
        gradient_queries: images in the first estimate of the boundary's normal.
        seed: decides the noise.

    Raises:
        ValueError: a count is 0, or the norm is not L2.

    >>> from securitynet_hub.models.loading import load_target
    >>> classifier = PixelClassifier(load_target("zoo/fashion-mnist/cnn-clean/1"))
    >>> black, label = torch.zeros(1, 1, 28, 28), torch.tensor([0])  # class 5 is the model's answer: it errs
    >>> changed = hop_skip_jump(classifier, black, label, threat=Threat(norm="L2", eps=0.5), budget=5)
    >>> bool((changed == black).all())
    True
    """
    if threat.norm != "L2":
        raise ValueError(f"hop_skip_jump measures changes in L2; got {threat.norm}.")
    if min(budget, gradient_queries) < 1:
        raise ValueError(f"budget and gradient_queries must be 1 or more; got {budget}, {gradient_queries}.")
    levels = to_pixels(np.moveaxis(255 * images.cpu().double().numpy(), 1, -1))
    nearest = search_boundary(
        classifier.labels_of,
        levels,
        labels.cpu().numpy(),
        budget=budget,
        starts=levels,
        gradient_queries=gradient_queries,
        seed=seed,
        near_enough=threat.eps,
    )
    return classifier.as_pixels(nearest.images)


def search_cost(*, budget: int, gradient_queries: int) -> int:
    """Return the passes for one image."""
    return budget


ATTACK = Attack(
    name="hop_skip_jump",
    run=hop_skip_jump,
    summary="a walk along the decision boundary, from labels alone",
    formula="nearest misclassified image that is found",
    source="Chen et al. 2020, alg. 2",
    order=8,
    norms=("L2",),
    labels_suffice=True,
    black_box=True,
    cost=search_cost,
)
