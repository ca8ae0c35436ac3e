"""One model, one data set, some attacks: forward once, score, measure, record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from securitynet_hub.annotations import Annotation, ZooAnnotation
from securitynet_hub.attacks.membership import (
    CONFIDENCE_LEVEL,
    TARGET_FPRS,
    measure_membership,
    membership_scores,
)
from securitynet_hub.errors import UnknownNameError, WeightsError
from securitynet_hub.images import LabelledImages, load_images
from securitynet_hub.inference import BATCH_SIZE, predict
from securitynet_hub.records import Record, describe_environment, require_writable, write_record
from securitynet_hub.signals import SIGNALS
from securitynet_hub.splits import Split, read_split
from securitynet_hub.targets import Target, find_annotation, load_target

ATTACKS = tuple(SIGNALS)
"""What `audit` can run, in the order it runs them by default."""

ZOO_FOLDER = Path(__file__).parent / "zoo"


@dataclass(frozen=True, kw_only=True)
class AuditData:
    """What a target is audited on: images, and which of them it was trained on."""

    images: LabelledImages
    split: Split

    def __post_init__(self) -> None:
        self.split.require_within(len(self.images))


def audit(
    target: str | Target,
    *,
    attacks: str | Iterable[str] = ATTACKS,
    data: AuditData | None = None,
    out: str | Path | None = None,
    target_fprs: Sequence[float] = TARGET_FPRS,
    confidence_level: float = CONFIDENCE_LEVEL,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] = lambda size: None,
) -> list[Record]:
    """Audit a model with membership-inference attacks; return one record for each attack.

    Args:
        target: an annotated model's id, or a loaded `Target`.
        attacks: names from `ATTACKS`.
        data: images and split; models of the embedded zoo know theirs.
        out: folder for the records; nothing is written without it.
        target_fprs: false-positive rates at which to give the true-positive rate.
        confidence_level: of every interval.
        batch_size: images in one forward pass.
        on_batch: called with the number of images after each batch.

    Raises:
        UnknownNameError: no such model or attack; the closest names are given.
        WeightsError: the weights are missing or damaged.
        RecordError: the folder cannot take records.
        ValueError: no data is known for the target, or it does not fit the model.

    >>> records = audit("zoo/fashion-mnist/cnn-overfitted-500/1", attacks=["modified_entropy"])
    >>> records[0].result["auc_ci"][0] > 0.5  # the overfitted model gives its members away
    True
    """
    attacks = [attacks] if isinstance(attacks, str) else list(dict.fromkeys(attacks))
    if not attacks:
        raise ValueError(f"at least one attack is needed; there are {', '.join(ATTACKS)}.")
    for name in attacks:
        if name not in ATTACKS:
            raise UnknownNameError("attack", name, ATTACKS)
    target_fprs = [float(target) for target in target_fprs]
    confidence_level = float(confidence_level)
    # Refuse impossible rates before the forward pass, not after.
    measure_membership([1, 0], [1, 0], target_fprs=target_fprs, confidence_level=confidence_level)
    if out is not None:
        require_writable(Path(out))
    if not isinstance(target, (str, Target)):
        raise ValueError(f"target must be a model's id or a Target from load_target; got {target!r}.")
    # The data first: without it there is no need to download any weights.
    data = data or known_data(find_annotation(target) if isinstance(target, str) else target.annotation)
    if isinstance(target, str):
        target = load_target(target)
    if len(data.images.class_names) > target.num_classes:
        raise ValueError(
            f"{data.images.name} has {len(data.images.class_names)} classes, {target.id} only "
            f"{target.num_classes}."
        )
    indices, is_member = data.split.indices, data.split.is_member
    labels = data.images.labels[indices]

    started = time.perf_counter()
    logits = predict(target, data.images.pixels[indices], batch_size=batch_size, on_batch=on_batch)
    forwarded = time.perf_counter()
    records = []
    for name in attacks:
        began = time.perf_counter()
        scores = membership_scores(name, logits, labels, from_logits=True)
        result = measure_membership(
            scores, is_member, target_fprs=target_fprs, confidence_level=confidence_level
        )
        record = Record(
            target={
                "id": target.id,
                "weights_hash_kind": target.annotation.weights_hash_kind,
                "weights_hash": target.annotation.weights_hash,
                "num_classes": target.num_classes,
                "transform": target.transform.as_dict(),
            },
            data={
                "name": data.images.name,
                "sha256": data.images.sha256,
                "split_sha256": data.split.sha256,
            },
            attack={
                "name": name,
                "kind": "membership-inference",
                "from_logits": True,
                "target_fprs": target_fprs,
                "confidence_level": confidence_level,
            },
            result=dict(result),
            counts={"forwarded": len(indices)},
            timings={"inference": forwarded - started, "attack": time.perf_counter() - began},
            environment={
                **describe_environment(),
                "device": str(next(target.module.parameters()).device),
            },
        )
        records.append(record)
        if out is not None:
            write_record(record, Path(out))
    return records


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
