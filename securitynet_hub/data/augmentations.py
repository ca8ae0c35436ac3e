"""Views of an image: what an attacker may do to it before a query, and models were or were not trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from securitynet_hub.data.pixels import Pixels

View = Callable[[Pixels], Pixels]
"""From images of shape (n, height, width, channels) to as many of that shape."""


def identity(pixels: Pixels) -> Pixels:
    """Return the images as they are."""
    return pixels


def mirror(pixels: Pixels) -> Pixels:
    """Return the images with left and right swapped."""
    return np.ascontiguousarray(pixels[:, :, ::-1])


def shift_up(pixels: Pixels) -> Pixels:
    """Return the images moved up by one pixel, the border repeated."""
    return np.concatenate([pixels[:, 1:], pixels[:, -1:]], axis=1)


def shift_down(pixels: Pixels) -> Pixels:
    """Return the images moved down by one pixel, the border repeated."""
    return np.concatenate([pixels[:, :1], pixels[:, :-1]], axis=1)


def shift_left(pixels: Pixels) -> Pixels:
    """Return the images moved left by one pixel, the border repeated."""
    return np.concatenate([pixels[:, :, 1:], pixels[:, :, -1:]], axis=2)


def shift_right(pixels: Pixels) -> Pixels:
    """Return the images moved right by one pixel, the border repeated."""
    return np.concatenate([pixels[:, :, :1], pixels[:, :, :-1]], axis=2)


VIEWS: dict[str, View] = {
    view.__name__: view for view in (identity, mirror, shift_up, shift_down, shift_left, shift_right)
}
"""Every view by its public name, the image as it is first."""
