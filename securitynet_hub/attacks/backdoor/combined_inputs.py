"""One score of an input from several detectors, each of which has its blind spot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.ibd_psc import ibd_psc_scores
from securitynet_hub.attacks.backdoor.input_checks import as_disjoint
from securitynet_hub.attacks.backdoor.needs import FROM_IMAGES, need, needs_layers
from securitynet_hub.attacks.backdoor.representations import batch_norms
from securitynet_hub.attacks.backdoor.scale_up import scale_up_scores
from securitynet_hub.attacks.backdoor.strip import strip_scores
from securitynet_hub.attacks.backdoor.ted import ted_scores
from securitynet_hub.attacks.backdoor.ted_plus_plus import ted_plus_plus_scores
from securitynet_hub.core.arrays import Scores, as_array, require_finite
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.engine.inference import BATCH_SIZE
from securitynet_hub.models.target import Target


@need("more than twice as many clean images as classes")
def needs_two_halves(target: Target, inputs: DetectorInputs) -> str | None:
    """Require clean images for two halves with more images than classes each."""
    count = 0 if inputs.clean is None else len(inputs.clean)
    if count // 2 > target.num_classes:
        return None
    return (
        "it needs more than twice as many clean images as classes; there are "
        f"{count} images and {target.num_classes} classes"
    )


def combined_scores(
    target: Target,
    inputs: Any,
    *,
    clean: Any,
    num_overlays: int = 25,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Scores:
    """Score an input by the p-values that STRIP, SCALE-UP, TED, TED++ and, with BatchNorm, IBD-PSC give it.

    Detector j uses one half of the clean images; s_j is its score, and B is the other half:

        p_j(x) = (1 + number of b in B with s_j(b) >= s_j(x)) / (1 + |B|),
        s = -sum over j of log10 p_j(x),

    the sum of Fisher 1932 (section 21.1) of p-values as in Vovk et al. 2005. The p-values depend on each
    other, so that s follows no chi-squared distribution: choose a threshold on other clean images, as audits
    do (`rejection_threshold`). The halves alternate, and no image judged takes part in the scores of another
    one. NEO, which sends thousands of queries for each image, is left out.

    Args:
        target: a classifier whose layers are available.
        inputs: images to judge, shape (n, height, width[, channels]), uint8.
        clean: images for the detectors, of the same size, disjoint from the inputs: more than twice as many
            as classes.
        num_overlays: of STRIP; at most one half of the clean images.
        seed: decides which clean images STRIP takes.
        batch_size: images in one forward pass.

    Returns:
        Shape (n,), float64, at least 0, higher = more likely poisoned.

    Raises:
        ModelError: the network has no layer with parameters.
        ValueError: images are missing, of another kind or size, or shared; too few clean ones.

    >>> from securitynet_hub import load_images, load_target
    >>> from securitynet_hub.data.triggers import corner_patch
    >>> target, pixels = load_target("zoo/fashion-mnist/cnn-corner-patch/7"), load_images().pixels
    >>> both = np.concatenate([pixels[2002:2003], corner_patch(pixels[2002:2003])])
    >>> clean, poisoned = combined_scores(target, both, clean=pixels[3000:3100])
    >>> bool(poisoned > clean)
    True
    """
    pixels, known = as_disjoint(target, inputs, clean)
    if len(known) // 2 <= target.num_classes:
        raise ValueError(
            f"clean must be more than twice as many images as the {target.num_classes} classes; got "
            f"{len(known)}."
        )
    used, others = known[::2], known[1::2]
    overlays = min(num_overlays, len(used))
    members: list[Callable[[Pixels], Scores]] = [
        lambda images: strip_scores(
            target, images, clean=used, num_overlays=overlays, seed=seed, batch_size=batch_size
        ),
        lambda images: scale_up_scores(target, images, clean=used, batch_size=batch_size),
        lambda images: ted_scores(target, images, clean=used, batch_size=batch_size),
        lambda images: ted_plus_plus_scores(target, images, clean=used, batch_size=batch_size),
    ]
    if batch_norms(target.module):
        members.append(lambda images: ibd_psc_scores(target, images, clean=used, batch_size=batch_size))
    together = np.concatenate([pixels, others])
    total: Scores = np.zeros(len(pixels))
    for member in members:
        own, usual = np.split(member(together), [len(pixels)])
        total = total - np.log10(tail_p_values(own, usual)).astype(np.float64)
    return total


def tail_p_values(scores: Any, known: Any) -> Scores:
    """Return, for each score, the share of it and the known scores that are at least as high.

    If all scores come from one distribution, whichever it is, a share of at most p has a p-value of at most p
    (Vovk et al. 2005, proposition 2.8).

    Args:
        scores: shape (n,), higher = more suspicious.
        known: shape (m,), those of clean images.

    >>> tail_p_values([5.0, 1.5, 0.0], [1.0, 2.0, 3.0])
    array([0.25, 0.75, 1.  ])
    """
    values, usual = as_array(scores, "scores"), as_array(known, "known")
    require_finite(values, "scores")
    require_finite(usual, "known")
    below = np.searchsorted(np.sort(usual), values, side="left")
    p_values: Scores = ((1 + len(usual) - below) / (1 + len(usual))).astype(np.float64)
    return p_values


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `combined_scores` on the test images."""
    scores = combined_scores(
        target, given(inputs.inputs), clean=given(inputs.clean), seed=inputs.seed, **settings
    )
    return Finding(scores=scores)


ATTACK = Attack(
    name="combined_inputs",
    run=run,
    configured_by=combined_scores,
    summary="what STRIP, SCALE-UP, IBD-PSC, TED and TED++ say together",
    formula="minus the sum of log10 of their p-values among clean images",
    source="Fisher 1932, section 21.1",
    needs=(*FROM_IMAGES, needs_layers, needs_two_halves),
    judges="inputs",
)
