"""Turn scores into accusations: one threshold for each class, calibrated on other samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import hypot
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Scores, as_array, name_rows, require_finite
from securitynet_hub.statistics.rates import Interval, check_scores, wilson_interval

Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Thresholds:
    """Thresholds from `fit_thresholds`: a sample is accused if its score reaches its class's threshold.

    Attributes:
        overall: the threshold of all classes together.
        per_class: shape (num_classes,), the threshold of each class; ``overall`` for the fallbacks.
        members: shape (num_classes,), calibration members of each class.
        nonmembers: shape (num_classes,), calibration non-members of each class.
        calibrated_on: indices of the calibration samples, if they were given.
    """

    overall: float
    per_class: Scores = field(repr=False)
    members: Integers = field(repr=False)
    nonmembers: Integers = field(repr=False)
    calibrated_on: Integers | None = field(default=None, repr=False)

    @property
    def fallbacks(self) -> Flags:
        """Classes without calibration members or without calibration non-members; they use ``overall``."""
        one_sided: Flags = (self.members == 0) | (self.nonmembers == 0)
        return one_sided

    def predict(self, scores: npt.ArrayLike, labels: npt.ArrayLike, *, indices: Any = None) -> Flags:
        """Call a sample a member if its score >= the threshold of its label.

        Args:
            scores: shape (n,), higher = more likely a member.
            labels: shape (n,), integers in 0..num_classes-1.
            indices: shape (n,), identifies the samples; calibration samples are refused.

        Raises:
            ValueError: shapes differ, a score is not finite, a label is out of range, or a sample is one of
                the calibration samples.
        """
        values, thresholds = self._beside(scores, labels, indices)
        return values >= thresholds

    def centred(self, scores: npt.ArrayLike, labels: npt.ArrayLike, *, indices: Any = None) -> Scores:
        """Return score - threshold of the label, which is comparable across classes.

        Arguments as for `predict`, which accuses a sample if this is at least 0.
        """
        values, thresholds = self._beside(scores, labels, indices)
        return values - thresholds

    def _beside(self, scores: Any, labels: Any, indices: Any) -> tuple[Scores, Scores]:
        values = as_array(scores, "scores")
        require_finite(values, "scores")
        targets = _check_labels(labels, values, len(self.per_class))
        chosen = _check_indices(indices, values)
        if chosen is not None and self.calibrated_on is not None:
            shared = np.intersect1d(chosen, self.calibrated_on)
            if len(shared):
                raise ValueError(
                    "samples must not be judged by thresholds calibrated on them; "
                    f"{len(shared)} of {len(chosen)} were, the first has index {shared[0]}."
                )
        return values.astype(np.float64), self.per_class[targets]


def fit_thresholds(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    is_member: npt.ArrayLike,
    *,
    num_classes: int,
    indices: Any = None,
) -> Thresholds:
    """Choose each class's threshold on samples of known membership (Song & Mittal 2021, section 3.2).

    tau_c = argmax over the scores v seen in class c of (P_in[s >= v] + P_out[s < v]) / 2, the balanced
    accuracy. At the smallest score it is 1/2, so that the best is never below 1/2. If several thresholds are
    equally good, the highest is chosen, which accuses the smallest number of samples. A class without
    calibration members or without calibration non-members gets the threshold of all classes together.

    Args:
        scores: shape (n,), higher = more likely a member; from a shadow model, or for samples of the target
            whose membership is known, but never for the samples to be tested.
        labels: shape (n,), integers in 0..num_classes-1.
        is_member: shape (n,), booleans or 0/1.
        num_classes: number of classes, including classes that do not occur here.
        indices: shape (n,), identifies the samples; `Thresholds.predict` then refuses them.

    Raises:
        ValueError: as `statistics.split_scores`, or labels or indices do not fit.

    >>> found = fit_thresholds([5, 4, 3, 2, 9], [0, 0, 1, 1, 2], [1, 0, 1, 0, 1], num_classes=4)
    >>> found.per_class, found.fallbacks  # overall 5: it accuses two of three members, and no non-member
    (array([5., 3., 5., 5.]), array([False, False,  True,  True]))
    >>> found.predict([4.5, 4.5], [0, 1])
    array([False,  True])
    """
    values, membership = check_scores(scores, is_member)
    classes = _check_labels(labels, values, num_classes)
    chosen = _check_indices(indices, values)
    members, nonmembers = (
        np.bincount(classes[side], minlength=num_classes) for side in (membership, ~membership)
    )
    overall = float(_best(values, np.zeros_like(classes), membership, 1)[0])
    per_class = _best(values, classes, membership, num_classes)
    per_class[(members == 0) | (nonmembers == 0)] = overall
    return Thresholds(
        overall=overall, per_class=per_class, members=members, nonmembers=nonmembers, calibrated_on=chosen
    )


def _best(scores: Scores, labels: Integers, is_member: Flags, num_classes: int) -> Scores:
    """Return each class's best threshold, by one sort and sums along it; NaN for a class without samples."""
    order = scores.argsort()
    # For integers of up to 16 bits, NumPy's stable sort is a radix sort.
    kind = np.min_scalar_type(num_classes)
    order = order[labels[order].astype(kind).argsort(kind="stable")]
    scores, labels, is_member = scores[order], labels[order], is_member[order]
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    before = np.concatenate([[0], np.cumsum(is_member)])[:-1]
    rank = np.arange(len(labels))
    # A threshold at the first of tied scores accuses all of them.
    fresh = np.append(True, (np.diff(scores) != 0) | (np.diff(labels) != 0))
    first_of_class = starts[np.searchsorted(labels[starts], labels)]
    missed = before - before[first_of_class]
    cleared = rank - first_of_class - missed
    members, nonmembers = (
        np.bincount(labels[side], minlength=num_classes) for side in (is_member, ~is_member)
    )
    # (Balanced accuracy - 1/2) * 2 * members * nonmembers: whole numbers, so that ties are exact.
    gain = cleared * members[labels] - missed * nonmembers[labels]
    gain[~fresh] = np.iinfo(gain.dtype).min
    best = np.maximum.reduceat(gain, starts)
    optimal = gain == np.repeat(best, np.diff(np.append(starts, len(labels))))
    thresholds = np.full(num_classes, np.nan)
    thresholds[labels[starts]] = np.maximum.reduceat(np.where(optimal, scores, -np.inf), starts)
    return thresholds


