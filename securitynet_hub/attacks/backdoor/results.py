"""Results of backdoor detection, parsed: of detectors of models, of inputs, and of training images."""

from __future__ import annotations

import math
import warnings
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from securitynet_hub.attacks.backdoor.expected_size import MOST_CLASSES, adjust_sizes
from securitynet_hub.attacks.backdoor.inversion import measure_inversion
from securitynet_hub.attacks.backdoor.verdict import LEVEL
from securitynet_hub.attacks.checks import Figures, parse_result, require_equal, same, whole, wilson
from securitynet_hub.records.record import Record
from securitynet_hub.records.schema import (
    Count,
    Ends,
    Flag,
    Level,
    Number,
    Part,
    Positive,
    Rate,
    Text,
    expecting,
    shown,
)

MANY = 1_000_000
"""The most entries of a list: scores of images, or what a detector found for each class."""


def _are_norms(value: Any) -> bool:
    rows = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    plain = all(isinstance(row, list) and 0 < len(row) <= MANY for row in rows) and len(rows) <= MANY
    return plain and all(n is None or type(n) in (int, float) for row in rows for n in row)


Norms = Annotated[list[Any], expecting("be a list of numbers, or one such list for each restart", _are_norms)]


class FoundTrigger(Part):
    """A trigger that leads to the suspected class, and how often on the model and on its clean twins."""

    name: Text
    success: Rate
    twin_success: Rate


