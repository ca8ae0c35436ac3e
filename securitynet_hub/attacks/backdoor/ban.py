"""BAN (Xu et al., NeurIPS 2024): the class that wins when neurons are pushed and benign features are masked.

Adversarial noise on neurons (`neuron_noise`) moves a backdoored model's answers towards its target class, but
strong benign features outweigh it. The second part of BAN therefore finds the features that clean answers
rest on, as BTI-DBF does but with few of them, and looks at what the noisy model says of the remaining ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.bti_dbf import gained_shares
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs, given
from securitynet_hub.attacks.backdoor.head import Head, decouple
from securitynet_hub.attacks.backdoor.needs import needs_classes, needs_clean, needs_last_layer
from securitynet_hub.attacks.backdoor.neuron_noise import (
    NoiseResult,
    adversarial_noise,
    float_weights,
    with_noise,
)
from securitynet_hub.attacks.backdoor.pixel_space import network_inputs
from securitynet_hub.core.errors import ModelError
from securitynet_hub.models.eval_mode import frozen
from securitynet_hub.models.target import Target


def ban(
    target: Target,
    images: npt.NDArray[np.uint8],
    *,
    epsilon: float = 0.04,
    steps: int = 30,
    sparsity: float = 0.75,
    mask_steps: int = 400,
    batch_size: int = 256,
    seed: int = 0,
) -> NoiseResult:
    """Perturb a model's neurons, mask its benign features, and return the class that gains most images.

    Xu et al. 2024 (arXiv 2405.19928): with h_delta the features of the model with the noise delta of
    `neuron_noise`, W and b its last layer without noise, m the mask of `decouple` for this sparsity,

        s = max over t of P[argmax(W ((1 - m) h_delta(x)) + b) = t | f(x) != t],      P over the images x.

    The authors look at how the answers are spread over classes, and perturb the BatchNorm parameters of a
    ResNet-18 by up to 0.3; here every neuron is perturbed, by less. The sparsity is that of the authors'
    command. Their labels are true ones; here they are the model's own answers.

    Args:
        target: a classifier that ends in a linear layer; it is left as it was.
        images: shape (n, height, width, channels), uint8: clean ones, of the model's domain.
        epsilon: largest relative change of a neuron.
        steps: steps of gradient ascent.
        sparsity: how much the mask's norm counts.
        mask_steps: steps of Adam for the mask.
        batch_size: images in one pass.
        seed: decides the first mask.

    Returns:
        As `neuron_noise`; `changed` is the share of images that the masked, noisy model answers otherwise.

    Raises:
        ValueError: no images, or a setting out of its range.
        ModelError: the model has no parameters or no last linear layer, or answers NaN or infinities.

    >>> from securitynet_hub import load_images, load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> ban(target, load_images().pixels[2000:2016], steps=1, mask_steps=5).shares.shape
    (10,)
    """
    if not (epsilon > 0 and min(steps, mask_steps) >= 1 and sparsity >= 0):
        raise ValueError("epsilon, steps and mask_steps must be above 0, sparsity at least 0.")
    head = Head.from_target(target, copied=False)
    parts = torch.split(network_inputs(target, images), batch_size)
    with frozen(target.module):
        weights = float_weights(target)
        before, noise = adversarial_noise(target, weights, parts, epsilon=epsilon, steps=steps)
        with torch.no_grad():
            features = torch.cat([head.features(part) for part in parts])
        mask = decouple(head, features, before, steps=mask_steps, sparsity=sparsity, seed=seed)
        noisy = {f"classifier.{name}": w for name, w in with_noise(weights, noise).items()}
        with torch.no_grad():
            pushed = torch.cat([torch.func.functional_call(head.body, noisy, (part,)) for part in parts])
        after = head.logits((1 - mask) * pushed[:, target.num_classes :]).argmax(1)
    if not torch.isfinite(pushed).all():
        raise ModelError(f"{target.id} gives features that are NaN or infinite.")
    shares = gained_shares(before, after, target.num_classes)
    return NoiseResult(
        score=float(shares.max()),
        suspect=int(shares.argmax()),
        shares=shares,
        changed=float((before != after).double().mean()),
    )


def run(target: Target, inputs: DetectorInputs, **settings: Any) -> Finding:
    """Run `ban`; the score is the suspect's share of the other classes' images.

    ``score = max over t of P[f_noisy_masked(x) = t | f(x) != t]`` (Xu et al. 2024, arXiv 2405.19928).
    """
    found = ban(target, given(inputs.clean), seed=inputs.seed, **settings)
    figures = {"shares": found.shares.tolist(), "changed": found.changed}
    return Finding(score=found.score, suspect=found.suspect, figures=figures)


ATTACK = Attack(
    name="ban",
    run=run,
    configured_by=ban,
    summary="a class that wins images when neurons are perturbed and benign features are masked",
    formula="largest share of the other classes' images that a class wins under noise and mask",
    source="Xu et al. 2024 (NeurIPS), both parts",
    needs=(needs_clean, needs_classes(3), needs_last_layer),
    per_class={"shares": "share of the other classes' images that it wins"},
)
