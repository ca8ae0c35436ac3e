"""STRIP: a backdoored input keeps its label in blends with clean images, so the answers vary little."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.input_checks import as_disjoint, parts
from securitynet_hub.attacks.backdoor.needs import FROM_IMAGES
from securitynet_hub.core.arrays import Scores
from securitynet_hub.core.progress import tell
from securitynet_hub.data.triggers import superimpose
from securitynet_hub.engine.inference import BATCH_SIZE, predict
from securitynet_hub.models.target import Target
from securitynet_hub.statistics.signals import entropy


def strip_scores(
    target: Target,
    inputs: Any,
    *,
    clean: Any,
    num_overlays: int = 100,
    weights: tuple[float, float] = (1.0, 1.0),
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Scores:
    """Score an input by minus the mean entropy of the answers to its blends with clean images.

    Gao et al. 2019 (arXiv 1902.06531), eq. 3 and 4: with x the input and o_1, ..., o_N the overlays,

        s = (1/N) sum_n sum_i p_i log2 p_i,      p = softmax f(clip(weights[0] x + weights[1] o_n))

    in bits, between minus log2 of the number of classes and 0. Pixels are added, as in the authors' code, and
    clipped to 0..255, so that a bright trigger stays as it is under any overlay. With weights of (0.5, 0.5),
    which other libraries use, the trigger loses half of its contrast, and the score much of its power. STRIP
    largely misses dark triggers, which the added pixels cover, and triggers trained not to work on blends
    (`triggers.poison`, ``cover_rate``). All inputs share the overlays, so that a score does not depend on the
    other inputs.

    It sends `num_overlays` queries for each input.

    Args:
        target: the classifier; only its answers are used.
        inputs: images to judge, shape (n, height, width[, channels]), uint8.
        clean: images to draw overlays from, of the same size; disjoint from the inputs and from the images
            on which a threshold is chosen.
        num_overlays: N.
        weights: of input and overlay.
        seed: decides which clean images are the overlays.
        batch_size: images in one forward pass.

    Returns:
        Shape (n,), float64, higher = more likely poisoned.

    Raises:
        ValueError: images are missing, of another kind or size, or shared; there are fewer than N clean
            images; a weight is not above 0.

    >>> from securitynet_hub import load_images, load_target
    >>> target, pixels = load_target("zoo/fashion-mnist/cnn-corner-patch/7"), load_images().pixels
    >>> from securitynet_hub.data.triggers import corner_patch
    >>> both = np.concatenate([pixels[2002:2003], corner_patch(pixels[2002:2003])])
    >>> clean, poisoned = strip_scores(target, both, clean=pixels[3000:3100])
    >>> bool(poisoned > clean)
    True
    """
    pixels, known = as_disjoint(target, inputs, clean)
    if not 1 <= num_overlays <= len(known):
        raise ValueError(f"num_overlays must lie in 1..{len(known)}, the clean images; got {num_overlays!r}.")
    if not all(0 < weight < np.inf for weight in weights):
        raise ValueError(f"weights must be above 0; got {weights!r}.")
    overlays = known[np.random.default_rng(seed).permutation(len(known))[:num_overlays]]
    scores = np.empty(len(pixels))
    for part in parts(len(pixels), num_overlays * pixels[0].nbytes):
        blends = superimpose(pixels[part, None], overlays, weights)
        logits = predict(target, blends.reshape(-1, *pixels.shape[1:]), batch_size=batch_size)
        entropies = entropy(logits, np.zeros(len(logits), np.int64), from_logits=True) / log(2)
        scores[part] = entropies.reshape(-1, num_overlays).mean(1)
        tell("images", min(part.stop, len(pixels)), len(pixels))
    return scores


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `strip_scores` on the test images."""
    return Finding(
        scores=strip_scores(
            target, given(inputs.inputs), clean=given(inputs.clean), seed=inputs.seed, **settings
        )
    )


ATTACK = Attack(
    name="strip",
    run=run,
    configured_by=strip_scores,
    summary="whether blends with clean images keep the input's label",
    formula="minus the mean entropy of the answers to blends with clean images",
    source="Gao et al. 2019, eq. 3 and 4",
    weights=False,
    needs=FROM_IMAGES,
    judges="inputs",
)
