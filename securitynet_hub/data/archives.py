"""WebDataset archives as sides of an audit: tar files that hold a picture and a label for each key."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from securitynet_hub.core.errors import PictureError
from securitynet_hub.data.folders import SPLITS, SUFFIXES
from securitynet_hub.data.sides import OnProgress, Side, are_numbers, number_classes, order_classes, silent

LABELS = (".cls", ".txt", ".json")
"""What names of labels end in: a number or name of a class; JSON has it as ``label`` or ``class``."""


class Member(NamedTuple):
    """Where a file lies inside an archive."""

    archive: str
    name: str
    start: int
    size: int


@dataclass(frozen=True, eq=False)
class ArchivedFiles:
    """Pictures inside tar files, which are not unpacked."""

    members: Sequence[Member] = field(repr=False)

    def __len__(self) -> int:
        return len(self.members)

    def content(self, row: int) -> bytes:
        """Return a picture's bytes."""
        member = self.members[row]
        try:
            with Path(member.archive).open("rb") as file:
                file.seek(member.start)
                return file.read(member.size)
        except OSError as error:
            found = PictureError(f"{self.place(row)} cannot be read: {error.strerror or error}.")
            found.broken = True
            raise found from error

    def place(self, row: int) -> str:
        """Return the paths of the archive and of the picture in it."""
        return f"{self.members[row].archive}:{self.members[row].name}"


def find_archives(root: Path) -> list[Path]:
    """Return all tar files in a folder and its subfolders, sorted."""
    return sorted(path for path in root.rglob("*.tar") if path.is_file() and not path.name.startswith("."))


def archives_of_split(root: Path, split: str) -> list[Path]:
    """Return the archives whose name, or whose folder's name, begins with a split's.

    ``train-0000.tar`` and ``train/0000.tar`` are of the split ``train``.

    Raises:
        ValueError: there are none.
    """
    same = next((names for names in SPLITS if split.lower() in names), (split.lower(),))
    every = find_archives(root)
    found = [path for path in every if _first_word(path.relative_to(root)) in same]
    if not found:
        raise ValueError(
            f"{root} has no archives of the split {split!r}, such as {split}-0000.tar; it has "
            f"{len(every)}, such as {every[0].relative_to(root) if every else 'none'}."
        )
    return found


def _first_word(path: Path) -> str:
    word = path.parts[0].removesuffix(".tar").lower()
    for mark in "-_. ":
        word = word.partition(mark)[0]
    return word


def read_archives(archives: Sequence[Path], split: str, *, on_progress: OnProgress = silent) -> Side:
    """List the pictures of tar files with their labels; only names and labels are read.

    The files of one sample have one name up to the first dot after the last slash: ``0001.jpg`` and
    ``0001.cls``. Labels that are all whole numbers are class numbers.

    Raises:
        ValueError: an archive cannot be read or is compressed, or a picture has no label or several.
    """
    pictures: list[Member] = []
    labels: list[str] = []
    for archive in archives:
        found = _samples(archive)
        pictures += [picture for picture, _ in found]
        labels += [label for _, label in found]
        on_progress(f"listing {split}", len(pictures), None)
    numbered = bool(labels) and all(label.isdecimal() for label in labels)
    if numbered:
        names = number_classes(max(map(int, labels)), f"the labels of {split!r}")
        places = np.array([int(label) for label in labels], np.int64)
    else:
        names = order_classes(labels)
        place = {name: number for number, name in enumerate(names)}
        places = np.array([place[label] for label in labels], np.int64)
    return Side(
        name=split,
        store=ArchivedFiles(pictures),
        labels=places,
        class_names=names,
        numbered=numbered and are_numbers(set(labels)),
    )


def _samples(archive: Path) -> list[tuple[Member, str]]:
    pictures: dict[str, Member] = {}
    labels: dict[str, str] = {}
    try:
        if archive.stat().st_size % tarfile.BLOCKSIZE:  # or what follows a broken header would be lost
            raise tarfile.ReadError("it breaks off in the middle of a block")
        with tarfile.open(archive, "r:") as tar:
            for entry in tar:
                path = PurePosixPath(entry.name)
                key, _, extension = path.name.partition(".")
                key = f"{path.parent}/{key}"
                suffix = f".{extension.lower()}".rpartition(".")[2]
                if not entry.isfile() or path.name.startswith("."):
                    continue
                if f".{suffix}" in SUFFIXES:
                    if key in pictures:
                        raise ValueError(f"{archive}:{entry.name} is the second picture of its sample.")
                    pictures[key] = Member(str(archive), entry.name, entry.offset_data, entry.size)
                elif f".{suffix}" in LABELS:
                    stated = _label(tar, entry, suffix)
                    if stated is not None and (suffix == "cls" or key not in labels):
                        labels[key] = stated
    except (tarfile.TarError, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{archive} cannot be read as a tar file that is not compressed: {error}. Unpack it if it is."
        ) from error
    lacking = [pictures[key].name for key in pictures if key not in labels]
    if lacking:
        raise ValueError(
            f"{len(lacking)} picture(s) of {archive} have no label beside them, such as {lacking[0]}; a "
            f"sample needs a file that ends in {', '.join(LABELS)}."
        )
    return [(picture, labels[key]) for key, picture in pictures.items()]


def _label(tar: tarfile.TarFile, entry: tarfile.TarInfo, suffix: str) -> str | None:
    """Return the label that a small file states."""
    file = tar.extractfile(entry)
    if file is None or entry.size > 1 << 20:
        return None
    text = file.read().decode("utf-8").strip()
    if suffix != "json":
        return text or None
    try:
        stated = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(stated, dict):
        stated = next((stated[key] for key in ("label", "class", "cls") if key in stated), None)
    return str(stated) if isinstance(stated, (str, int)) and not isinstance(stated, bool) else None
