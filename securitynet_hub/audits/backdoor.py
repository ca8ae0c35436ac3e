"""Backdoor detection on one target: the detectors that apply, a record each, recovered triggers as PNG."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.annotations import ZooAnnotation
from securitynet_hub.attacks.backdoor.inversion import (
    Inversion,
    save_triggers,
    stamped_pixels,
    trigger_overlap,
)
from securitynet_hub.attacks.backdoor.suite import (
    DETECTORS,
    Clues,
    known_settings,
    run_detector,
    runnable,
    why_not,
)
from securitynet_hub.audits.subject import AuditData, describe_subject
from securitynet_hub.errors import UnknownNameError
from securitynet_hub.images import LabelledImages
from securitynet_hub.records import Record
from securitynet_hub.targets import Target
from securitynet_hub.triggers import TRIGGERS

KIND = "backdoor-detection"
NUM_IMAGES = 40
"""Clean images that the detectors are given by default."""


def audit_backdoors(
    target: Target,
    data: AuditData,
    attacks: Sequence[str] | None = None,
    *,
    num_images: int = NUM_IMAGES,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
    on_record: Callable[[Record], Path | None] = lambda record: None,
) -> list[Record]:
    """Run backdoor detectors on a target; return one record for each.

    Args:
        target: the classifier; it is left as it was.
        data: images and split; the non-members are taken for clean images of the model's domain.
        attacks: names of `DETECTORS`; unless given those that judge models and that apply to the target, as
            `securitynet_hub.attacks.backdoor.suite.runnable` tells.
        num_images: drawn by the seed, as evenly from the classes as can be.
        settings: for each detector's name, what it takes.
        seed: of the draw of images and of what detectors draw.
        on_record: called with each record as soon as it is measured. Where it says into which file it wrote
            it, the triggers that were recovered for suspects are written beside, as
            ``<record>-class-<label>-<mask, pattern or trigger>.png``.

    Returns:
        Records of kind ``backdoor-detection``. Where the truth is known, as for the zoo, ``target_class`` and
        ``trigger_overlap`` are that class and how well its recovered mask covers the true trigger.

    Raises:
        UnknownNameError: no such detector or setting; the closest names are given.
        ValueError: a detector that was asked for does not apply; the sentence says why.

    >>> from securitynet_hub import load_target
    >>> from securitynet_hub.audits.subject import known_data
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> quick = {"mm_bd": {"images_per_class": 2, "steps": 5}}
    >>> (record,) = audit_backdoors(target, known_data(target.annotation), ["mm_bd"], settings=quick)
    >>> record.attack["kind"], record.result["suspect"] in range(10)
    ('backdoor-detection', True)
    """
    settings = settings or {}
    for name in (*(attacks or ()), *settings):
        if name not in DETECTORS:
            raise UnknownNameError("backdoor detector", name, DETECTORS)
    data.require_classes_of(target)
    images = data.images
    chosen = draw_evenly(images, data.split.nonmembers, min(num_images, len(data.split.nonmembers)), seed)
    clues = Clues(clean=images.pixels[chosen], seed=seed)
    if attacks is None:
        reasons = runnable(target, clues)
        attacks = [name for name in DETECTORS if DETECTORS[name].judges == "model" and not reasons[name]]
    for name in attacks:  # before the first of them takes its time
        reason = why_not(name, target, clues)
        if reason is not None:
            raise ValueError(f"{name} cannot judge {target.id}: {reason}.")
    records = []
    for name in dict.fromkeys(attacks):
        began = time.perf_counter()
        own = dict(settings.get(name, {}))
        finding = run_detector(name, target, clues, **own)
        taken = {**known_settings(name), **own}
        record = Record(
            **describe_subject(target, data),
            attack={
                "name": name,
                "kind": KIND,
                "seed": seed,
                "num_images": num_images,
                **{key: v.as_dict() if hasattr(v, "as_dict") else v for key, v in taken.items()},
            },
            result={
                "score": finding.score,
                "suspect": finding.suspect,
                **finding.figures,
                **_truth(target, finding.inversion, clues.clean),
            },
            counts={"images": len(chosen)},
            timings={"attack": time.perf_counter() - began},
        )
        records.append(record)
        path = on_record(record)
        if path is not None and finding.inversion is not None and _is_picture(finding.inversion):
            suspects = {finding.suspect, *finding.figures["flagged_classes"]} - {None}
            save_triggers(finding.inversion, sorted(suspects), path.parent, stem=f"{path.stem}-class")
    return records


def why_not_run(target: Target, data: AuditData) -> dict[str, str]:
    """Return for each detector that `audit_backdoors` leaves out of an audit the reason."""
    clues = Clues(clean=data.images.pixels[data.split.nonmembers])
    reasons = {name: why_not(name, target, clues) for name in DETECTORS}
    inputs = {name: "it judges images, and an audit has none that are suspected" for name in DETECTORS
              if DETECTORS[name].judges == "inputs"}  # fmt: skip
    return {name: reason for name, reason in (reasons | inputs).items() if reason}


def draw_evenly(
    images: LabelledImages, rows: npt.ArrayLike | None, count: int, seed: int
) -> npt.NDArray[np.int64]:
    """Return positions of so many images, as evenly from the classes as can be, in ascending order.

    Raises:
        ValueError: fewer images than that, or no positions among them.

    >>> from securitynet_hub import load_images
    >>> images = load_images()
    >>> np.bincount(images.labels[draw_evenly(images, range(2000, 4000), 25, seed=0)]).tolist()
    [3, 3, 3, 3, 3, 2, 2, 2, 2, 2]
    """
    among = np.arange(len(images)) if rows is None else np.asarray(rows)
    inside = among.size and among.dtype.kind in "iu" and 0 <= among.min() <= among.max() < len(images)
    if among.ndim != 1 or not inside or not 1 <= count <= len(among):
        raise ValueError(
            f"rows must be at least {count} positions below {len(images)}, num_images at least 1; got "
            f"{among.dtype} of {among.shape}."
        )
    among = np.random.default_rng(seed).permutation(among)
    labels = images.labels[among]
    turn = np.zeros(len(among), np.int64)  # a class's first image, then everyone's second, ...
    for label in np.unique(labels):
        turn[labels == label] = np.arange(np.count_nonzero(labels == label))
    return np.sort(among[np.lexsort((labels, turn))[:count]])


def _truth(
    target: Target, inversion: Inversion | None, clean: npt.NDArray[np.uint8] | None
) -> dict[str, Any]:
    """Return a zoo model's true target class, and how well its recovered mask covers the true trigger."""
    annotation = target.annotation
    if not isinstance(annotation, ZooAnnotation) or annotation.trigger is None:
        return {}
    truth: dict[str, Any] = {"target_class": annotation.target_class}
    label = annotation.target_class
    if inversion is not None and clean is not None and label is not None and label in inversion.classes:
        mask, _ = inversion.best(label)
        truth["trigger_overlap"] = trigger_overlap(mask, stamped_pixels(TRIGGERS[annotation.trigger], clean))
    return truth


def _is_picture(inversion: Inversion) -> bool:
    return inversion.masks.ndim == 4 and inversion.patterns.shape[-1] in (1, 3)
