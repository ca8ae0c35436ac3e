"""Data sets of the `datasets` library as sides of an audit: map-style or streaming, any column."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import tempfile
import threading
import warnings
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np

from securitynet_hub.core.cache_folder import hub_cache
from securitynet_hub.core.errors import DataWarning, PictureError, UnknownNameError
from securitynet_hub.data.folders import read_file
from securitynet_hub.data.sides import OnProgress, Side, number_classes, order_classes, silent

if TYPE_CHECKING:
    import datasets

LABEL_NAMES = ("label", "labels", "class", "target", "category")
"""Columns that are taken for labels where none is a ClassLabel and none is named, the first first."""

ARCHIVES = {"zip", "tar", "gzip", "bz2", "lz4", "xz", "zstd"}
"""Schemes of addresses of a file inside another one, as in ``zip://0.png::/folder/images.zip``."""

EVERY = 100
"""Images of a stream between two reports of progress."""


@dataclass(frozen=True, eq=False)
class DatasetRows:
    """Encoded pictures in a column of a map-style data set.

    Args:
        dataset: its column holds pictures that are not decoded, as ``{"bytes": ..., "path": ...}``.
        column: the column.
        name: names the data set in errors.
        reference: by which the data set was loaded, as `side_of_dataset` takes it.
    """

    dataset: datasets.Dataset = field(repr=False)
    column: str
    name: str
    reference: str | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def content(self, row: int) -> bytes:
        """Return a picture's bytes."""
        return encoded_bytes(self.dataset[row][self.column], self.place(row), self.reference)

    def place(self, row: int) -> str:
        """Return the data set's name and the row."""
        return f"{self.name}, row {row}"


class Spooled:
    """Encoded pictures that came once, in a temporary file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._starts: list[int] = []
        self._sizes: list[int] = []
        # The file lives as long as it is open.
        self._file = tempfile.TemporaryFile(prefix="securitynet-stream-", buffering=0)  # noqa: SIM115
        self._end = 0
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    def add(self, content: bytes, row: int | None = None) -> None:
        """Keep one more picture, or keep it in the place of another one."""
        try:
            with self._lock:
                self._file.seek(self._end)
                left = memoryview(content)
                while left:
                    left = left[self._file.write(left) :]
        except OSError as error:
            raise ValueError(
                f"the images of {self.name}, which is streamed, do not fit into {tempfile.gettempdir()}: "
                f"{error.strerror}. Set TMPDIR to a folder with more room, or lower limit."
            ) from error
        if row is None:
            self._starts.append(self._end)
            self._sizes.append(len(content))
        else:
            self._starts[row], self._sizes[row] = self._end, len(content)
        self._end += len(content)

    def __len__(self) -> int:
        return len(self._starts)

    def content(self, row: int) -> bytes:
        """Return a picture's bytes."""
        start, size = self._starts[row], self._sizes[row]
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), size, start)
        with self._lock:  # Windows
            self._file.seek(start)
            return self._file.read(size)

    def place(self, row: int) -> str:
        """Return the stream's name and the row."""
        return f"{self.name}, image {row} of those drawn"


def is_of(reference: str, path: str) -> bool:
    """Return whether a file that a data set names as a picture may be read: its own, or one of the caches.

    A stranger's data set may name any file of this machine, any address, and any repository that the login
    can see. Links within the data set's folder are followed, as they are in a folder of pictures.

    >>> is_of("owner/set", "hf://datasets/owner/set@main/0.png"), is_of("owner/set", "/pictures/0.png")
    (True, False)
    """
    import datasets as library

    *inner, outer = path.split("::")
    if not all(part.partition("://")[0] in ARCHIVES for part in inner):
        return False
    if "://" in outer:
        own = rf"hf://datasets/([\w.-]+/)?{re.escape(reference)}[@/].*"
        return re.fullmatch(own, outer, re.IGNORECASE) is not None and ".." not in outer.split("/")
    config, folder = library.config, Path(reference).expanduser()
    caches = (config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH, config.EXTRACTED_DATASETS_PATH)
    roots = [*caches, hub_cache(), *([folder] if folder.is_dir() else [])]
    found, *places = (Path(os.path.normpath(Path(place).absolute())) for place in (outer, *roots))
    return any(found.is_relative_to(place) for place in places)


def encoded_bytes(value: Any, place: str, reference: str | None = None) -> bytes:
    """Return the bytes of a picture as a data set holds it, undecoded.

    Args:
        value: the picture: its bytes, or the path of its file.
        place: names it in errors.
        reference: by which the data set was loaded, as `side_of_dataset` takes it.

    Raises:
        PictureError: there is none, or its file cannot be read.
    """
    if isinstance(value, Mapping) and value.get("bytes") is not None:
        return bytes(value["bytes"])
    path = value.get("path") if isinstance(value, Mapping) else None
    if path is not None:
        if reference is not None and not is_of(reference, path):
            found = PictureError(
                f"{place} names the file {path}, which is none of {reference}, so it is not read. If you "
                "know that it is meant, load the data set yourself and pass it in memory."
            )
            found.broken = True
            raise found
        try:
            if "://" not in path:
                return read_file(path)
            from datasets.utils.file_utils import xopen  # a stream's file on the Hub or inside an archive

            with xopen(path, "rb") as file:
                return bytes(file.read())
        except Exception as error:  # a file system or a network that the library knows
            found = PictureError(f"{place} cannot be read: {path}: {error}.")
            found.broken = True
            raise found from error
    found = PictureError(f"{place} has no picture.")
    found.broken = True
    raise found


