"""Overlap of adversarial examples: smallest changes that lead the reference astray lead its copies astray."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from securitynet_hub.attacks.provenance.attack import Attack
from securitynet_hub.attacks.provenance.models import Models, weighted_agreement
from securitynet_hub.core.arrays import Scores
from securitynet_hub.core.errors import ModelError
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.transforms import Transform
from securitynet_hub.models.eval_mode import evaluating
from securitynet_hub.models.perturbations import loss_slopes
from securitynet_hub.models.target import Target

HALVINGS = 5
"""How often the way to the boundary is halved."""


def boundary_examples(
    target: Target, pixels: Pixels, *, steps: int = 12, step_size: float = 3.0, beyond: float = 1.25
) -> Pixels:
    """Change images until a model's answer changes, then go back to just beyond its boundary.

    ``x <- x + a sign(grad_x CE(f(x), f(x_0)))`` until the answer is another one (the iterative method of
    Kurakin et al. 2017, arXiv 1607.02533, section 2.2), then the point `beyond` times as far from x_0 as
    where the answer changes on the straight line to it. Points close to the boundary tell models apart best
    (Cao et al. 2021, IPGuard, arXiv 1910.12903).

    Args:
        target: a model with a gradient.
        pixels: shape (n, height, width, channels), uint8.
        steps: most steps; an image whose answer does not change stays where it got to.
        step_size: of each step, in grey levels.
        beyond: how far to go, relative to the way to the boundary; above 1.

    Raises:
        ModelError: the model has no gradient, or its preprocessing none.
    """
    if reason := without_gradient(target):
        raise ModelError(f"boundary examples of {target.id} cannot be made: {reason}.")
    transform, module = target.transform, target.module
    assert isinstance(transform, Transform)
    place = next(module.parameters(), torch.empty(0)).device
    start = torch.from_numpy(np.moveaxis(pixels, -1, 1).astype(np.float32, "C")).to(place)

    def network(points: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = module(transform.differentiable(points))
        return logits

    def answers(points: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return network(points).argmax(1)

    with evaluating(module), torch.enable_grad():
        own = answers(start)
        point = start.clone()
        for _ in range(steps):
            left = answers(point) == own
            if not left.any():
                break
            slope = loss_slopes(network, point[left], own[left])
            point[left] = (point[left] + step_size * slope.sign()).clamp(0, 255)
        low, high = torch.zeros(len(start), device=place), torch.ones(len(start), device=place)
        way = point - start
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            changed = answers(start + _per_image(middle, way) * way) != own
            low, high = torch.where(changed, low, middle), torch.where(changed, middle, high)
        found = (start + _per_image(beyond * high, way) * way).clamp(0, 255).round()
    whole: Pixels = np.moveaxis(found.to(torch.uint8).cpu().numpy(), 1, -1)
    return whole


def adversarial_overlap(
    models: Models, reference: int, *, examples: int = 100, steps: int = 12, beyond: float = 1.25
) -> Scores:
    """Score each model by how often it answers boundary examples of the reference as the reference does.

        s(M) = sum over x of w(x) 1[M(x') = f(x')] / sum of w(x)

    with x' the `boundary_examples` of the reference f and w as in `weighted_agreement`. Changes of the
    smallest size that fool f seldom fool an independent model (Cao et al. 2021, arXiv 1910.12903;
    Godinot et al. 2025, arXiv 2412.13021). Higher = more likely derived.

    Args:
        models: with the models themselves, which are asked about the examples.
        reference: position of the model that the others are compared with.
        examples: number of images that are changed, the first of those asked about.
        steps: as for `boundary_examples`.
        beyond: as for `boundary_examples`.

    Raises:
        ModelError: the reference has no gradient.

    >>> from securitynet_hub import load_images, load_target
    >>> targets = [load_target(f"zoo/fashion-mnist/cnn-clean/{seed}") for seed in (1, 1, 2, 3)]
    >>> pixels = load_images().pixels[2000:2020]
    >>> answers = np.stack([np.eye(10)[:1].repeat(20, 0)] * 4)
    >>> models = Models(outputs=answers, labels=np.zeros(20, int), targets=targets, pixels=lambda: pixels)
    >>> found = adversarial_overlap(models, 0, examples=20)
    >>> bool(found[1] == 1.0), bool(found[2:].max() < 0.7)
    (True, True)
    """
    own, key = models.targets[reference], (examples, steps, beyond)

    def craft() -> Pixels:
        assert models.pixels is not None
        pixels, size = models.pixels()[:examples], models.batch_size
        parts = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        return np.concatenate([boundary_examples(own, part, steps=steps, beyond=beyond) for part in parts])

    crafted = models.once(("crafted", *key), [own], craft)
    told = np.stack([
        models.once(("told", *key), [own, other], partial(models.ask, number, crafted))
        for number, other in enumerate(models.targets)
    ])  # fmt: skip
    return weighted_agreement(told == told[reference], reference)


def without_gradient(target: Target) -> str | None:
    """Return why a model has no gradient in the pixels, or None."""
    if not target.has_weights:
        return "it only answers"
    if not isinstance(target.transform, Transform):
        return "its preprocessing has no gradient"
    return None


def why_not(reference: Target, suspect: Target) -> str | None:
    """Return why the reference has no boundary examples, or None."""
    reason = without_gradient(reference)
    return None if reason is None else f"{reference.id}: {reason}"


def _per_image(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))


ATTACK = Attack(
    name="adversarial_overlap",
    run=adversarial_overlap,
    summary="smallest changes that fool the reference fool it, too",
    formula="weighted share of the reference's boundary examples with the same answer",
    source="after Cao et al. 2021, arXiv 1910.12903",
    needs=("weights of the reference", "independent models"),
    fewest=1,
    labels_suffice=True,
    why_not=why_not,
)
