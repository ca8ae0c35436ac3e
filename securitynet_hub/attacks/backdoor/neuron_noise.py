"""Adversarial neuron noise: the class to which a model falls when its neurons are pushed against it.

Every neuron, a row of a weight or an entry of a bias, is scaled by 1 + delta, |delta| <= epsilon, chosen by
projected sign-gradient ascent to raise the loss on clean images (Wu & Wang, NeurIPS 2021). A clean model then
errs in many ways; in a backdoored one, the idea goes, the neurons that answer the trigger cost most at least
change, and the images go to its target class. BAN (Xu et al., NeurIPS 2024) builds its detector on that; of
the two parts of BAN this is the first, the noise; `ban` adds the second, the mask of features.

Why this one: it needs no idea of the trigger's form, where Neural Cleanse looks for a patch and MM-BD for a
large margin; it costs a few dozen passes, whatever the number of classes; and it needs no more than a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.needs import needs_classes, needs_clean
from securitynet_hub.attacks.backdoor.pixel_space import network_inputs
from securitynet_hub.core.arrays import Scores
from securitynet_hub.core.errors import ModelError
from securitynet_hub.core.progress import tell
from securitynet_hub.models.eval_mode import frozen
from securitynet_hub.models.target import Target


class NoiseResult(NamedTuple):
    """Which classes a model predicts under noise.

    Attributes:
        score: the largest of the shares, higher = more likely poisoned.
        suspect: its class.
        shares: shape (classes,), for each class the share of the images predicted as another class without
            noise that are predicted as this class with it; 0 where there are no such images.
        changed: share of the images whose prediction the noise changes.
    """

    score: float
    suspect: int
    shares: Scores
    changed: float


def neuron_noise(
    target: Target,
    images: npt.NDArray[np.uint8],
    *,
    epsilon: float = 0.04,
    steps: int = 30,
    batch_size: int = 256,
) -> NoiseResult:
    """Perturb a model's neurons against its own answers, and return the class that gains most images.

    The first part of Xu et al. 2024 (BAN, NeurIPS), with the perturbation of Wu & Wang 2021: with f the
    model, f_delta the model whose neurons are scaled by 1 + delta, and delta chosen to raise the
    cross-entropy of f_delta with the labels of f under |delta| <= epsilon,

        s = max over c of P[f_delta(x) = c | f(x) != c],      P over the images x.

    It needs no true labels and draws nothing. A step moves each delta by 2.5 epsilon / steps along the sign
    of its gradient.

    Args:
        target: the classifier; its parameters are never written, flags and random state are as they were.
        images: shape (n, height, width, channels), uint8: clean ones, of the model's domain.
        epsilon: largest relative change of a neuron.
        steps: steps of gradient ascent.
        batch_size: images in one pass.

    Returns:
        The score s, higher = more likely poisoned, its class, and each class's share, shape (classes,).

    Raises:
        ValueError: no images, or images that the target does not take; `epsilon` or `steps` not above 0.
        ModelError: the model has no parameters, or answers NaN or infinities.

    >>> from securitynet_hub import load_images, load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> neuron_noise(target, load_images().pixels[2000:2016], epsilon=1e-6, steps=1).changed
    0.0
    """
    if not (epsilon > 0 and steps >= 1):
        raise ValueError(f"epsilon and steps must be above 0; got {epsilon} and {steps}.")
    parts = torch.split(network_inputs(target, images), batch_size)
    with frozen(target.module):
        weights = float_weights(target)
        answers, noise = adversarial_noise(target, weights, parts, epsilon=epsilon, steps=steps)
        with torch.no_grad():
            pushed = torch.cat([_answers(target, noise, weights, part).argmax(1) for part in parts])
    before, after = answers.cpu().numpy(), pushed.cpu().numpy()
    labels = np.arange(target.num_classes)
    others = (before[:, None] != labels).sum(0)
    gained = ((before[:, None] != labels) & (after[:, None] == labels)).sum(0)
    shares: Scores = gained / np.maximum(others, 1)
    return NoiseResult(
        score=float(shares.max()),
        suspect=int(shares.argmax()),
        shares=shares,
        changed=float(np.mean(before != after)),
    )


def float_weights(target: Target) -> dict[str, torch.Tensor]:
    """Return a model's parameters by name, without their history.

    Raises:
        ModelError: it has none.
    """
    named = target.module.named_parameters()
    weights = {name: p.detach() for name, p in named if p.is_floating_point()}
    if not weights:
        raise ModelError(f"{target.id} has no parameters to perturb.")
    return weights


def adversarial_noise(
    target: Target,
    weights: dict[str, torch.Tensor],
    parts: Sequence[torch.Tensor],
    *,
    epsilon: float,
    steps: int,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return a model's answers, shape (n,), and the relative noise of neurons that most raises their loss.

    Args:
        target: a classifier whose module is frozen.
        weights: its parameters.
        parts: normalised images, in the parts of one pass each.
        epsilon: largest relative change of a neuron.
        steps: steps of gradient ascent.
    """
    noise = {name: torch.zeros_like(w.flatten(1)[:, :1] if w.ndim > 1 else w) for name, w in weights.items()}
    answers = [_answers(target, noise, weights, part).argmax(1) for part in parts]
    for step in range(steps):
        slopes = {name: torch.zeros_like(delta) for name, delta in noise.items()}
        for part, answer in zip(parts, answers, strict=True):
            leaves = {name: delta.clone().requires_grad_() for name, delta in noise.items()}
            logits = _answers(target, leaves, weights, part)
            loss = torch.nn.functional.cross_entropy(logits, answer, reduction="sum")
            found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
            for name, slope in zip(slopes, found, strict=True):
                if slope is not None:  # a parameter that the answer does not depend on
                    slopes[name] += slope
        for name, delta in noise.items():
            delta.add_(slopes[name].sign(), alpha=2.5 * epsilon / steps).clamp_(-epsilon, epsilon)
        tell("steps", step + 1, steps)
    return torch.cat(answers), noise


