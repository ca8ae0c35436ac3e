"""Find images that lie in two sets: the same pixels, or the same picture stored again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.data.image_statistics import thumbnails
from securitynet_hub.data.pixels import Pixels

SIDE = 16
"""Side of the thumbnails that are compared."""

ALIKE = 0.995
"""Correlation of two thumbnails above which the images count as one picture.

Of 4,000 different images of Fashion-MNIST, four have a thumbnail so much like another one; of an image and
its JPEG of quality 50, 84 % do.
"""

FLAT = 2.0
"""Standard deviation of a thumbnail, in grey levels, below which it shows nothing to compare."""

ROWS = 1024
"""Thumbnails that are compared with all others at once."""


class Duplicates(NamedTuple):
    """How many images of the second set are in the first: pixel by pixel, or as nearly the same picture."""

    exact: int
    near: int


def count_duplicates(first: Sequence[Pixels], second: Sequence[Pixels]) -> Duplicates:
    """Count the images of the second set that are in the first.

    Exact duplicates have the same shape and pixels. Near duplicates have grey thumbnails of 16 x 16 with a
    correlation above 0.995, such as an image that was compressed, darkened or scaled; an exact duplicate is
    no near one.

    Args:
        first: images, uint8, each of shape (height, width, channels), of any sizes.
        second: images.

    >>> image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    >>> count_duplicates([image], [image, image + 9, image[::-1]])
    Duplicates(exact=1, near=1)
    """
    if not first or not second:
        return Duplicates(0, 0)
    known = set(map(_digest, first))
    exact = np.array([_digest(image) in known for image in second])
    near = np.zeros(len(second), np.bool_)
    ones, others = _standardised(first), _standardised(second)
    for start in range(0, len(ones), ROWS):
        near |= (ones[start : start + ROWS] @ others.T).max(0) > ALIKE
    return Duplicates(int(exact.sum()), int((near & ~exact).sum()))


def _digest(image: Pixels) -> bytes:
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).data).digest()


def _standardised(images: Sequence[Pixels]) -> npt.NDArray[np.float32]:
    """Return thumbnails as vectors of mean 0 and length 1, shape (n, 256); zeros where one shows nothing."""
    grey = thumbnails(images, SIDE, SIDE).reshape(len(images), -1)
    grey = grey - grey.mean(1, keepdims=True)
    spread = grey.std(1, keepdims=True)
    return np.where(spread < FLAT, 0, grey / np.maximum(spread, FLAT) / SIDE).astype(np.float32)
