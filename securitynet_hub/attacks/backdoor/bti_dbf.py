"""BTI-DBF (Xu et al., ICLR 2024): part benign features from the rest, then find a trigger in the rest.

Other inversions try every class. This one first finds the features that clean answers rest on. A generator of
triggers then changes all *other* features of an image as much as possible and these as little as possible.
The images of a backdoored network should then go to the target class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.descent import Adam
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.head import Head, decouple
from securitynet_hub.attacks.backdoor.needs import (
    needs_classes,
    needs_clean,
    needs_flat_images,
    needs_last_layer,
    needs_pixel_space,
)
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace, network_inputs
from securitynet_hub.core.arrays import Scores
from securitynet_hub.core.errors import ModelError
from securitynet_hub.core.progress import tell
from securitynet_hub.models.eval_mode import frozen
from securitynet_hub.models.target import Target

NORM_BOUND = 0.3
"""Largest mean square by which the generator may change the network's inputs: the authors' norm_bound."""

FEATURE_BOUND = 3.0
"""Largest mean square by which it may change benign features: the authors' feat_bound."""


class Decoupled(NamedTuple):
    """What a generator of triggers does to a model's answers.

    Attributes:
        score: the largest of the shares, higher = more likely poisoned.
        suspect: its class.
        shares: shape (classes,), for each class the share of the images of other classes that the generator's
            changes turn into this class; 0 where there are no such images.
        benign: share of the features that clean answers rest on: those whose mask is above one half.
        changed: mean square by which the generator changed the network's inputs.
    """

    score: float
    suspect: int
    shares: Scores
    benign: float
    changed: float


def bti_dbf(
    target: Target,
    images: npt.NDArray[np.uint8],
    *,
    mask_steps: int = 400,
    steps: int = 60,
    learning_rate: float = 1e-2,
    width: int = 8,
    max_images: int = 40,
    seed: int = 0,
    on_step: Callable[[int], None] = lambda count: None,
) -> Decoupled:
    """Decouple benign features, train a generator of triggers, and return the class that it leads to.

    Xu et al. 2024 (ICLR, section 4): with h the features, m the mask of `decouple` and G the generator,

        min over G of 0.01 |m (h(G(x)) - h(x))|^2 - |(1 - m) (h(G(x)) - h(x))|^2,
        |G(x) - x|^2 <= 0.3, |m (h(G(x)) - h(x))|^2 <= 3; where a bound is broken, |G(x) - x|^2 alone,
        s = max over t of P[f(G(x)) = t | f(x) != t],

    all squares means over entries. The loss and its bounds are those of the authors' code. They report a
    target class and no score of the model; the share is what `neuron_noise` measures as well. Different from
    theirs: the labels are the model's own answers; h is what the last linear layer reads, not the maps before
    pooling; G adds to the image what a small network of three layers computes, at first next to nothing,
    instead of a U-Net trained to copy images first; a step takes all images, up to `max_images`.

    Args:
        target: a classifier that ends in a linear layer; it is left as it was.
        images: shape (n, height, width, channels), uint8: clean ones, of the model's domain.
        mask_steps: steps of Adam for the mask.
        steps: steps of Adam for the generator.
        learning_rate: of the generator; the authors' 1e-3 is for 20 times as many steps.
        width: channels of the generator.
        max_images: images that are used, the first ones.
        seed: decides the first mask and the generator's first weights.
        on_step: called after each step of the generator with 1.

    Raises:
        ValueError: no images, or a preprocessing that gradients cannot pass.
        ModelError: the model does not end in a linear layer, or answers NaN or infinities.

    >>> from securitynet_hub import load_images, load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> found = bti_dbf(target, load_images().pixels[2000:2010], mask_steps=5, steps=2)
    >>> found.shares.shape, found.changed <= 0.3
    ((10,), True)
    """
    if min(mask_steps, steps, width, max_images) < 1 or not learning_rate > 0:
        raise ValueError("mask_steps, steps, width and max_images must be at least 1, learning_rate above 0.")
    with frozen(target.module):
        space, inputs = PixelSpace.from_target(target), network_inputs(target, images[:max_images])
        head = Head.from_target(target)
        with torch.no_grad():
            features = head.features(inputs)
        before = head.logits(features).argmax(1)
        if not torch.isfinite(features).all():
            raise ModelError(f"{target.id} gives features that are NaN or infinite.")
        mask = decouple(head, features, before, steps=mask_steps, seed=seed)
        pixels = ((inputs - space.black.to(inputs)) / space.range.to(inputs)).clamp(0, 1)
        weights = _first_weights(pixels.shape[1], width, seed, pixels)
        adams = [Adam(learning_rate) for _ in weights]
        for step in range(steps):
            leaves = [weight.requires_grad_() for weight in weights]
            made = space.inputs(_generate(leaves, pixels))
            moved = head.features(made) - features
            benign, rest = (mask * moved).square().mean(), ((1 - mask) * moved).square().mean()
            change = (made - inputs).square().mean()
            kept = float(change.detach()) <= NORM_BOUND and float(benign.detach()) <= FEATURE_BOUND
            slopes = torch.autograd.grad(0.01 * benign - rest if kept else change, leaves)
            weights = [
                adam.step(leaf.detach(), slope)
                for adam, leaf, slope in zip(adams, leaves, slopes, strict=True)
            ]
            on_step(1)
            tell("steps of the generator", step + 1, steps)
        with torch.no_grad():
            made = _within(inputs, space.inputs(_generate(weights, pixels)))
            after = head.logits(head.features(made)).argmax(1)
    shares = gained_shares(before, after, target.num_classes)
    return Decoupled(
        score=float(shares.max()),
        suspect=int(shares.argmax()),
        shares=shares,
        benign=float((mask > 0.5).double().mean()),
        changed=float((made - inputs).square().mean()),
    )


