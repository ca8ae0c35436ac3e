"""Labelled images as a data set publishes them: uint8 pixels, before any model's preprocessing."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet_hub.core.arrays import Labels, Rows
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.files import verified_bytes
from securitynet_hub.data.dataset_rows import side_of_dataset
from securitynet_hub.data.decoding import Decoding, decode
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.sides import one_side
from securitynet_hub.data.sources import Change, Changed, ImageSource, Shape

if TYPE_CHECKING:
    import datasets

FOLDER = Path(__file__).parents[1] / "resources"

PACKAGED = {
    "fashion_mnist_4k": "4def18d1e98b1f4ed0476767f4b74da5d68f4dc75e5c9a1d0f876779c9756cde",
}
"""Names of the image sets that ship with the package, with the sha256 of each file."""

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledImages(ImageSource):
    """Images of one size in memory, with one label each.

    Attributes:
        name: the name of this set in records.
        pixels: shape (n, height, width, channels), uint8, 0..255.
        labels: shape (n,), int64, 0..classes-1.
        class_names: one name for each class.
    """

    name: str
    pixels: Pixels = field(repr=False)
    labels: Labels = field(repr=False)
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

    @property
    def shape(self) -> Shape:
        """Height, width and channels."""
        return self.pixels.shape[1:]

    def read(self, row: int) -> Pixels:
        """Return one image."""
        image: Pixels = self.pixels[row]
        return image

    def array(self, rows: Rows) -> Pixels:
        """Return images as one array."""
        images: Pixels = self.pixels[rows]
        return images

    def select(self, rows: Rows) -> LabelledImages:
        """Return some of the images."""
        return replace(self, pixels=self.pixels[rows], labels=self.labels[rows])

    def change(self, change: Change, shape: Shape | None = None) -> LabelledImages:
        """Return changed images, in memory as well."""
        return replace(self, pixels=change(self.pixels))

    @cached_property
    def sha256(self) -> str:
        """The sha256 of shape, pixels and labels, by which a record names the data."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()


@lru_cache(maxsize=4)
def load_images(name: str = "fashion_mnist_4k") -> LabelledImages:
    """Load a packaged image set, after its file's hash has been checked.

    ``fashion_mnist_4k`` holds 4,000 Fashion-MNIST images (Xiao, Rasul & Vollgraf 2017, MIT), 28 x 28 x 1,
    class-balanced: first 2,000 of the training file, then 2,000 of the test file.

    Raises:
        UnknownNameError: no such set; the closest names are given.
        WeightsError: the file is damaged.

    >>> images = load_images("fashion_mnist_4k")
    >>> images.pixels.shape, images.class_names[images.labels[0]]
    ((4000, 28, 28, 1), 'Ankle boot')
    """
    if name not in PACKAGED:
        raise UnknownNameError("image set", name, PACKAGED)
    content = verified_bytes(FOLDER / name / "images.npz", PACKAGED[name])
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        pixels, labels = arrays["pixels"], arrays["labels"]
    for array in (pixels, labels):  # shared by every caller
        array.flags.writeable = False
    return LabelledImages(name=name, pixels=pixels, labels=labels, class_names=FASHION_MNIST_CLASSES)


def images_from(
    dataset: datasets.Dataset | datasets.IterableDataset,
    *,
    name: str,
    image: str | None = None,
    label: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    channels: int = 3,
    size: int | None = None,
) -> ImageSource:
    """Return the images of one split of a data set of the `datasets` library.

    Args:
        dataset: one split, map-style or streaming.
        name: the name of this set in records.
        image: the column of pictures; by default the only one.
        label: the column of labels; by default the only ClassLabel, or one that is called ``label``.
        limit: number of images to draw at random; None for all.
        seed: seed of that draw.
        channels: 1 or 3; images are converted to grey or RGB.
        size: side in pixels, as for `square`; None keeps each image's size.

    Raises:
        ValueError: a column is missing, or an image has no label or cannot be read.
    """
    side = side_of_dataset(dataset, name=name, split=name, image=image, label=label, limit=limit, seed=seed)
    images = one_side(side, source=name, limit=limit, seed=seed, decoding=Decoding(channels=channels))
    return images if size is None else Squared(images, size)


class Squared(Changed):
    """A source whose images are squares, as `square` makes them.

    Args:
        source: the images.
        size: side in pixels.
    """

    def __init__(self, source: ImageSource, size: int) -> None:
        shape = (size, size, source.read(0).shape[-1])
        super().__init__(source, lambda pixels: square(pixels, size), shape)

    @property
    def sha256(self) -> str:
        """The sha256 of the source's hash and the size."""
        return hashlib.sha256(f"{super().sha256} {self.shape}".encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return what the source says, under the hash of the squares."""
        return {**super().describe(), "sha256": self.sha256}


def square(pixels: Pixels, size: int) -> Pixels:
    """Resize the shorter side of images to `size` (bilinear, as Pillow), and crop the centre to a square.

    >>> square(np.zeros((1, 10, 30, 3), np.uint8), 8).shape
    (1, 8, 8, 3)
    """
    from PIL import Image

    found = []
    for image in pixels:
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        scale = size / min(picture.size)
        width, height = (max(size, round(side * scale)) for side in picture.size)
        left, top = (width - size) // 2, (height - size) // 2
        picture = picture.resize((width, height), resample=2).crop((left, top, left + size, top + size))
        found.append(np.asarray(picture).reshape(size, size, -1))
    return np.stack(found)


def read_pictures(
    folder: str | Path, shape: tuple[int, ...], fit: Change | None = None
) -> tuple[tuple[str, ...], Pixels]:
    """Read every picture in a folder and its subfolders, in the order of their paths.

    Pixels are taken as `decoding` says. Pictures of another size are resized and cropped by `fit`, by default
    to the square shape as by `square`; enlarging a small picture blurs it.

    Args:
        folder: holds only files that Pillow can read; hidden files are ignored.
        shape: height, width and channels, 1 or 3.
        fit: brings images (n, height, width, channels) to the shape.

    Returns:
        Paths relative to the folder, and pixels, shape (n, height, width, channels), uint8.

    Raises:
        ValueError: the folder is missing or has no picture, a file is not a picture, or a picture has another
            size and the requested shape is not square.
    """
    root = Path(folder)
    paths = sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not paths or len(shape) != 3 or shape[2] not in (1, 3):
        raise ValueError(
            f"{root} must be a folder of pictures, and the shape height, width and 1 or 3 channels; the "
            f"folder holds {len(paths)} files, and the shape is {shape}."
        )
    decoding, found = Decoding(channels=shape[2]), []
    for path in paths:
        try:
            pixels = decode(path.read_bytes(), str(path), decoding)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from error
        if pixels.shape != tuple(shape):
            if fit is None and shape[0] != shape[1]:
                raise ValueError(
                    f"{path} has {pixels.shape[0]} x {pixels.shape[1]} pixels; {shape[0]} x {shape[1]} were "
                    "expected."
                )
            pixels = (square(pixels[None], shape[0]) if fit is None else fit(pixels[None]))[0]
        found.append(pixels)
    return tuple(path.relative_to(root).as_posix() for path in paths), np.stack(found)
