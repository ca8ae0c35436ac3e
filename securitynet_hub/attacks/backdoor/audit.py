"""Backdoor detection on one target: the detectors that apply, a record each, recovered triggers as PNG."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.annotations.schema import ZooAnnotation
from securitynet_hub.attacks.backdoor.detector import Clues, Finding
from securitynet_hub.attacks.backdoor.examined import (
    FEW,
    Inputs,
    Suspects,
    Training,
    find_suspects,
    find_training,
)
from securitynet_hub.attacks.backdoor.input_scores import measure_inputs, measure_training
from securitynet_hub.attacks.backdoor.inversion import (
    Inversion,
    save_triggers,
    stamped_pixels,
    trigger_overlap,
)
from securitynet_hub.attacks.backdoor.measures import CONFIDENCE_LEVEL
from securitynet_hub.attacks.backdoor.registry import DETECTORS
from securitynet_hub.attacks.backdoor.running import known_settings, run_detector, why_not
from securitynet_hub.attacks.subject import AuditData, describe_subject
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.images import LabelledImages
from securitynet_hub.data.triggers import TRIGGERS
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import Record

KIND = "backdoor-detection"
NUM_IMAGES = 40
"""Clean images that the detectors are given by default."""


def audit_backdoors(
    target: Target,
    data: AuditData,
    attacks: Sequence[str] | None = None,
    *,
    num_images: int = NUM_IMAGES,
    inputs: Inputs | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
    confidence_level: float = CONFIDENCE_LEVEL,
    on_record: Callable[[Record], Path | None] = lambda record: None,
) -> list[Record]:
    """Run backdoor detectors on a target; return one record for each.

    Args:
        target: the classifier; it is left as it was.
        data: images and split; the non-members are taken for clean images of the model's domain, the
            members for its training images.
        attacks: names of `DETECTORS`; unless given those that apply, as `why_not_run` tells.
        num_images: clean images for detectors of models, drawn by the seed, as evenly from the classes as
            can be.
        inputs: what detectors of inputs judge. Unless given, and where the trigger is known as for the
            zoo, non-members, half of them stamped: then the truth is known.
        settings: for each detector's name, what it takes.
        seed: of the draw of images and of what detectors draw.
        confidence_level: of every interval.
        on_record: called with each record as soon as it is measured. Where it says into which file it
            wrote it, the triggers that were recovered for suspects are written beside, as
            ``<record>-class-<label>-<mask, pattern or trigger>.png``.

    Returns:
        Records of kind ``backdoor-detection``. Of a model: ``score`` and ``suspect``, and where the truth
        is known, as for the zoo, ``target_class`` and ``trigger_overlap``, that class and how well its
        recovered mask covers the true trigger. Of images: see `measure_inputs` and `measure_training`.

    Raises:
        UnknownNameError: no such detector or setting; the closest names are given.
        ValueError: a detector that was asked for does not apply; the sentence says why.

    >>> from securitynet_hub import load_target
    >>> from securitynet_hub.attacks.subject import known_data
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
    evidence = _Evidence.of(target, data, num_images, inputs, seed)
    if attacks is None:
        attacks = [name for name in DETECTORS if evidence.why_not(name) is None]
    for name in attacks:  # before the first of them takes its time
        reason = evidence.why_not(name)
        if reason is not None:
            raise ValueError(f"{name} cannot judge {target.id}: {reason}.")
    records = []
    for name in dict.fromkeys(attacks):
        began = time.perf_counter()
        own = dict(settings.get(name, {}))
        clues = evidence.clues(name)
        finding = run_detector(name, target, clues, **own)
        result, known, counts = evidence.measure(name, finding, confidence_level)
        taken = {**known_settings(name), **own}
        record = Record(
            **describe_subject(target, data),
            attack={
                "name": name,
                "kind": KIND,
                "seed": seed,
                **known,
                **{key: v.as_dict() if hasattr(v, "as_dict") else v for key, v in taken.items()},
            },
            result=result,
            counts=counts,
            timings={"attack": time.perf_counter() - began},
        )
        records.append(record)
        path = on_record(record)
        if path is not None and finding.inversion is not None and _is_picture(finding.inversion):
            suspects = {finding.suspect, *finding.figures["flagged_classes"]} - {None}
            save_triggers(finding.inversion, sorted(suspects), path.parent, stem=f"{path.stem}-class")
    return records


def why_not_run(target: Target, data: AuditData, inputs: Inputs | None = None) -> dict[str, str]:
    """Return for each detector that `audit_backdoors` leaves out of an audit the reason."""
    evidence = _Evidence.of(target, data, NUM_IMAGES, inputs, 0)
    reasons = {name: evidence.why_not(name) for name in DETECTORS}
    return {name: reason for name, reason in reasons.items() if reason}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Evidence:
    """What an audit has for detectors of every kind."""

    target: Target
    num_images: int
    clean: npt.NDArray[np.uint8]
    suspects: Suspects | None
    training: Training
    seed: int

    @classmethod
    def of(
        cls, target: Target, data: AuditData, num_images: int, inputs: Inputs | None, seed: int
    ) -> _Evidence:
        images, rows = data.images, data.split.nonmembers
        return cls(
            target=target,
            num_images=num_images,
            clean=images.pixels[draw_evenly(images, rows, min(num_images, len(rows)), seed)],
            suspects=find_suspects(target, data, inputs, seed=seed),
            training=find_training(target, data, seed=seed),
            seed=seed,
        )

    def why_not(self, name: str) -> str | None:
        """Return the first reason why a detector cannot run, or None."""
        return why_not(name, self.target, self.clues(name))

    def clues(self, name: str) -> Clues:
        """Return what a detector may use; the images to choose a threshold on stand behind the inputs."""
        judges = DETECTORS[name].judges
        if judges == "training":
            return Clues(training=self.training.pixels, told=self.training.told, seed=self.seed)
        if judges == "model" or self.suspects is None:
            return Clues(clean=self.clean, seed=self.seed)
        inputs, calibration = self._judged(name)
        return Clues(
            clean=self.suspects.known, inputs=np.concatenate([inputs.pixels, calibration]), seed=self.seed
        )

    def measure(
        self, name: str, finding: Finding, level: float
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
        """Return a record's result, what of its settings the images decided, and its counts."""
        judges = DETECTORS[name].judges
        if judges == "training":
            result = measure_training(finding, self.training, level)
            return result, {}, {"images": len(self.training.told)}
        if judges == "inputs":
            inputs, calibration = self._judged(name)
            known = {"inputs": inputs.name, "inputs_sha256": inputs.sha256}
            counts = {"images": len(inputs.pixels), "calibration": len(calibration)}
            return measure_inputs(finding, inputs, len(calibration), level), known, counts
        result = {
            "score": finding.score,
            "suspect": finding.suspect,
            **finding.figures,
            **_truth(self.target, finding.inversion, self.clean),
        }
        return result, {"num_images": self.num_images}, {"images": len(self.clean)}

    def _judged(self, name: str) -> tuple[Inputs, npt.NDArray[np.uint8]]:
        assert self.suspects is not None
        inputs, calibration = self.suspects.inputs, self.suspects.calibration
        return (inputs.few(), calibration[:FEW]) if DETECTORS[name].costly else (inputs, calibration)


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