def gained_shares(before: torch.Tensor, after: torch.Tensor, num_classes: int) -> Scores:
    """Return, for each class, the share of the images of other classes that became this class.

    >>> gained_shares(torch.tensor([0, 0, 1]), torch.tensor([1, 0, 1]), 3)
    array([0. , 0.5, 0. ])
    """
    labels, old, new = np.arange(num_classes), before.cpu().numpy(), after.cpu().numpy()
    others = old[:, None] != labels
    shares: Scores = (others & (new[:, None] == labels)).sum(0) / np.maximum(others.sum(0), 1)
    return shares


def _within(inputs: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """Shrink the generator's change to its bound: the last step may have left it."""
    change = float((made - inputs).square().mean())
    factor: float = min(1.0, (NORM_BOUND / max(change, 1e-12)) ** 0.5)
    return torch.lerp(inputs, made, factor)


def _first_weights(channels: int, width: int, seed: int, like: torch.Tensor) -> list[torch.Tensor]:
    """Return three 3 x 3 convolutions, the last one small: at zero the change of features has no slope."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (width, channels + 2, 3, 3), (width, width, 3, 3), (channels, width, 3, 3)
    drawn = [torch.randn(shape, generator=generator) * (2 / (9 * shape[1])) ** 0.5 for shape in shapes]
    return [weight.to(like) for weight in (drawn[0], drawn[1], 0.05 * drawn[2])]


def _generate(weights: list[torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    """Return G(x): the image plus three convolutions of it, which also see where they are, clipped."""
    height, width = pixels.shape[2:]
    rows = torch.linspace(-1, 1, height).to(pixels)[:, None].expand(height, width)
    columns = torch.linspace(-1, 1, width).to(pixels)[None].expand(height, width)
    places = torch.stack([rows, columns]).expand(len(pixels), 2, height, width)
    convolve = torch.nn.functional.conv2d
    inner = torch.nn.functional.leaky_relu(
        convolve(torch.cat([pixels, places], 1), weights[0], padding=1), 0.1
    )
    inner = torch.nn.functional.leaky_relu(convolve(inner, weights[1], padding=2, dilation=2), 0.1)
    changed: torch.Tensor = (pixels + convolve(inner, weights[2], padding=1)).clamp(0, 1)
    return changed


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `bti_dbf`; the score is the suspect's share of the other classes' images.

    ``score = max over t of P[f(G(x)) = t | f(x) != t]`` (after Xu et al., ICLR 2024, section 4).
    """
    found = bti_dbf(target, given(inputs.clean), seed=inputs.seed, **settings)
    figures = {"shares": found.shares.tolist(), "benign": found.benign, "changed": found.changed}
    return Finding(score=found.score, suspect=found.suspect, figures=figures)


ATTACK = Attack(
    name="bti_dbf",
    run=run,
    configured_by=bti_dbf,
    summary="a class that images go to when features which clean answers do not rest on are changed",
    formula="largest share of the other classes' images that a class wins",
    source="Xu et al. 2024 (ICLR), section 4",
    needs=(needs_clean, needs_classes(3), needs_last_layer, needs_flat_images, needs_pixel_space),
    per_class={"shares": "share of the other classes' images that it wins"},
)
