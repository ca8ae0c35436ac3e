"""Small changes of images along a network's gradient: FGSM and PGD, in two norms."""

from __future__ import annotations

from collections.abc import Callable

import torch

from securitynet_hub.core.errors import GradientError
from securitynet_hub.models.norms import Norm, require_norm

Logits = Callable[[torch.Tensor], torch.Tensor]
"""Maps images (n, channels, height, width) to logits (n, classes)."""


def lengths(changes: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Return the norm of each image's change, shape (n,).

    >>> lengths(torch.tensor([[3.0, -4.0]]), "L2"), lengths(torch.tensor([[3.0, -4.0]]), "Linf")
    (tensor([5.]), tensor([4.]))
    """
    flat = changes.flatten(1)
    if require_norm(norm) == "Linf":
        return flat.abs().amax(1)
    found: torch.Tensor = torch.linalg.vector_norm(flat, dim=1)
    return found


def project(
    moved: torch.Tensor, images: torch.Tensor, norm: Norm, radius: float, white: float = 1.0
) -> torch.Tensor:
    """Bring images back into the ball around the originals and into the range of pixels, 0 to `white`.

    In L2 a change that is too long is shortened, and what then lies outside the range is clamped, which
    shortens it further.

    >>> project(torch.tensor([[0.9, 0.2]]), torch.tensor([[0.5, 0.5]]), "Linf", 0.25)
    tensor([[0.7500, 0.2500]])
    """
    if require_norm(norm) == "Linf":
        return moved.clamp((images - radius).clamp(min=0), (images + radius).clamp(max=white))
    changes = moved - images
    scale = (radius / lengths(changes, norm).clamp(min=1e-12)).clamp(max=1)
    return (images + changes * _as_factors(scale, images)).clamp(0, white)


def steepest(slopes: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Return the change of length 1 along which a loss with these slopes grows most.

    >>> steepest(torch.tensor([[3.0, -4.0]]), "L2"), steepest(torch.tensor([[3.0, -4.0]]), "Linf")
    (tensor([[ 0.6000, -0.8000]]), tensor([[ 1., -1.]]))
    """
    if require_norm(norm) == "Linf":
        return slopes.sign()
    return slopes * _as_factors(1 / lengths(slopes, norm).clamp(min=1e-12), slopes)


def loss_slopes(
    network: Logits, images: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the gradient of each image's loss in its pixels.

    The loss is the cross-entropy; with `targets`, shape (n,), it is the margin ``z_target - z_label``.

    Raises:
        GradientError: no gradient reaches the pixels.
    """
    with torch.enable_grad():
        variable = images.detach().requires_grad_()
        logits = network(variable).float()
        if targets is None:
            loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        else:
            loss = (logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None])).sum()
        slopes = None
        if loss.requires_grad:
            (slopes,) = torch.autograd.grad(loss, variable, allow_unused=True)
    if slopes is None:
        raise GradientError(
            "no gradient of the network reaches its pixels: it computes without gradients (torch.no_grad, "
            "detach or NumPy inside), so that no change can follow one."
        )
    return slopes


def fgsm(
    network: Logits,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    norm: Norm = "Linf",
    radius: float,
    white: float = 1.0,
) -> torch.Tensor:
    """Take one step of length `radius` along the gradient of the cross-entropy.

    ``x + radius sign(grad_x CE(f(x), y))`` in Linf (Goodfellow et al. 2015, arXiv 1412.6572, section 4), and
    ``x + radius grad / |grad|`` in L2.

    Args:
        network: maps images to logits.
        images: shape (n, channels, height, width), 0 to `white`.
        labels: shape (n,), the classes to lead away from.
        norm: of the change.
        radius: largest change.
        white: value of a white pixel.
    """
    step = radius * steepest(loss_slopes(network, images, labels), norm)
    return project(images + step, images, norm, radius, white)


def pgd(
    network: Logits,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    norm: Norm = "Linf",
    radius: float,
    steps: int,
    step_size: float,
    white: float = 1.0,
    generator: torch.Generator | None = None,
    targets: torch.Tensor | None = None,
) -> torch.Tensor:
    """Take `steps` steps along the gradient of the cross-entropy or margin, each followed by `project`.

    ``x_(t+1) = P(x_t + step_size sign(grad CE(f(x_t), y)))`` from a point of the ball that is drawn uniformly
    (Madry et al. 2018, arXiv 1706.06083, section 2.1); in L2 from a point in a uniform direction at a uniform
    length, with steps along ``grad / |grad|``.

    Args:
        network: as for `fgsm`, as are the next four.
        images: likewise.
        labels: likewise.
        norm: likewise.
        radius: likewise.
        steps: number of steps.
        step_size: length of a step.
        white: likewise.
        generator: draws the start on the CPU; None starts from the images themselves.
        targets: shape (n,), the classes to lead to, if the loss is the margin of `loss_slopes`.
    """
    moved = images
    if generator is not None:
        moved = images + radius * _drawn(images, norm, generator)
    for _ in range(steps):
        inside = project(moved, images, norm, radius, white)
        moved = inside + step_size * steepest(loss_slopes(network, inside, labels, targets), norm)
    return project(moved, images, norm, radius, white)


def _drawn(images: torch.Tensor, norm: Norm, generator: torch.Generator) -> torch.Tensor:
    """Draw changes of length 1 or less."""
    if require_norm(norm) == "Linf":
        return 2 * torch.rand(images.shape, generator=generator).to(images) - 1
    directions = torch.randn(images.shape, generator=generator).to(images)
    reach = torch.rand(len(images), generator=generator).to(images)
    return steepest(directions, norm) * _as_factors(reach, images)


def _as_factors(values: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, *[1] * (images.ndim - 1))
