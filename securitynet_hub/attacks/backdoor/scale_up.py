"""SCALE-UP: a backdoored input keeps its label when its pixels are multiplied; only labels are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.input_checks import as_disjoint, as_pixels, parts
from securitynet_hub.attacks.backdoor.needs import FROM_IMAGES
from securitynet_hub.core.arrays import Scores
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.pixels import Labels, Pixels
from securitynet_hub.engine.inference import BATCH_SIZE, ask
from securitynet_hub.models.target import Target

Standardise = Literal["label", "all"]

MULTIPLES = (3, 5, 7, 9, 11)


def scale_up_scores(
    target: Target,
    inputs: Any,
    *,
    clean: Any = None,
    multiples: Sequence[float] = MULTIPLES,
    standardise: Standardise = "label",
    batch_size: int = BATCH_SIZE,
) -> Scores:
    """Score an input by the share of its multiplied copies that get its label.

    Guo et al., ICLR 2023 (arXiv 2302.03251), eq. 1: with pixels x in [0, 1], whatever the network's own
    preprocessing makes of them,

        SPC(x) = mean over m of 1[argmax f(clip(m x, 0, 1)) = argmax f(x)].

    With clean images (the authors' data-limited setting) the score is standardised by the mean and the
    standard deviation over the clean images with the same label, because some classes look the same at any
    brightness. For a label that fewer than two clean images get, or whose clean images all score the same,
    mean and deviation are those of all clean images; a deviation of 0 there counts as 1. The paper
    standardises by label; BackdoorBox, the authors' library, by all clean images at once
    (``standardise="all"``), which leaves the order of the inputs as the plain share has it.

    It sends ``1 + len(multiples)`` queries for each input and clean image. It misses a trigger that is
    neither black nor saturated, which changes with the factor, and one that works only at the trained
    contrast.

    Args:
        target: the classifier; only its labels are used.
        inputs: images to judge, shape (n, height, width[, channels]), uint8.
        clean: images to standardise by, of the same size, disjoint from the inputs; None for the plain share.
        multiples: m, above 1.
        standardise: by the clean images of the same ``label``, or by ``all``.
        batch_size: images in one forward pass.

    Returns:
        Shape (n,), float64, higher = more likely poisoned; without clean images within 0..1.

    Raises:
        ValueError: images are missing, of another kind or size, or shared; a multiple is not above 1.
        UnknownNameError: no such way to standardise.

    >>> from securitynet_hub import load_target
    >>> black = np.zeros((2, 28, 28), np.uint8)  # however bright, it looks the same
    >>> scale_up_scores(load_target("zoo/fashion-mnist/cnn-clean/1"), black)
    array([1., 1.])
    """
    if not multiples or not all(1 < multiple < np.inf for multiple in multiples):
        raise ValueError(f"multiples must be numbers above 1, at least one; got {multiples!r}.")
    if standardise not in get_args(Standardise):
        raise UnknownNameError("way to standardise", standardise, get_args(Standardise))
    if clean is None:
        return _consistency(target, as_pixels(target, inputs), multiples, batch_size)[0]
    pixels, known = as_disjoint(target, inputs, clean)
    scores, labels = _consistency(target, pixels, multiples, batch_size)
    clean_scores, clean_labels = _consistency(target, known, multiples, batch_size)
    overall = clean_scores.mean(), clean_scores.std() or 1.0
    for label in np.unique(labels):
        own = clean_scores[clean_labels == label]
        enough = standardise == "label" and len(own) > 1 and own.std() > 0
        mean, deviation = (own.mean(), own.std()) if enough else overall
        scores[labels == label] = (scores[labels == label] - mean) / deviation
    return scores


def _consistency(
    target: Target, pixels: Pixels, multiples: Sequence[float], batch_size: int
) -> tuple[Scores, Labels]:
    """Return the plain share and the labels, shape (n,) each."""
    factors = np.array([1, *multiples], np.float32).reshape(-1, *[1] * (pixels.ndim - 1))
    answers = []
    for part in parts(len(pixels), len(factors) * pixels[0].nbytes):
        copies = np.rint(np.minimum(factors * pixels[part, None], 255)).astype(np.uint8)
        answers.append(
            ask(target, copies.reshape(-1, *pixels.shape[1:]), batch_size).reshape(-1, len(factors))
        )
    labels = np.concatenate(answers)
    return (labels[:, 1:] == labels[:, :1]).mean(1), labels[:, 0]


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `scale_up_scores` on the test images."""
    return Finding(
        scores=scale_up_scores(target, given(inputs.inputs), clean=given(inputs.clean), **settings)
    )


ATTACK = Attack(
    name="scale_up",
    run=run,
    configured_by=scale_up_scores,
    summary="whether multiplied pixels keep the input's label",
    formula="share of multiplied copies that keep the label",
    source="Guo et al. 2023, eq. 1",
    weights=False,
    labels_suffice=True,
    needs=FROM_IMAGES,
    judges="inputs",
)
