"""Find images that lie in two sets: the same pixels, or the same picture stored again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.data.image_statistics import thumbnail
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


class Fingerprint(NamedTuple):
    """What an image is recognised by: a hash of its pixels, and a thumbnail of mean 0 and length 1."""

    digest: bytes
    thumbnail: npt.NDArray[np.float32]


def fingerprint(image: Pixels) -> Fingerprint:
    """Return what an image is recognised by; its thumbnail is 0 where it shows nothing.

    Args:
        image: uint8, shape (height, width, channels).
    """
    digest = hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).data).digest()
    grey = thumbnail(image, SIDE).ravel()
    grey = grey - grey.mean()
    spread = float(grey.std())
    return Fingerprint(digest, np.zeros_like(grey) if spread < FLAT else grey / (spread * SIDE))


def count_duplicates(first: Sequence[Fingerprint], second: Sequence[Fingerprint]) -> Duplicates:
    """Count the images of the second set that are in the first.

    Exact duplicates have the same shape and pixels. Near duplicates have grey thumbnails of 16 x 16 with a
    correlation above 0.995, such as an image that was compressed, darkened or scaled; an exact duplicate is
    no near one.

    >>> image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    >>> known = [fingerprint(image)]
    >>> count_duplicates(known, [fingerprint(other) for other in (image, image + 9, image[::-1])])
    Duplicates(exact=1, near=1)
    """
    if not first or not second:
        return Duplicates(0, 0)
    known = {one.digest for one in first}
    exact = np.array([one.digest in known for one in second])
    near = np.zeros(len(second), np.bool_)
    ones, others = (np.stack([one.thumbnail for one in side]) for side in (first, second))
    for start in range(0, len(ones), ROWS):
        near |= (ones[start : start + ROWS] @ others.T).max(0) > ALIKE
    return Duplicates(int(exact.sum()), int((near & ~exact).sum()))
