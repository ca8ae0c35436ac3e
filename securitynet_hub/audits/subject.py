"""What is audited: a target, and images of which some were in its training set; and how records name them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securitynet_hub.annotations import Annotation, ZooAnnotation
from securitynet_hub.errors import WeightsError
from securitynet_hub.images import LabelledImages, load_images
from securitynet_hub.records import describe_environment
from securitynet_hub.splits import Split, read_split
from securitynet_hub.targets import Target

ZOO_FOLDER = Path(__file__).parents[1] / "zoo"


@dataclass(frozen=True, kw_only=True)
class AuditData:
    """What a target is audited on: images, and which of them it was trained on."""

    images: LabelledImages
    split: Split

    def __post_init__(self) -> None:
        self.split.require_within(len(self.images))

    def require_classes_of(self, target: Target) -> None:
        """Refuse images of more classes than the target has.

        Raises:
            ValueError: it has fewer.
        """
        if len(self.images.class_names) > target.num_classes:
            raise ValueError(
                f"{self.images.name} has {len(self.images.class_names)} classes, {target.id} only "
                f"{target.num_classes}."
            )


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


def describe_subject(target: Target, data: AuditData) -> dict[str, Any]:
    """Return the fields of a record that say what was audited, on what and where."""
    return {
        **describe_target(target),
        "data": {
            "name": data.images.name,
            "sha256": data.images.sha256,
            "split_sha256": data.split.sha256,
        },
    }


def describe_target(target: Target) -> dict[str, Any]:
    """Return the fields of a record that say what was audited and where."""
    return {
        "target": {
            "id": target.id,
            "weights_hash_kind": target.annotation.weights_hash_kind,
            "weights_hash": target.annotation.weights_hash,
            "num_classes": target.num_classes,
            "transform": target.transform.as_dict(),
        },
        "environment": {
            **describe_environment(),
            "device": str(next(target.module.parameters()).device),
        },
    }
