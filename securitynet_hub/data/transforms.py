"""Preprocessing as data that a record can hold: resize, crop, scale and normalise uint8 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch

from securitynet_hub.data.pixels import Pixels

Interpolation = Literal["bilinear", "bicubic", "nearest"]

# The arguments of `torch.nn.functional.interpolate` that reproduce Pillow's resizing of 8-bit images. Its
# antialiased kernels for uint8 are Pillow's, rounding included. They resize along the width first; Pillow 13
# resizes along the height first if the height shrinks much more. Pillow's "nearest" takes the pixel under
# the centre, which torch calls "nearest-exact".
_MODES: dict[str, dict[str, Any]] = {
    "bilinear": {"mode": "bilinear", "antialias": True},
    "bicubic": {"mode": "bicubic", "antialias": True},
    "nearest": {"mode": "nearest-exact"},
}

MAX_SIDE = 4096
"""Largest side in pixels, so that a configuration from a repository cannot fill the memory."""


@dataclass(frozen=True, kw_only=True)
class Transform:
    """Turn uint8 pixels into a network's input: (resize, crop,) scale to [0, 1], then normalise per channel.

    Without `resize`, images must have exactly the network's size. The channel of grey images is repeated if
    the network takes more channels.

    Attributes:
        height: rows of the network's input.
        width: columns of the network's input.
        depth: slices of the network's input; None for images.
        channels: channels of the network's input; by default the length of `mean`.
        resize: the length to which the shorter side is resized, or (rows, columns) for images of any shape,
            before the centre is cropped; None for no resizing.
        interpolation: method of `resize`, antialiased as in Pillow.
        factor: multiplies the pixels after they are scaled to [0, 1].
        mean: one value per channel, which is subtracted; None to subtract nothing.
        std: one value per channel, by which the result is divided; None to divide by nothing.

    >>> Transform(height=1, width=1, mean=(0.5,), std=(0.5,))(np.full((1, 1, 1, 1), 255, np.uint8))
    tensor([[[[1.]]]])
    >>> Transform(height=2, width=2, channels=3, resize=2)(np.zeros((5, 4, 6, 1), np.uint8)).shape
    torch.Size([5, 3, 2, 2])
    """

    height: int
    width: int
    depth: int | None = None
    channels: int | None = None
    resize: int | tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"
    factor: float = 1.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        counts = {len(values) for values in (self.mean, self.std) if values is not None}
        counts |= {self.channels} if self.channels is not None else set()
        if len(counts) != 1:
            raise ValueError(
                "channels, mean and std must agree on the number of channels, and one must be given; got "
                f"channels={self.channels}, mean={self.mean}, std={self.std}."
            )
        object.__setattr__(self, "channels", counts.pop())
        rows, columns = self.resize if isinstance(self.resize, tuple) else (self.resize, self.resize)
        sides = (self.height, self.width, rows or self.height, columns or self.width)
        if not 1 <= min(sides) <= max(sides) <= MAX_SIDE:
            raise ValueError(
                f"sides must have 1 to {MAX_SIDE:,} pixels; got {self.height} x {self.width}, "
                f"resize={self.resize}."
            )
        if self.interpolation not in get_args(Interpolation):
            raise ValueError(
                f"interpolation must be one of {get_args(Interpolation)}; got {self.interpolation!r}."
            )
        if self.resize is not None and (
            self.depth is not None or sides[2] < self.height or sides[3] < self.width
        ):
            raise ValueError(
                f"resize needs images without depth, and sides of at least {self.height, self.width}; got "
                f"resize={self.resize}, depth={self.depth}."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """(Depth,) height, width and channels of the network's input."""
        assert self.channels is not None  # set above
        depth = () if self.depth is None else (self.depth,)
        return *depth, self.height, self.width, self.channels

    def __call__(self, pixels: Pixels) -> torch.Tensor:
        """Turn uint8 pixels (n, [depth,] height, width, channels) into inputs (n, channels, [depth,] ...).

        The inputs are float32.
        """
        self._check(pixels)
        moved = np.moveaxis(pixels, -1, 1)
        if self.resize is not None:
            moved = self._resized(moved, self.resize)
        scaled = torch.from_numpy(np.ascontiguousarray(moved, dtype=np.float32)).div_(255)
        if scaled.shape[1] != self.shape[-1]:
            scaled = scaled.repeat_interleave(self.shape[-1], dim=1)
        if self.factor != 1:
            scaled.mul_(self.factor)
        if self.mean is not None:
            scaled.sub_(self._per_channel(self.mean))
        if self.std is not None:
            scaled.div_(self._per_channel(self.std))
        return scaled

    def crop(self, pixels: Pixels) -> Pixels:
        """Resize and crop uint8 pixels to the network's size, before anything is scaled.

        With ``rest = replace(transform, resize=None)``, ``rest(transform.crop(pixels))`` is
        ``transform(pixels)`` to the bit.

        Returns:
            Shape (n, height, width, channels), uint8, with as many channels as the network takes.
        """
        self._check(pixels)
        if self.resize is not None:
            pixels = np.moveaxis(self._resized(np.moveaxis(pixels, -1, 1), self.resize), 1, -1)
        return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:-1], self.shape[-1])))

    def differentiable(self, pixels: torch.Tensor) -> torch.Tensor:
        """Apply the transform to float pixels without rounding, so that gradients can be computed.

        Args:
            pixels: shape (n, channels, height, width), 0..255, of a size that the transform accepts.

        >>> Transform(height=1, width=1, mean=(0.5,)).differentiable(torch.full((1, 1, 1, 1), 127.5))
        tensor([[[[0.]]]])
        """
        images = pixels
        if self.resize is not None:
            sides = pixels.shape[2:]
            rows, columns = self._resized_sides(sides, self.resize)
            if (rows, columns) != tuple(sides):
                images = torch.nn.functional.interpolate(
                    pixels, (rows, columns), **_MODES[self.interpolation]
                ).clamp(0, 255)
            top, left = self._corner(rows, columns)
            images = images[:, :, top : top + self.height, left : left + self.width]
        scaled = self.factor * images.expand(-1, self.shape[-1], -1, -1) / 255
        if self.mean is not None:
            scaled = scaled - self._per_channel(self.mean).to(scaled.device)
        if self.std is not None:
            scaled = scaled / self._per_channel(self.std).to(scaled.device)
        return scaled

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for a record."""
        return asdict(self)

    def _check(self, pixels: Pixels) -> None:
        *sides, channels = pixels.shape[1:] or (0,)
        fits = pixels.ndim == len(self.shape) + 1 and channels in (1, self.shape[-1])
        fits &= min(sides, default=0) > 0 if self.resize is not None else tuple(sides) == self.shape[:-1]
        if not fits or pixels.dtype != np.uint8:
            names = (
                "height, width and channels" if self.depth is None else "depth, height, width and channels"
            )
            size = f"any size and {self.shape[-1]} channels" if self.resize else f"{names} {self.shape}"
            grey = " (or one channel)" if self.shape[-1] != 1 else ""
            raise ValueError(
                f"this model takes uint8 images of {size}{grey}; got {pixels.dtype} of {pixels.shape[1:]}."
            )

    def _resized(self, images: Pixels, resize: int | tuple[int, int]) -> Pixels:
        """Resize images (n, channels, height, width) as `resize` says and crop the centre."""
        sides = images.shape[2:]
        rows, columns = self._resized_sides(sides, resize)
        if (rows, columns) != sides:
            tensor = torch.from_numpy(np.ascontiguousarray(images))
            tensor = torch.nn.functional.interpolate(tensor, (rows, columns), **_MODES[self.interpolation])
            images = tensor.numpy()
        top, left = self._corner(rows, columns)
        return images[:, :, top : top + self.height, left : left + self.width]

    @staticmethod
    def _resized_sides(sides: Sequence[int], resize: int | tuple[int, int]) -> tuple[int, int]:
        """Return rows and columns before the crop, rounded down as torchvision does."""
        if isinstance(resize, tuple):
            return resize
        rows, columns = (int(resize * side / min(sides)) for side in sides)
        return rows, columns

    def _corner(self, rows: int, columns: int) -> tuple[int, int]:
        """Return the top left corner of the crop, rounded to even as torchvision does."""
        return round((rows - self.height) / 2), round((columns - self.width) / 2)

    def _per_channel(self, values: tuple[float, ...]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32).reshape(1, -1, *[1] * (len(self.shape) - 1))