class ThresholdResult(TypedDict):
    """How accurate a set of accusations is, with intervals and the four counts behind them."""

    accuracy: float
    accuracy_ci: Interval
    balanced_accuracy: float
    balanced_accuracy_ci: Interval
    precision: float | None
    precision_ci: Interval | None
    recall: float
    recall_ci: Interval
    true_positives: int
    false_positives: int
    n_members: int
    n_nonmembers: int
    confidence_level: float


def measure_threshold_attack(
    predictions: npt.ArrayLike, is_member: npt.ArrayLike, *, confidence_level: float = 0.95
) -> ThresholdResult:
    """Measure how accurate a set of accusations is.

    Args:
        predictions: shape (n,), booleans or 0/1, true where a sample is called a member.
        is_member: shape (n,), booleans or 0/1.
        confidence_level: of every interval.

    Returns:
        accuracy (of all samples), precision (of the accused, None if there are none) and recall (of the
        members) with Wilson's intervals; balanced_accuracy = (recall + true-negative rate) / 2 with
        Newcombe's (1998), who adds the squared distances of Wilson's; and the counts.

    Raises:
        ValueError: shapes differ, input is empty or of one class, or an entry is neither 0 nor 1.

    >>> result = measure_threshold_attack([1, 1, 0, 0, 0], [1, 0, 1, 0, 0])
    >>> result["accuracy"], result["precision"], result["recall"]
    (0.6, 0.5, 0.5)
    """
    calls, membership = check_scores(predictions, is_member)
    strange = np.flatnonzero((calls != 0) & (calls != 1))
    if len(strange):
        raise ValueError(
            f"predictions must hold booleans or 0/1; {name_rows(strange)} hold something else, the first "
            f"is {calls[strange[0]]}."
        )
    hits, false_alarms = int(calls[membership].sum()), int(calls[~membership].sum())
    n_members, n_nonmembers = int(membership.sum()), int((~membership).sum())
    accused, right = hits + false_alarms, hits + n_nonmembers - false_alarms

    def interval(successes: int, trials: int) -> Interval:
        return wilson_interval(successes, trials, confidence_level=confidence_level)

    recall, cleared = hits / n_members, 1 - false_alarms / n_nonmembers
    recall_ci, cleared_ci = interval(hits, n_members), interval(n_nonmembers - false_alarms, n_nonmembers)
    balanced = (recall + cleared) / 2
    return ThresholdResult(
        accuracy=right / len(calls),
        accuracy_ci=interval(right, len(calls)),
        balanced_accuracy=balanced,
        balanced_accuracy_ci=Interval(
            balanced - hypot(recall - recall_ci.low, cleared - cleared_ci.low) / 2,
            balanced + hypot(recall_ci.high - recall, cleared_ci.high - cleared) / 2,
        ),
        precision=hits / accused if accused else None,
        precision_ci=interval(hits, accused) if accused else None,
        recall=recall,
        recall_ci=recall_ci,
        true_positives=hits,
        false_positives=false_alarms,
        n_members=n_members,
        n_nonmembers=n_nonmembers,
        confidence_level=confidence_level,
    )


def _check_labels(labels: Any, scores: npt.NDArray[Any], num_classes: int) -> Integers:
    array = as_array(labels, "labels")
    if scores.ndim != 1 or array.shape != scores.shape or array.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be integers, one for each score; got {array.dtype} of {array.shape} for scores of "
            f"{scores.shape}."
        )
    strange = np.flatnonzero((array < 0) | (array >= num_classes))
    if len(strange):
        raise ValueError(
            f"labels must lie in 0..{num_classes - 1}; {name_rows(strange)} do not, the first is "
            f"{array[strange[0]]}."
        )
    return array.astype(np.int64)


def _check_indices(indices: Any, scores: npt.NDArray[Any]) -> Integers | None:
    if indices is None:
        return None
    array = as_array(indices, "indices")
    if array.shape != scores.shape or array.dtype.kind not in "iu":
        raise ValueError(
            f"indices must be integers, one for each score; got {array.dtype} of {array.shape} for scores "
            f"of {scores.shape}."
        )
    return array.astype(np.int64)
