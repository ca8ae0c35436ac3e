"""Folders of pictures: a folder for each split, in it one for each class, in it pictures at any depth."""

from __future__ import annotations

import errno
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from securitynet_hub.core.errors import DataWarning, PictureError
from securitynet_hub.data.sides import OnProgress, Side, order_classes, silent

SPLITS = (
    ("train", "training"),
    ("test", "testing"),
    ("validation", "val", "valid", "dev"),
)
"""Names of splits; those of one row mean the same."""

COMMON = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
RARE = (".avif", ".dib", ".j2k", ".jfif", ".jp2", ".jpe", ".pbm", ".pcx", ".pgm", ".pnm", ".ppm", ".tga")
SUFFIXES = frozenset({*COMMON, *RARE})
"""What names of pictures end in."""


@dataclass(frozen=True, eq=False)
class Files:
    """Pictures in files of their own."""

    paths: Sequence[str] = field(repr=False)

    def __len__(self) -> int:
        return len(self.paths)

    def content(self, row: int) -> bytes:
        """Return a file's bytes."""
        try:
            return read_file(self.paths[row])
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            found = PictureError(f"{self.paths[row]} cannot be read: {why}.")
            found.broken = True
            raise found from error

    def place(self, row: int) -> str:
        """Return a file's path."""
        return self.paths[row]


def read_file(path: str | Path) -> bytes:
    """Return the bytes of a regular file; a pipe or a device, which may never end, is refused.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: it is no path.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return file.read()


def has_splits(root: Path, members: str) -> bool:
    """Return whether a folder has class folders for the members below a folder named like their split."""
    try:
        return any(_is_folder(entry) for entry in _entries(find_split(root, members)))
    except ValueError:
        return False


def find_split(root: Path, split: str) -> Path:
    """Return the folder of a split: the one of its name, else one whose name means the same.

    Raises:
        ValueError: there is none, or several; the message lists what there is.
    """
    exact = root / split
    if split and ".." not in Path(split).parts and exact.is_dir():
        return exact
    there = sorted(entry.name for entry in _entries(root) if _is_folder(entry))
    same = next((names for names in SPLITS if split.lower() in names), (split.lower(),))
    found = [name for name in there if name.lower() in same]
    if len(found) != 1:
        raise ValueError(
            f"{root} has {'several folders' if found else 'no folder'} for the split {split!r}; its folders "
            f"are {', '.join(map(repr, there)) or 'none'}. Name those of members and non-members, such as "
            "?members=train&nonmembers=val."
        )
    return root / found[0]


def read_side(root: Path, split: str, *, on_progress: OnProgress = silent) -> Side:
    """List the pictures of a split's folder; its folders are the classes, whatever they are called.

    Links are followed; hidden files are ignored; other files that are no pictures by their names are left out
    with a warning. Classes whose names are whole numbers stand in the numbers' order, others in that of text.

    Raises:
        ValueError: there is no such split, no class, or a picture outside of every class.
    """
    return _read_classes(find_split(root, split), split, on_progress)


def read_pictures(folder: Path, *, on_progress: OnProgress = silent) -> tuple[Side, bool]:
    """List the pictures of a folder, at any depth; return also whether they have labels.

    They have if every picture lies in a folder of the first level, its class. Others get the label 0.

    Raises:
        ValueError: there is no picture.
    """
    if not any(_is_picture(entry.name) for entry in _entries(folder) if not _is_folder(entry)):
        return _read_classes(folder, folder.name, on_progress), True
    paths = sorted(_walk(str(folder), []))
    on_progress(f"listing {folder.name}", len(paths), None)
    labels = np.zeros(len(paths), np.int64)
    return Side(name=folder.name, store=Files(paths), labels=labels, class_names=("",)), False


def _read_classes(folder: Path, split: str, on_progress: OnProgress) -> Side:
    """List the pictures of a folder that has a folder for each class."""
    outside: list[str] = []
    classes: list[str] = []
    other: list[str] = []
    for entry in _entries(folder):
        if _is_folder(entry):
            classes.append(entry.name)
        else:
            (outside if _is_picture(entry.name) else other).append(entry.path)
    if outside or not classes:
        what = (
            f"{len(outside)} picture(s) lie in no class's folder, such as {outside[0]}"
            if outside
            else ("it has none")
        )
        raise ValueError(
            f"the pictures of {folder} need labels: a folder for each class, {folder.name}/CLASS/*; {what}."
        )
    paths: list[str] = []
    labels: list[int] = []
    names = order_classes(classes)
    for label, name in enumerate(names):
        own = sorted(_walk(str(folder / name), other))
        paths += own
        labels += [label] * len(own)
        on_progress(f"listing {folder.name}", len(paths), None)
    if other:
        warnings.warn(
            f"{len(other)} file(s) of {folder} are no pictures by their names and are left out, such as "
            f"{sorted(other)[0]}.",
            DataWarning,
            stacklevel=2,
        )
    return Side(name=split, store=Files(paths), labels=np.array(labels, np.int64), class_names=names)


def _walk(folder: str, other: list[str], above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
    """Yield the pictures below a folder; a link back to a folder above is not followed."""
    status = os.stat(folder)  # noqa: PTH116 (one of many thousands)
    key = status.st_dev, status.st_ino
    if key in above:
        return
    for entry in _entries(Path(folder)):
        if _is_folder(entry):
            yield from _walk(entry.path, other, above | {key})
        elif _is_picture(entry.name):
            yield entry.path
        else:
            other.append(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what a folder holds, hidden files left out."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise ValueError(f"{folder} cannot be listed: {error.strerror or error}.") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 (of many thousands)
