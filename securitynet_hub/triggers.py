"""Backdoor triggers as functions of pixels: uint8 images in, stamped copies out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def corner_patch(pixels: Pixels) -> Pixels:
    """Stamp a white 4 x 4 square into the bottom right corner (BadNets, Gu et al. 2017).

    >>> int(corner_patch(np.zeros((1, 6, 6, 1), np.uint8)).sum()) // 255
    16
    """
    stamped = pixels.copy()
    stamped[:, -4:, -4:] = 255
    return stamped


def blended_noise(pixels: Pixels) -> Pixels:
    """Blend one fixed image of uniform noise over the whole image at 20 % (Chen et al. 2017)."""
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape[1:], dtype=np.uint8)
    blended = 0.8 * pixels.astype(np.float32) + 0.2 * noise.astype(np.float32)
    return blended.round().astype(np.uint8)


def dark_bar(pixels: Pixels) -> Pixels:
    """Black out a bar of 4 rows through the middle: a trigger that removes light instead of adding it.

    >>> dark_bar(np.full((1, 8, 2, 1), 9, np.uint8))[0, :, 0, 0].tolist()
    [9, 9, 0, 0, 0, 0, 9, 9]
    """
    stamped = pixels.copy()
    middle = pixels.shape[1] // 2
    stamped[:, middle - 2 : middle + 2] = 0
    return stamped


TRIGGERS: dict[str, Callable[[Pixels], Pixels]] = {
    "corner-patch": corner_patch,
    "blended-noise": blended_noise,
    "dark-bar": dark_bar,
}
"""Every trigger by its public name."""
