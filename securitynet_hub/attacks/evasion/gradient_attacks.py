"""FGSM and PGD on the target's own gradients, in pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from securitynet_hub.attacks.evasion.attack import Attack
from securitynet_hub.models import perturbations

if TYPE_CHECKING:
    from securitynet_hub.attacks.evasion.threat import Threat


def fgsm(
    classifier: perturbations.Logits,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    threat: Threat,
    seed: int = 0,
) -> torch.Tensor:
    """Take one step of the whole length along the gradient of the cross-entropy.

    ``x' = x + eps sign(grad_x CE(f(x), y))`` in Linf (Goodfellow et al. 2015, arXiv 1412.6572, section 4),
    and ``x + eps grad / |grad|`` in L2.

    Args:
        classifier: maps pixels of 0 to 1 to logits.
        images: shape (n, channels, height, width).
        labels: shape (n,), the right classes.
        threat: what the attacker may do.
        seed: not used: nothing is drawn.

    >>> from securitynet_hub.attacks.evasion.threat import Threat
    >>> plane = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = plane[1].weight.data.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    >>> grey = torch.full((1, 1, 1, 2), 0.5)
    >>> fgsm(plane, grey, torch.tensor([0]), threat=Threat(norm="Linf", eps=0.25)).flatten()
    tensor([0.2500, 0.7500])
    """
    return perturbations.fgsm(classifier, images, labels, norm=threat.norm, radius=threat.eps)


def pgd(
    classifier: perturbations.Logits,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    threat: Threat,
    steps: int = 20,
    step: float = 0.125,
    seed: int = 0,
) -> torch.Tensor:
    """Take several steps along the gradient of the cross-entropy, from a random point of the ball.

    ``x_(t+1) = P(x_t + step eps sign(grad CE(f(x_t), y)))`` with the projection P onto the ball and onto
    images (Madry et al. 2018, arXiv 1706.06083, section 2.1).

    Args:
        classifier: as for `fgsm`.
        images: likewise.
        labels: likewise.
        threat: what the attacker may do.
        steps: number of steps, 1 or more.
        step: length of a step, as a share of eps.
        seed: decides the start.

    Raises:
        ValueError: there is no step, or a step has no length.

    >>> from securitynet_hub.attacks.evasion.threat import Threat
    >>> plane = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = plane[1].weight.data.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    >>> grey = torch.full((1, 1, 1, 2), 0.5)
    >>> pgd(plane, grey, torch.tensor([0]), threat=Threat(norm="Linf", eps=0.25)).flatten()
    tensor([0.2500, 0.7500])
    """
    if steps < 1 or not step > 0:
        raise ValueError(f"pgd needs a step or more, of a length above 0; got steps={steps}, step={step}.")
    return perturbations.pgd(
        classifier,
        images,
        labels,
        norm=threat.norm,
        radius=threat.eps,
        steps=steps,
        step_size=step * threat.eps,
        generator=torch.Generator().manual_seed(seed),
    )


def pgd_t(
    classifier: perturbations.Logits,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    threat: Threat,
    targets: int = 3,
    steps: int = 15,
    seed: int = 0,
) -> torch.Tensor:
    """Run PGD on the margin towards each of the likeliest wrong classes in turn, until one is reached.

    ``x_(t+1) = P(x_t + 2.5 eps / steps sign(grad (z_k(x_t) - z_y(x_t))))`` for the `targets` classes k with
    the largest logits at x (multi-targeted PGD: Gowal et al. 2019, arXiv 1910.09338, section 3). It finds
    most of what `apgd_t` and `fab_t` find, for a twentieth of their passes.

    Args:
        classifier: as for `fgsm`.
        images: likewise.
        labels: likewise.
        threat: what the attacker may do.
        targets: number of classes; all wrong ones where there are fewer.
        steps: number of steps towards each.
        seed: decides the start.

    Raises:
        ValueError: there is no class or no step.

    >>> from securitynet_hub.attacks.evasion.threat import Threat
    >>> plane = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = plane[1].weight.data.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    >>> grey = torch.full((1, 1, 1, 2), 0.5)
    >>> pgd_t(plane, grey, torch.tensor([0]), threat=Threat(norm="Linf", eps=0.25)).flatten()
    tensor([0.2500, 0.7500])
    """
    if min(targets, steps) < 1:
        raise ValueError(f"pgd_t needs a class and a step or more; got targets={targets}, steps={steps}.")
    with torch.no_grad():
        logits = classifier(images)
    others = logits.scatter(1, labels[:, None], -torch.inf).argsort(1, descending=True)
    found, left = images.clone(), torch.arange(len(images), device=images.device)
    for place in range(min(targets, logits.shape[1] - 1)):
        changed = perturbations.pgd(
            classifier,
            images[left],
            labels[left],
            norm=threat.norm,
            radius=threat.eps,
            steps=steps,
            step_size=2.5 * threat.eps / steps,
            generator=torch.Generator().manual_seed(seed + place),
            targets=others[left, place],
        )
        with torch.no_grad():
            wrong = classifier(changed).argmax(1) != labels[left]
        found[left] = changed
        left = left[~wrong]
        if not len(left):
            break
    return found


def fgsm_cost() -> int:
    """Return the passes for one image: there and back."""
    return 2


def pgd_cost(*, steps: int, step: float) -> int:
    """Return the passes for one image."""
    return 2 * steps


def pgd_t_cost(*, targets: int, steps: int) -> int:
    """Return the passes for one image."""
    return 1 + targets * (2 * steps + 1)


ATTACKS = (
    Attack(
        name="fgsm",
        run=fgsm,
        summary="one step along the gradient",
        formula="x + eps sign(grad CE)",
        source="Goodfellow et al. 2015, section 4",
        weights=True,
        order=1,
        cost=fgsm_cost,
    ),
    Attack(
        name="pgd",
        run=pgd,
        summary="several steps along the gradient, each brought back into the ball",
        formula="P(x + step sign(grad CE)), repeated",
        source="Madry et al. 2018, section 2.1",
        weights=True,
        order=2,
        cost=pgd_cost,
    ),
    Attack(
        name="pgd_t",
        run=pgd_t,
        summary="the same on the margin, towards each of the likeliest wrong classes",
        formula="z_k - z_y, maximised",
        source="Gowal et al. 2019, section 3",
        weights=True,
        order=3,
        cost=pgd_t_cost,
    ),
)
