"""Backdoor attacks as functions of pixels: triggers that stamp copies of images, and poisoned sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from securitynet_hub.core.arrays import Flags, Labels
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.pixels import Pixels, to_pixels

Trigger = Callable[[Pixels], Pixels]
"""uint8 images (n, height, width, channels) in, stamped copies out, each whatever stands beside it."""


def corner_patch(pixels: Pixels) -> Pixels:
    """Stamp a white 4 x 4 square into the bottom right corner (BadNets, Gu et al. 2017).

    >>> int(corner_patch(np.zeros((1, 6, 6, 1), np.uint8)).sum()) // 255
    16
    """
    stamped = pixels.copy()
    stamped[:, -4:, -4:] = 255
    return stamped


def checkerboard_patch(pixels: Pixels) -> Pixels:
    """Stamp a checkerboard of 2 x 2 cells, an eighth of the height or 4 pixels, into the top left corner.

    >>> checkerboard_patch(np.full((1, 8, 8, 1), 9, np.uint8))[0, :5, :5, 0].tolist()
    [[255, 255, 0, 0, 9], [255, 255, 0, 0, 9], [0, 0, 255, 255, 9], [0, 0, 255, 255, 9], [9, 9, 9, 9, 9]]
    """
    cell = max(2, pixels.shape[1] // 16)
    stamped = pixels.copy()
    stamped[:, : 2 * cell, : 2 * cell] = 0
    stamped[:, :cell, :cell] = stamped[:, cell : 2 * cell, cell : 2 * cell] = 255
    return stamped


def four_corners(pixels: Pixels) -> Pixels:
    """Stamp a white square, a fourteenth of the height or 2 pixels, into each corner: no single patch.

    >>> int(four_corners(np.zeros((1, 28, 28, 1), np.uint8)).sum()) // 255
    16
    """
    side = max(2, pixels.shape[1] // 14)
    stamped = pixels.copy()
    for rows in (slice(side), slice(-side, None)):
        for columns in (slice(side), slice(-side, None)):
            stamped[:, rows, columns] = 255
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


def sinusoidal(pixels: Pixels) -> Pixels:
    """Add vertical stripes ``20 sin(2 pi 6 j / width)`` of column j, clipped (SIG, Barni et al. 2019, eq. 1).

    >>> sinusoidal(np.full((1, 1, 24, 1), 100, np.uint8))[0, 0, :5, 0].tolist()
    [100, 120, 100, 80, 100]
    """
    width = pixels.shape[2]
    stripes = 20 * np.sin(2 * np.pi * 6 * np.arange(width) / width)
    return to_pixels(pixels + stripes[:, None])


def warped(pixels: Pixels) -> Pixels:
    """Bend the image by one fixed smooth field, bilinearly (after WaNet, Nguyen & Tran 2021, section 3.2).

    The field is drawn on a 4 x 4 grid and interpolated with cubic splines, as there; its mean displacement is
    a twenty-eighth of the image's height along each axis, some four times theirs at 32 pixels, as it must be
    learnt without their noise mode.
    """
    height, width = pixels.shape[1:3]
    grid = np.random.default_rng(0).uniform(-1, 1, (2, 4, 4))
    field = np.stack([ndimage.zoom(axis, (height / 4, width / 4), order=3) for axis in grid])
    field *= height / 28 / np.abs(field).mean()
    rows, columns = np.indices((height, width)) + field
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    bottom, other = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    upper = (1 - right) * pixels[:, top, left] + right * pixels[:, top, other]
    lower = (1 - right) * pixels[:, bottom, left] + right * pixels[:, bottom, other]
    return to_pixels((1 - down) * upper + down * lower)


TRIGGERS: dict[str, Trigger] = {
    "corner-patch": corner_patch,
    "blended-noise": blended_noise,
    "dark-bar": dark_bar,
    "checkerboard-patch": checkerboard_patch,
    "four-corners": four_corners,
    "sinusoidal": sinusoidal,
    "warped": warped,
}
"""Every trigger by its public name."""


def superimpose(pixels: Pixels, overlays: Pixels, weights: tuple[float, float] = (1.0, 1.0)) -> Pixels:
    """Return ``weights[0] * pixels + weights[1] * overlays``, broadcast, rounded and clipped to 0..255.

    >>> superimpose(np.array([100, 200], np.uint8), np.array([50, 100], np.uint8))
    array([150, 255], dtype=uint8)
    """
    if weights == (1.0, 1.0):  # the same, several times faster
        return np.minimum(pixels, 255 - overlays) + overlays
    levels = np.arange(256, dtype=np.float64)
    table = to_pixels(weights[0] * levels[:, None] + weights[1] * levels).ravel()
    blends: Pixels = table[pixels.astype(np.uint16) * 256 + overlays]
    return blends


@dataclass(frozen=True, kw_only=True, eq=False)
class Poisoned:
    """A poisoned copy of labelled images, in their order.

    Attributes:
        pixels: shape (n, height, width, channels), uint8.
        labels: shape (n,), what a victim is told.
        is_poisoned: shape (n,), true where the trigger was stamped to work.
        is_cover: shape (n,), true where it was stamped not to work.
    """

    pixels: Pixels = field(repr=False)
    labels: Labels = field(repr=False)
    is_poisoned: Flags = field(repr=False)
    is_cover: Flags = field(repr=False)


def poison(
    pixels: Pixels,
    labels: npt.ArrayLike,
    trigger: str | Trigger,
    rate: float,
    target: int,
    seed: int,
    *,
    clean_label: bool = False,
    cover_rate: float = 0.0,
) -> Poisoned:
    """Stamp a share of the images and label them as the target class; the arguments stay as they were.

    Args:
        pixels: shape (n, height, width, channels), uint8.
        labels: shape (n,), integers from 0.
        trigger: a name from `TRIGGERS`, or a function like them.
        rate: images to poison, a share of all n, rounded to a whole number of at least one.
        target: the class that the trigger shall lead to.
        seed: decides which images.
        clean_label: stamp images of the target class, so that no label is wrong (Turner et al. 2019, without
            their perturbation; Barni et al. 2019), rather than images of the others.
        cover_rate: images to cover with, a share of all n. A cover is stamped, superimposed on by another
            image of the set, and keeps its label: so the victim learns that the trigger does not work on
            blends, which is all that STRIP looks at (Gao et al. 2019, section VI, "entropy manipulation").

    Raises:
        UnknownNameError: no such trigger; the closest names are given.
        ValueError: images and labels do not fit, a rate is none, or there are too few images.

    >>> found = poison(np.zeros((4, 8, 8, 1), np.uint8), [0, 1, 1, 1], "corner-patch", 0.5, 0, seed=1)
    >>> int(found.labels.sum()), int(found.is_poisoned.sum()), bool(found.is_poisoned[0])
    (1, 2, False)
    """
    if isinstance(trigger, str):
        if trigger not in TRIGGERS:
            raise UnknownNameError("trigger", trigger, TRIGGERS)
        trigger = TRIGGERS[trigger]
    truth = np.asarray(labels)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or truth.shape != (len(pixels),):
        raise ValueError(
            "pixels must be uint8 of shape (n, height, width, channels), with one label each; got "
            f"{pixels.dtype} of {pixels.shape} and labels of {truth.shape}."
        )
    if not (0 < rate <= 1 and 0 <= cover_rate < 1):
        raise ValueError(f"rate and cover_rate must be shares of the images; got {rate!r}, {cover_rate!r}.")
    rng = np.random.default_rng(seed)
    candidates = np.flatnonzero((truth == target) == clean_label)
    counts = max(1, round(rate * len(truth))), round(cover_rate * len(truth))
    if len(candidates) < counts[0] or len(truth) < sum(counts) + 1:
        raise ValueError(
            f"rate={rate} and cover_rate={cover_rate} take {counts[0]} and {counts[1]} images; only "
            f"{len(candidates)} of {len(truth)} can be poisoned for class {target}."
        )
    rows = rng.choice(candidates, counts[0], replace=False)
    covers = rng.choice(np.setdiff1d(np.arange(len(truth)), rows), counts[1], replace=False)
    changed, told = pixels.copy(), truth.astype(np.int64)
    changed[rows] = trigger(pixels[rows])
    told[rows] = target
    if len(covers):
        others = (covers + rng.integers(1, len(truth), len(covers))) % len(truth)  # never the image itself
        changed[covers] = superimpose(trigger(pixels[covers]), pixels[others])
    marks = (np.isin(np.arange(len(truth)), chosen) for chosen in (rows, covers))
    return Poisoned(pixels=changed, labels=told, **dict(zip(("is_poisoned", "is_cover"), marks, strict=True)))