def side_of_dataset(
    dataset: datasets.Dataset | datasets.IterableDataset,
    *,
    name: str,
    split: str,
    image: str | None = None,
    label: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    on_progress: OnProgress = silent,
    reference: str | None = None,
) -> Side:
    """Return one split of a data set as a side of an audit.

    A stream is read to its end once, because only then every image is equally likely to be drawn (reservoir
    sampling, Vitter 1985, algorithm R); the drawn images are kept encoded in a temporary file.

    Args:
        dataset: one split.
        name: names the data set in errors.
        split: the split's name.
        image: the column of pictures; by default the only one.
        label: the column of labels; by default the only ClassLabel, or one that is called ``label``.
        limit: number of images drawn from a stream; None for all. A map-style data set is drawn from later.
        seed: decides a stream's draw.
        on_progress: called while a stream is read.
        reference: the folder or the name by which the data set was loaded: pictures that it names by their
            paths are read only if they are its own. None for a data set of the caller's.

    Raises:
        UnknownNameError: there is no such column.
        ValueError: which column is meant cannot be told, or labels are neither classes, text nor integers.
    """
    import datasets as library

    if isinstance(dataset, library.IterableDataset):
        if dataset.features is None:
            dataset = dataset._resolve_features()
        image, label = _find_columns(dataset.features, name, image, label)
        feature = dataset.features[label]
        rows = dataset.select_columns([image, label]).cast_column(image, library.Image(decode=False))
        store, raw, seen = _spool(rows, image, label, f"{name}:{split}", limit, seed, on_progress, reference)
        classes, places, numbered = _as_classes(raw, feature, f"{name}:{split}", label, seen)
        return Side(name=split, store=store, labels=places, class_names=classes, numbered=numbered)
    if not isinstance(dataset, library.Dataset):
        raise ValueError(f"{name}:{split} must be a data set; got a {type(dataset).__name__}.")
    dataset = dataset.with_format(None)  # labels as numbers and text, not as tensors
    image, label = _find_columns(dataset.features, name, image, label)
    raw = dataset.select_columns([label])[label][:]
    classes, places, numbered = _as_classes(raw, dataset.features[label], f"{name}:{split}", label)
    pictures = dataset.select_columns([image]).cast_column(image, library.Image(decode=False))
    return Side(
        name=split,
        store=DatasetRows(pictures, image, f"{name}:{split}", reference),
        labels=places,
        class_names=classes,
        numbered=numbered,
    )


def _spool(
    rows: Iterable[Mapping[str, Any]],
    image: str,
    label: str,
    name: str,
    limit: int | None,
    seed: int,
    on_progress: OnProgress,
    reference: str | None,
) -> tuple[Spooled, list[Any], set[str]]:
    """Keep a stream's images, or a draw of them; return them, their labels, and all texts among labels."""
    store, labels, seen = Spooled(name), list[Any](), set[str]()
    random = np.random.default_rng(seed)
    for count, row in enumerate(rows):
        if isinstance(row[label], str):
            seen.add(row[label])
        if limit is None or count < limit:
            store.add(encoded_bytes(row[image], f"{name}, row {count}", reference))
            labels.append(row[label])
        else:
            place = int(random.integers(count + 1))
            if place < limit:
                store.add(encoded_bytes(row[image], f"{name}, row {count}", reference), place)
                labels[place] = row[label]
        if count % EVERY == EVERY - 1:
            on_progress(f"streaming {name}", count + 1, None)
    return store, labels, seen


def _find_columns(
    features: Mapping[str, Any], name: str, image: str | None, label: str | None
) -> tuple[str, str]:
    """Return the columns of pictures and labels."""
    import datasets as library

    for column in (image, label):
        if column is not None and column not in features:
            raise UnknownNameError(f"column of {name}", column, features)
    kinds = {column: type(feature).__name__ for column, feature in features.items()}
    if image is None:
        image = _only([c for c, f in features.items() if isinstance(f, library.Image)], "image", name, kinds)
    elif not isinstance(features[image], library.Image) and not _holds_bytes(features[image]):
        raise ValueError(f"the column {image!r} of {name} must hold pictures; it is of {kinds[image]}.")
    if label is None:
        classes = [c for c, f in features.items() if isinstance(f, library.ClassLabel)]
        named = [c for c in LABEL_NAMES if c in features and c != image]
        if len(classes) > 1:
            classes = ([column for column in named if column in classes] or classes)[:1]
            warnings.warn(
                f"{name} has several columns of labels; {classes[0]!r} is taken. Name another one with "
                "?label=COLUMN (label=).",
                DataWarning,
                stacklevel=2,
            )
        label = _only(classes or named[:1], "label", name, kinds)
    return image, label


