"""A cache of decoded pictures on disk, which all processes of a user share: each picture is decoded once.

Pixels lie one after the other in one file for each set of pictures, named by the hash of their bytes and of
how they are decoded. Several processes may read and write it at the same time: each pixel of a picture has
one possible value, and a picture counts as written only once its checksum is. What cannot be kept is decoded
again: a full disk costs the cache, never a result.

The file is read and written in parts, not mapped into memory, so that it does not count as a process's memory
and a full disk is an error instead of the process's end.

The environment variable ``SECURITYNET_IMAGE_CACHE`` is the largest size of all such files together, such as
``50GB``, or ``off``. Sets that were not used for the longest time are deleted first.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.cache_folder import package_cache
from securitynet_hub.core.errors import DataWarning
from securitynet_hub.core.files import atomic_path
from securitynet_hub.data.pixels import Pixels

VARIABLE = "SECURITYNET_IMAGE_CACHE"
LIMIT = 20 * 10**9
"""Bytes of all cached pixels together, unless the environment says another number."""

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNWRITTEN = 0
PIXELS, CHECKSUMS = "pixels", "checksums"


def cache_limit() -> int:
    """Return the size in bytes up to which pixels are kept; 0 for none.

    Raises:
        ValueError: the environment variable is no size.
    """
    stated = os.environ.get(VARIABLE)
    if stated is None:
        return LIMIT
    if stated.strip().lower() == "off":
        return 0
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)?\s*", stated, re.IGNORECASE | re.ASCII)
    if found is None:
        raise ValueError(f"{VARIABLE} must be a size such as 50GB, or off; got {stated!r}.")
    return int(min(float(found[1]) * UNITS[(found[2] or "").upper()], float(1 << 62)))


def cache_root() -> Path:
    """Return the folder of all sets of pixels, in the folder where downloads are kept as well."""
    return package_cache() / "pixels"


def cached_pixels(name: str, sizes: npt.NDArray[np.int64], channels: int) -> CachedPixels | None:
    """Open the cache of a set of pictures; make it where there is none.

    Args:
        name: hash of the pictures and their decoding.
        sizes: shape (n, 2), height and width of each picture.
        channels: of each picture.

    Returns:
        None where nothing is kept: the cache is off, the set is larger than its limit, the disk refuses, or
        the system cannot read at a place of a file that several threads share (Windows).
    """
    limit = cache_limit()
    if not hasattr(os, "pread"):
        return None
    lengths = sizes.prod(1) * channels
    if not limit or not len(sizes) or lengths.sum() > limit:
        return None
    folder = cache_root() / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            _evict(folder.parent, limit - int(lengths.sum()))
            with contextlib.suppress(FileExistsError), atomic_path(folder, replace=False) as part:
                part.mkdir()
                (part / PIXELS).touch()
                os.truncate(part / PIXELS, int(lengths.sum()))  # takes no room until it is written
                (part / CHECKSUMS).touch()
                os.truncate(part / CHECKSUMS, 8 * len(sizes))
        os.utime(folder)  # used now
        return CachedPixels(folder, sizes, channels)
    except OSError as error:
        _tell(folder, error)
        return None


class CachedPixels:
    """The cached pixels of one set of pictures."""

    def __init__(self, folder: Path, sizes: npt.NDArray[np.int64], channels: int) -> None:
        self._folder, self._sizes, self._channels = folder, sizes, channels
        lengths = sizes.prod(1) * channels
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self._pixels = os.open(folder / PIXELS, os.O_RDWR)
        self._checksums = os.open(folder / CHECKSUMS, os.O_RDWR)
        self._lock = threading.Lock()
        self._writes = True

    def __del__(self) -> None:
        for name in ("_pixels", "_checksums"):
            try:  # noqa: SIM105
                os.close(getattr(self, name))
            except (OSError, AttributeError):  # not opened; or modules are gone, when Python ends
                pass

    def read(self, row: int) -> Pixels | None:
        """Return one picture's pixels; None if they are not here."""
        try:
            stated = int.from_bytes(os.pread(self._checksums, 8, 8 * row), "little")
            if stated == UNWRITTEN:
                return None
            length = int(self._starts[row + 1] - self._starts[row])
            pixels = np.empty((*self._sizes[row], self._channels), np.uint8)
            found = _read_into(self._pixels, pixels.reshape(-1).data, int(self._starts[row]))
        except OSError:
            return None
        return pixels if found == length and _checksum(pixels.reshape(-1).data) == stated else None

    def write(self, row: int, pixels: Pixels) -> None:
        """Keep one picture's pixels, if there is room."""
        length = int(self._starts[row + 1] - self._starts[row])
        if not self._writes or pixels.nbytes != length:
            return
        content = np.ascontiguousarray(pixels).reshape(-1).data
        try:
            done = 0
            while done < length:
                done += os.pwrite(self._pixels, content[done:], int(self._starts[row]) + done)
            os.pwrite(self._checksums, _checksum(content).to_bytes(8, "little"), 8 * row)
        except OSError as error:
            with self._lock:
                told, self._writes = not self._writes, False
            if not told:
                _tell(self._folder, error)


def _read_into(file: int, buffer: memoryview, start: int) -> int:
    """Fill a buffer from a place in a file, without another copy where the system can; return the bytes."""
    if hasattr(os, "preadv"):
        return os.preadv(file, [buffer], start)
    content = os.pread(file, len(buffer), start)  # macOS
    buffer[: len(content)] = content
    return len(content)


def _checksum(content: memoryview) -> int:
    """Return a number above `UNWRITTEN`."""
    return 1 + zlib.crc32(content)


def _evict(root: Path, left: int) -> None:
    """Delete the sets that were not used for the longest time, until the others take no more than `left`."""
    sets = sorted(filter(Path.is_dir, root.iterdir()), key=lambda place: place.stat().st_mtime)
    sizes = {place: (place / PIXELS).stat().st_size for place in sets if (place / PIXELS).exists()}
    for place in sets:
        if sum(sizes.values()) <= left:
            return
        shutil.rmtree(place, ignore_errors=True)
        sizes.pop(place, None)


def _tell(folder: Path, error: OSError) -> None:
    warnings.warn(
        f"decoded images are not kept in {folder.parent}: {error.strerror or error}. They are decoded anew "
        f"each time; {VARIABLE}=off says nothing of it.",
        DataWarning,
        stacklevel=2,
    )
