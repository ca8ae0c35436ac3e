"""Preprocessing as data that a record can hold: resize, crop, scale and normalise uint8 pixels.

Images are resized by Pillow itself, as torchvision, timm and transformers have it done: the inputs are theirs
to the bit. torch's antialiased kernels are two to eight times as fast, but differ by a grey level in 0.1 to 2
% of the values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from securitynet_hub.data.pixels import Pixels

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
Fit = Literal["stretch", "cover", "contain"]

MAX_SIDE = 4096
"""Largest side in pixels, so that a configuration from a repository cannot fill the memory."""

MAX_RESIZED = 1 << 26
"""Largest number of pixels before the crop: a resized image of 1 x 5,000 pixels could fill the memory."""


@dataclass(frozen=True, kw_only=True)
class Transform:
    """Turn uint8 pixels into a network's input: (resize, crop,) scale to [0, 1], then normalise per channel.

    Without `resize`, images must have exactly the network's size. With it, what is then larger than the
    network's input is cropped to its centre, what is smaller is padded, both with torchvision's rounding. The
    channel of grey images is repeated if the network takes more channels.

    Attributes:
        height: rows of the network's input.
        width: columns of the network's input.
        depth: slices of the network's input; None for images.
        channels: channels of the network's input; by default the length of `mean`.
        resize: the length to which the shorter side is resized, or (rows, columns) for images of any shape,
            before the centre is cropped; None for no resizing.
        fit: how an image gets to (rows, columns): "stretch" gives it exactly these; "cover" and "contain"
            keep its shape and make it the smallest that covers them, or the largest that they contain.
        interpolation: method of `resize`, Pillow's.
        fill: grey level of the padding, one value or one per channel.
        factor: multiplies the pixels after they are scaled to [0, 1].
        mean: one value per channel, or a number for all, which is subtracted; None to subtract nothing.
        std: one value per channel, or a number for all, by which the result is divided; None for nothing.
        deviation: what the publisher does otherwise and cannot be done here, for records; None for nothing.

    >>> Transform(height=1, width=1, mean=(0.5,), std=(0.5,))(np.full((1, 1, 1, 1), 255, np.uint8))
    tensor([[[[1.]]]])
    >>> Transform(height=1, width=1, channels=3, mean=0.5).mean
    (0.5, 0.5, 0.5)
    >>> Transform(height=2, width=2, channels=3, resize=2)(np.zeros((5, 4, 6, 1), np.uint8)).shape
    torch.Size([5, 3, 2, 2])
    >>> wide = np.full((1, 1, 2, 1), 255, np.uint8)
    >>> Transform(height=2, width=2, channels=1, resize=(2, 2), fit="contain")(wide)[0, 0].tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """

    height: int
    width: int
    depth: int | None = None
    channels: int | None = None
    resize: int | tuple[int, int] | None = None
    fit: Fit = "stretch"
    interpolation: Interpolation = "bilinear"
    fill: int | tuple[int, ...] = 0
    factor: float = 1.0
    mean: tuple[float, ...] | float | None = None
    std: tuple[float, ...] | float | None = None
    deviation: str | None = None

    def __post_init__(self) -> None:
        self._spread()
        counts = {len(values) for values in (self.mean, self.std) if isinstance(values, tuple)}
        counts |= {len(self.fill)} if isinstance(self.fill, tuple) else set()
        counts |= {self.channels} if self.channels is not None else set()
        if len(counts) != 1:
            raise ValueError(
                "channels, mean, std and fill must agree on the number of channels, and one must be given; "
                f"got channels={self.channels}, mean={self.mean}, std={self.std}, fill={self.fill}."
            )
        object.__setattr__(self, "channels", counts.pop())
        rows, columns = self.resize if isinstance(self.resize, tuple) else (self.resize, self.resize)
        sides = [self.height, self.width, *(side for side in (self.depth, rows, columns) if side is not None)]
        if not 1 <= min(sides) <= max(sides) <= MAX_SIDE:
            raise ValueError(
                f"sides must have 1 to {MAX_SIDE:,} pixels; got {self.height} x {self.width}, "
                f"resize={self.resize}, depth={self.depth}."
            )
        for name, value, known in (
            ("interpolation", self.interpolation, get_args(Interpolation)),
            ("fit", self.fit, get_args(Fit)),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}; got {value!r}.")
        if self.resize is not None and self.depth is not None:
            raise ValueError(
                f"resize needs images without depth; got resize={self.resize}, depth={self.depth}."
            )

    def _spread(self) -> None:
        """Give every channel the value of a mean or std that is a number; a sequence has one for each."""
        others = [len(value) for value in (self.mean, self.std, self.fill) if isinstance(value, tuple)]
        channels = self.channels or max(others, default=1)
        for name, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, (int, float)):
                object.__setattr__(self, name, (float(value),) * channels)

    @property
    def shape(self) -> tuple[int, ...]:
        """(Depth,) height, width and channels of the network's input."""
        assert self.channels is not None  # set above
        depth = () if self.depth is None else (self.depth,)
        return *depth, self.height, self.width, self.channels

    def __call__(self, pixels: Pixels) -> torch.Tensor:
        """Turn uint8 pixels (n, [depth,] height, width, channels) into inputs (n, channels, [depth,] ...).

        The inputs are float32.

        Raises:
            ValueError: the images have a size or type that the network does not take.
        """
        self._check(pixels)
        if self.resize is not None:
            pixels = self._resized(pixels)
        moved = np.moveaxis(pixels, -1, 1)
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
        """Resize, crop and pad uint8 pixels to the network's size, before anything is scaled.

        Returns:
            Shape (n, height, width, channels), uint8, with as many channels as the network takes.
        """
        self._check(pixels)
        if self.resize is not None:
            pixels = self._resized(pixels)
        return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:-1], self.shape[-1])))

    def divided(self) -> tuple[Callable[[Pixels], Pixels], Transform]:
        """Return `crop`, and the transform of what it returns: one after the other is this one to the bit."""
        return self.crop, replace(self, resize=None)

    def differentiable(self, pixels: torch.Tensor) -> torch.Tensor:
        """Apply the transform to float pixels without rounding, so that gradients can be computed.

        Args:
            pixels: shape (n, channels, height, width), 0..255, of a size that the transform accepts.

        >>> Transform(height=1, width=1, mean=(0.5,)).differentiable(torch.full((1, 1, 1, 1), 127.5))
        tensor([[[[0.]]]])
        """
        images = pixels.expand(-1, self.shape[-1], -1, -1)
        if self.resize is not None:
            before = pixels.shape[2:]
            rows, columns = self._resized_sides(before)
            if (rows, columns) != tuple(before):
                down, across = (
                    torch.from_numpy(_weights(old, new, self.interpolation)).to(pixels)
                    for old, new in zip(before, (rows, columns), strict=True)
                )
                images = (down @ images @ across.mT).clamp(0, 255)
            top, left = _place(rows, self.height), _place(columns, self.width)
            whole = (*images.shape[:2], self.height, self.width)
            canvas = self._fill().to(pixels)[:, None, None].expand(whole).clone()
            canvas[..., top.to, left.to] = images[..., top.of, left.of]
            images = canvas
        scaled = self.factor * images / 255
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
            first = len(self.shape) == 3 == len(sides) + 1 and sides[0] in (1, 3) and channels not in (1, 3)
            hint = " Channels come last: pixels.transpose(0, 2, 3, 1) brings them there." if first else ""
            raise ValueError(
                f"this model takes uint8 images of {size}{grey}; got {pixels.dtype} of "
                f"{pixels.shape[1:]}.{hint}"
            )

    def _resized(self, images: Pixels) -> Pixels:
        """Resize images (n, height, width, channels) as `resize` says, and crop or pad around the centre."""
        rows, columns = self._resized_sides(images.shape[1:3])
        top, left = _place(rows, self.height), _place(columns, self.width)
        if (rows, columns) == images.shape[1:3] and (top.to, left.to) == (
            slice(0, self.height),
            slice(0, self.width),
        ):
            return images[:, top.of, left.of]
        fill = self._fill().numpy()
        channels = images.shape[-1] if (fill == fill[0]).all() else self.shape[-1]
        done = np.empty((len(images), self.height, self.width, channels), np.uint8)
        done[:] = fill[:channels]
        for image, place in zip(images, done, strict=True):
            place[top.to, left.to] = _resize(image, (rows, columns), self.interpolation)[top.of, left.of]
        return done

    def _resized_sides(self, sides: Sequence[int]) -> tuple[int, int]:
        """Return rows and columns before the crop, rounded as torchvision and timm do.

        Raises:
            ValueError: an image is so long that there would be too many pixels, or none.
        """
        if isinstance(self.resize, int):
            rows, columns = (int(self.resize * side / min(sides)) for side in sides)
        elif self.fit == "stretch":
            rows, columns = self.resize or sides
        else:
            ratios = [side / asked for side, asked in zip(sides, self.resize or sides, strict=True)]
            ratio = min(ratios) if self.fit == "cover" else max(ratios)
            rows, columns = (round(side / ratio) for side in sides)
        if not 0 < rows * columns <= MAX_RESIZED:
            raise ValueError(
                f"an image of {sides[0]:,} x {sides[1]:,} pixels would be resized to {rows:,} x {columns:,} "
                f"before it is cropped; 1 to {MAX_RESIZED:,} pixels were expected. Leave it out, or cut it."
            )
        return rows, columns

    def _fill(self) -> torch.Tensor:
        """Return the grey level of the padding, one for each channel."""
        values = self.fill if isinstance(self.fill, tuple) else (self.fill,) * self.shape[-1]
        return torch.tensor(values, dtype=torch.uint8)

    def _per_channel(self, values: tuple[float, ...] | float) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32).reshape(1, -1, *[1] * (len(self.shape) - 1))


