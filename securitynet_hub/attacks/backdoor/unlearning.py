"""Unlearning a recovered trigger: whether a little training takes it away, and takes away nothing else."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.attacks.backdoor.descent import Adam
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace, network_inputs
from securitynet_hub.core.progress import tell
from securitynet_hub.models.eval_mode import frozen
from securitynet_hub.models.target import Target


class Unlearning(NamedTuple):
    """What training against a trigger does, measured on images that it did not see.

    Attributes:
        success_before: share of the other classes' images that the trigger leads to its class; None where
            there are no such images.
        success_after: the same after training.
        agreement: share of clean images that are answered as before.
    """

    success_before: float | None
    success_after: float | None
    agreement: float


def unlearn(
    target: Target,
    images: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.float32],
    pattern: npt.NDArray[np.float32],
    label: int,
    *,
    steps: int = 40,
    learning_rate: float = 1e-3,
) -> Unlearning:
    """Train a copy to answer stamped images as it answers clean ones; return what that changes.

    Wang et al. 2019 (section 6.2) patch a backdoored network so: with f the model, T(x) = (1 - m) x + m d the
    stamp and f' the copy, minimise over f'

        mean over x of CE(f'(T(x)), argmax f(x)) + CE(f'(x), f(x)).

    Every second image trains, the remaining ones measure. Where training removes the trigger's success and
    keeps clean answers, the trigger is a shortcut beside what the model does with clean images. The
    statistics of BatchNorm stay; a step takes all training images at once. The authors train for one epoch on
    a tenth of the training data with true labels, a fifth of it stamped.

    Args:
        target: the classifier; it stays as it is.
        images: shape (n, height, width, channels), uint8: clean ones, two or more.
        mask: shape (height, width), 0 to 1.
        pattern: shape (height, width, channels), 0 to 1.
        label: the class that the trigger leads to.
        steps: steps of Adam.
        learning_rate: of Adam.

    Raises:
        ValueError: fewer than two images, or a preprocessing that gradients cannot pass.

    >>> from securitynet_hub import load_images, load_target
    >>> mask, pattern = np.zeros((28, 28), np.float32), np.ones((28, 28, 1), np.float32)
    >>> mask[-4:, -4:] = 1
    >>> target = load_target("zoo/fashion-mnist/cnn-corner-patch/7")
    >>> found = unlearn(target, load_images().pixels[2000:2040], mask, pattern, 0)
    >>> found.success_before > 0.9 > 0.2 > found.success_after, found.agreement >= 0.8
    (True, True)
    """
    if len(images) < 2:
        raise ValueError(f"two or more images are needed, to train and to measure; got {len(images)}.")
    space, inputs = PixelSpace.from_target(target), network_inputs(target, images)
    where, what = (torch.from_numpy(np.ascontiguousarray(part)).to(inputs) for part in (mask, pattern))
    stamped = inputs + where * (space.inputs(what.movedim(-1, 0)[None]) - inputs)
    trained = copy.deepcopy(target.module).eval()
    with frozen(target.module), torch.no_grad():
        before, stamped_before = target.module(inputs), target.module(stamped).argmax(1)
    answers, soft = before.argmax(1), before.softmax(1)
    fit, test = slice(0, None, 2), slice(1, None, 2)
    parameters = [p for p in trained.parameters() if p.is_floating_point()]
    for parameter in parameters:
        parameter.requires_grad_()
    adams = [Adam(learning_rate) for _ in parameters]
    loss = torch.nn.functional.cross_entropy
    for step in range(steps):
        with torch.enable_grad():
            total = loss(trained(stamped[fit]), answers[fit]) + loss(trained(inputs[fit]), soft[fit])
            slopes = torch.autograd.grad(total, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, adam, slope in zip(parameters, adams, slopes, strict=True):
                if slope is not None:
                    parameter.copy_(adam.step(parameter, slope))
        tell("steps of unlearning", step + 1, steps)
    with torch.no_grad():
        after, stamped_after = trained(inputs[test]).argmax(1), trained(stamped[test]).argmax(1)
    others = answers[test] != label
    rates = [
        float((found[others] == label).double().mean()) if bool(others.any()) else None
        for found in (stamped_before[test], stamped_after)
    ]
    agreement = float((after == answers[test]).double().mean())
    return Unlearning(success_before=rates[0], success_after=rates[1], agreement=agreement)