class ModelResult(Figures):
    """What a detector says of a model.

    The score is ``-log2 norm_ratio`` of a detector that recovers triggers, and ``-log10 p`` of one that gives
    a p-value. What the norms of the triggers say follows from them, and, with the gaps, the adjusted score.
    """

    judges: Literal["model"] = "model"
    score: Number | None
    suspect: Count | None = None
    p_value: Rate | None = None
    norms: Norms | None = None
    classes: Annotated[list[Count], Field(max_length=MANY)] | None = None
    controls: Annotated[list[Flag], Field(max_length=MANY)] | None = None
    sizes: Annotated[list[Number | None], Field(max_length=MANY)] | None = None
    gaps: Annotated[list[Number | None], Field(max_length=MOST_CLASSES)] | None = None
    adjusted_score: Number | None = None
    adjusted_suspect: Count | None = None
    pair_classes: Annotated[list[Count], Field(max_length=MOST_CLASSES)] | None = None
    pair_sizes: Annotated[list[list[Number | None]], Field(max_length=MOST_CLASSES)] | None = None
    suspect_source: Count | None = None
    reach_score: Number | None = None
    reach_suspect: Count | None = None
    anomaly_index: Number | None = None
    log_anomaly_index: Number | None = None
    norm_ratio: Number | None = None
    flagged_classes: Annotated[list[Count], Field(max_length=MANY)] | None = None
    target_class: Count | None = None
    trigger_overlap: Rate | None = None
    unlearning_success_before: Rate | None = None
    unlearning_success_after: Rate | None = None
    unlearning_agreement: Rate | None = None
    verdict: Literal["backdoor", "no sign", "cannot tell"] | None = None
    reason: Text | None = None
    conformal_p: Rate | None = None
    probability: Rate | None = None
    probability_ci: Ends | None = None
    class_scores: Annotated[list[Number], Field(max_length=MANY)] | None = None
    all_to_all: Flag | None = None
    rearrangement: Number | None = None
    beside: Positive | None = None
    twin_agreement: Annotated[list[Rate], Field(max_length=1000)] | None = None
    triggers: Annotated[list[FoundTrigger], Field(max_length=1000)] | None = None

    @model_validator(mode="after")
    def _verdict_agrees(self) -> ModelResult:
        if self.all_to_all and (self.verdict is None or self.rearrangement is None):
            raise ValueError("all_to_all stands beside a verdict and a rearrangement")
        if self.rearrangement is not None and not -1.5 <= self.rearrangement <= 1:
            raise ValueError(f"a rearrangement lies between -1.5 and 1; got {self.rearrangement:.6g}")
        if self.verdict is None:
            return self
        for name in ("conformal_p", "probability", "probability_ci", "class_scores", "twin_agreement"):
            if getattr(self, name) is None:
                raise ValueError(f"the result lacks {name!r}, which stands beside a verdict")
        compared = len(self.twin_agreement or ())
        require_equal(self.beside or compared, max(compared, 1), "beside, the number of agreements")
        if self.verdict == "backdoor" and (self.conformal_p or 0.0) > LEVEL:
            raise ValueError(f"a verdict of a backdoor needs a conformal_p of {LEVEL} at most")
        if self.verdict == "no sign" and (self.conformal_p or 0.0) <= LEVEL:
            raise ValueError(f"a verdict of no sign needs a conformal_p above {LEVEL}")
        scores = self.class_scores or [0.0]
        classes = self.classes if self.classes is not None else list(range(len(scores)))
        require_equal(len(classes), len(scores), "the number of classes")
        require_equal(
            -1 if self.suspect is None else self.suspect,
            classes[int(np.argmax(scores))],
            "suspect, the class of the highest score",
        )
        return self

    @model_validator(mode="after")
    def _adjusted_agrees(self) -> ModelResult:
        measured = self.sizes if self.norms is None else self.norms
        if self.gaps is None or measured is None:
            if self.adjusted_score is not None:
                raise ValueError("adjusted_score stands beside gaps, and norms or sizes")
            return self
        found = adjust_sizes(np.array(measured, np.float64), np.array(self.gaps, np.float64))
        same(self.adjusted_score, found.score, "adjusted_score", "of these sizes and gaps")
        self._require_place(self.adjusted_suspect, found.suspect, self.classes, "adjusted_suspect")
        return self

    @model_validator(mode="after")
    def _pairs_agree(self) -> ModelResult:
        if self.pair_sizes is None:
            return self
        sizes = np.array(self.pair_sizes, np.float64)
        classes = self.pair_classes or list(range(len(sizes)))
        if sizes.shape != (len(classes), len(classes)):
            raise ValueError(f"pair_sizes should be square, for {len(classes)} classes; got {sizes.shape}")
        if self.suspect is not None:
            if self.suspect not in classes:
                raise ValueError(f"suspect should be one of pair_classes; got {self.suspect}")
            towards = np.nan_to_num(sizes[:, classes.index(self.suspect)], nan=np.inf)
            self._require_place(self.suspect_source, int(towards.argmin()), classes, "suspect_source")
        return self

    @staticmethod
    def _require_place(stated: int | None, place: int | None, classes: list[int] | None, name: str) -> None:
        """Refuse a class that is not the one at this place."""
        expected = place if place is None or classes is None else classes[place]
        require_equal(-1 if stated is None else stated, -1 if expected is None else expected, name)

    @model_validator(mode="after")
    def _agree(self) -> ModelResult:
        if self.norms is not None:
            norms = np.array(self.norms, np.float64)  # None becomes NaN
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of norms that nothing converged to
                found = measure_inversion(norms, classes=self.classes, controls=self.controls)
            same(self.anomaly_index, found["anomaly_index"], "anomaly_index", "of these norms")
            same(self.log_anomaly_index, found["log_anomaly_index"], "log_anomaly_index", "of these norms")
            same(self.norm_ratio, ratio := found["norm_ratio"], "norm_ratio", "of these norms")
            expected = None if ratio is None else -math.log2(max(ratio, 1e-9))
            same(self.score, expected, "score", "of this norm_ratio")
        elif self.p_value is not None:
            expected = -math.log10(max(self.p_value, np.finfo(np.float64).tiny))
            same(self.score, expected, "score", "of this p_value")
        return self


class Acceptance(Part):
    """What a threshold chosen on clean images rejects: of clean images, and not of poisoned ones."""

    target_frr: Rate
    threshold: Number | None
    frr: Rate
    frr_ci: Ends
    far: Rate
    far_ci: Ends
    resolvable: Flag | None = None


class _Truth(Figures):
    """How well scores tell poisoned images from clean ones, where it is known which are which."""

    auc: Rate | None = None
    auc_ci: Ends | None = None
    n_poisoned: Positive | None = None
    n_clean: Positive | None = None
    confidence_level: Level | None = None

    @model_validator(mode="after")
    def _truth_agrees(self) -> _Truth:
        if self.auc is None:
            return self
        for name in ("auc_ci", "n_poisoned", "n_clean", "confidence_level"):
            if getattr(self, name) is None:
                raise ValueError(f"the result lacks {name!r}")
        pairs = (self.n_poisoned or 0) * (self.n_clean or 0)
        whole(2 * self.auc, pairs, "auc", "half pairs of a poisoned and a clean image")
        return self


