"""Adversarial examples as pictures beside a record: the image, the changed one, and their difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from securitynet_hub.attacks.evasion.units import Example
from securitynet_hub.data.pixels import to_pixels

MOST = 4
"""Examples that are written."""

PARTS = ("original", "adversarial", "difference")
"""The pictures of an example."""


def save_examples(examples: Sequence[Example], folder: Path, *, stem: str) -> list[Path]:
    """Write ``<stem>-<number>-<attack>-<label>-<predicted>-<part>.png`` for the first examples.

    The difference is shown around a middle grey, its largest value black or white. Images of other than one
    or three channels cannot be shown and are left out.
    """
    paths = []
    shown = [example for example in examples if example.image.shape[-1] in (1, 3)][:MOST]
    for number, example in enumerate(shown):
        change = example.changed - example.image
        scale = float(np.abs(change).max()) or 1.0
        pictures = (example.image, example.changed, 0.5 + 0.5 * change / scale)
        about = f"{stem}-{number}-{example.attack}-{example.label}-{example.predicted}"
        for part, picture in zip(PARTS, pictures, strict=True):
            path = folder / f"{about}-{part}.png"
            _as_image(picture).save(path)
            paths.append(path)
    return paths


def _as_image(picture: npt.NDArray[np.float32]) -> Image.Image:
    pixels = to_pixels(255 * picture)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
