"""Run backdoor detectors on one target: a record for each, and recovered triggers as pictures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.annotations.schema import ZooAnnotation
from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.input_scores import measure_inputs, measure_training
from securitynet_hub.attacks.backdoor.inputs import (
    N_COSTLY,
    Inputs,
    InputSets,
    TrainingImages,
    find_inputs,
    find_training,
    read_inputs,
)
from securitynet_hub.attacks.backdoor.inversion import (
    Inversion,
    save_pictures,
    save_triggers,
    stamped_pixels,
    trigger_overlap,
)
from securitynet_hub.attacks.backdoor.kind import KIND, Options
from securitynet_hub.attacks.backdoor.registry import detectors, find
from securitynet_hub.attacks.backdoor.running import run_detector
from securitynet_hub.attacks.kind import Context
from securitynet_hub.attacks.subject import AuditData, at_one_size, describe_subject
from securitynet_hub.core.errors import SkippedWarning
from securitynet_hub.core.telling import warn_caller
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.sources import Changed, ImageSource
from securitynet_hub.data.triggers import TRIGGERS
from securitynet_hub.models.beside import as_several, load_beside
from securitynet_hub.models.target import Target
from securitynet_hub.records.record import Record


def run(
    target: Target, data: AuditData, attacks: Sequence[str], options: Options, context: Context
) -> list[Record]:
    """Run backdoor detectors on a target; return one record for each, as `Audits.run` says.

    The non-members serve as clean images of the model's domain, the members as its training images. If
    `Context.on_record` returns the file of a record, the recovered triggers of suspected classes are written
    beside it, as ``<record>-class-<label>-<mask, pattern or trigger>.png``, and those of `twins` as
    ``<record>-class-<label>-<probe, shade, noise or blocks>.png``.

    Returns:
        Records of kind ``backdoor-detection``. A detector of models gives ``score`` and ``suspect``; for zoo
        models, whose backdoor is known, also ``target_class`` and ``trigger_overlap``, which is how well the
        recovered mask covers the true trigger. For detectors of images see `measure_inputs` and
        `measure_training`.

    Raises:
        UnknownNameError: no such detector or setting; the closest names are given.
        ValueError: a detector does not apply; the sentence says why.

    >>> from securitynet_hub import load_target
    >>> from securitynet_hub.attacks.subject import known_data
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> quick = Context(settings={"mm_bd": {"images_per_class": 2, "steps": 5}})
    >>> (record,) = run(target, known_data(target.annotation), ["mm_bd"], Options(), quick)
    >>> record.attack["kind"], record.result["suspect"] in range(10)
    ('backdoor-detection', True)
    """
    for name in attacks:
        find(name).require_settings(context.settings.get(name, {}))
    data.require_classes_of(target)
    if data.validity is not None:
        data.validity.ask(target, data)
    whole, (target, data) = target, at_one_size(target, data)
    images = _AuditImages.from_data(target, data, options, context.seed)
    if images.named and not any(find(name).compares for name in attacks):
        able = " and ".join(name for name, each in detectors().items() if each.compares)
        warn_caller(
            f"beside= (--beside) is left unused: of the detectors only {able} compares models.",
            SkippedWarning,
        )

    def require(name: str) -> None:
        unused = find(name).unused_beside & context.settings.get(name, {}).keys()
        if unused and images.beside:
            raise ValueError(
                f"{name} trains no twins with beside= (--beside), and has no use for "
                f"{' and '.join(sorted(unused))}."
            )
        if reason := images.why_not(find(name)):
            raise ValueError(f"{name} cannot judge {target.id}: {reason}.")

    records = []
    for name in context.able(dict.fromkeys(attacks), require):  # before the first of them takes its time
        with context.attempting(name):
            began = time.perf_counter()
            detector, own = find(name), dict(context.settings.get(name, {}))
            finding = run_detector(name, target, images.inputs_of(detector), **own)
            result, known, counts = images.measure(detector, finding, context.confidence_level)
            result |= _named(result, data.images.class_names)
            taken = {**detector.settings, **own}
            if "beside" in known:
                taken = {key: value for key, value in taken.items() if key not in detector.unused_beside}
            record = Record(
                **describe_subject(whole, data),
                attack={
                    "name": name,
                    "kind": KIND.name,
                    "seed": context.seed,
                    **known,
                    **{key: v.as_dict() if hasattr(v, "as_dict") else v for key, v in taken.items()},
                },
                result=result,
                counts=counts,
                timings={"attack": time.perf_counter() - began},
            )
            records.append(record)
            path = context.on_record(record)
            if path is not None and finding.inversion is not None and _is_picture(finding.inversion):
                suspects = {finding.suspect, *finding.figures["flagged_classes"]} - {None}
                save_triggers(finding.inversion, sorted(suspects), path.parent, stem=f"{path.stem}-class")
            if path is not None:
                save_pictures(finding.pictures, path)
    return records


def _named(result: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return what the flagged and suspected classes are called, where they have more than a number.

    >>> _named({"suspect": 1, "flagged_classes": [0, 1]}, ("0", "dog"))
    {'class_names': {'1': 'dog'}}
    """
    suspects = (
        result.get(name) for name in ("suspect", "adjusted_suspect", "reach_suspect", "suspect_source")
    )
    marked = {*(result.get("flagged_classes") or ()), *suspects} - {None}
    known = dict(enumerate(names))  # data may name fewer classes than a model has
    found = {
        str(label): known[label] for label in sorted(marked) if known.get(label, "") not in ("", str(label))
    }
    return {"class_names": found} if found else {}