class _Place(NamedTuple):
    """Where one side of an image lies on the network's input: the part of the image, and its place there."""

    of: slice
    to: slice


def _place(side: int, room: int) -> _Place:
    """Lay the centre of a side over the centre of the room, rounded as torchvision's CenterCrop does.

    >>> _place(5, 2), _place(2, 5)
    (_Place(of=slice(2, 4, None), to=slice(0, 2, None)), _Place(of=slice(0, 2, None), to=slice(1, 3, None)))
    """
    start, gap, length = round(max(0, side - room) / 2), max(0, room - side) // 2, min(side, room)
    return _Place(slice(start, start + length), slice(gap, gap + length))


def _resize(image: Pixels, sides: tuple[int, int], interpolation: str) -> Pixels:
    """Resize one image (height, width, channels) with Pillow."""
    channels = image.shape[-1]
    if channels not in (1, 3):  # Pillow takes four channels for colours and alpha, which it multiplies
        parts = [_resize(image[..., place : place + 1], sides, interpolation) for place in range(channels)]
        return np.concatenate(parts, -1)
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if channels == 1 else image))
    resized = np.asarray(picture.resize(sides[::-1], _method(interpolation)))
    return resized.reshape(*sides, channels)


@lru_cache(maxsize=16)
def _weights(old: int, new: int, interpolation: str) -> npt.NDArray[np.float32]:
    """Return Pillow's weights, shape (new, old): a resized side is weights @ side.

    Resizing is linear, so they are what the identity matrix becomes.

    >>> _weights(4, 2, "box")
    array([[0.5, 0.5, 0. , 0. ],
           [0. , 0. , 0.5, 0.5]], dtype=float32)
    """
    identity = Image.fromarray(np.eye(old, dtype=np.float32))
    return np.array(identity.resize((old, new), _method(interpolation)))


def _method(interpolation: str) -> Image.Resampling:
    return Image.Resampling[interpolation.upper()]
