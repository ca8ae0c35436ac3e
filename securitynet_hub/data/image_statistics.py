"""Describe images by simple statistics of their pixels, whatever their sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Scores
from securitynet_hub.data.pixels import Pixels

Planes = npt.NDArray[np.float32]

FINE = 128
"""Side in pixels of the central part of an image that is looked at pixel by pixel."""

COARSE = 32
"""Most rows and most columns of a larger image that are sampled for its colours."""

THUMBNAIL = 8
"""Side of the thumbnail whose grey values are statistics."""

BLOCK = 8
"""Side of JPEG's blocks."""

CHUNK, CHUNK_PIXELS = 128, 2_000_000
"""Images of one shape, and pixels, that are described at once."""

QUANTILES = (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)
"""Quantiles of the grey values."""

FAMILIES = (
    "size", "colours", "thumbnail", "borders", "gradients", "noise", "frequencies", "compression",
    "grey levels",
)  # fmt: skip
"""What the statistics describe, for readers."""


def image_statistics(images: Sequence[Pixels]) -> Scores:
    """Describe each image by statistics that need no model and no label.

    They are the size; per channel mean, spread and quantiles; hue and saturation; an 8 x 8 thumbnail; the
    outermost pixels beside the rest; gradients and second differences at scales 1, 2 and 4; the energy of
    the frequencies within JPEG's blocks, and steps at their borders; and which grey levels occur. Of an image
    with more than 128 pixels on a side, the central 128 x 128 are looked at pixel by pixel, cut at a multiple
    of 8, and colours are taken from a grid of pixels.

    Args:
        images: n images, uint8, each of shape (height, width, 1 or 3), of any sizes.

    Returns:
        Shape (n, statistics), float64.

    Raises:
        ValueError: something is no image.

    >>> dark, light = np.zeros((5, 4, 1), np.uint8), np.full((9, 9, 3), 200, np.uint8)
    >>> found = image_statistics([dark, light])
    >>> found[:, :2]  # height and width
    array([[5., 4.],
           [9., 9.]])
    """
    for image in images:
        if image.ndim != 3 or image.dtype != np.uint8 or not image.size or image.shape[2] not in (1, 3):
            raise ValueError(
                "an image must be uint8 of shape (height, width, 1 or 3); got "
                f"{image.dtype} of {image.shape}."
            )
    found: Scores | None = None
    for rows in _chunks(images):
        described = np.stack(list(_describe(np.stack([images[row] for row in rows]))), axis=1)
        if found is None:
            found = np.empty((len(images), described.shape[1]))
        found[rows] = described
    return np.empty((0, 0)) if found is None else found


def thumbnails(images: Sequence[Pixels], height: int, width: int) -> Planes:
    """Average each image's grey values over a grid of cells; shape (n, height, width), 0..255.

    >>> thumbnails([np.array([[[0], [100]], [[0], [100]]], np.uint8)], 1, 2)
    array([[[  0., 100.]]], dtype=float32)
    """
    found = np.empty((len(images), height, width), np.float32)
    for rows in _chunks(images):
        found[rows] = _cells(_grey(np.stack([images[row] for row in rows])), height, width)
    return found


