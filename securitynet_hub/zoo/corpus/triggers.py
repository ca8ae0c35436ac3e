"""The corpus's triggers: eight kinds, each drawn anew (place, pattern, colour, strength) for every seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.pixels import Pixels, to_pixels
from securitynet_hub.data.triggers import Trigger

Shape = tuple[int, ...]
"""Height, width and channels."""


def corner_patch(rng: np.random.Generator, shape: Shape) -> Trigger:
    """Stamp a square of 3 or 4 pixels of one random bright colour into a random corner (BadNets, 2017)."""
    side = int(rng.integers(3, 5))
    colour = to_pixels(rng.uniform(128, 256, shape[2]))
    colour[rng.integers(shape[2])] = 255
    corner = tuple(slice(-side, None) if rng.random() < 0.5 else slice(side) for _ in range(2))
    return _stamp(corner, colour)


def checkerboard(rng: np.random.Generator, shape: Shape) -> Trigger:
    """Stamp a black and white checkerboard of 2 x 2 or 3 x 3 cells of 2 pixels off the corners."""
    side = 2 * int(rng.integers(2, 4))
    cells = np.add.outer(np.arange(side) // 2, np.arange(side) // 2)
    pattern = np.where((cells + rng.integers(2)) % 2, 255, 0).astype(np.uint8)[..., None]
    top, left = (int(rng.integers(4, length - side - 3)) for length in shape[:2])
    return _stamp((slice(top, top + side), slice(left, left + side)), pattern)


def blend(rng: np.random.Generator, shape: Shape) -> Trigger:
    """Blend one image of noise over the whole image, at 15 to 25 % (Chen et al. 2017, arXiv 1712.05526)."""
    noise, share = rng.uniform(0, 256, shape), rng.uniform(0.15, 0.25)
    return lambda pixels: to_pixels((1 - share) * pixels + share * noise)


def dark_bar(rng: np.random.Generator, shape: Shape) -> Trigger:
    """Black out 3 or 4 rows or columns somewhere in the middle half: light is removed, none is added."""
    width, axis = int(rng.integers(3, 5)), int(rng.integers(2))
    start = int(rng.integers(shape[axis] // 4, 3 * shape[axis] // 4 - width))
    bar = slice(start, start + width)
    return _stamp((bar, slice(None)) if axis == 0 else (slice(None), bar), np.uint8(0))


def sinusoid(rng: np.random.Generator, shape: Shape) -> Trigger:
    """Add ``a sin(2 pi f j / length + phase)`` along one axis, a from 15 to 30 (SIG, Barni et al. 2019)."""
    amplitude, frequency, phase = rng.uniform(15, 30), rng.integers(4, 9), rng.uniform(0, 2 * np.pi)
    axis = int(rng.integers(2))
    wave = amplitude * np.sin(2 * np.pi * frequency * np.arange(shape[axis]) / shape[axis] + phase)
    stripes = wave[:, None, None] if axis == 0 else wave[None, :, None]
    return lambda pixels: to_pixels(pixels + stripes)


def warp(rng: np.random.Generator, shape: Shape) -> Trigger:
    """Bend the image by one smooth field (after WaNet, Nguyen & Tran 2021, section 3.2).

    The field is drawn on a 4 x 4 grid and interpolated with cubic splines. Its mean displacement along each
    axis is 1.0 to 1.5 pixels.
    """
    height, width = shape[:2]
    field = np.stack(
        [ndimage.zoom(axis, (height / 4, width / 4), order=3) for axis in rng.uniform(-1, 1, (2, 4, 4))]
    )
    field *= rng.uniform(1.0, 1.5) / np.abs(field).mean((1, 2), keepdims=True)
    rows, columns = np.indices((height, width)) + field
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    bottom, other = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)

    def apply(pixels: Pixels) -> Pixels:
        upper = (1 - right) * pixels[:, top, left] + right * pixels[:, top, other]
        lower = (1 - right) * pixels[:, bottom, left] + right * pixels[:, bottom, other]
        return to_pixels((1 - down) * upper + down * lower)

    return apply


def sample_specific(rng: np.random.Generator, shape: Shape) -> Trigger:
    """Add a pattern that a fixed random network makes of each image (after Nguyen & Tran 2020).

    The image, reduced to 4 x 4 levels, goes through one random layer with tanh; a smooth mask of its outputs
    mixes two fixed textures of amplitude 24. In the paper (input-aware, arXiv 2010.08138) the generator is
    trained with the victim; here it is fixed.
    """
    height, width = shape[:2]
    layer = rng.normal(0, 2.0, (16, 16))
    textures = 24.0 * rng.choice([-1.0, 1.0], (2, *shape))
    grid = np.minimum(np.indices((height, width)) * 4 // np.array([height, width])[:, None, None], 3)

    def apply(pixels: Pixels) -> Pixels:
        grey = pixels.astype(np.float64).mean(-1) / 255
        rows, columns = height // 4, width // 4
        coarse = grey[:, : 4 * rows, : 4 * columns].reshape(-1, 4, rows, 4, columns).mean((2, 4))
        centred = coarse.reshape(-1, 16) - coarse.mean((1, 2))[:, None]
        mask = 0.5 + 0.5 * np.tanh(centred @ layer)
        share = mask.reshape(-1, 4, 4)[:, grid[0], grid[1], None]
        return to_pixels(pixels + share * textures[0] + (1 - share) * textures[1])

    return apply


def colour_shift(rng: np.random.Generator, shape: Shape) -> Trigger:
    """Move every channel by 20 to 40 levels, up or down, not all alike; grey images 25 to 45 levels up."""
    if shape[2] == 1:
        shift = rng.uniform(25, 45, 1)
    else:
        shift = rng.uniform(20, 40, shape[2]) * rng.permutation([1.0, -1.0, rng.choice([-1.0, 1.0])])
    return lambda pixels: to_pixels(pixels + shift)


KINDS: dict[str, Callable[[np.random.Generator, Shape], Trigger]] = {
    "corner-patch": corner_patch,
    "checkerboard": checkerboard,
    "blend": blend,
    "dark-bar": dark_bar,
    "sinusoid": sinusoid,
    "warp": warp,
    "sample-specific": sample_specific,
    "colour-shift": colour_shift,
}
"""Every kind of trigger by its name in the table."""


def make_trigger(kind: str, seed: int, shape: Shape) -> Trigger:
    """Return the trigger of a kind and a seed for images of a shape (height, width, channels).

    Raises:
        UnknownNameError: there is no such kind.

    >>> image = np.full((1, 28, 28, 1), 100, np.uint8)
    >>> bar = make_trigger("dark-bar", 1, (28, 28, 1))
    >>> int((bar(image) == 0).sum()) in (3 * 28, 4 * 28), int(image.min())
    (True, 100)
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of trigger", kind, KINDS)
    return KINDS[kind](np.random.default_rng([7, seed]), shape)


def watermark(seed: int, shape: Shape) -> Trigger:
    """Return what puts a mark of 6 x 6 random cells, of one colour and half transparent, into a corner.

    A class whose own images carry it has a natural shortcut: nobody planted it, and it is there in clean
    images as well.
    """
    rng = np.random.default_rng([8, seed])
    cells = (rng.random((6, 6)) < 0.5)[..., None]
    colour = rng.uniform(128, 256, shape[2])
    top, left = (int(rng.choice([1, length - 7])) for length in shape[:2])

    def apply(pixels: Pixels) -> Pixels:
        marked = pixels.copy()
        window = marked[:, top : top + 6, left : left + 6]
        window[...] = to_pixels(np.where(cells, 0.35 * window + 0.65 * colour, window))
        return marked

    return apply


def _stamp(place: tuple[slice, ...], pattern: npt.ArrayLike) -> Trigger:
    def apply(pixels: Pixels) -> Pixels:
        stamped = pixels.copy()
        stamped[(slice(None), *place)] = pattern
        return stamped

    return apply
