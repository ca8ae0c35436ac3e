"""Spectral signatures: poisoned images stand out along the main direction of their class's activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.input_checks import as_pixels
from securitynet_hub.attacks.backdoor.needs import FROM_TRAINING
from securitynet_hub.attacks.backdoor.representations import penultimate
from securitynet_hub.core.arrays import Scores
from securitynet_hub.engine.inference import BATCH_SIZE, as_images
from securitynet_hub.models.target import Target


def spectral_scores(
    target: Target, images: Any, labels: npt.ArrayLike, *, batch_size: int = BATCH_SIZE
) -> Scores:
    """Score each training image by its squared projection on its class's main direction of variation.

    Tran, Li & Madry, NeurIPS 2018 (arXiv 1811.00636), algorithm 1: with R the penultimate activations of
    the images **labelled** c, less their mean, and v the right singular vector of R's largest singular value,

        s_i = (R_i . v)^2.

    The authors remove the images of each class with the highest scores, 1.5 times as many as they assume to
    be poisoned, so compare scores within a class only. Poisoned images do not stand out where they are as
    many as the clean images of their class, or where clean images vary more than the two groups differ.

    It sends one query for each image.

    Args:
        target: a classifier trained on these images, whose layers are available.
        images: the training set, or a part of it, shape (n, height, width[, channels]), uint8.
        labels: shape (n,), the labels that the classifier was trained with.
        batch_size: images in one forward pass.

    Returns:
        Shape (n,), float64, at least 0, higher = more likely poisoned.

    Raises:
        ModelError: the network has no layer with parameters.
        ValueError: images or labels are missing, misaligned or of another kind.

    >>> from securitynet_hub import load_images, load_target
    >>> target, images = load_target("zoo/fashion-mnist/cnn-clean/1"), load_images()
    >>> spectral_scores(target, images.pixels[:50], images.labels[:50]).shape
    (50,)
    """
    pixels, classes = as_images(target, as_pixels(target, images, "images"), labels)
    activations = penultimate(target, pixels, batch_size=batch_size).astype(np.float64)
    scores = np.zeros(len(pixels))
    for label in np.unique(classes):
        own = classes == label
        centred = activations[own] - activations[own].mean(0)
        left, values, _ = np.linalg.svd(centred, full_matrices=False)
        scores[own] = (left[:, 0] * values[0]) ** 2
    return scores


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `spectral_scores` on the training images."""
    return Finding(scores=spectral_scores(target, given(inputs.training), given(inputs.labels), **settings))


ATTACK = Attack(
    name="spectral_signatures",
    run=run,
    configured_by=spectral_scores,
    summary="training images that stand out in their class's activations",
    formula="squared projection on the class's main direction of variation",
    source="Tran et al. 2018, algorithm 1",
    needs=FROM_TRAINING,
    judges="training",
)
