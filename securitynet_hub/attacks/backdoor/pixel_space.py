"""Pixels that gradients reach: a target's normalisation as an affine map, its module frozen meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.models.eval_mode import frozen, some_parameter
from securitynet_hub.models.target import Target

LEVELS = (0, 85, 170, 255)
"""Grey levels at which a preprocessing is tested for being affine."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelSpace:
    """Images of the network's size, floats of 0 to 1, before they are normalised.

    A trigger lives here: what an attacker stamps is pixels, whatever mean and standard deviation the network
    wants, and whether the preprocessing or the module's first layer subtracts them.

    Attributes:
        black: the network's input for a black image, shape (1, channels, 1, ...).
        range: what a white image adds, of the same shape.
    """

    black: torch.Tensor = field(repr=False)
    range: torch.Tensor = field(repr=False)

    @classmethod
    def from_target(cls, target: Target) -> PixelSpace:
        """Find the inputs of black and white images from the preprocessing itself, whoever published it.

        Raises:
            ValueError: it is not one affine map for each channel, so that pixels cannot be optimised through
                it.

        >>> from securitynet_hub.models.loading import load_target
        >>> space = PixelSpace.from_target(load_target("zoo/fashion-mnist/cnn-clean/1"))
        >>> round(space.black.item(), 4), round(space.range.item(), 4)  # -mean / std, 1 / std
        (-0.8102, 2.8329)
        """
        shape = target.transform.shape
        greys = np.stack([np.full(shape, level, np.uint8) for level in LEVELS])
        inputs = target.transform(greys).double()
        of_channel = (slice(None), slice(None), *[slice(0, 1)] * (inputs.ndim - 2))
        black, white = inputs[of_channel][:1], inputs[of_channel][-1:]
        steps = torch.tensor(LEVELS, dtype=torch.float64).reshape(-1, *[1] * (inputs.ndim - 1)) / 255
        expected = black + steps * (white - black)
        spread = (white - black).abs()
        if not (spread > 0).all() or not ((inputs - expected).abs() <= 1e-3 * spread).all():
            raise ValueError(
                f"the preprocessing of {target.id} is not one affine map for each channel; a trigger cannot "
                "be optimised through it."
            )
        return cls(black=black, range=white - black)

    def inputs(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalise pixels of 0 to 1, shape (n, channels, height, width)."""
        return self.black.to(pixels) + self.range.to(pixels) * pixels


def network_inputs(target: Target, images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Return images as the network takes them, on the device and in the precision of its parameters.

    Raises:
        ValueError: no images, or images that the target does not take.
    """
    if not len(images):
        raise ValueError("at least one clean image is needed; got none.")
    return target.transform(images).to(some_parameter(target.module))


def has_gradients(target: Target) -> bool:
    """Return whether a gradient of the logits reaches the network's input, tried with one grey image.

    One that computes with NumPy, detaches or rounds has none.
    """
    image = np.full((1, *target.transform.shape), 128, np.uint8)
    inputs = network_inputs(target, image).requires_grad_()
    try:
        with plain_torch(), frozen(target.module):
            logits = target.module(inputs)
            (gradient,) = torch.autograd.grad(logits.sum(), inputs, allow_unused=True)
    except RuntimeError:
        return False
    return gradient is not None
