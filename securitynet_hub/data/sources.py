"""Sources of labelled images: where an audit's images come from, read when they are needed."""

from __future__ import annotations

import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from securitynet_hub.core.arrays import Labels, Rows
from securitynet_hub.core.threads import in_threads
from securitynet_hub.data.pixels import Pixels

Shape = tuple[int, ...]
"""Height, width and channels of an image."""


Change = Callable[[Pixels], Pixels]
"""A function from images (n, height, width, channels), uint8, to changed ones, each for itself."""


class ImageSource(ABC):
    """Labelled images that are read when they are needed, each at its own size.

    A subclass gives `name`, `labels`, `class_names`, `sha256` and `read`. Reading the same row always gives
    the same pixels, from any thread.

    Attributes:
        name: the name of this set in records.
        labels: shape (n,), int64, 0..classes-1.
        class_names: one name for each class.
    """

    name: str
    labels: Labels
    class_names: tuple[str, ...]
    matched: bool = True
    """Whether labels are classes of the model; otherwise they are places among the class names alone."""

    numbered: bool = False
    """Whether labels are class numbers by themselves, and the class names only repeat them."""

    @property
    @abstractmethod
    def sha256(self) -> str:
        """A hash of all images and labels, by which a record names the data."""

    @abstractmethod
    def read(self, row: int) -> Pixels:
        """Return one image, shape (height, width, channels), uint8, at its own size."""

    def __len__(self) -> int:
        return len(self.labels)

    def place(self, row: int) -> str:
        """Name an image for a reader: its file where it has one, else its number."""
        return f"image {row}"

    @property
    def shape(self) -> Shape | None:
        """Height, width and channels if all images are of one size; None if they differ."""
        return None

    def array(self, rows: Rows) -> Pixels:
        """Return images as one array, shape (n, height, width, channels); they are read in threads.

        Raises:
            ValueError: they are not of one size, or do not fit into memory.
        """
        read = in_threads(self.read, (int(row) for row in rows))
        if self.shape is not None:
            _require_room(len(rows) * math.prod(self.shape), self.name, len(rows))
            images = np.empty((len(rows), *self.shape), np.uint8)
            for place, image in enumerate(read):
                images[place] = image
            return images
        found = list(read)
        shapes = sorted({image.shape for image in found})
        if len(shapes) > 1:
            raise ValueError(
                f"{self.name} has images of {len(shapes)} sizes, such as {shapes[:3]}; they cannot be one "
                "array. Bring them to one size first."
            )
        return np.stack(found) if found else np.zeros((0, 0, 0, 0), np.uint8)

    def select(self, rows: Rows) -> ImageSource:
        """Return the source of some of the images, in this order."""
        return Selection(self, rows)

    def change(self, change: Change, shape: Shape | None = None) -> ImageSource:
        """Return the source of changed images.

        Args:
            change: a function from images (n, height, width, channels), uint8, to changed ones.
            shape: the one size that all images have then; None if they keep different sizes.
        """
        return Changed(self, change, shape)

    def describe(self) -> dict[str, Any]:
        """Return what a record says of the images: name, hash, and what decides their pixels."""
        return {"name": self.name, "sha256": self.sha256}


def _require_room(size: int, name: str, count: int) -> None:
    """Refuse an array of more bytes than the machine's memory."""
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > room:
        raise ValueError(
            f"{count:,} images of {name} take {size / 1e9:,.0f} GB as one array, this machine has "
            f"{room / 1e9:,.0f} GB. An attack that changes images or trains on them needs fewer: "
            "?limit=10000 (limit=)."
        )


class OnDemand(ImageSource):
    """A source outside the memory."""

    @property
    def pixels(self) -> Pixels:
        """All images as one array in memory, shape (n, height, width, channels).

        Raises:
            ValueError: they are not of one size.
        """
        return self.array(np.arange(len(self)))


