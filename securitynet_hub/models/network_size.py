"""Images at the size of a network's input, for attacks that change pixels or train on them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from securitynet_hub.data.query_images import fit_pixels
from securitynet_hub.data.sources import Change, ImageSource
from securitynet_hub.models.target import Preprocessing


@runtime_checkable
class Divisible(Protocol):
    """A preprocessing whose resize and crop can be done apart from the rest."""

    def divided(self) -> tuple[Change, Preprocessing] | None:
        """Return the change to pixels of the network's size, and what follows; None if it cannot be."""


def at_one_size(images: ImageSource, transform: Preprocessing) -> tuple[ImageSource, Preprocessing]:
    """Return images of one size and the preprocessing that takes them.

    Images that are all of one size already stay as they are. Others are resized and cropped to whole grey
    levels as the network's own preprocessing does; the returned preprocessing scales and normalises them.
    A publisher's own code that cannot be divided so gets images of its network's size (bilinear).

    Raises:
        ValueError: images differ in size, and the preprocessing takes one size alone.

    >>> from securitynet_hub.data.images import load_images
    >>> from securitynet_hub.data.transforms import Transform
    >>> transform = Transform(height=14, width=14, resize=16, mean=(0.5,))
    >>> images, rest = at_one_size(load_images(), transform)
    >>> images.shape, rest == transform
    ((28, 28, 1), True)
    """
    if images.shape is not None:
        return images, transform
    divided = transform.divided() if isinstance(transform, Divisible) else None
    if divided is not None:
        crop, rest = divided
        return images.change(crop, transform.shape), rest
    return images.change(lambda pixels: fit_pixels(pixels, transform.shape), transform.shape), transform
