"""The images that detectors judge in an audit: the auditor's own, or clean ones stamped with a known trigger.

Four disjoint sets are drawn from the model's non-members: images that stay clean, images to be stamped,
images for choosing a threshold, and clean reference images that a detector may use.
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
from securitynet_hub.data.sources import Change
from securitynet_hub.data.triggers import TRIGGERS, poison
from securitynet_hub.models.target import Target

Pixels = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

N_TEST = 100
"""Maximum number of clean, of stamped and of calibration images: the 95 % interval of an AUC is then about
+- 0.08 at most, and most detectors take seconds."""

N_REFERENCE = 300
"""Maximum number of clean reference images: TED needs some 30 images of each class."""

N_COSTLY = 19
"""Maximum number of clean, of stamped and of calibration images for a costly detector: with fewer calibration
images no threshold can promise a false-rejection rate of 5 %."""

SIDES = ("clean", "poisoned")
"""Names of the folders whose pictures are known to be clean or poisoned."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """Images to test for a trigger.

    Attributes:
        name: the name that records give them.
        pixels: shape (n, height, width, channels), uint8.
        files: the name of each image.
        is_poisoned: shape (n,), which images carry a trigger; None where this is unknown.
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

    def reduced(self) -> Inputs:
        """Return at most `N_COSTLY` clean and `N_COSTLY` poisoned images; all where the truth is unknown."""
        if self.is_poisoned is None:
            return self
        rows = np.sort(
            np.concatenate([np.flatnonzero(self.is_poisoned == side)[:N_COSTLY] for side in (False, True)])
        )
        return Inputs(
            name=self.name,
            pixels=self.pixels[rows],
            files=tuple(self.files[row] for row in rows),
            is_poisoned=self.is_poisoned[rows],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class InputSets:
    """The images that detectors of inputs judge in an audit, and the clean images that they need for it.

    Attributes:
        inputs: the images to judge.
        calibration: clean images on which a threshold is chosen.
        reference: clean images that a detector may use.
    """

    inputs: Inputs
    calibration: Pixels = field(repr=False)
    reference: Pixels = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingImages:
    """The training images that detectors of poisoned data judge.

    Attributes:
        pixels: shape (n, height, width, channels), uint8.
        labels: shape (n,), the labels that the model was trained with.
        is_poisoned: shape (n,), which images are poisoned; None where this is unknown.
        target_class: the backdoor's target class; None where it is unknown.
        positions: shape (n,), positions among the images of the audit.
    """

    pixels: Pixels = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    is_poisoned: Flags | None = field(default=None, repr=False)
    target_class: int | None = None
    positions: npt.NDArray[np.int64] = field(repr=False)


def read_inputs(folder: str | Path, shape: tuple[int, ...], fit: Change | None = None) -> Inputs:
    """Read the pictures of a folder and its subfolders as images to test.

    If all pictures lie in subfolders `clean` and `poisoned`, the subfolders give the truth.

    Args:
        folder: a folder with pictures that Pillow can read.
        shape: height, width and channels, as for `images.read_pictures`.
        fit: as for `images.read_pictures`.

    Raises:
        ValueError: as `images.read_pictures`.
    """
    files, pixels = read_pictures(folder, shape, fit)
    sides = [file.split("/")[0] for file in files]
    known = set(sides) == set(SIDES)
    truth = np.array([side == SIDES[1] for side in sides]) if known else None
    return Inputs(name=Path(folder).name, pixels=pixels, files=files, is_poisoned=truth)


def find_inputs(target: Target, data: AuditData, inputs: Inputs | None, *, seed: int) -> InputSets | None:
    """Return the images to judge, and disjoint clean images for calibration and reference.

    Without inputs from the auditor, clean images of a zoo model whose trigger is known are judged, half of
    them stamped with it. A clean image with the same pixels as an input is never used as a clean one.

    Args:
        target: the model under audit.
        data: images and split; the clean images are non-members.
        inputs: the auditor's own images to test.
        seed: decides which images are drawn.

    Returns:
        None where there is nothing to judge: no inputs, and no known trigger or fewer than 6 non-members.

    Raises:
        ValueError: the inputs differ in size from the data, or there are too few clean images beside them.
    """
    images, labels = data.images, data.images.labels
    rows = np.random.default_rng(seed).permutation(data.split.nonmembers)
    if inputs is None:
        annotation = target.annotation
        if not isinstance(annotation, ZooAnnotation) or annotation.trigger is None:
            return None
        size = min(N_TEST, len(rows) // 6)
        if not size:
            return None
        hold = size + min(N_TEST, (len(rows) - 2 * size) // 3)
        clean, held, rest = rows[:size], rows[size:hold], rows[hold:]
        stamped = rest[labels[rest] != annotation.target_class][:size]
        rest = np.setdiff1d(rest, stamped, assume_unique=True)
        # The images held back decide the threshold. They are drawn before the stamped ones, which leave out a
        # class, so that their classes are as frequent as among the clean images.
        rows = np.concatenate([held, np.random.default_rng(seed).permutation(rest)])
        inputs = Inputs(
            name=annotation.trigger,
            pixels=np.concatenate([images.array(clean), TRIGGERS[annotation.trigger](images.array(stamped))]),
            files=tuple(str(row) for row in (*clean, *stamped)),
            is_poisoned=np.repeat([False, True], [len(clean), len(stamped)]),
        )
    if inputs.pixels.dtype != np.uint8 or inputs.pixels.shape[1:] != images.shape:
        raise ValueError(
            f"inputs must be uint8 images of {images.shape}, as the clean images beside them; got "
            f"{inputs.pixels.dtype} of {inputs.pixels.shape[1:]}."
        )
    taken = set(image_digests(inputs.pixels))
    unused: list[int] = []
    for start in range(0, len(rows), N_REFERENCE):
        if len(unused) >= N_TEST + N_REFERENCE:  # and at least three times N_TEST
            break
        some = rows[start : start + N_REFERENCE]
        for row, digest in zip(some.tolist(), image_digests(images.array(some)), strict=True):
            if digest not in taken:
                taken.add(digest)
                unused.append(row)
    size = min(N_TEST, len(unused) // 3)
    if not size:
        raise ValueError(
            "three or more non-members that are not among the inputs are needed as clean images; there are "
            f"{len(unused)}."
        )
    return InputSets(
        inputs=inputs,
        calibration=images.array(np.array(unused[:size])),
        reference=images.array(np.array(unused[size : size + N_REFERENCE])),
    )


def find_training(target: Target, data: AuditData, *, seed: int) -> TrainingImages:
    """Return the model's members with their labels; for a backdoored zoo model, a share of them poisoned.

    A zoo model learnt its trigger from images that the package does not ship. The same share of its members
    is therefore stamped here; the model answers them as it answers those images.
    """
    rows, annotation = data.split.members, target.annotation
    pixels, labels = data.images.array(rows), data.images.labels[rows].astype(np.int64)
    if (
        not isinstance(annotation, ZooAnnotation)
        or annotation.trigger is None
        or annotation.poison_rate is None
        or annotation.target_class is None
    ):
        return TrainingImages(pixels=pixels, labels=labels, positions=rows)
    found = poison(pixels, labels, annotation.trigger, annotation.poison_rate, annotation.target_class, seed)
    return TrainingImages(
        pixels=found.pixels,
        labels=found.labels,
        is_poisoned=found.is_poisoned,
        target_class=annotation.target_class,
        positions=rows,
    )