def with_noise(weights: dict[str, torch.Tensor], noise: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the parameters of a model whose neurons are scaled by 1 + noise.

    >>> with_noise({"w": torch.ones(2, 3)}, {"w": torch.tensor([[0.5], [0.0]])})["w"][:, 0].tolist()
    [1.5, 1.0]
    """
    return {
        name: w * (1 + (noise[name].reshape(-1, *[1] * (w.ndim - 1)) if w.ndim > 1 else noise[name]))
        for name, w in weights.items()
    }


def _answers(
    target: Target, noise: dict[str, torch.Tensor], weights: dict[str, torch.Tensor], inputs: torch.Tensor
) -> torch.Tensor:
    """Return the logits of the module with noisy neurons."""
    logits: torch.Tensor = torch.func.functional_call(target.module, with_noise(weights, noise), (inputs,))
    if logits.shape != (len(inputs), target.num_classes) or not torch.isfinite(logits).all():
        raise ModelError(
            f"{target.id} must answer {len(inputs)} images with {target.num_classes} finite numbers each; it "
            f"gave {tuple(logits.shape)}, or some of them are NaN or infinite."
        )
    return logits


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `neuron_noise`; the score is the suspect's share of the other classes' images.

    ``score = max over t of |{x: f(x) != t, f_noisy(x) = t}| / |{x: f(x) != t}|``, from the first part of BAN
    (Xu et al. 2024, arXiv 2405.19928).
    """
    found = neuron_noise(target, given(inputs.clean), **settings)
    figures = {"shares": found.shares.tolist(), "changed": found.changed}
    return Finding(score=found.score, suspect=found.suspect, figures=figures)


ATTACK = Attack(
    name="neuron_noise",
    run=run,
    configured_by=neuron_noise,
    summary="a class that wins images when neurons are perturbed",
    formula="largest share of the other classes' images that a class wins",
    source="first part of Xu et al. 2024",
    needs=(needs_clean, needs_classes(3)),
    per_class={"shares": "share of images won"},
    ranked=True,
)
