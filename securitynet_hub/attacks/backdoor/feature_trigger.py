"""Feature-space triggers: the smallest change of the last layer's features that all images share.

A trigger need not be small in pixels: a warp moves everything, and differently in each image. But a network
that learnt it turns it into much the same features every time (FeatureRE, Wang et al. 2022, and UNICORN, Wang
et al. 2023, search triggers there). The last layer reads these features as a shortcut to the target class, so
that a small change of the features of any clean image leads there.

Only the last layer is searched: one forward pass, then a product of matrices for each step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.head import Head
from securitynet_hub.attacks.backdoor.needs import needs_classes, needs_clean, needs_last_layer
from securitynet_hub.attacks.backdoor.pixel_space import network_inputs
from securitynet_hub.attacks.backdoor.shared_change import (
    Points,
    Search,
    SharedChanges,
    checked,
    finding,
    likely_classes,
    smallest_changes,
)
from securitynet_hub.models.eval_mode import frozen
from securitynet_hub.models.target import Target


def feature_triggers(
    target: Target,
    images: npt.NDArray[np.uint8],
    *,
    steps: int = 80,
    learning_rate: float = 0.06,
    success: float = 0.75,
    max_images: int = 40,
    max_classes: int = 64,
    batch_size: int = 256,
    seed: int = 0,
    on_step: Callable[[int], None] = lambda count: None,
) -> SharedChanges:
    """Search, for each class, the smallest change of the features that leads most images there.

    With h(x) the features that the last linear layer (W, b) reads, for each class t the v of least norm with

        P[argmax(W clip(h(x) + v) + b) = t | f(x) != t] >= success,
        s = -log10(1 - F(max 1 / size) ** classes),

    F the gamma distribution fitted to the reciprocals of the other classes' sizes. Features that are never
    negative stay so. The trigger is sought in the features, which is the idea of FeatureRE (Wang et al.,
    NeurIPS 2022) and UNICORN (Wang et al., ICLR 2023). Both also search an image that has these features,
    with a network trained for each class, and FeatureRE bounds the number of features instead of the size.
    The size is that of Xiang et al. 2020 (arXiv 1908.10498), relative to how far the features of clean images
    lie from their mean.

    Args:
        target: a classifier that ends in a linear layer; it is left as it was.
        images: shape (n, height, width, channels), uint8: clean ones, of the model's domain.
        steps: steps of Adam.
        learning_rate: of Adam, relative to the spread of the features.
        success: share of the other classes' images that a change must lead to its class.
        max_images: images that are used, the first ones.
        max_classes: classes that are searched; of more, those that rank highest in the answers to the images.
        batch_size: images in one forward pass.
        seed: decides the first change.
        on_step: called after each step with the number of changes that it optimised.

    Returns:
        Sizes and changes; a change has shape (features,).

    Raises:
        ValueError: no images; a setting out of its range.
        ModelError: the model does not end in a linear layer, or answers NaN or infinities.

    >>> from securitynet_hub import load_images, load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-corner-patch/7")
    >>> found = feature_triggers(target, load_images().pixels[2000:2020])
    >>> int(np.nanargmin(found.changes.sizes)), target.annotation.target_class
    (0, 0)
    """
    search = Search(
        steps=steps, learning_rate=learning_rate, success=success, batch_size=batch_size, seed=seed
    )
    head = Head.from_target(target, copied=False)
    inputs = network_inputs(target, images[:max_images])
    with frozen(target.module), torch.no_grad():
        features = torch.cat([head.features(part) for part in torch.split(inputs, batch_size)])
    logits = head.logits(features)
    points = Points(
        values=features,
        classify=head.logits,
        predicted=checked(target, logits),
        floor=0.0 if bool((features >= 0).all()) else -math.inf,
    )
    classes = likely_classes(logits, max_classes)
    return SharedChanges(classes, smallest_changes(points, classes, search, on_step=on_step))


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `feature_triggers`; the score is -log10 of the p-value of the smallest change.

    ``score = -log10(1 - F(1 / smallest) ** classes)`` (after Wang et al. 2022 and Xiang et al. 2020, arXiv
    1908.10498).
    """
    return finding(feature_triggers(target, given(inputs.clean), seed=inputs.seed, **settings))


ATTACK = Attack(
    name="feature_trigger",
    run=run,
    configured_by=feature_triggers,
    summary="a class that one small change of all features leads to",
    formula="-log10 of the p-value of the smallest change",
    source="after Wang et al. 2022 and Xiang et al. 2020",
    needs=(needs_clean, needs_classes(4), needs_last_layer),
    per_class={"sizes": "size of the smallest shared change of features"},
)
