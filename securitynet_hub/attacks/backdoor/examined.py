"""The images that an audit lets detectors judge: a user's, or those that a known trigger is stamped on.

Four sets are drawn from a model's non-members, none of whose images is in another set: images that stay
clean, images to be stamped, images that thresholds are chosen on, and images that a detector may look at.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from securitynet_hub.annotations.schema import ZooAnnotation
from securitynet_hub.attacks.subject import AuditData
from securitynet_hub.data.images import read_pictures
from securitynet_hub.data.pixels import image_digests
from securitynet_hub.data.triggers import TRIGGERS, poison
from securitynet_hub.models.target import Target

Pixels = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

JUDGED, KNOWN, FEW = 100, 300, 19
"""Images of a set, at most: of clean, stamped and calibration images each, of images to look at, and of the
first three for detectors that cost much. With 19 a false-rejection rate of 5 % can be told at all."""

SIDES = ("clean", "poisoned")
"""Folders that say what the pictures in them are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """Images that somebody suspects.

    Attributes:
        name: what records call them.
        pixels: shape (n, height, width, channels), uint8.
        files: one name for each.
        is_poisoned: shape (n,), where it is known; None where it is not.
    """

    name: str
    pixels: Pixels = field(repr=False)
    files: tuple[str, ...] = field(repr=False)
    is_poisoned: Flags | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        n = len(self.pixels)
        if not n or len(self.files) != n or (self.is_poisoned is not None and self.is_poisoned.shape != (n,)):
            raise ValueError(
                f"inputs must be one or more images with one name each, and is_poisoned one truth each; got "
                f"{n} images and {len(self.files)} names."
            )

    @property
    def sha256(self) -> str:
        """Hash of the pixels."""
        return hashlib.sha256(
            repr(self.pixels.shape).encode() + b"".join(image_digests(self.pixels))
        ).hexdigest()

    def few(self) -> Inputs:
        """Return no more than `FEW` clean and `FEW` poisoned images, where it is known which are which."""
        if self.is_poisoned is None:
            return self
        rows = np.sort(
            np.concatenate([np.flatnonzero(self.is_poisoned == side)[:FEW] for side in (False, True)])
        )
        return Inputs(
            name=self.name,
            pixels=self.pixels[rows],
            files=tuple(self.files[row] for row in rows),
            is_poisoned=self.is_poisoned[rows],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Suspects:
    """What detectors of inputs judge in an audit, and the clean images beside.

    Attributes:
        inputs: the suspects.
        calibration: clean images that a threshold is chosen on.
        known: clean images that a detector may look at.
    """

    inputs: Inputs
    calibration: Pixels = field(repr=False)
    known: Pixels = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """Training images as detectors of poisoned data judge them.

    Attributes:
        pixels: shape (n, height, width, channels), uint8.
        labels: shape (n,), the labels that the model was trained with.
        is_poisoned: shape (n,), where it is known.
        target_class: of the backdoor, where it is known.
        positions: shape (n,), which of the audit's images these are.
    """

    pixels: Pixels = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    is_poisoned: Flags | None = field(default=None, repr=False)
    target_class: int | None = None
    positions: npt.NDArray[np.int64] = field(repr=False)


def read_inputs(folder: str | Path, shape: tuple[int, ...]) -> Inputs:
    """Read the pictures of a folder and below it as suspects.

    Where there are folders `clean` and `poisoned` and no pictures beside them, these say which are which.

    Args:
        folder: with pictures that Pillow can read.
        shape: height, width and channels, as for `images.read_pictures`.

    Raises:
        ValueError: as `images.read_pictures`.
    """
    files, pixels = read_pictures(folder, shape)
    sides = [file.split("/")[0] for file in files]
    known = set(sides) == set(SIDES)
    truth = np.array([side == SIDES[1] for side in sides]) if known else None
    return Inputs(name=Path(folder).name, pixels=pixels, files=files, is_poisoned=truth)


def find_suspects(target: Target, data: AuditData, inputs: Inputs | None, *, seed: int) -> Suspects | None:
    """Return a user's inputs, or stamped images of a zoo model whose trigger is known, and clean ones beside.

    Clean images that are among the inputs are left out. None where there is nothing to suspect.

    Raises:
        ValueError: inputs of another size than the data, or too few clean images beside them.
    """
    pixels, labels = data.images.pixels, data.images.labels
    rows = np.random.default_rng(seed).permutation(data.split.nonmembers)
    if inputs is None:
        annotation = target.annotation
        if not isinstance(annotation, ZooAnnotation) or annotation.trigger is None:
            return None
        size = min(JUDGED, len(rows) // 6)
        if not size:
            return None
        rows, clean = rows[size:], rows[:size]
        stamped = rows[labels[rows] != annotation.target_class][:size]
        rows = np.setdiff1d(rows, stamped, assume_unique=True)
        rows = np.random.default_rng(seed).permutation(rows)
        inputs = Inputs(
            name=annotation.trigger,
            pixels=np.concatenate([pixels[clean], TRIGGERS[annotation.trigger](pixels[stamped])]),
            files=tuple(str(row) for row in (*clean, *stamped)),
            is_poisoned=np.repeat([False, True], [len(clean), len(stamped)]),
        )
    if inputs.pixels.dtype != np.uint8 or inputs.pixels.shape[1:] != pixels.shape[1:]:
        raise ValueError(
            f"inputs must be uint8 images of {pixels.shape[1:]}, as the clean images beside them; got "
            f"{inputs.pixels.dtype} of {inputs.pixels.shape[1:]}."
        )
    taken = set(image_digests(inputs.pixels))
    unknown = []
    for row, digest in zip(rows, image_digests(pixels[rows]), strict=True):
        if digest not in taken:
            taken.add(digest)
            unknown.append(row)
    size = min(JUDGED, len(unknown) // 3)
    if not size:
        raise ValueError(
            "three or more non-members that are not among the inputs are needed as clean images; there are "
            f"{len(unknown)}."
        )
    return Suspects(
        inputs=inputs, calibration=pixels[unknown[:size]], known=pixels[unknown[size : size + KNOWN]]
    )


def find_training(target: Target, data: AuditData, *, seed: int) -> Training:
    """Return a model's members with their labels; of a zoo model with a trigger poisoned as it says.

    A zoo model learnt the trigger from images that do not ship. Here as large a share of its members is
    stamped, which it answers in the same way.
    """
    rows, annotation = data.split.members, target.annotation
    pixels, labels = data.images.pixels[rows], data.images.labels[rows].astype(np.int64)
    if (
        not isinstance(annotation, ZooAnnotation)
        or annotation.trigger is None
        or annotation.poison_rate is None
        or annotation.target_class is None
    ):
        return Training(pixels=pixels, labels=labels, positions=rows)
    found = poison(pixels, labels, annotation.trigger, annotation.poison_rate, annotation.target_class, seed)
    return Training(
        pixels=found.pixels,
        labels=found.labels,
        is_poisoned=found.is_poisoned,
        target_class=annotation.target_class,
        positions=rows,
    )
