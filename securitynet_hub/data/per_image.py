"""Preprocessing by a function of one picture, such as torchvision's transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from securitynet_hub.data.pixels import Pixels

TRIED = ((67, 83), (96, 64))
"""Rows and columns of the blank pictures that show of what size a function's results are."""


class PerImage:
    """A function from one picture to a network's input, as a `Preprocessing`.

    Args:
        function: from a Pillow image, grey ("L") or RGB, to a tensor (channels, height, width). It must give
            the same result for the same picture.
        name: what a record says of it: whatever decides the result.
        shape: height, width and channels of the network's input; found by trying, if every picture gets the
            same size.

    Raises:
        ValueError: the function returns something else, or inputs as large as the picture and no shape is
            given.

    >>> half = PerImage(lambda picture: torch.ones(3, 8, 8) / 2, "all grey")
    >>> half.shape, half(np.zeros((2, 5, 4, 3), np.uint8)).shape
    ((8, 8, 3), torch.Size([2, 3, 8, 8]))
    """

    def __init__(
        self, function: Callable[[Any], Any], name: str, shape: tuple[int, int, int] | None = None
    ) -> None:
        if not name:
            raise ValueError("name must say what the function does, because records name it; got none.")
        self.function, self.name = function, name
        self._channels = 3 if shape is None else shape[2]
        self.shape = shape or self._found()

    def __call__(self, pixels: Pixels) -> torch.Tensor:
        """Turn uint8 pixels (n, height, width, channels) into inputs (n, channels, height, width)."""
        if pixels.ndim != 4 or pixels.dtype != np.uint8 or pixels.shape[-1] not in (1, self._channels):
            raise ValueError(
                f"this model takes uint8 images of {self._channels} channel(s) (or one); got {pixels.dtype} "
                f"of {pixels.shape[1:]}."
            )
        return torch.stack([self._one(image) for image in pixels])

    def as_dict(self) -> dict[str, Any]:
        """Return the name for a record."""
        return {"function": self.name}

    def _one(self, image: Pixels) -> torch.Tensor:
        grey = image.shape[-1] == 1
        if grey and self._channels != 1:
            image = np.repeat(image, self._channels, axis=-1)
        found = self.function(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image))
        if isinstance(found, np.ndarray):
            found = torch.from_numpy(found)
        if not isinstance(found, torch.Tensor) or found.ndim != 3:
            got = f"shape {tuple(found.shape)}" if hasattr(found, "shape") else type(found).__name__
            raise ValueError(
                f"the preprocessing {self.name!r} must return a tensor (channels, height, width); got {got}."
            )
        return found.float()

    def _found(self) -> tuple[int, int, int]:
        try:
            first, second = (
                self._one(np.zeros((rows, columns, self._channels), np.uint8)) for rows, columns in TRIED
            )
        except (RuntimeError, ValueError, TypeError):
            if self._channels == 1:
                raise
            self._channels = 1  # one that normalises grey pictures refuses three channels
            return self._found()
        if first.shape != second.shape:
            raise ValueError(
                f"the preprocessing {self.name!r} leaves pictures at their own size; pass "
                "PerImage(function, name, shape=(height, width, channels)), the size that the network takes."
            )
        channels, height, width = first.shape
        return height, width, channels


def as_preprocessing(transform: Any) -> Any:
    """Return what a caller gives as transform as a `Preprocessing`; torchvision's transforms are wrapped.

    Raises:
        ValueError: it is none; the sentence says what to pass.

    >>> as_preprocessing(lambda picture: picture)
    Traceback (most recent call last):
    ...
    ValueError: transform must be a Transform(height=..., width=..., mean=..., std=...), an image processor \
of transformers, torchvision's transforms, or PerImage(function, "what it does") from \
securitynet_hub.data.per_image for a function of one picture, which a record can name (with shape=(height, \
width, channels) if it leaves pictures at their own size); got a function.
    """
    if all(hasattr(transform, name) for name in ("shape", "as_dict")) and callable(transform):
        return transform
    if callable(transform) and type(transform).__module__.startswith(("torchvision.", "timm.data")):
        return PerImage(transform, " ".join(repr(transform).split()))
    what = "a function" if callable(transform) and hasattr(transform, "__name__") else repr(transform)
    raise ValueError(
        "transform must be a Transform(height=..., width=..., mean=..., std=...), an image processor of "
        'transformers, torchvision\'s transforms, or PerImage(function, "what it does") from '
        "securitynet_hub.data.per_image for a function of one picture, which a record can name (with "
        f"shape=(height, width, channels) if it leaves pictures at their own size); got {what}."
    )
