"""Query images for a target that are not drawn from its data, brought to the target's shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn import datasets

from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.pixels import Pixels

Shape = tuple[int, ...]
"""Height, width and channels: the `Preprocessing.shape` of the target."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey image (ITU-R BT.601)."""


def fit_pixels(pixels: Pixels, shape: Shape) -> Pixels:
    """Resize images to a target's shape (bilinear, as Pillow) and convert between grey and RGB.

    Args:
        pixels: shape (n, height, width, 1 or 3), uint8.
        shape: height, width and channels, 1 or 3.

    Raises:
        ValueError: the images or the shape have another form, or channels other than 1 or 3.

    >>> fit_pixels(np.full((2, 8, 8, 1), 7, np.uint8), (28, 28, 3)).shape
    (2, 28, 28, 3)
    """
    if pixels.ndim != 4 or pixels.dtype != np.uint8 or not {pixels.shape[-1], shape[-1]} <= {1, 3}:
        raise ValueError(
            "pixels must be uint8 of shape (n, height, width, 1 or 3), and the target's shape must have 1 or "
            f"3 channels; got {pixels.dtype} of {pixels.shape}, and the shape {shape}."
        )
    height, width, channels = shape
    if pixels.shape[-1] > channels:
        pixels = np.rint(pixels @ np.array(LUMA))[..., None].astype(np.uint8)
    if pixels.shape[1:3] != (height, width):
        moved = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 1)))
        resized = torch.nn.functional.interpolate(moved, (height, width), mode="bilinear", antialias=True)
        pixels = np.moveaxis(resized.numpy(), 1, -1)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:3], channels)))


def transfer_set(n: int, sources: Sequence[Pixels], shape: Shape, *, seed: int = 0) -> Pixels:
    """Draw n images without replacement from the union of several sources: Knockoff's random transfer set.

    Every image of every source is equally likely (Orekondy et al. 2019, section 4.1.1).

    Args:
        n: number of images.
        sources: image arrays that `fit_pixels` accepts; sizes may differ.
        shape: shape of the target's images.
        seed: seed of the draw.

    Returns:
        Shape (n, *shape), uint8.

    Raises:
        ValueError: the sources hold fewer than n images, or as `fit_pixels`.

    >>> one, other = np.zeros((3, 4, 4, 1), np.uint8), np.full((2, 9, 9, 3), 255, np.uint8)
    >>> sorted(transfer_set(5, [one, other], (4, 4, 1))[:, 0, 0, 0].tolist())
    [0, 0, 0, 255, 255]
    """
    sizes = [len(source) for source in sources]
    _require_count(n, sum(sizes))
    picked = np.random.default_rng(seed).permutation(sum(sizes))[:n]
    result = np.empty((n, *shape), np.uint8)
    start = 0
    for source, size in zip(sources, sizes, strict=True):
        own = np.flatnonzero((start <= picked) & (picked < start + size))
        if len(own):
            result[own] = fit_pixels(source[picked[own] - start], shape)
        start += size
    return result


def query_images(name: str, n: int, shape: Shape, *, seed: int = 0) -> Pixels:
    """Draw n images that are unrelated to the target's data.

    - ``digits``: the 1,797 handwritten digits of scikit-learn, 8 x 8 (UCI, Alpaydin & Kaynak 1998).
    - ``photographs``: square crops of scikit-learn's two photographs, a temple and a flower; the side is an
      eighth to the whole of the photograph's shorter side.
    - ``noise``: every pixel value is uniform over 0..255.
    - ``shapes``: a background of one colour, with 1 to 4 filled rectangles and ellipses of other colours.

    Args:
        name: one of the above.
        n: number of images.
        shape: shape of the target's images: height, width and channels.
        seed: seed of the draw.

    Returns:
        Shape (n, *shape), uint8.

    Raises:
        UnknownNameError: there are no query images of that name.
        ValueError: there are fewer than n images.

    >>> query_images("shapes", 2, (28, 28, 1)).shape
    (2, 28, 28, 1)
    """
    if name not in QUERY_IMAGES:
        raise UnknownNameError("query images", name, QUERY_IMAGES)
    return QUERY_IMAGES[name](n, shape, np.random.default_rng(seed))


def _digits(n: int, shape: Shape, rng: np.random.Generator) -> Pixels:
    images = datasets.load_digits().images  # 0..16
    _require_count(n, len(images))
    chosen = images[rng.permutation(len(images))[:n], :, :, None]
    return fit_pixels(np.minimum(255, chosen * 16).astype(np.uint8), shape)


def _photographs(n: int, shape: Shape, rng: np.random.Generator) -> Pixels:
    photographs = datasets.load_sample_images().images
    crops = np.empty((n, *shape), np.uint8)
    for i in range(n):
        photograph = photographs[rng.integers(len(photographs))]
        height, width, _ = photograph.shape
        side = rng.integers(min(height, width) // 8, min(height, width), endpoint=True)
        top, left = (rng.integers(length - side, endpoint=True) for length in (height, width))
        crops[i] = fit_pixels(photograph[None, top : top + side, left : left + side], shape)[0]
    return crops


def _noise(n: int, shape: Shape, rng: np.random.Generator) -> Pixels:
    return rng.integers(0, 256, (n, *shape), dtype=np.uint8)


def _shapes(n: int, shape: Shape, rng: np.random.Generator) -> Pixels:
    height, width, channels = shape
    images = np.empty((n, *shape), np.uint8)
    rows, columns = np.ogrid[:height, :width]
    for image in images:
        image[:] = rng.integers(0, 256, channels)
        for _ in range(rng.integers(1, 5)):
            y, x = rng.uniform(0, height), rng.uniform(0, width)
            dy, dx = (
                np.abs(rows - y) / rng.uniform(1, height / 2),
                np.abs(columns - x) / rng.uniform(1, width / 2),
            )
            inside = np.maximum(dy, dx) < 1 if rng.random() < 0.5 else dy**2 + dx**2 < 1
            image[inside] = rng.integers(0, 256, channels)
    return images


def _require_count(n: int, available: int) -> None:
    if not 0 <= n <= available:
        raise ValueError(f"n must lie in 0..{available}, the number of images available; got {n}.")


QUERY_IMAGES: dict[str, Callable[[int, Shape, np.random.Generator], Pixels]] = {
    "digits": _digits,
    "photographs": _photographs,
    "noise": _noise,
    "shapes": _shapes,
}
"""The functions behind `query_images`, by name."""
