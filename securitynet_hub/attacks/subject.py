"""The subject of an audit: images, some of them training images, and how records describe it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from securitynet_hub.annotations.schema import Annotation, ZooAnnotation
from securitynet_hub.attacks.validity import Validity
from securitynet_hub.core.arrays import Labels, as_array
from securitynet_hub.core.errors import UnknownNameError, WeightsError
from securitynet_hub.core.text import printable
from securitynet_hub.data.archives import archives_of_split, find_archives, read_archives
from securitynet_hub.data.classes import Match, match_classes
from securitynet_hub.data.dataset_rows import load_split, side_of_dataset
from securitynet_hub.data.decoding import Decoding, as_uint8
from securitynet_hub.data.folders import has_splits, read_side
from securitynet_hub.data.images import LabelledImages, Squared, load_images
from securitynet_hub.data.pixels import image_digests
from securitynet_hub.data.references import TABLES, parse_reference, require_place
from securitynet_hub.data.sides import OnProgress, Side, decide_overlap, join_sides, number_classes, silent
from securitynet_hub.data.sources import ImageSource, Relabelled
from securitynet_hub.data.splits import Split, read_split
from securitynet_hub.data.tables import read_table_side
from securitynet_hub.engine.converted import engine_of
from securitynet_hub.engine.device_maps import find_devices
from securitynet_hub.engine.processes import find_precision
from securitynet_hub.models import network_size
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import describe_environment

CLASSES = ("match", "order", "name")
"""How the images' classes become the model's."""


LARGEST = 8192
"""Largest side in pixels to which images are brought."""

ZOO_FOLDER = Path(__file__).parents[1] / "zoo"


@dataclass(frozen=True, kw_only=True)
class AuditData:
    """The data of an audit: images, and which of them the target was trained on.

    Attributes:
        images: where images and labels come from.
        split: which of them are members, and which are not.
        refusal: why no audit runs on them, such as images on both sides; None where one does.
        validity: the audit's check that they are the model's data; None outside an audit.
    """

    images: ImageSource
    split: Split
    refusal: str | None = field(default=None, repr=False)
    validity: Validity | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.split.require_within(len(self.images))

    def __repr__(self) -> str:
        shape = "of several sizes" if self.images.shape is None else " x ".join(map(str, self.images.shape))
        counts = f"{len(self.split.members):,} members, {len(self.split.nonmembers):,} non-members"
        return f"AuditData({printable(self.images.name)!r}: {counts}, images {shape})"

    @classmethod
    def from_arrays(
        cls,
        members: tuple[Any, Any],
        nonmembers: tuple[Any, Any],
        *,
        name: str = "arrays",
        class_names: Sequence[str] | None = None,
        value_range: tuple[float, float] | None = None,
        overlap: str = "refuse",
    ) -> AuditData:
        """Return the data of an audit from arrays in memory.

        Args:
            members: pixels, shape (n, height, width, channels), and labels, shape (n,), 0..classes-1, as the
                model numbers its classes.
            nonmembers: the same.
            name: the name of the images in records.
            class_names: one name for each class; by default the numbers.
            value_range: what black and white are, such as (0, 65535) or (0.0, 1.0); needed unless pixels are
                uint8.
            overlap: one of `sides.OVERLAP`, for images that are on both sides.

        Raises:
            ValueError: arrays of other forms, or values outside the range.

        >>> black, white = np.zeros((1, 2, 2, 1), np.uint8), np.full((1, 2, 2, 1), 1.0)
        >>> data = AuditData.from_arrays((black, [0]), (white.astype(np.uint8), [1]))
        >>> data.split.members, data.images.class_names
        (array([0]), ('0', '1'))
        """
        sides = [
            (as_uint8(pixels, part, value_range), _whole(labels, f"labels of {part}"))
            for part, (pixels, labels) in (("members", members), ("nonmembers", nonmembers))
        ]
        sizes = [pixels.shape[1:] for pixels, _ in sides]
        if sizes[0] != sizes[1] or 0 in sizes[0]:
            raise ValueError(
                "members and non-members must be images of one size; height, width and channels are "
                f"{sizes[0]} and {sizes[1]}."
            )
        first, second = (len(labels) for _, labels in sides)
        labels = np.concatenate([labels for _, labels in sides])
        names = tuple(class_names or number_classes(int(labels.max(initial=0)), name))
        images = LabelledImages(
            name=name,
            pixels=np.concatenate([pixels for pixels, _ in sides]),
            labels=labels,
            class_names=names,
        )
        positions = np.arange(first + second)
        known = set(image_digests(sides[0][0]))
        shared = first + np.flatnonzero([digest in known for digest in image_digests(sides[1][0])])
        refusal = decide_overlap(overlap, shared, name, lambda row: f"image {row - first} of the non-members")
        outside = np.setdiff1d(positions[first:], shared) if overlap == "drop" else positions[first:]
        split = Split(members=positions[:first], nonmembers=outside)
        return cls(images=images, split=split, refusal=refusal)

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        *,
        members: str = "train",
        nonmembers: str = "test",
        classes: str = "match",
        limit: int | None = 1000,
        seed: int = 0,
        channels: int = 3,
        size: int | None = None,
        value_range: tuple[float, float] | None = None,
        broken: str = "refuse",
        overlap: str = "refuse",
        on_progress: OnProgress = silent,
    ) -> AuditData:
        """Return the data of an audit from a folder: ``SPLIT/CLASS/*`` with pictures at any depth.

        Pictures are read when they are needed, each at its own size, and each goes through the target's own
        preprocessing. Folders named ``val``, ``valid``, ``dev`` and ``validation`` mean the same split.

        Args:
            path: the folder.
            members: the split that the model was trained on.
            nonmembers: a split that it was not trained on.
            classes: ``match`` finds each class folder among the model's classes, see `match_classes`;
                ``order`` takes them in their order, numbers by value; ``name`` sorted by name, as
                torchvision's ``ImageFolder`` does ("10" before "2").
            limit: number of images to draw from each split; None for all.
            seed: decides the draw.
            channels: 1 or 3; images are converted to grey or RGB.
            size: side in pixels to which all images are brought before anything else, as by `images.square`;
                None keeps each image's size.
            value_range: what black and white are in pictures of more than 8 bits, such as (0, 65535).
            broken: ``refuse`` a picture that cannot be read, or ``skip`` it.
            overlap: ``refuse`` pictures that are on both sides, ``drop`` them from the non-members, or
                ``allow`` them.
            on_progress: called with what is being done, how much is done, and how much there is.

        Raises:
            ValueError: a split is missing or empty, pictures have no class, classes differ between splits, or
                a picture cannot be read.
        """
        root = Path(path).expanduser()
        if not root.is_dir():
            raise ValueError(f"{path} is not a folder.")
        parts = (members, nonmembers)
        if not has_splits(root, members) and find_archives(root):
            found = [archives_of_split(root, part) for part in parts]
            sides = [
                read_archives(archives, part, on_progress=on_progress)
                for archives, part in zip(found, parts, strict=True)
            ]
        else:
            sides = [read_side(root, part, on_progress=on_progress) for part in parts]
        return _joined(
            *sides,
            source=root.resolve().name,
            classes=classes,
            limit=limit,
            seed=seed,
            channels=channels,
            size=size,
            value_range=value_range,
            broken=broken,
            overlap=overlap,
            on_progress=on_progress,
        )

    @classmethod
    def from_dataset(
        cls,
        dataset: str | Mapping[str, Any],
        *,
        members: str = "train",
        nonmembers: str = "test",
        name: str | None = None,
        config: str | None = None,
        revision: str | None = None,
        streaming: bool = False,
        image: str | None = None,
        label: str | None = None,
        classes: str = "match",
        limit: int | None = 1000,
        seed: int = 0,
        channels: int = 3,
        size: int | None = None,
        value_range: tuple[float, float] | None = None,
        broken: str = "refuse",
        overlap: str = "refuse",
        on_progress: OnProgress = silent,
    ) -> AuditData:
        """Return the data of an audit from a data set of the `datasets` library.

        Args:
            dataset: what `datasets.load_dataset` takes, such as ``uoft-cs/cifar10``; a folder that
                `save_to_disk` wrote; or a `DatasetDict`, or any dictionary of splits, map-style or streaming.
            members: the split that the model was trained on, or a part of it such as ``train[:1000]``.
            nonmembers: a split that it was not trained on, or a part of one.
            name: the name of the images in records; by default the data set's.
            config: the data set's configuration, where it has several.
            revision: the commit, branch or tag of its repository.
            streaming: read it once from the network instead of downloading it.
            image: the column of pictures; by default the only one.
            label: the column of labels: classes, text or integers.
            classes: as for `from_folder`; integer labels are class numbers.
            limit: as for `from_folder`.
            seed: as for `from_folder`.
            channels: as for `from_folder`.
            size: as for `from_folder`.
            value_range: as for `from_folder`.
            broken: as for `from_folder`.
            overlap: as for `from_folder`.
            on_progress: as for `from_folder`.

        Raises:
            UnknownNameError: there is no such split or column; the closest names are given.
            ValueError: there is no such data set, config or revision; which column is meant cannot be told;
                or as `from_folder`.
        """
        if not isinstance(dataset, (str, Mapping)):
            raise ValueError(
                "dataset must be a name, a folder, or a dictionary of splits such as a DatasetDict; got a "
                f"{type(dataset).__name__}."
            )
        known = name or _set_name(dataset)
        sides = []
        for part in (members, nonmembers):
            if isinstance(dataset, str):
                rows = load_split(dataset, part, config=config, revision=revision, streaming=streaming)
            else:
                if part not in dataset:
                    raise UnknownNameError(f"split of {known}", part, map(str, dataset))
                rows = dataset[part]
            sides.append(
                side_of_dataset(
                    rows,
                    name=known,
                    split=part,
                    image=image,
                    label=label,
                    limit=limit,
                    seed=seed,
                    on_progress=on_progress,
                    reference=dataset if isinstance(dataset, str) else None,
                )
            )
        return _joined(
            *sides,
            source=known + (f":{config}" if config else ""),
            revision=revision,
            classes=classes,
            limit=limit,
            seed=seed,
            channels=channels,
            size=size,
            value_range=value_range,
            broken=broken,
            overlap=overlap,
            on_progress=on_progress,
        )

    def matched_to(self, target: Target) -> AuditData:
        """Return the data with the labels of the target's classes; see `match_classes`.

        Labels of arrays in memory, and those that were matched before, stay as they are.

        Raises:
            ValueError: which of the target's classes the images' are cannot be told, they are more, or the
                target takes grey images only.
        """
        self.require_classes_of(target)
        return self if self.images.matched else replace(self, images=matched_images(self.images, target))

    def require_classes_of(self, target: Target) -> None:
        """Refuse images of more classes than the target has, and images that no audit runs on.

        Raises:
            ValueError: the target has fewer classes, or there is a `refusal`.
        """
        if self.refusal is not None:
            raise ValueError(self.refusal)
        if len(self.images.class_names) > target.num_classes:
            raise ValueError(
                f"{self.images.name} has {len(self.images.class_names)} classes, {target.id} only "
                f"{target.num_classes}."
            )


def matched_images(images: ImageSource, target: Target) -> ImageSource:
    """Return images with the labels of the target's classes; errors as for `AuditData.matched_to`."""
    require_channels_of(target, images)
    count, names = target.num_classes, target.class_names
    if images.numbered:
        match = Match(np.arange(len(images.class_names)), "by number")
    else:
        match = match_classes(images.class_names, count, names, data=images.name, model=target.id)
    shown = list(names or map(str, range(count)))
    for position, own in zip(match.positions, images.class_names, strict=True):
        shown[position] = own
    return Relabelled(images, match.positions, tuple(shown), match.how)


def require_channels_of(target: Target, images: ImageSource) -> None:
    """Refuse images of other channels than the target takes."""
    found, channels = images.read(0).shape[-1], target.transform.shape[-1]
    if found not in (1, channels):
        raise ValueError(
            f"{images.name} is read with {found} channels, {target.id} takes images of {channels}: read "
            f"them as such with ?channels={channels} (channels={channels})."
        )


def at_one_size(target: Target, data: AuditData) -> tuple[Target, AuditData]:
    """Return target and data for an attack that changes images or trains on them: images of one size.

    Images that are all of one size stay as they are. Others are brought to the size of the network's input by
    the target's own resize and crop; the returned target only scales and normalises them. A record says the
    size (``data.pixels``).
    """
    images, transform = network_size.at_one_size(data.images, target.transform)
    if images is data.images:
        return target, data
    sized = copy.copy(target)  # `replace` would put the caller's module into eval mode
    object.__setattr__(sized, "transform", transform)
    return sized, replace(data, images=images)


def known_data(annotation: Annotation) -> AuditData:
    """Return the images and the split that a zoo model was trained with.

    Raises:
        WeightsError: the images or the members file are damaged.
        ValueError: the model is not of the zoo.
    """
    if not isinstance(annotation, ZooAnnotation):
        raise ValueError(
            f"which images {annotation.id} was trained on is not known here: name them with data= (--data), "
            "a folder with train/CLASS/* and test/CLASS/*, a data set of the Hub or, in Python, an AuditData."
        )
    split = read_split(ZOO_FOLDER / annotation.members_file)
    if split.sha256 != annotation.members_sha256:
        raise WeightsError(
            f"{annotation.members_file} is damaged or was replaced: it does not name the images that "
            f"{annotation.id} was trained on. Install the package anew."
        )
    return AuditData(images=load_images(annotation.images), split=split)


def as_data(data: Any) -> AuditData | None:
    """Return what a caller gives as the data of an audit; a reference or a path is read, None stays.

    Raises:
        UnknownNameError: as `find_data`.
        ValueError: it is nothing that an audit takes; the sentence says how to make data of it.

    >>> as_data({"train": [], "test": []})
    Traceback (most recent call last):
    ...
    ValueError: data must be a folder, a reference such as 'uoft-cs/cifar10?limit=500', or an AuditData; got \
dict: AuditData.from_dataset(data) takes a dictionary of splits.
    """
    if data is None or isinstance(data, AuditData):
        return data
    if isinstance(data, (str, Path)):
        return find_data(str(data))
    if isinstance(data, Mapping):
        how = "AuditData.from_dataset(data) takes a dictionary of splits"
    elif hasattr(data, "__getitem__") and not isinstance(data, (tuple, list, np.ndarray)):
        how = _OF_DATASETS
    elif hasattr(data, "dataset"):  # torch's DataLoader
        how = f"{_OF_DATASETS}; a loader's data set is loader.dataset"
    else:
        how = (
            "AuditData.from_arrays((pixels, labels), (pixels, labels)) takes arrays of training images and "
            "of others, uint8 of shape (n, height, width, channels)"
        )
    raise ValueError(
        "data must be a folder, a reference such as 'uoft-cs/cifar10?limit=500', or an AuditData; got "
        f"{type(data).__name__}: {how}."
    )


_OF_DATASETS = (
    "AuditData.from_arrays(*[(numpy.stack([numpy.asarray(picture) for picture, _ in each]), [label for _, "
    "label in each]) for each in (training_set, test_set)]) makes it of two data sets of torch with pictures "
    "of shape (height, width, channels), uint8, before any transform"
)


def find_data(text: str, *, on_progress: OnProgress = silent) -> AuditData:
    """Read ``REFERENCE[?limit=1000&label=fine...]``: `read_data` with its arguments as the query of a link.

    ``limit=all`` takes all images, ``range=0-65535`` is `value_range`, ``streaming=yes`` streams.

    Raises:
        UnknownNameError: no such argument.
        ValueError: as `read_data`.
    """
    reference, arguments = parse_reference(text)
    return read_data(reference, on_progress=on_progress, **arguments)


def read_data(
    reference: str | Path,
    *,
    members: str = "train",
    nonmembers: str = "test",
    config: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
    image: str | None = None,
    label: str | None = None,
    on_progress: OnProgress = silent,
    **settings: Any,
) -> AuditData:
    """Read images that a model was trained on, and images that it was not.

    Args:
        reference: a folder with a folder for each split and, in it, for each class; a folder of WebDataset
            archives; a CSV, TSV or Parquet table of paths, labels and splits; or whatever
            `AuditData.from_dataset` takes, such as ``uoft-cs/cifar10``.
        members: the split that the model was trained on.
        nonmembers: a split that it was not trained on.
        config: of a data set of the `datasets` library, as all arguments up to `label`.
        revision: of its repository.
        streaming: read it once from the network instead of downloading it.
        image: the column of pictures, or of a table's paths.
        label: the column of labels.
        on_progress: as for `AuditData.from_folder`.
        settings: arguments of `AuditData.from_folder`.

    Raises:
        ValueError: as `AuditData.from_folder` and `AuditData.from_dataset`.
    """
    sides: dict[str, Any] = {"members": members, "nonmembers": nonmembers, "on_progress": on_progress}
    path = Path(reference).expanduser()
    of_library = {"config": config, "revision": revision, "streaming": streaming or None}
    columns = {"image": image, "label": label}
    chosen = any(value is not None for value in (*of_library.values(), *columns.values()))
    if path.is_file() and path.suffix.lower() in TABLES:
        found = [
            read_table_side(path, part, **columns, on_progress=on_progress) for part in (members, nonmembers)
        ]
        return _joined(*found, source=path.name, on_progress=on_progress, **settings)
    if path.is_dir() and not chosen and (has_splits(path, members) or _is_plain(path)):
        return AuditData.from_folder(path, **sides, **settings)
    if not path.exists():
        require_place(str(reference))
    given = str(path) if path.exists() else str(reference)
    how: dict[str, Any] = {"config": config, "revision": revision, "streaming": streaming, **columns}
    return AuditData.from_dataset(given, **sides, **how, **settings)


def _is_plain(folder: Path) -> bool:
    """Return whether a folder holds nothing that the `datasets` library would read as a table."""
    tables = (".parquet", ".arrow", ".csv", ".json", ".jsonl")
    files = [path for path in folder.rglob("*") if path.suffix.lower() in tables]
    return not files


def _joined(
    members: Side,
    nonmembers: Side,
    *,
    source: str,
    revision: str | None = None,
    classes: str = "match",
    limit: int | None = 1000,
    seed: int = 0,
    channels: int = 3,
    size: int | None = None,
    value_range: tuple[float, float] | None = None,
    broken: str = "refuse",
    overlap: str = "refuse",
    on_progress: OnProgress = silent,
) -> AuditData:
    """Make the data of an audit of two sides."""
    if size is not None and not 1 <= size <= LARGEST:
        raise ValueError(f"size must be a side of 1 to {LARGEST:,} pixels; got {size:,}.")
    if classes not in CLASSES:
        raise UnknownNameError("value of classes", classes, CLASSES)
    images, split, refusal = join_sides(
        members,
        nonmembers,
        # A record has a folder's name, not its place on its author's machine.
        source=f"{source} ({members.name}, {nonmembers.name})",
        limit=limit,
        seed=seed,
        decoding=Decoding(channels=channels, value_range=value_range),
        broken=broken,
        overlap=overlap,
        on_progress=on_progress,
    )
    facts = {**images.facts, **({} if revision is None else {"revision": revision})}
    found: ImageSource = replace(images, facts=facts)
    if classes == "order":
        found = replace(images, facts={**facts, "classes": "in order"}, matched=True)
    elif classes == "name":
        names = tuple(sorted(images.class_names))
        places = np.array([names.index(name) for name in images.class_names], np.int64)
        found = Relabelled(found, places, names, "sorted by name")
    return AuditData(images=found if size is None else Squared(found, size), split=split, refusal=refusal)


def _whole(labels: Any, name: str) -> Labels:
    """Return labels as int64; floats must be whole numbers.

    Raises:
        ValueError: they are no numbers, or not whole ones.
    """
    array = as_array(labels, name)
    if array.dtype.kind not in "biuf" or not (np.isfinite(array) & (np.floor(array) == array)).all():
        raise ValueError(
            f"{name} must be whole numbers 0..classes-1, one for each image; got {array.dtype} of shape "
            f"{array.shape}, such as {array.reshape(-1)[:3].tolist()}."
        )
    return array.astype(np.int64)


def _set_name(dataset: str | Mapping[str, Any]) -> str:
    """Return a data set's name in records: not its place on its author's machine."""
    if isinstance(dataset, str):
        path = Path(dataset).expanduser()
        return path.resolve().name if path.exists() else dataset
    return "dataset"


def describe_subject(target: Target, data: AuditData) -> dict[str, Any]:
    """Return the fields of a record that describe target, data and environment."""
    precision, engine = find_precision(), engine_of(target)
    check = None if data.validity is None else data.validity.check
    return {
        "target": {
            "id": target.id,
            "weights_hash_kind": target.annotation.weights_hash_kind,
            "weights_hash": target.annotation.weights_hash,
            **({} if target.tensors_sha256 is None else {"tensors_sha256": target.tensors_sha256}),
            "num_classes": target.num_classes,
            "transform": target.transform.as_dict(),
            **({} if target.outputs == "logits" else {"outputs": target.outputs}),
            **({"weights_key": target.annotation.weights_key_prefix} if target.notes else {}),
            **({"notes": list(target.notes)} if target.notes else {}),
            **({} if precision == "no" else {"precision": precision}),
            **({} if engine is None else {"engine": engine}),
        },
        "data": {
            **data.images.describe(),
            "split_sha256": data.split.sha256,
            **({} if check is None else {"check": check.as_dict()}),
        },
        "environment": {
            **describe_environment(),
            "device": find_devices(target.module),
        },
    }
