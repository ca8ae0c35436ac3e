"""The subject of an audit: images, some of them training images, and how records describe it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from securitynet_hub.annotations.schema import Annotation, ZooAnnotation
from securitynet_hub.core.errors import UnknownNameError, WeightsError
from securitynet_hub.data.images import LabelledImages, images_from, load_images
from securitynet_hub.data.sources import ImageSource
from securitynet_hub.data.splits import Split, read_split
from securitynet_hub.engine.device_maps import find_devices
from securitynet_hub.engine.processes import find_precision
from securitynet_hub.models import network_size
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import describe_environment

SETTINGS = ("members", "nonmembers", "limit", "seed", "channels", "size")
"""Arguments of `read_data` that a reference on the command line may have."""

ZOO_FOLDER = Path(__file__).parents[1] / "zoo"


@dataclass(frozen=True, kw_only=True)
class AuditData:
    """The data of an audit: images, and which of them the target was trained on."""

    images: ImageSource
    split: Split

    def __post_init__(self) -> None:
        self.split.require_within(len(self.images))

    def require_classes_of(self, target: Target) -> None:
        """Refuse images of more classes than the target has.

        Raises:
            ValueError: the target has fewer classes.
        """
        if len(self.images.class_names) > target.num_classes:
            raise ValueError(
                f"{self.images.name} has {len(self.images.class_names)} classes, {target.id} only "
                f"{target.num_classes}."
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
            f"which images {annotation.id} was trained on is not known here; pass "
            "data=AuditData(images=..., split=...)."
        )
    split = read_split(ZOO_FOLDER / annotation.members_file)
    if split.sha256 != annotation.members_sha256:
        raise WeightsError(
            f"{annotation.members_file} is damaged or was replaced: it does not name the images that "
            f"{annotation.id} was trained on. Install the package anew."
        )
    return AuditData(images=load_images(annotation.images), split=split)


def find_data(text: str) -> AuditData:
    """Read ``REFERENCE[?limit=1000&size=32...]``: `read_data` with its arguments as the query of a link.

    Raises:
        UnknownNameError: no such argument.
        ValueError: as `read_data`.
    """
    reference, _, query = text.partition("?")
    arguments: dict[str, Any] = {}
    for key, value in parse_qsl(query, strict_parsing=bool(query)):
        if key not in SETTINGS:
            raise UnknownNameError("setting of data", key, SETTINGS)
        arguments[key] = value if key.endswith("members") else None if value == "all" else int(value)
    return read_data(reference, **arguments)


def read_data(
    reference: str,
    *,
    members: str = "train",
    nonmembers: str = "test",
    limit: int | None = 1000,
    seed: int = 0,
    channels: int = 3,
    size: int | None = None,
) -> AuditData:
    """Read images that a model was trained on, and images that it was not, with the `datasets` library.

    Args:
        reference: a folder with a folder of images for each split and, below it, for each class; or whatever
            else `datasets.load_dataset` takes, such as ``uoft-cs/cifar10``.
        members: the split that the model was trained on.
        nonmembers: a split that it was not trained on.
        limit: number of images to draw from each split; None for all.
        seed: decides the draw.
        channels: 1 or 3; images are converted to grey or RGB.
        size: side in pixels, as for `images_from`.

    Raises:
        ValueError: there is no such split, or as `images_from`.
    """
    import datasets

    # A record has a folder's name, not its place on its author's machine.
    source = Path(reference).resolve().name if Path(reference).is_dir() else reference
    sides = []
    for part in (members, nonmembers):
        loaded = datasets.load_dataset(reference, split=part)
        sides.append(
            images_from(loaded, name=f"{source}:{part}", limit=limit, seed=seed, channels=channels, size=size)
        )
    first, second = sides
    if first.class_names != second.class_names or first.pixels.shape[1:] != second.pixels.shape[1:]:
        raise ValueError(
            f"members and non-members must have the same classes and size; {first.name} has "
            f"{len(first.class_names)} classes of {first.pixels.shape[1:]}, {second.name} "
            f"{len(second.class_names)} of {second.pixels.shape[1:]}."
        )
    images = LabelledImages(
        name=f"{source} ({members}, {nonmembers})",
        pixels=np.concatenate([first.pixels, second.pixels]),
        labels=np.concatenate([first.labels, second.labels]),
        class_names=first.class_names,
    )
    positions = np.arange(len(images))
    split = Split(members=positions[: len(first)], nonmembers=positions[len(first) :])
    return AuditData(images=images, split=split)


def describe_subject(target: Target, data: AuditData) -> dict[str, Any]:
    """Return the fields of a record that describe target, data and environment."""
    precision = find_precision()
    return {
        "target": {
            "id": target.id,
            "weights_hash_kind": target.annotation.weights_hash_kind,
            "weights_hash": target.annotation.weights_hash,
            "num_classes": target.num_classes,
            "transform": target.transform.as_dict(),
            **({} if target.outputs == "logits" else {"outputs": target.outputs}),
            **({"weights_key": target.annotation.weights_key_prefix} if target.notes else {}),
            **({"notes": list(target.notes)} if target.notes else {}),
            **({} if precision == "no" else {"precision": precision}),
        },
        "data": {**data.images.describe(), "split_sha256": data.split.sha256},
        "environment": {
            **describe_environment(),
            "device": find_devices(target.module),
        },
    }