def _chunks(images: Sequence[Pixels]) -> Iterator[list[int]]:
    """Yield rows of images of one shape, a bounded number at once."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for row, image in enumerate(images):
        shapes.setdefault(image.shape, []).append(row)
    for shape, rows in shapes.items():
        size = max(1, min(CHUNK, CHUNK_PIXELS // (shape[0] * shape[1])))
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def _describe(pixels: Pixels) -> Iterator[npt.NDArray[np.floating]]:
    """Yield the statistics of images of one shape, each of shape (n,)."""
    n, height, width, channels = pixels.shape
    yield np.full(n, float(height))
    yield np.full(n, float(width))
    yield np.full(n, float(channels))
    yield from _colours(pixels[:, :: -(-height // COARSE), :: -(-width // COARSE)])
    sampled = _grey(pixels[:, :: max(1, height // 256), :: max(1, width // 256)])
    yield from _cells(sampled, THUMBNAIL, THUMBNAIL).reshape(n, -1).T
    yield from _borders(pixels)
    top, left = (max(0, side - FINE) // 2 // BLOCK * BLOCK for side in (height, width))
    part = pixels[:, top : top + FINE, left : left + FINE]
    grey = _grey(part)
    for scale in (1, 2, 4):
        yield from _gradients(_cells(grey, max(1, grey.shape[1] // scale), max(1, grey.shape[2] // scale)))
    yield from _frequencies(grey)
    yield from _steps(grey)
    yield from _levels(part)


def _grey(pixels: Pixels) -> Planes:
    grey = pixels[..., 0].astype(np.float32)
    for channel in range(1, pixels.shape[-1]):
        grey += pixels[..., channel]
    grey /= pixels.shape[-1]
    return grey


def _cells(grey: Planes, height: int, width: int) -> Planes:
    """Average over cells; a side with fewer pixels than cells repeats them."""
    for axis, cells in ((1, height), (2, width)):
        side = grey.shape[axis]
        if side == cells:
            continue
        if side < cells:
            grey = grey.take(np.arange(cells) * side // cells, axis)
            continue
        edges = np.arange(cells + 1) * side // cells
        sizes = np.diff(edges).reshape([-1 if each == axis else 1 for each in range(3)])
        summed: Planes = np.add.reduceat(grey, edges[:-1], axis)
        grey = (summed / sizes).astype(np.float32)
    return grey


def _colours(pixels: Pixels) -> Iterator[npt.NDArray[np.floating]]:
    n = len(pixels)
    channels = [pixels[..., channel].reshape(n, -1).astype(np.float32) for channel in range(pixels.shape[-1])]
    grey = _grey(pixels).reshape(n, -1)
    ordered = np.sort(grey, axis=1)
    yield from ordered[:, [round(share * (ordered.shape[1] - 1)) for share in QUANTILES]].T
    mean, spread = grey.mean(1), grey.std(1)
    centred = (grey - mean[:, None]) / (spread[:, None] + 1e-3)
    squares = centred * centred
    yield (squares * centred).mean(1)
    yield (squares * squares).mean(1)
    if len(channels) == 1:
        yield from (mean, spread) * 3
        yield from np.zeros((7, n))
        return
    for channel in channels:
        yield channel.mean(1)
        yield channel.std(1)
    # Hue and saturation by opponent colours: their mean is a point in the plane of hues.
    red, green, blue = channels
    for opponent in (red - green, (red + green) / 2 - blue):
        yield opponent.mean(1)
        yield opponent.std(1)
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    yield chroma.mean(1)
    yield chroma.std(1)
    yield (chroma == 0).mean(1)


def _borders(pixels: Pixels) -> Iterator[npt.NDArray[np.floating]]:
    n, height, width, _ = pixels.shape
    for depth in (min(most, height, width) for most in (1, 3)):
        for strip in (pixels[:, :depth], pixels[:, -depth:], pixels[:, :, :depth], pixels[:, :, -depth:]):
            grey = _grey(strip).reshape(n, -1)
            yield grey.mean(1)
            yield grey.std(1)
    # The step from the outermost row or column to the next one.
    if min(height, width) == 1:
        yield from np.zeros((4, n))
        return
    rows = (pixels[:, 0], pixels[:, 1]), (pixels[:, -1], pixels[:, -2])
    columns = (pixels[:, :, 0], pixels[:, :, 1]), (pixels[:, :, -1], pixels[:, :, -2])
    for outer, inner in (*rows, *columns):
        yield np.abs(_grey(outer) - _grey(inner)).mean(1)


def _gradients(grey: Planes) -> Iterator[npt.NDArray[np.floating]]:
    n = len(grey)
    for axis in (1, 2):
        if grey.shape[axis] < 3:
            yield from np.zeros((6, n))
            continue
        first, second = np.abs(np.diff(grey, axis=axis)), np.abs(np.diff(grey, n=2, axis=axis))
        for steps in (first, second):
            flat = steps.reshape(n, -1)
            yield flat.mean(1)
            yield flat.std(1)
        # Noise moves the small steps, edges the large ones.
        yield np.sqrt(second).reshape(n, -1).mean(1)
        yield (first == 0).reshape(n, -1).mean(1)


def _frequencies(grey: Planes) -> Iterator[npt.NDArray[np.floating]]:
    """Yield log energies of the cosine transform of 8 x 8 blocks, by the sum of the two frequencies."""
    n, rows, columns = len(grey), grey.shape[1] // BLOCK, grey.shape[2] // BLOCK
    sums = np.add.outer(np.arange(BLOCK), np.arange(BLOCK))
    if not rows or not columns:
        yield from np.zeros((2 * (2 * BLOCK - 2), n))
        return
    blocks = grey[:, : rows * BLOCK, : columns * BLOCK].reshape(n, rows, BLOCK, columns, BLOCK)
    blocks = blocks.transpose(0, 1, 3, 2, 4).reshape(-1, BLOCK, BLOCK)
    waves = _cosines()
    energies = np.abs(waves @ blocks @ waves.T).reshape(n, -1, BLOCK, BLOCK)
    for frequency in range(1, 2 * BLOCK - 1):
        own = energies[:, :, sums == frequency].reshape(n, -1)
        yield np.log1p(own.mean(1))
        yield (own < 0.5).mean(1)


def _cosines() -> Planes:
    k, x = np.arange(BLOCK)[:, None], np.arange(BLOCK)[None]
    waves = np.cos(np.pi * (x + 0.5) * k / BLOCK) * np.sqrt(2 / BLOCK)
    waves[0] /= np.sqrt(2)
    cosines: Planes = waves.astype(np.float32)
    return cosines


def _steps(grey: Planes) -> Iterator[npt.NDArray[np.floating]]:
    """Yield how much larger steps between columns, and rows, are at the borders of JPEG's blocks."""
    n = len(grey)
    for axis in (1, 2):
        if grey.shape[axis] <= BLOCK:
            yield from np.zeros((2, n))
            continue
        steps = np.abs(np.diff(grey, axis=axis)).mean(3 - axis)
        phases = np.stack([steps[:, phase::BLOCK].mean(1) for phase in range(BLOCK)])
        usual = phases.mean(0) + 1e-3
        yield phases[BLOCK - 1] / usual
        yield phases.max(0) / usual  # of an image that was cropped after compression


def _levels(pixels: Pixels) -> Iterator[npt.NDArray[np.floating]]:
    n = len(pixels)
    values = pixels.reshape(n, -1)
    yield (values == 0).mean(1)
    yield (values == 255).mean(1)
    yield (values & 1).mean(1)
    yield (values & 3 == 0).mean(1)
    places = (np.arange(n)[:, None] * 256 + values).ravel()
    counts = np.bincount(places, minlength=256 * n).reshape(n, 256)
    yield (counts > 0).mean(1)
    # A stretched or darkened image leaves out grey levels in between.
    first, last = (counts > 0).argmax(1), 255 - (counts[:, ::-1] > 0).argmax(1)
    yield (counts > 0).sum(1) / (last - first + 1)
    yield np.abs(np.diff(counts, axis=1)).sum(1) / values.shape[1]
