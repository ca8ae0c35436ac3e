"""Describe images by simple statistics of their pixels, whatever their sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Scores
from securitynet_hub.data.pixels import Pixels

Planes = npt.NDArray[np.float32]

FINE = 96
"""Side in pixels of the central part of an image that is looked at pixel by pixel."""

COARSE = 48
"""Most rows and most columns of a larger image that are sampled for its colours."""

EDGE, DEPTH = 64, 3
"""Pixels along each border that are sampled, and rows or columns of it."""

THUMBNAIL = 8
"""Side of the thumbnail whose grey values are statistics."""

BLOCK = 8
"""Side of JPEG's blocks."""

CHUNK = 128
"""Images of one shape that are described at once."""

QUANTILES = (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)
"""Quantiles of the grey values."""

FAMILIES = (
    "size", "colours", "thumbnail", "borders", "gradients", "noise", "frequencies", "compression",
    "grey levels",
)  # fmt: skip
"""What the statistics describe, for readers."""


class Views(NamedTuple):
    """What is kept of an image until it is described, uint8.

    Attributes:
        size: height, width and channels of the image.
        coarse: pixels on a grid over the whole image, shape (at most 48, at most 48, channels).
        fine: the central pixels, shape (at most 96, at most 96, channels).
        edges: pixels along top, bottom, left and right, the outermost first, shape (4, 3, 64, channels).
    """

    size: tuple[int, ...]
    coarse: Pixels
    fine: Pixels
    edges: Pixels


def image_statistics(images: Iterable[Pixels]) -> Scores:
    """Describe each image by statistics that need no model and no label.

    They are the size; per channel mean and spread; quantiles of grey; opponent colours and saturation; an
    8 x 8 thumbnail; the outermost pixels beside the next ones; gradients and second differences at scales 1,
    2 and 4; the energy of the frequencies within JPEG's blocks, and steps at their borders; and which grey
    levels occur. Of a larger image the central 96 x 96 are looked at pixel by pixel, cut at a multiple of 8,
    and colours are taken from a grid of 48 x 48 pixels. Images are read one by one, and only these parts are
    kept.

    Args:
        images: n images, uint8, each of shape (height, width, 1 or 3), of any sizes.

    Returns:
        Shape (n, statistics), float64.

    Raises:
        ValueError: something is no image.

    >>> dark, light = np.zeros((5, 4, 1), np.uint8), np.full((9, 9, 3), 200, np.uint8)
    >>> image_statistics([dark, light])[:, :3]  # height, width and channels
    array([[5., 4., 1.],
           [9., 9., 3.]])
    """
    waiting: dict[tuple[tuple[int, ...], ...], list[tuple[int, Views]]] = {}
    described: dict[int, Scores] = {}

    def describe(group: list[tuple[int, Views]]) -> None:
        found = np.stack(
            list(_describe(*map(np.stack, zip(*(views for _, views in group), strict=True)))), axis=1
        )
        described.update(zip((row for row, _ in group), found, strict=True))
        group.clear()

    for row, image in enumerate(images):
        views = view(image)
        group = waiting.setdefault((views.coarse.shape, views.fine.shape), [])
        group.append((row, views))
        if len(group) == CHUNK:
            describe(group)
    for group in filter(None, waiting.values()):
        describe(group)
    return np.stack([described[row] for row in sorted(described)]) if described else np.empty((0, 0))


def view(image: Pixels) -> Views:
    """Return the parts of an image that are described.

    Raises:
        ValueError: it is no image.
    """
    if image.ndim != 3 or image.dtype != np.uint8 or not image.size or image.shape[2] not in (1, 3):
        raise ValueError(
            f"an image must be uint8 of shape (height, width, 1 or 3); got {image.dtype} of {image.shape}."
        )
    sides = image.shape[:2]
    rows, columns = (np.arange(min(side, COARSE)) * side // min(side, COARSE) for side in sides)
    top, left = (max(0, side - FINE) // 2 // BLOCK * BLOCK for side in sides)
    along = [np.arange(EDGE) * side // EDGE for side in sides]
    inwards = [np.minimum(np.arange(DEPTH), side - 1) for side in sides]
    turned = image.swapaxes(0, 1)
    edges = np.stack([
        image[inwards[0]][:, along[1]], image[::-1][inwards[0]][:, along[1]],
        turned[inwards[1]][:, along[0]], turned[::-1][inwards[1]][:, along[0]],
    ])  # fmt: skip
    fine = image[top : top + FINE, left : left + FINE].copy()
    return Views(image.shape, image[rows[:, None], columns], fine, edges)


def thumbnail(image: Pixels, side: int) -> Planes:
    """Average an image's grey values, on a grid of pixels if it is large; shape (side, side), 0..255.

    >>> thumbnail(np.array([[[0], [100]], [[50], [100]]], np.uint8), 1)
    array([[62.5]], dtype=float32)
    """
    rows, columns = (np.arange(min(size, COARSE)) * size // min(size, COARSE) for size in image.shape[:2])
    averaged: Planes = _cells(_grey(image[rows[:, None], columns])[None], side, side)[0]
    return averaged


def _describe(
    sizes: npt.NDArray[np.int64], coarse: Pixels, fine: Pixels, edges: Pixels
) -> Iterator[npt.NDArray[np.floating]]:
    """Yield the statistics of images whose views are of the same shapes, each of shape (n,)."""
    n = len(sizes)
    yield from sizes.T.astype(np.float64)
    yield from _colours(coarse)
    yield from _cells(_grey(coarse), THUMBNAIL, THUMBNAIL).reshape(n, -1).T
    yield from _borders(edges)
    grey = _grey(fine)
    for scale in (1, 2, 4):
        yield from _gradients(_cells(grey, max(1, grey.shape[1] // scale), max(1, grey.shape[2] // scale)))
    yield from _frequencies(grey)
    yield from _steps(grey)
    yield from _levels(fine)


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


def _borders(edges: Pixels) -> Iterator[npt.NDArray[np.floating]]:
    grey = _grey(edges)  # shape (n, 4, depth, length)
    for depth in (1, DEPTH):
        strips = grey[:, :, :depth].reshape(len(grey), 4, -1)
        yield from strips.mean(2).T
        yield from strips.std(2).T
    yield from np.abs(grey[:, :, 0] - grey[:, :, 1]).mean(2).T


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
