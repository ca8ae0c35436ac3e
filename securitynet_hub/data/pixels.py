"""Images as whole grey levels, uint8: their type, their hashes, and random numbers of their own."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Labels as Labels

Pixels = npt.NDArray[np.uint8]
"""Images of shape (n, height, width, channels), or one of them."""

QUERY_BYTES = 1 << 28
"""About how much memory the images of one step of queries may take."""


def random_stream(seed: int, image: Pixels) -> np.random.Generator:
    """Return an image's own random numbers: the same beside whichever other images, wherever it stands.

    >>> image = np.zeros((2, 2, 1), np.uint8)
    >>> random_stream(1, image).integers(9, size=3) - random_stream(1, image.copy()).integers(9, size=3)
    array([0, 0, 0])
    """
    digest = hashlib.sha256(f"{seed} {image.shape} ".encode() + image.tobytes()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def to_pixels(levels: npt.NDArray[Any]) -> Pixels:
    """Round to whole grey levels within 0..255.

    >>> to_pixels(np.array([-3.0, 1.6, 300.0]))
    array([  0,   2, 255], dtype=uint8)
    """
    pixels: Pixels = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    return pixels


def image_digests(pixels: Pixels) -> list[bytes]:
    """Hash each image's shape and pixels.

    >>> one, other, same = image_digests(np.array([0, 1, 0], np.uint8).reshape(3, 1, 1, 1))
    >>> one == same, one == other
    (True, False)
    """
    shape = repr(pixels.shape[1:]).encode()
    return [hashlib.sha256(shape + image.tobytes()).digest() for image in pixels]