def _holds_bytes(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in ("binary", "large_binary")


def _only(found: Sequence[str], what: str, name: str, kinds: Mapping[str, str]) -> str:
    """Return the one column of a kind."""
    if len(found) == 1:
        return found[0]
    needed = "a column of ClassLabel" if what == "label" else "a column of Image"
    many = f"{len(found)} columns may be meant: {', '.join(found)}" if found else f"its columns are {kinds}"
    raise ValueError(f"{name} must have {needed}; {many}. Name one with ?{what}=COLUMN ({what}=).")


def _as_classes(
    raw: Iterable[Any], feature: Any, name: str, column: str, seen: Iterable[str] = ()
) -> tuple[tuple[str, ...], np.ndarray[Any, np.dtype[np.int64]], bool]:
    """Return class names, each image's place among them (-1 for none), and whether these are numbers."""
    values = list(raw)
    stated = getattr(feature, "names", None)
    if stated is not None:
        return tuple(stated), np.array([-1 if v is None else int(v) for v in values], np.int64), False
    known = [value for value in values if value is not None]
    if known and all(type(value) is int for value in known):
        names = number_classes(max(known), f"the column {column!r} of {name}")
        return names, np.array([-1 if value is None else max(value, -1) for value in values], np.int64), True
    if known and all(isinstance(value, str) for value in known):
        classes = order_classes({*known, *seen})  # a draw need not have all
        place = {value: number for number, value in enumerate(classes)}
        return classes, np.array([place.get(value, -1) for value in values], np.int64), False
    kinds = sorted({type(value).__name__ for value in known})
    raise ValueError(
        f"the column {column!r} of {name} must hold classes, text or whole numbers as labels; it holds "
        f"{', '.join(kinds) or 'nothing'}. Name another one with ?label=COLUMN."
    )


def _cache_of(folder: Path) -> str:
    """Return a folder for what the `datasets` library makes of a folder of files in their present state.

    The library itself tells local folders of one name and configuration apart by neither place nor content.
    """
    import datasets as library

    digest = hashlib.sha256(str(folder.resolve()).encode())
    for path in sorted(folder.rglob("*")):
        status = path.stat()
        digest.update(f"\0{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return str(Path(library.config.HF_DATASETS_CACHE) / f"local-{digest.hexdigest()[:32]}")


def _require_connection(reference: str) -> None:
    """Say at once that the Hub cannot be asked for a data set, which the library tries for half a minute.

    Raises:
        ValueError: there is no such folder, nothing of that name is cached, and the Hub is not reached.
    """
    import datasets as library

    name = reference.replace("/", "___")
    cached = (Path(library.config.HF_DATASETS_CACHE) / name).exists()
    of_hub = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", reference) and not Path(reference).exists()
    if cached or not of_hub or library.config.HF_HUB_OFFLINE or getproxies():
        return
    host = urlsplit(library.config.HF_ENDPOINT)
    try:
        socket.create_connection((host.hostname or "", host.port or 443), timeout=10).close()
    except OSError as error:
        raise ValueError(
            f"{reference} is no folder here, and the Hub cannot be asked for a data set of that name: "
            f"{host.hostname} is not reached ({error.strerror or error})."
        ) from error


def load_split(
    reference: str,
    split: str,
    *,
    config: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
) -> datasets.Dataset | datasets.IterableDataset:
    """Load one split, or a part of one such as ``train[:1000]``, with `datasets.load_dataset`.

    Raises:
        ValueError: there is no such data set, config or split; the message lists what there is.
    """
    import datasets as library

    folder = Path(reference).expanduser()
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        saved = library.load_from_disk(str(folder))
        if isinstance(saved, library.Dataset):
            raise ValueError(f"{reference} is one saved data set without splits; save a DatasetDict.")
        if split not in saved:
            raise UnknownNameError(f"split of {reference}", split, map(str, saved))
        return saved[split]
    _require_connection(reference)
    try:
        return library.load_dataset(
            reference,
            config,
            split=split,
            revision=revision,
            streaming=streaming,
            cache_dir=_cache_of(folder) if folder.is_dir() else None,
        )
    except (ValueError, OSError) as error:  # also where the Hub cannot be reached
        text = str(error).split("Example of usage")[0].strip().replace("\n", " ")
        hint = " Name one with ?config=NAME." if "onfig" in text else ""
        place = "" if folder.exists() else " is no folder here, and as a data set it"
        raise ValueError(
            f"{reference}{place} cannot be loaded: {text}{'' if text.endswith('.') else '.'}{hint}"
        ) from error
