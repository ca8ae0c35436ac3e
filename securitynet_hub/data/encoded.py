"""Encoded pictures as a source of images: files, archives or rows of a data set, decoded when read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Labels, Rows
from securitynet_hub.core.errors import PictureError, SourceChangedError
from securitynet_hub.core.threads import in_threads
from securitynet_hub.data.decoding import Decoding, decode, read_header
from securitynet_hub.data.pixel_cache import CachedPixels, cached_pixels
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.sources import OnDemand, Shape

TOGETHER = 64
"""Pictures that one thread looks at, one after the other."""

OnImages = Callable[[int], None]
"""Called with a number of images that were looked at, for a progress bar."""


class Store(Protocol):
    """Where encoded pictures lie."""

    def __len__(self) -> int:
        """Count the pictures."""

    def content(self, row: int) -> bytes:
        """Return one picture's bytes, from any thread.

        Raises:
            PictureError: they cannot be read.
        """

    def place(self, row: int) -> str:
        """Name a picture in errors."""


@dataclass(frozen=True, eq=False)
class Joined:
    """Some pictures of several stores, one after the other."""

    parts: Sequence[tuple[Store, Rows]] = field(repr=False)

    @cached_property
    def _starts(self) -> Rows:
        return np.cumsum([0, *(len(rows) for _, rows in self.parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _find(self, row: int) -> tuple[Store, int]:
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        store, rows = self.parts[part]
        return store, int(rows[row - self._starts[part]])

    def content(self, row: int) -> bytes:
        """Return one picture's bytes."""
        store, own = self._find(row)
        return store.content(own)

    def place(self, row: int) -> str:
        """Name a picture."""
        store, own = self._find(row)
        return store.place(own)


@dataclass(frozen=True, kw_only=True, eq=False)
class Inspection:
    """What the bytes of pictures say before they are decoded.

    Attributes:
        digests: shape (n, 32), uint8: the sha256 of each picture's bytes.
        sizes: shape (n, 2), height and width of each picture.
        broken: rows of pictures that cannot be read, with the reason; empty unless they may be skipped.
    """

    digests: npt.NDArray[np.uint8] = field(repr=False)
    sizes: npt.NDArray[np.int64] = field(repr=False)
    broken: dict[int, str] = field(default_factory=dict)


def inspect(
    store: Store, decoding: Decoding, *, skip_broken: bool = False, on_images: OnImages = lambda count: None
) -> Inspection:
    """Read the bytes of every picture once, in threads: hash them and find each picture's size.

    Args:
        store: the pictures.
        decoding: how they will be decoded.
        skip_broken: decode each picture to its end, and note those that cannot be read.
        on_images: called with the number of pictures looked at.

    Raises:
        PictureError: a picture cannot be read; the first is named. With `skip_broken` only for a picture of
            more than 8 bits without a range.
    """
    digests = np.zeros((len(store), 32), np.uint8)
    sizes = np.zeros((len(store), 2), np.int64)
    broken: dict[int, str] = {}

    def look(rows: range) -> int:
        for row in rows:
            try:
                content = store.content(row)
                digests[row] = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
                sizes[row] = read_header(content, store.place(row), decoding)
                if skip_broken:
                    decode(content, store.place(row), decoding)
            except PictureError as error:
                if not (skip_broken and error.broken):
                    raise
                broken[row] = str(error)
        return len(rows)

    blocks = (range(start, min(start + TOGETHER, len(store))) for start in range(0, len(store), TOGETHER))
    for count in in_threads(look, blocks):
        on_images(count)
    return Inspection(digests=digests, sizes=sizes, broken=dict(sorted(broken.items())))


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedImages(OnDemand):
    """Encoded pictures with one label each, decoded when they are read.

    Their hash is that of the encoded bytes, of the labels and of how they are decoded, so that it needs no
    pixels. A picture whose bytes are no longer those that were hashed is refused. Decoded pictures are kept
    in a cache that all processes of a user share; see `pixel_cache`.

    Attributes:
        name: the name of this set in records.
        store: the pictures.
        labels: shape (n,), int64, 0..classes-1.
        class_names: one name for each class.
        decoding: how pictures become pixels.
        inspection: what `inspect` found.
        facts: what else records say of the images.
        numbered: whether labels are class numbers by themselves, and names only repeat them.
        matched: whether labels are classes of the model already.
    """

    name: str
    store: Store = field(repr=False)
    labels: Labels = field(repr=False)
    class_names: tuple[str, ...] = field(repr=False)
    decoding: Decoding
    inspection: Inspection = field(repr=False)
    facts: dict[str, Any] = field(default_factory=dict)
    numbered: bool = False
    matched: bool = False

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the bytes' hashes, the labels, how they are taken, and the decoding."""
        digest = hashlib.sha256(self._pixels_sha256.encode())
        digest.update(self.labels.astype("<i8").tobytes() + (b"matched" if self.matched else b""))
        return digest.hexdigest()

    @cached_property
    def _pixels_sha256(self) -> str:
        """The sha256 of what decides the pixels."""
        digest = hashlib.sha256(repr(sorted(self.decoding.as_dict().items())).encode())
        digest.update(self.inspection.digests.tobytes())
        return digest.hexdigest()

    @cached_property
    def _cache(self) -> CachedPixels | None:
        return cached_pixels(self._pixels_sha256, self.inspection.sizes, self.decoding.channels)

    @property
    def shape(self) -> Shape | None:
        """Height, width and channels if all pictures are of one size."""
        sizes = self.inspection.sizes
        if not len(sizes) or (sizes != sizes[0]).any():
            return None
        return int(sizes[0, 0]), int(sizes[0, 1]), self.decoding.channels

    def place(self, row: int) -> str:
        """Return the file, or what else names a picture."""
        return self.store.place(row)

    def read(self, row: int) -> Pixels:
        """Return one image, from the cache or decoded.

        Raises:
            PictureError: it is damaged; the message names it.
            SourceChangedError: it is not the picture that was hashed.
        """
        cache = self._cache
        if cache is not None:
            known = cache.read(row)
            if known is not None:
                return known
        content = self.store.content(row)
        if hashlib.sha256(content).digest() != self.inspection.digests[row].tobytes():
            raise SourceChangedError(
                f"{self.store.place(row)} has changed since this audit began; its figures would describe "
                "neither the old images nor the new ones. Audit again when nothing writes there any more."
            )
        pixels = decode(content, self.store.place(row), self.decoding)
        if cache is not None:
            cache.write(row, pixels)
        return pixels

    def describe(self) -> dict[str, Any]:
        """Return name, hash, decoding and what else was noted."""
        return {**super().describe(), **self.decoding.as_dict(), **self.facts}
