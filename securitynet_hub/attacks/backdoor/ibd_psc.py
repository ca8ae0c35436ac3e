"""IBD-PSC: the model stays confident on a backdoored input when BatchNorm's parameters are amplified."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.input_checks import as_disjoint, as_pixels
from securitynet_hub.attacks.backdoor.needs import FROM_IMAGES, needs_batch_norm
from securitynet_hub.attacks.backdoor.representations import batch_norms
from securitynet_hub.core.arrays import Scores
from securitynet_hub.core.errors import ModelError
from securitynet_hub.core.progress import tell
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.engine.inference import BATCH_SIZE, ask, predict
from securitynet_hub.models.target import Target
from securitynet_hub.statistics.signals import confidence

FACTOR, MAX_ERROR, NUM_NETWORKS = 1.5, 0.6, 5


class Amplified(NamedTuple):
    """How many of the last BatchNorm layers are amplified.

    Attributes:
        counts: the number of amplified layers in each network, ascending.
        qualified: whether some count changed enough of the clean images' labels; if none did, `counts` are
            the highest possible ones.
    """

    counts: tuple[int, ...]
    qualified: bool


def ibd_psc_scores(
    target: Target,
    inputs: Any,
    *,
    clean: Any,
    factor: float = FACTOR,
    max_error: float = MAX_ERROR,
    num_networks: int = NUM_NETWORKS,
    skip: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Scores:
    """Score an input by the mean probability of its label in networks with amplified BatchNorm.

    Hou et al., ICML 2024 (arXiv 2405.09786), eq. 4: with y the label that the network itself gives and f_k
    the network whose last k BatchNorm layers have weight and bias times `factor`,

        PSC(x) = mean over k of softmax(f_k(x))_y,      k from `choose_layers`.

    Only copies of the network are changed. It sends ``1 + num_networks`` queries for each input, and for each
    clean image one more than the counts that are tried, which are at most the number of layers. A model with
    few layers gives fewer networks and a coarse score.

    Args:
        target: a classifier with BatchNorm layers, whose parameters are available.
        inputs: images to judge, shape (n, height, width[, channels]), uint8.
        clean: images for choosing the layers, of the same size, disjoint from the inputs.
        factor: multiplies weights and biases; above 1.
        max_error: a count of layers qualifies if more than this share of clean images change their label.
        num_networks: number of networks to average over, if there are enough layers.
        skip: how many counts that qualify to leave out first. 0 is the paper's algorithm; 1 is the authors'
            code (BackdoorBox), which begins one layer further than the count that it found.
        batch_size: images in one forward pass.

    Returns:
        Shape (n,), float64 within 0..1, higher = more likely poisoned.

    Raises:
        ModelError: the network has no BatchNorm layer with parameters.
        ValueError: images are missing, of another kind or size, or shared; a setting makes no sense.

    >>> from securitynet_hub import load_images, load_target
    >>> target, pixels = load_target("zoo/fashion-mnist/bn-cnn-clean/1"), load_images().pixels
    >>> scores = ibd_psc_scores(target, pixels[2000:2004], clean=pixels[3000:3100])
    >>> scores.shape, bool(0 <= scores.min() <= scores.max() <= 1)
    ((4,), True)
    """
    pixels, known = as_disjoint(target, inputs, clean)
    chosen = choose_layers(
        target,
        known,
        factor=factor,
        max_error=max_error,
        num_networks=num_networks,
        skip=skip,
        batch_size=batch_size,
    )
    labels = ask(target, pixels, batch_size)
    scores = np.zeros(len(pixels))
    for count in chosen.counts:
        logits = predict(_amplify(target, count, factor), pixels, batch_size=batch_size)
        scores += confidence(logits, labels, from_logits=True)
    return scores / len(chosen.counts)


def choose_layers(
    target: Target,
    clean: Any,
    *,
    factor: float = FACTOR,
    max_error: float = MAX_ERROR,
    num_networks: int = NUM_NETWORKS,
    skip: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Amplified:
    """Choose how many layers to amplify: enough to change more than `max_error` of the clean labels.

    Algorithm 1 of the paper: the first such count k, and the ``num_networks - 1`` above it. Labels are
    compared with the unchanged network's, so that clean images need no true labels; the authors' code
    compares them with the true ones. If no count qualifies,
    the highest counts are taken, and the result says so. For arguments and errors see `ibd_psc_scores`.

    >>> from securitynet_hub import load_images, load_target
    >>> target, pixels = load_target("zoo/fashion-mnist/bn-cnn-clean/1"), load_images().pixels
    >>> choose_layers(target, pixels[:100], factor=1.01)
    Amplified(counts=(1, 2, 3), qualified=False)
    """
    known: Pixels = as_pixels(target, clean, "clean")
    if not (1 < factor < np.inf and 0 <= max_error < 1 and num_networks >= 1 and skip >= 0):
        raise ValueError(
            "factor must be above 1, max_error within 0..1, num_networks at least 1 and skip at least 0; got "
            f"factor={factor!r}, max_error={max_error!r}, num_networks={num_networks!r}, skip={skip!r}."
        )
    total = len(batch_norms(target.module))
    if not total:
        raise ModelError(f"{target.id} has no BatchNorm layer with parameters, which IBD-PSC amplifies.")
    labels = ask(target, known, batch_size)
    for count in range(1, total + 1):
        tell("layers", count - 1, total)
        if np.mean(ask(_amplify(target, count, factor), known, batch_size) != labels) > max_error:
            first = min(count + skip, total)
            return Amplified(tuple(range(first, min(first + num_networks, total + 1))), True)
    return Amplified(tuple(range(max(1, total - num_networks + 1), total + 1)), False)


def _amplify(target: Target, count: int, factor: float) -> Target:
    """Return a copy of the target whose last `count` BatchNorm layers are amplified."""
    module = copy.deepcopy(target.module)
    with torch.no_grad():
        for layer in batch_norms(module)[-count:]:
            layer.weight.mul_(factor)
            layer.bias.mul_(factor)
    return replace(target, module=module)


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `ibd_psc_scores` on the test images."""
    return Finding(scores=ibd_psc_scores(target, given(inputs.inputs), clean=given(inputs.clean), **settings))


ATTACK = Attack(
    name="ibd_psc",
    run=run,
    configured_by=ibd_psc_scores,
    summary="whether amplified BatchNorm parameters keep the input's label",
    formula="mean posterior of the label under amplified BatchNorm",
    source="Hou et al. 2024, eq. 4 and algorithm 1",
    needs=(*FROM_IMAGES, needs_batch_norm),
    judges="inputs",
)
