"""TED++ (Le et al. 2025): TED's ranks, and the last rank for an input that leaves the tube of its class.

TED asks only which clean image is nearest. It misses an attacker who keeps triggered inputs nearest to the
target class, however far they are from every image of it. TED++ gives each clean image a tube whose radius is
the distance to its own neighbours of the class; an input outside the tube of its nearest image counts as
farthest.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.needs import FROM_IMAGES, needs_layers, needs_more_images_than_classes
from securitynet_hub.attacks.backdoor.representations import Activations
from securitynet_hub.attacks.backdoor.ted import mean_ranks
from securitynet_hub.core.arrays import Scores
from securitynet_hub.data.pixels import Labels
from securitynet_hub.engine.inference import BATCH_SIZE
from securitynet_hub.models.target import Target


def ted_plus_plus_scores(
    target: Target, inputs: Any, *, clean: Any, share: float = 0.5, batch_size: int = BATCH_SIZE
) -> Scores:
    """Score how far, over the layers, an input lies from the tube of the clean images that get its label.

    Le et al. 2025 (arXiv 2510.14299): with y the label of the input x, v the nearest clean image of that
    label in layer l and r(v) the distance from v to the ``ceil(share * n)``-th nearest of the n clean images
    with its label, the rank is

        K_l = number of clean images nearer than v    if |h_l(x) - h_l(v)| <= r(v), else the largest, m - 1,
        s = mean over l of (K_l - mean_l) / deviation_l,

    m the number of clean images, mean and deviation those of the clean images' own ranks among the remaining
    ones; a deviation of 0 counts as 1. The share of one half is that of the authors' code. They pass the
    ranks to an outlier detector by principal components; here they are averaged, as in `ted_scores`. A clean
    image without a neighbour of its label has a tube without end. If no clean image gets the input's label,
    every rank is the number of clean images.

    Args:
        target: a classifier whose layers are available.
        inputs: images to judge, shape (n, height, width[, channels]), uint8.
        clean: images to compare with, of the same size, disjoint from the inputs; five or more of each class.
        share: of the clean images with the same label, how many a tube reaches.
        batch_size: images in one forward pass.

    Returns:
        Shape (n,), float64, higher = more likely poisoned.

    Raises:
        ModelError: the network has no layer with parameters.
        ValueError: images are missing, of another kind or size, or shared; no two clean images get one label;
            the share is not above 0 and at most 1.

    >>> from securitynet_hub import load_images, load_target
    >>> from securitynet_hub.data.triggers import corner_patch
    >>> target, pixels = load_target("zoo/fashion-mnist/cnn-corner-patch/7"), load_images().pixels
    >>> both = np.concatenate([pixels[2002:2003], corner_patch(pixels[2002:2003])])
    >>> clean, poisoned = ted_plus_plus_scores(target, both, clean=pixels[3000:3200])
    >>> bool(poisoned > clean)
    True
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1; got {share}.")

    def ranks_among(known: Activations, known_labels: Labels) -> partial[npt.NDArray[np.int64]]:
        radii = tube_radii(known, known_labels, share)
        return partial(tube_ranks, known=known, known_labels=known_labels, radii=radii)

    return mean_ranks(target, inputs, clean, ranks_among, batch_size=batch_size)


def tube_radii(known: Activations, labels: Labels, share: float) -> Scores:
    """Return, for each known point, the distance to so large a share of the points with its label.

    >>> tube_radii(np.array([[0.0], [1.0], [3.0], [9.0]], np.float32), np.array([4, 4, 4, 5]), 0.5)
    array([ 3.,  2.,  3., inf])
    """
    radii = np.full(len(known), np.inf)
    for label in np.unique(labels):
        (own,) = np.nonzero(labels == label)
        if len(own) > 1:
            place = min(math.ceil(share * len(own)), len(own) - 1)  # of the others, from 1
            radii[own] = np.sort(_distances(known[own], known[own]), axis=1)[:, place]
    return radii


def tube_ranks(
    points: Activations,
    labels: Labels,
    known: Activations,
    known_labels: Labels,
    radii: Scores,
    *,
    among_others: bool = False,
) -> npt.NDArray[np.int64]:
    """Count the known points nearer than the nearest of a point's label; all but one if it is too far.

    Args:
        points: shape (n, features).
        labels: shape (n,).
        known: shape (m, features).
        known_labels: shape (m,).
        radii: shape (m,), how far the tube of each known point reaches.
        among_others: whether the points are the known points; a point is then not its own neighbour.

    >>> line = np.array([[0.0], [1.0], [2.0]], np.float32)
    >>> labels, radii = np.array([4, 4, 5]), np.array([1.0, 1.0, 9.0])
    >>> tube_ranks(line[:1] - 2, np.array([4]), line, labels, radii)  # outside the tube of its nearest
    array([2])
    >>> tube_ranks(line[:1], np.array([5]), line, labels, radii)
    array([2])
    """
    distances = _distances(points, known)
    if among_others:
        np.fill_diagonal(distances, np.inf)
    own = np.where(labels[:, None] == known_labels, distances, np.inf)
    nearest = own.argmin(1)
    reached = own[np.arange(len(points)), nearest]
    ranks: npt.NDArray[np.int64] = (distances < reached[:, None]).sum(1)
    outside = np.isfinite(reached) & (reached > radii[nearest] * (1 + 1e-9))
    return np.where(outside, np.maximum(ranks, len(known) - 1), ranks)


def _distances(points: Activations, known: Activations) -> Scores:
    """Return Euclidean distances, shape (n, m)."""
    points, known = points.astype(np.float64), known.astype(np.float64)
    squares = (points**2).sum(1)[:, None] - 2 * points @ known.T + (known**2).sum(1)
    distances: Scores = np.sqrt(np.maximum(squares, 0))
    return distances


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `ted_plus_plus_scores` on the test images."""
    scores = ted_plus_plus_scores(target, given(inputs.inputs), clean=given(inputs.clean), **settings)
    return Finding(scores=scores)


ATTACK = Attack(
    name="ted_plus_plus",
    run=run,
    configured_by=ted_plus_plus_scores,
    summary="whether the input's way through the layers leaves the tubes around clean images of its class",
    formula="mean over layers of (K_l - mean_l) / deviation_l, K_l the largest rank outside the tube",
    source="Le et al. 2025",
    needs=(*FROM_IMAGES, needs_layers, needs_more_images_than_classes),
    judges="inputs",
)
