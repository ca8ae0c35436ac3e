"""What every detector of poisoned inputs asks of the images it is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from securitynet_hub.core.arrays import as_array, name_rows
from securitynet_hub.data.pixels import QUERY_BYTES, Pixels, image_digests
from securitynet_hub.models.target import Target


def as_pixels(target: Target, images: Any, name: str = "inputs") -> Pixels:
    """Return images as (n, [depth,] height, width, channels); grey ones may come without channels.

    Raises:
        ValueError: there are none, or they are no uint8 images.
    """
    pixels = as_array(images, name)
    axes = len(target.transform.shape)
    if pixels.ndim == axes:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != axes + 1 or not pixels.size:
        raise ValueError(
            f"{name} must be uint8 images, at least one, of {axes} dimensions each; got {pixels.dtype} of "
            f"{pixels.shape}."
        )
    return pixels


def as_disjoint(target: Target, inputs: Any, clean: Any) -> tuple[Pixels, Pixels]:
    """Return inputs and clean images as pixels, once it is sure that no image is in both.

    Raises:
        ValueError: as `as_pixels`, they differ in size, or an input is one of the clean images.
    """
    pixels, known = as_pixels(target, inputs), as_pixels(target, clean, "clean")
    if pixels.shape[1:] != known.shape[1:]:
        raise ValueError(
            f"inputs and clean images must be of one size; got {pixels.shape[1:]} and {known.shape[1:]}."
        )
    hashes = set(image_digests(known))
    shared = np.flatnonzero([digest in hashes for digest in image_digests(pixels)])
    if len(shared):
        raise ValueError(
            "clean images must be other images than the inputs, or a detector would know what it judges; "
            f"{name_rows(shared)} of the inputs are among them."
        )
    return pixels, known


def parts(count: int, bytes_each: int) -> Iterator[slice]:
    """Cut so many rows into slices that fit into memory, where each row takes so many bytes of queries."""
    together = max(1, QUERY_BYTES // bytes_each)
    for start in range(0, count, together):
        yield slice(start, start + together)
