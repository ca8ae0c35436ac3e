"""Labelled images, as the pixels a data set publishes: uint8, before any model's preprocessing."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from securitynet_hub.errors import UnknownNameError
from securitynet_hub.weights import verified_bytes

FOLDER = Path(__file__).parent / "data"

PACKAGED = {
    "fashion_mnist_4k": "4def18d1e98b1f4ed0476767f4b74da5d68f4dc75e5c9a1d0f876779c9756cde",
}
"""Image sets that ship with the package, by name, with the sha256 of their file."""

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledImages:
    """Images of one size with one label each.

    Attributes:
        name: what records call this set.
        pixels: shape (n, height, width, channels), uint8, 0..255.
        labels: shape (n,), int64, 0..classes-1.
        class_names: one name for each class.
    """

    name: str
    pixels: npt.NDArray[np.uint8] = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    class_names: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.dtype != np.uint8:
            raise ValueError(
                "pixels must be uint8 of shape (n, height, width, channels); got "
                f"{self.pixels.dtype} of {self.pixels.shape}."
            )
        if self.labels.shape != (len(self.pixels),) or self.labels.dtype.kind not in "iu":
            raise ValueError(
                f"labels must be {len(self.pixels)} integers, one for each image; got "
                f"{self.labels.dtype} of {self.labels.shape}."
            )
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise ValueError(
                f"labels must lie in 0..{len(self.class_names) - 1}; got {self.labels.min()}.."
                f"{self.labels.max()}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def sha256(self) -> str:
        """Hash of shape, pixels and labels: what a record says the figures were measured on."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()


@lru_cache(maxsize=4)
def load_images(name: str = "fashion_mnist_4k") -> LabelledImages:
    """Load a packaged image set; its file is hashed before it is read.

    ``fashion_mnist_4k`` holds 4,000 Fashion-MNIST images (Xiao, Rasul & Vollgraf 2017, MIT), 28 x 28 x 1,
    class-balanced: 2,000 of the training file, then 2,000 of the test file.

    Raises:
        UnknownNameError: no such set; the closest names are given.
        WeightsError: the file is damaged.

    >>> images = load_images("fashion_mnist_4k")
    >>> images.pixels.shape, images.class_names[images.labels[0]]
    ((4000, 28, 28, 1), 'Ankle boot')
    """
    if name not in PACKAGED:
        raise UnknownNameError("image set", name, PACKAGED)
    content = verified_bytes(FOLDER / name / "images.npz", "sha256", PACKAGED[name])
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        pixels, labels = arrays["pixels"], arrays["labels"]
    for array in (pixels, labels):  # shared by every caller
        array.flags.writeable = False
    return LabelledImages(name=name, pixels=pixels, labels=labels, class_names=FASHION_MNIST_CLASSES)