class Selection(OnDemand):
    """Some images of a source, in any order."""

    def __init__(self, source: ImageSource, rows: Rows) -> None:
        self._source, self._rows = source, np.asarray(rows, np.int64)
        self.name, self.class_names = source.name, source.class_names
        self.labels = source.labels[self._rows]
        self.matched, self.numbered = source.matched, source.numbered

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the source's hash and the chosen rows."""
        digest = hashlib.sha256(self._source.sha256.encode())
        digest.update(self._rows.astype("<i8").tobytes())
        return digest.hexdigest()

    def read(self, row: int) -> Pixels:
        """Return one image."""
        return self._source.read(int(self._rows[row]))

    def place(self, row: int) -> str:
        """Name an image as the source does."""
        return self._source.place(int(self._rows[row]))

    @property
    def shape(self) -> Shape | None:
        """The source's."""
        return self._source.shape

    def array(self, rows: Rows) -> Pixels:
        """Return images as one array."""
        return self._source.array(self._rows[rows])


class Relabelled(OnDemand):
    """A source with the labels of a model's classes.

    Args:
        source: the images.
        positions: for each class of the source its class of the model.
        class_names: one name for each class of the model.
        how: how the classes were matched, for records.
    """

    def __init__(
        self, source: ImageSource, positions: Labels, class_names: tuple[str, ...], how: str
    ) -> None:
        self._source, self._how = source, how
        self.name, self.class_names, self.labels = source.name, class_names, positions[source.labels]

    @property
    def sha256(self) -> str:
        """The source's: a record also says how classes were matched."""
        return self._source.sha256

    @property
    def shape(self) -> Shape | None:
        """The source's."""
        return self._source.shape

    def read(self, row: int) -> Pixels:
        """Return one image."""
        return self._source.read(row)

    def place(self, row: int) -> str:
        """Name an image as the source does."""
        return self._source.place(row)

    def array(self, rows: Rows) -> Pixels:
        """Return images as one array."""
        return self._source.array(rows)

    def describe(self) -> dict[str, Any]:
        """Return what the source says, and how classes were matched."""
        return {**self._source.describe(), "classes": self._how}


class Changed(OnDemand):
    """A source whose images are changed as they are read: resized, mirrored, stamped.

    The hash stays the source's, because a record also says how images were changed.

    Arguments as for `ImageSource.change`.
    """

    def __init__(self, source: ImageSource, change: Change, shape: Shape | None = None) -> None:
        self._source, self._change, self._shape = source, change, shape
        self.name, self.labels, self.class_names = source.name, source.labels, source.class_names
        self.matched, self.numbered = source.matched, source.numbered

    @property
    def sha256(self) -> str:
        """The source's."""
        return self._source.sha256

    @property
    def applied(self) -> Change:
        """What changes the images."""
        return self._change

    def read(self, row: int) -> Pixels:
        """Return one image, changed."""
        changed: Pixels = self._change(self._source.read(row)[None])[0]
        return changed

    def place(self, row: int) -> str:
        """Name an image as the source does."""
        return self._source.place(row)

    @property
    def shape(self) -> Shape | None:
        """The one size that all images have."""
        return self._shape

    def array(self, rows: Rows) -> Pixels:
        """Return images as one array."""
        return super().array(rows) if self._source.shape is None else self._change(self._source.array(rows))

    def describe(self) -> dict[str, Any]:
        """Return what the source says, and the size of the changed images."""
        size = {} if self._shape is None else {"pixels": list(self._shape)}
        return {**self._source.describe(), **size}


class Chained(OnDemand):
    """Two sources, one after the other.

    Args:
        first: the images of the first rows; its name and classes are those of both.
        second: the images of the rows after it.
    """

    def __init__(self, first: ImageSource, second: ImageSource) -> None:
        self._parts = first, second
        self.name, self.class_names = first.name, first.class_names
        self.labels = np.concatenate([first.labels, second.labels])

    @cached_property
    def sha256(self) -> str:
        """The sha256 of both hashes."""
        return hashlib.sha256("".join(part.sha256 for part in self._parts).encode()).hexdigest()

    @property
    def shape(self) -> Shape | None:
        """Height, width and channels if all images of both are of one size."""
        first, second = (part.shape for part in self._parts)
        return first if first == second else None

    def _find(self, row: int) -> tuple[ImageSource, int]:
        first, second = self._parts
        return (first, row) if row < len(first) else (second, row - len(first))

    def read(self, row: int) -> Pixels:
        """Return one image."""
        source, own = self._find(row)
        return source.read(own)

    def place(self, row: int) -> str:
        """Name an image as its source does."""
        source, own = self._find(row)
        return source.place(own)
