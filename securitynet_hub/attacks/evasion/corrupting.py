"""Common corruptions of images in five severities, in the manner of ImageNet-C.

After Hendrycks & Dietterich 2019, arXiv 1903.12261, section 3.1. Noise, brightness, contrast and
compression have that paper's strengths; lengths in pixels are theirs times the image's shorter side over
224, so that small images are not blurred away. Snow and fog are drawn in a simpler way, glass blur and
frost are left out. Figures are therefore comparable among models that were measured here, not with
published ones of ImageNet-C.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.pixels import Pixels, random_stream, to_pixels

Levels = npt.NDArray[np.float64]
"""An image of shape (height, width, channels), 0 to 1."""

SEVERITIES = (1, 2, 3, 4, 5)
SIDE = 224
"""Shorter side in pixels of the images for which lengths are given."""


def gaussian_noise(image: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Add normal noise."""
    return image + rng.normal(0, (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1], image.shape)


def shot_noise(image: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Draw each value from a Poisson distribution, as few photons do."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    drawn: Levels = rng.poisson(image * photons) / photons
    return drawn


def impulse_noise(image: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Make some values black or white."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    hit = rng.random(image.shape) < share
    drawn: Levels = np.where(hit, rng.integers(0, 2, image.shape), image)
    return drawn


def defocus_blur(image: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Blur with a disc."""
    radius = _scaled((3, 4, 6, 8, 10)[severity - 1], image)
    reach = int(np.ceil(radius)) + 1
    across = np.arange(-reach, reach + 1)
    # The disc's edge is a pixel wide, so that a radius below a pixel, of a small image, blurs, too.
    disc = np.clip(radius + 1 - np.hypot(across[:, None], across), 0, 1)
    return _filtered(image, disc)


def motion_blur(image: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Blur along a line of random direction."""
    length = 2 * _scaled((10, 15, 15, 15, 20)[severity - 1], image)
    sigma = _scaled((3, 5, 8, 12, 15)[severity - 1], image)
    angle = rng.uniform(-np.pi / 4, np.pi / 4)
    steps = np.linspace(0, length, max(2, int(np.ceil(2 * length)) + 1))
    weights = np.exp(-(steps**2) / (2 * max(sigma, 1e-6) ** 2))
    moved = sum(
        weight * _shifted(image, step * np.sin(angle), step * np.cos(angle))
        for step, weight in zip(steps, weights / weights.sum(), strict=True)
    )
    return np.asarray(moved, np.float64)


def zoom_blur(image: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Take the mean of the image and of enlarged ones."""
    most, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[severity - 1]
    factors = np.arange(1, most, step)
    zoomed: Levels = np.mean([image, *(_zoomed(image, factor) for factor in factors)], 0)
    return zoomed


def snow(image: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Whiten the image and add streaks of falling flakes."""
    share, white = ((0.02, 0.1), (0.03, 0.15), (0.05, 0.2), (0.07, 0.25), (0.1, 0.3))[severity - 1]
    flakes = (rng.random(image.shape[:2]) < share).astype(np.float64)[..., None]
    streaks = np.clip(4 * motion_blur(flakes, 1, rng), 0, 1)
    paler = image + white * (1 - image)
    whiter: Levels = np.maximum(paler, streaks)
    return whiter


def fog(image: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Add a cloud of random density, and bring the result back into the image's range."""
    strength, decay = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[severity - 1]
    cloud = _cloud(image.shape[:2], decay, rng)[..., None]
    brightest = float(image.max())
    hazy: Levels = (image + strength * cloud) * brightest / (brightest + strength)
    return hazy


def brightness(image: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Brighten the image: add to its value, of hue, saturation and value."""
    added = (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]
    value = image.max(-1, keepdims=True)
    brighter = np.clip(value + added, 0, 1)
    scaled: Levels = np.where(value > 0, image * brighter / np.maximum(value, 1e-12), brighter)
    return scaled


def contrast(image: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Bring all values closer to each channel's mean."""
    share = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    mean = image.mean((0, 1), keepdims=True)
    paler: Levels = (image - mean) * share + mean
    return paler


def elastic(image: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Move each pixel a little, neighbours alike."""
    from scipy.ndimage import gaussian_filter, map_coordinates  # slow to import

    rows, columns = image.shape[:2]
    side = min(rows, columns)
    reach, smooth = ((0.01, 0.02), (0.015, 0.025), (0.02, 0.03), (0.03, 0.04), (0.04, 0.04))[severity - 1]
    moves = []
    for _ in range(2):
        field = gaussian_filter(rng.uniform(-1, 1, (rows, columns)), max(1.0, smooth * side), mode="reflect")
        moves.append(field / max(float(np.abs(field).max()), 1e-12) * reach * side)
    places = np.mgrid[:rows, :columns] + np.stack(moves)
    return np.stack(
        [map_coordinates(image[..., c], places, order=1, mode="reflect") for c in range(image.shape[-1])], -1
    )


def pixelate(image: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Make the image smaller and larger again, in blocks."""
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    rows, columns = image.shape[:2]
    small = (max(1, round(columns * share)), max(1, round(rows * share)))
    return _by_pillow(
        image,
        lambda picture: picture.resize(small, Image.Resampling.BOX).resize(
            (columns, rows), Image.Resampling.NEAREST
        ),
    )


def jpeg(image: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Compress the image as JPEG."""
    quality = (25, 18, 15, 10, 7)[severity - 1]

    def compressed(picture: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as found:
            return found.copy()

    return _by_pillow(image, compressed)


Corrupt = Callable[[Levels, int, np.random.Generator], Levels]

CORRUPTIONS: dict[str, Corrupt] = {
    each.__name__: each
    for each in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        motion_blur,
        zoom_blur,
        snow,
        fog,
        brightness,
        contrast,
        elastic,
        pixelate,
        jpeg,
    )
}
"""Every corruption by its name: noise, blur, weather, digital."""


def corrupt(image: Pixels, name: str, severity: int, *, seed: int = 0) -> Pixels:
    """Corrupt one image; what is drawn depends on the seed, the corruption and the image alone.

    Args:
        image: shape (height, width, channels), uint8.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: decides what is drawn.

    Raises:
        UnknownNameError: no such corruption; the closest names are given.
        ValueError: no such severity.

    >>> corrupt(np.full((4, 4, 1), 200, np.uint8), "brightness", 2)[0, 0].tolist()
    [251]
    """
    if name not in CORRUPTIONS:
        raise UnknownNameError("corruption", name, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be one of {SEVERITIES}; got {severity!r}.")
    rng = random_stream(seed * len(CORRUPTIONS) + list(CORRUPTIONS).index(name), image)
    return to_pixels(255 * CORRUPTIONS[name](image.astype(np.float64) / 255, severity, rng))


def corrupted(images: Pixels, name: str, severity: int, seed: int) -> Pixels:
    """Corrupt images of one size, shape (n, height, width, channels), each for itself."""
    return np.stack([corrupt(image, name, severity, seed=seed) for image in images])


def change_of(name: str, severity: int, seed: int) -> Callable[[Pixels], Pixels]:
    """Return `corrupted` as a change of images."""
    return partial(corrupted, name=name, severity=severity, seed=seed)


def _scaled(length: float, image: Levels) -> float:
    return length * float(min(image.shape[:2])) / SIDE


def _filtered(image: Levels, kernel: npt.NDArray[np.float64]) -> Levels:
    from scipy.ndimage import convolve  # slow to import

    weights = kernel / kernel.sum()
    return np.stack([convolve(image[..., c], weights, mode="reflect") for c in range(image.shape[-1])], -1)


def _shifted(image: Levels, down: float, right: float) -> Levels:
    from scipy.ndimage import shift  # slow to import

    moved: Levels = shift(image, (down, right, 0), order=1, mode="nearest")
    return moved


def _zoomed(image: Levels, factor: float) -> Levels:
    """Return the middle of an image, enlarged to its size."""
    from scipy.ndimage import affine_transform  # slow to import

    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = np.append(centre - centre / factor, 0)
    zoomed: Levels = affine_transform(image, (1 / factor, 1 / factor, 1), offset, order=1, mode="nearest")
    return zoomed


def _cloud(sides: tuple[int, ...], decay: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw a cloud with values of 0 to 1: noise of many scales, the finer the weaker by the decay."""
    from scipy.ndimage import zoom  # slow to import

    size, total, weight = max(sides), np.zeros((max(sides),) * 2), 1.0
    cells = 2
    while cells <= 2 * size:
        coarse = rng.random((cells, cells))
        total += weight * zoom(coarse, size / cells, order=1, mode="nearest", grid_mode=True)[:size, :size]
        cells, weight = cells * 2, weight / decay
    total -= total.min()
    cloud: npt.NDArray[np.float64] = (total / max(float(total.max()), 1e-12))[: sides[0], : sides[1]]
    return cloud


def _by_pillow(image: Levels, change: Callable[[Image.Image], Image.Image]) -> Levels:
    """Change an image as a picture; channels of other than one or three are changed each for itself."""
    pixels = to_pixels(255 * image)
    if pixels.shape[-1] in (1, 3):
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        return np.asarray(change(picture), np.float64).reshape(pixels.shape) / 255
    parts = [np.asarray(change(Image.fromarray(pixels[..., c]))) for c in range(pixels.shape[-1])]
    return np.stack(parts, -1).astype(np.float64) / 255
