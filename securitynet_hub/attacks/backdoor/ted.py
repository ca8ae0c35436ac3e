"""TED: in the first layers a backdoored input lies far from the class that the last layer gives it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.input_checks import as_disjoint
from securitynet_hub.attacks.backdoor.needs import FROM_IMAGES, needs_layers, needs_more_images_than_classes
from securitynet_hub.attacks.backdoor.representations import Activations, every_layer
from securitynet_hub.core.arrays import Scores
from securitynet_hub.data.pixels import Labels
from securitynet_hub.engine.inference import BATCH_SIZE, ask
from securitynet_hub.models.target import Target

RanksAmong = Callable[[Activations, Labels], Callable[..., npt.NDArray[np.int64]]]
"""Maps known points (m, features) and their labels to what ranks points and their labels among them."""


def ted_scores(target: Target, inputs: Any, *, clean: Any, batch_size: int = BATCH_SIZE) -> Scores:
    """Score how far, over the layers, an input lies from the clean images that get its label.

    Mo et al., IEEE S&P 2024 (arXiv 2312.02673): with y the label of the input, layer l's rank K_l is the
    number of clean images nearer to the input than the nearest one labelled y, by the Euclidean distance of
    the layer's activations. A backdoored input's ranks are high until the layer where the trigger wins.

        s = mean over l of (K_l - mean_l) / deviation_l,

    standardised by the clean images' own ranks among the remaining clean images; a deviation of 0 counts as
    1. The authors pass the ranks to a two-sided outlier detector; on this package's zoo the plain mean was as
    good, and it cannot take an unusually typical image for a poisoned one. If no clean image gets the
    input's label, every rank is the number of clean images. A clean image that is the only one with its label
    is left out of mean and deviation.

    An image that the network misclassifies without any backdoor scores high as well. It sends two queries for
    each input and clean image, one of which returns every layer's activations.

    Args:
        target: a classifier whose layers are available.
        inputs: images to judge, shape (n, height, width[, channels]), uint8.
        clean: images to compare with, of the same size, disjoint from the inputs; ten or more of each class.
        batch_size: images in one forward pass.

    Returns:
        Shape (n,), float64, higher = more likely poisoned.

    Raises:
        ModelError: the network has no layer with parameters.
        ValueError: images are missing, of another kind or size, or shared; no two clean images get one label.

    >>> from securitynet_hub import load_images, load_target
    >>> from securitynet_hub.data.triggers import corner_patch
    >>> target, pixels = load_target("zoo/fashion-mnist/cnn-corner-patch/7"), load_images().pixels
    >>> both = np.concatenate([pixels[2002:2003], corner_patch(pixels[2002:2003])])
    >>> clean, poisoned = ted_scores(target, both, clean=pixels[3000:3200])
    >>> bool(poisoned > clean)
    True
    """
    return mean_ranks(
        target,
        inputs,
        clean,
        lambda known, labels: partial(nearest_ranks, known=known, known_labels=labels),
        batch_size=batch_size,
    )


def mean_ranks(
    target: Target, inputs: Any, clean: Any, ranks_among: RanksAmong, *, batch_size: int = BATCH_SIZE
) -> Scores:
    """Return the mean over layers of an input's ranks, standardised by those of the clean images.

    Args:
        target: a classifier whose layers are available.
        inputs: as for `ted_scores`.
        clean: likewise.
        ranks_among: given a layer's activations of the clean images, and their labels. What it returns is
            asked with ``among_others=True`` for the clean images themselves.
        batch_size: images in one forward pass.

    Raises:
        ValueError: as `ted_scores`.
    """
    pixels, known = as_disjoint(target, inputs, clean)
    labels, known_labels = ask(target, pixels, batch_size), ask(target, known, batch_size)
    paired = np.bincount(known_labels, minlength=target.num_classes)[known_labels] > 1
    if not paired.any():
        raise ValueError(f"the {len(known)} clean images get as many labels; some must share theirs.")
    layers = every_layer(target, known, batch_size=batch_size)
    scores = np.zeros(len(pixels))
    for answers, known_answers in zip(
        every_layer(target, pixels, batch_size=batch_size), layers, strict=True
    ):
        ranks_of = ranks_among(known_answers, known_labels)
        ranks = ranks_of(answers, labels)
        usual = ranks_of(known_answers, known_labels, among_others=True)[paired]
        scores += (ranks - usual.mean()) / (usual.std() or 1.0)
    return scores / len(layers)


def nearest_ranks(
    points: Activations,
    labels: Labels,
    known: Activations,
    known_labels: Labels,
    *,
    among_others: bool = False,
) -> npt.NDArray[np.int64]:
    """Count, for each point, the known points nearer to it than the nearest of its own label.

    Args:
        points: shape (n, features).
        labels: shape (n,).
        known: shape (m, features).
        known_labels: shape (m,).
        among_others: whether the points are the known points; a point is then not its own neighbour.

    >>> line = np.array([[0.0], [1.0], [2.0]], np.float32)
    >>> nearest_ranks(line[:1], np.array([5]), line, np.array([4, 4, 5]))
    array([2])
    """
    points, known = points.astype(np.float64), known.astype(np.float64)
    squares = (known**2).sum(1) - 2 * points @ known.T  # less the point's own, which changes no order
    if among_others:
        np.fill_diagonal(squares, np.inf)
    nearest = np.where(labels[:, None] == known_labels, squares, np.inf).min(1)
    ranks: npt.NDArray[np.int64] = (squares < nearest[:, None]).sum(1)
    return ranks


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `ted_scores` on the test images."""
    return Finding(scores=ted_scores(target, given(inputs.inputs), clean=given(inputs.clean), **settings))


ATTACK = Attack(
    name="ted",
    run=run,
    configured_by=ted_scores,
    summary="whether the input's way through the layers starts far from its class",
    formula="mean over layers of (K_l - mean_l) / deviation_l, K_l the rank of its label's nearest image",
    source="Mo et al. 2024",
    needs=(*FROM_IMAGES, needs_layers, needs_more_images_than_classes),
    judges="inputs",
)