class InputsResult(_Truth):
    """What a detector says of each of the test inputs.

    Flagged are the scores above the threshold, none where there is no threshold. Each rate of an acceptance
    is a whole number of its images, with Wilson's interval, and the rejected images of both sides together
    are those whose score lies above its threshold.
    """

    judges: Literal["inputs"]
    scores: Annotated[list[Number], Field(max_length=MANY)]
    threshold: Number | None
    target_frr: Rate
    n_inputs: Positive
    n_flagged: Count
    flagged_share: Rate
    flagged_share_ci: Ends
    flagged: Annotated[list[Text], Field(max_length=MANY)]
    acceptance: Annotated[list[Acceptance], Field(max_length=1000)] | None = None
    n_calibration: Count | None = None

    @model_validator(mode="after")
    def _agree(self) -> InputsResult:
        require_equal(len(self.scores), self.n_inputs, "the number of scores")
        require_equal(self.n_flagged, self._above(self.threshold), "n_flagged")
        require_equal(len(self.flagged), self.n_flagged, "the number of names in flagged")
        require_equal(whole(self.flagged_share, self.n_inputs, "flagged_share"), self.n_flagged, "flagged")
        if self.confidence_level is not None:
            ends, level = self.flagged_share_ci, self.confidence_level
            wilson(self.flagged_share, self.n_inputs, ends, "flagged_share", level)
        if self.auc is not None:
            clean, poisoned = self.n_clean or 0, self.n_poisoned or 0
            require_equal(clean + poisoned, self.n_inputs, "n_clean + n_poisoned")
            for each in self.acceptance or ():
                self._require_accepted(each, clean, poisoned, self.confidence_level or 0.0)
        elif self.acceptance:
            raise ValueError("the result lacks 'auc', which stands beside acceptance")
        return self

    def _above(self, threshold: float | None) -> int:
        return 0 if threshold is None else sum(score > threshold for score in self.scores)

    def _require_accepted(self, each: Acceptance, clean: int, poisoned: int, level: float) -> None:
        rejected = wilson(each.frr, clean, each.frr_ci, "frr", level)
        rejected += poisoned - wilson(each.far, poisoned, each.far_ci, "far", level)
        name = f"the images rejected at target_frr {each.target_frr:.6g}"
        require_equal(rejected, self._above(each.threshold), name)


class TrainingResult(_Truth):
    """What a detector says of the training images: which stand out most within their class."""

    judges: Literal["training"]
    n_images: Positive
    most_suspicious: Annotated[list[Count], Field(max_length=1000)]

    @model_validator(mode="after")
    def _agree(self) -> TrainingResult:
        if len(set(self.most_suspicious)) < len(self.most_suspicious):
            raise ValueError("most_suspicious should name each image once")
        if self.auc is not None and (self.n_poisoned or 0) + (self.n_clean or 0) > self.n_images:
            raise ValueError(f"n_poisoned and n_clean are more than the {self.n_images:,} images")
        return self


Result = ModelResult | InputsResult | TrainingResult
FORMS: dict[str, type[ModelResult] | type[InputsResult] | type[TrainingResult]] = {
    "model": ModelResult,
    "inputs": InputsResult,
    "training": TrainingResult,
}
"""The form of a result by what the detector judges; a result that does not say is of a model."""


def parse(record: Record) -> Result:
    """Return the record's result, in the form that its ``judges`` names.

    Raises:
        ValueError: a figure lacks, is of another type or contradicts another one.
    """
    judges: Any = record.result.get("judges", "model")
    if not (isinstance(judges, str) and judges in FORMS):
        raise ValueError(f"judges should be one of {', '.join(FORMS)}; got {shown(judges)}")
    found: Result = parse_result(FORMS[judges], record)
    judged = {"inputs": "n_inputs", "training": "n_images"}.get(judges)
    if judged is not None and "images" in record.counts:
        require_equal(getattr(found, judged), record.counts["images"], judged)
    return found