def applicable(target: Target, data: AuditData, options: Options, context: Context) -> list[str]:
    """List the detectors that can run on this target with these images."""
    images = _AuditImages.from_data(*at_one_size(target, data), options, context.seed)
    return [name for name, detector in detectors().items() if images.why_not(detector) is None]


def left_out(target: Target, data: AuditData, options: Options) -> dict[str, str]:
    """Return the reason for each detector that cannot run on this target with these images."""
    images = _AuditImages.from_data(*at_one_size(target, data), options, 0)
    reasons = {name: images.why_not(detector) for name, detector in detectors().items()}
    return {name: reason for name, reason in reasons.items() if reason}


def swept() -> list[str]:
    """List the detectors that judge models: all other detectors need images to judge."""
    return [name for name, detector in detectors().items() if detector.judges == "model"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _AuditImages:
    """The images that an audit has for detectors of models, inputs and training images."""

    target: Target
    data: AuditData
    num_images: int
    clean: Pixels
    inputs: InputSets | None
    seed: int
    named: tuple[Any, ...] = ()
    _drawn: dict[int, Pixels] = field(default_factory=dict, repr=False)

    @classmethod
    def from_data(cls, target: Target, data: AuditData, options: Options, seed: int) -> _AuditImages:
        images, rows, inputs = data.images, data.split.nonmembers, options.inputs
        if isinstance(inputs, (str, Path)):
            assert images.shape is not None  # by `at_one_size`
            fit = images.applied if isinstance(images, Changed) else None  # as the images beside them
            inputs = read_inputs(inputs, images.shape, fit)
        return cls(
            target=target,
            data=data,
            num_images=options.num_images,
            clean=images.array(draw_evenly(images, rows, min(options.num_images, len(rows)), seed)),
            inputs=find_inputs(target, data, inputs, seed=seed),
            seed=seed,
            named=as_several(options.beside),
        )

    @cached_property
    def beside(self) -> tuple[Target, ...]:
        """The clean models beside the audited one, loaded: only for a detector that compares."""
        return tuple(load_beside(each, self.target) for each in self.named)

    @cached_property
    def training(self) -> TrainingImages:
        """The members as images: all in memory, so only for a detector that judges them."""
        return find_training(self.target, self.data, seed=self.seed)

    def clean_for(self, detector: Attack) -> Pixels:
        """Return the clean images for a detector of models, as many as it can use."""
        if not detector.many:
            return self.clean
        if detector.many not in self._drawn:
            rows = np.random.default_rng(self.seed).permutation(self.data.split.nonmembers)[: detector.many]
            self._drawn[detector.many] = self.data.images.array(rows)
        return self._drawn[detector.many]

    def why_not(self, detector: Attack) -> str | None:
        """Return the first reason why a detector cannot run, or None."""
        return detector.why_not(self.target, self.inputs_of(detector))

    def inputs_of(self, detector: Attack) -> DetectorInputs:
        """Return what a detector may use; the calibration images follow the images to judge."""
        if detector.judges == "training":
            return DetectorInputs(training=self.training.pixels, labels=self.training.labels, seed=self.seed)
        if detector.judges == "model" or self.inputs is None:
            beside = self.beside if detector.compares else ()
            return DetectorInputs(clean=self.clean_for(detector), beside=beside, seed=self.seed)
        inputs, calibration = self._judged(detector)
        pixels = np.concatenate([inputs.pixels, calibration])
        return DetectorInputs(clean=self.inputs.reference, inputs=pixels, seed=self.seed)

    def measure(
        self, detector: Attack, finding: Finding, level: float
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
        """Return a record's result, the settings that describe the images, and its counts."""
        if detector.judges == "training":
            result = measure_training(finding, self.training, level)
            return result, {}, {"images": len(self.training.labels)}
        if detector.judges == "inputs":
            inputs, calibration = self._judged(detector)
            known = {"inputs": inputs.name, "inputs_sha256": inputs.sha256}
            counts = {"images": len(inputs.pixels), "calibration": len(calibration)}
            return measure_inputs(finding, inputs, len(calibration), level), known, counts
        result = {
            "score": finding.score,
            "suspect": finding.suspect,
            **finding.figures,
            **_truth(self.target, finding.inversion, self.clean),
        }
        clean = self.clean_for(detector)
        how: dict[str, Any] = {"num_images": detector.many or self.num_images}
        if detector.compares and self.beside:
            how["beside"] = [each.id for each in self.beside]
        return result, how, {"images": len(clean)}

    def _judged(self, detector: Attack) -> tuple[Inputs, Pixels]:
        assert self.inputs is not None
        inputs, calibration = self.inputs.inputs, self.inputs.calibration
        return (inputs.reduced(), calibration[:N_COSTLY]) if detector.costly else (inputs, calibration)


def draw_evenly(
    images: ImageSource, rows: npt.ArrayLike | None, count: int, seed: int
) -> npt.NDArray[np.int64]:
    """Draw images as evenly from the classes as possible; return their positions, ascending.

    Args:
        images: labelled images.
        rows: positions to draw from; None for all.
        count: number of images.
        seed: decides the draw.

    Raises:
        ValueError: there are fewer images, or `rows` are no positions among them.

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
