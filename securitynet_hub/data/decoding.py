"""Pictures as bytes become uint8 pixels: one rule for folders, data sets, archives and inputs to test.

Pixels are taken as a picture stores them: an EXIF orientation is not applied, because torchvision's
`ImageFolder` and timm's readers, with which public classifiers were trained, do not apply it. The first frame
of an animation is taken; transparency is dropped; a palette or CMYK becomes RGB.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from securitynet_hub.core.arrays import as_array
from securitynet_hub.core.errors import PictureError
from securitynet_hub.data.pixels import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

MODES = {1: "L", 3: "RGB"}
"""Pillow's mode for each number of channels."""

DEEP = ("I", "F")
"""What Pillow's modes of more than 8 bits for each pixel begin with: I;16, I;16B, I, F."""

HALVED = (0, 65535)
"""What black and white are where the upper 8 bits of 16 are the whole picture."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How pictures become pixels.

    Attributes:
        channels: 1 or 3; pictures are converted to grey (ITU-R BT.601) or RGB.
        value_range: what black and white are in pictures of more than 8 bits, such as (0, 65535); pictures
            of 8 bits are taken as they are. None refuses pictures of more than 8 bits, because what white is
            in them (1, 4095, 65535) cannot be told.
    """

    channels: int = 3
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.channels not in MODES:
            raise ValueError(f"channels must be 1 or 3; got {self.channels}.")
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise ValueError(
                f"a range must have its lower end first, such as 0-65535; got {self.value_range}."
            )

    def as_dict(self) -> dict[str, Any]:
        """Return what decides the pixels, for a record."""
        scaled = {} if self.value_range is None else {"range": list(self.value_range)}
        return {"channels": self.channels, "orientation": "as stored", **scaled}


class Header(NamedTuple):
    """A picture's size in pixels, from its first bytes."""

    height: int
    width: int


def read_header(content: bytes, place: str, decoding: Decoding) -> Header:
    """Read a picture's size, and refuse one that cannot become pixels.

    Args:
        content: the whole file.
        place: names the picture in errors.
        decoding: how it will be decoded.

    Raises:
        PictureError: it is no picture, or one of more than 8 bits without a range.
    """
    with _opened(content, place) as image:
        _require_range(image, place, decoding)
        return Header(image.height, image.width)


def decode(content: bytes, place: str, decoding: Decoding) -> Pixels:
    """Return a picture's pixels, shape (height, width, channels), uint8.

    Raises:
        PictureError: it is no picture, is damaged, or as `read_header`; the message names it.

    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("L", (3, 2), 7).save(file, "PNG")
    >>> decode(file.getvalue(), "seven.png", Decoding(channels=1))[..., 0]
    array([[7, 7, 7],
           [7, 7, 7]], dtype=uint8)
    """
    with _opened(content, place) as image:
        _require_range(image, place, decoding)
        try:
            if image.mode.startswith(DEEP):
                grey = scale(np.asarray(image), place, decoding.value_range)[..., None]
                return np.repeat(grey, decoding.channels, -1)
            # By way of RGBA a palette gives the same colours, without Pillow's warning.
            clear = image.mode in ("P", "PA") and "transparency" in image.info
            colours = image.convert("RGBA") if clear else image
            mode = MODES[decoding.channels]  # convert() would copy what is in this mode already
            pixels: Pixels = np.array(colours if colours.mode == mode else colours.convert(mode))
        except PictureError:
            raise
        except Exception as error:  # whatever Pillow makes of a stranger's bytes
            raise _broken(place, error) from error
    return pixels.reshape(*pixels.shape[:2], decoding.channels)


def scale(values: Any, place: str, value_range: tuple[float, float] | None) -> Pixels:
    """Scale values of more than 8 bits to 0..255, black and white as the range says, and round.

    Raises:
        PictureError: a value lies outside the range, or there is none.

    >>> scale(np.array([0, 32768, 65535], np.uint16), "ramp", (0, 65535))
    array([  0, 128, 255], dtype=uint8)
    """
    levels = np.asarray(values, np.float64)
    if value_range is None:
        raise PictureError(
            f"{place} has values of {np.asarray(values).dtype}; say what black and white are, such as range "
            "0-65535."
        )
    low, high = value_range
    if levels.size and not (low <= levels.min() and levels.max() <= high):
        raise PictureError(
            f"{place} has values {levels.min():g}..{levels.max():g}, outside of the range {low:g}-{high:g}."
        )
    pixels: Pixels = np.rint((levels - low) * (255 / (high - low))).astype(np.uint8)
    return pixels


def as_uint8(pixels: Any, name: str, value_range: tuple[float, float] | None = None) -> Pixels:
    """Return pixels as uint8: as they are, or scaled from a range that the caller states.

    Raises:
        ValueError: they are no uint8 and there is no range, or as `scale`.

    >>> as_uint8(np.array([0.0, 0.5, 1.0]), "pixels", (0, 1))
    array([  0, 128, 255], dtype=uint8)
    """
    array = as_array(pixels, name)
    if value_range is None:
        if array.dtype == np.uint8:
            return array
        kind = str(getattr(pixels, "dtype", array.dtype)).removeprefix("torch.")
        raise PictureError(f"{name} has values of {kind}; say what black and white are, {_range_of(array)}.")
    return scale(array, name, value_range)


def _range_of(values: Any) -> str:
    """Return what to pass as `value_range` for values like these."""
    if values.dtype.kind not in "biuf":
        return "such as value_range=(0.0, 1.0)"
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if low < 0:
        return (
            f"such as value_range=(-1.0, 1.0) (they lie in {low:.4g}..{high:.4g}; pixels that a transform "
            "has normalised must be given as they were before it)"
        )
    if values.dtype.kind == "f" and high <= 1:
        return "such as value_range=(0.0, 1.0)"
    return f"such as value_range=(0, {255 if high <= 255 and values.dtype != np.uint16 else 65535})"


def _opened(content: bytes, place: str) -> Image:
    from PIL import Image

    try:
        return Image.open(io.BytesIO(content))
    except Exception as error:  # Pillow raises many kinds
        raise _broken(place, error) from error


def _broken(place: str, error: Exception) -> PictureError:
    from PIL import UnidentifiedImageError

    unknown = isinstance(error, UnidentifiedImageError)
    why = "Pillow knows no such format" if unknown else str(error).rstrip(".")
    found = PictureError(
        f"{place} cannot be read as a picture: {why}. Mend or remove it, or leave such files out with "
        "?broken=skip, which records count."
    )
    found.broken = True
    return found


def _is_halved(image: Image) -> bool:
    """Return whether Pillow reads the upper 8 bits of 16 alone, as of colours in PNG and TIFF."""
    layouts = [tile[3] for tile in getattr(image, "tile", ())]
    return any(";16" in str(layout[0] if isinstance(layout, tuple) else layout) for layout in layouts)


def _require_range(image: Image, place: str, decoding: Decoding) -> None:
    mode = image.mode
    if not mode.startswith(DEEP) and _is_halved(image) and decoding.value_range != HALVED:
        raise PictureError(
            f"{place} has colours of 16 bits, of which Pillow reads the upper 8: right where white is 65535, "
            "which ?range=0-65535 says, and nearly black where it is 4095. Convert it to 8 bits otherwise."
        )
    if mode.startswith(DEEP) and decoding.value_range is None:
        kind = {"F": "floats", "I": "32 bits"}.get(mode, "16 bits")
        raise PictureError(
            f"{place} has pixels of {kind}, and which value is white in them (1, 4095, 65535) cannot be "
            "told. Say it with ?range=0-65535, or whatever it is."
        )
