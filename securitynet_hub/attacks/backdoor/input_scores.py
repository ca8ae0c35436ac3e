"""Figures for a record from a detector's scores of images, with and without the truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from securitynet_hub.attacks.backdoor.attack import Finding
from securitynet_hub.attacks.backdoor.inputs import Inputs, TrainingImages
from securitynet_hub.attacks.backdoor.measures import measure_input_detection, rejection_threshold
from securitynet_hub.core.arrays import Scores
from securitynet_hub.statistics.rates import wilson_interval

TARGET_FRR = 0.05
"""Share of clean images that may be flagged."""

SHOWN = 20
"""Number of training images that a record names as the most suspicious."""


def measure_inputs(
    finding: Finding, inputs: Inputs, num_calibration: int, confidence_level: float
) -> dict[str, Any]:
    """Return which inputs are flagged and, where the truth is known, how well poisoned and clean separate.

    Args:
        finding: scores of the inputs, followed by those of the clean images on which the threshold is chosen.
        inputs: the images that were judged.
        num_calibration: number of these clean images.
        confidence_level: of every interval.

    Returns:
        scores, threshold (None where there are too few clean images to promise a rate), target_frr,
        n_inputs, n_flagged, flagged_share and its Wilson interval, and flagged, the names of the flagged
        inputs. With the truth also the fields of `measure_input_detection`: auc, its interval and the
        false-acceptance rates.

    >>> some = Inputs(name="two", pixels=np.zeros((2, 1, 1, 1), np.uint8), files=("a", "b"))
    >>> found = measure_inputs(Finding(scores=np.array([0.0, 9.0, *range(1, 20)]) / 9), some, 19, 0.95)
    >>> found["threshold"], found["n_flagged"]
    (2.111111111111111, 0)
    """
    scores, calibration = np.split(_scores(finding), [len(inputs.pixels)])
    assert len(calibration) == num_calibration
    threshold = rejection_threshold(calibration, TARGET_FRR)
    flagged = np.flatnonzero(scores > (np.inf if threshold is None else threshold))
    result: dict[str, Any] = {
        "judges": "inputs",
        "scores": scores.tolist(),
        "threshold": threshold,
        "target_frr": TARGET_FRR,
        "n_inputs": len(scores),
        "n_flagged": len(flagged),
        "flagged_share": len(flagged) / len(scores),
        "flagged_share_ci": wilson_interval(len(flagged), len(scores), confidence_level=confidence_level),
        "flagged": [inputs.files[row] for row in flagged],
        **finding.figures,
    }
    if inputs.is_poisoned is not None and 0 < inputs.is_poisoned.sum() < len(scores):
        result |= measure_input_detection(
            scores, inputs.is_poisoned, calibration=calibration, confidence_level=confidence_level
        )
    return result


def measure_training(finding: Finding, training: TrainingImages, confidence_level: float) -> dict[str, Any]:
    """Return the most suspicious training images and, where the truth is known, how well the scores separate.

    Returns:
        most_suspicious, the positions of the 20 images with the highest scores relative to their class, and
        the detector's further figures. With the truth also auc and auc_ci among the images labelled with the
        target class: scores are not comparable across classes.
    """
    scores = _scores(finding)
    # Each class's own median and deviation make scores comparable across classes.
    height = np.zeros(len(scores))
    for label in np.unique(training.labels):
        own = training.labels == label
        height[own] = (scores[own] - np.median(scores[own])) / (scores[own].std() or 1.0)
    result: dict[str, Any] = {
        "judges": "training",
        "n_images": len(scores),
        "most_suspicious": training.positions[np.argsort(-height, kind="stable")[:SHOWN]].tolist(),
        **finding.figures,
    }
    if training.is_poisoned is None:
        return result
    own = training.labels == training.target_class
    truth = training.is_poisoned[own]
    if 0 < truth.sum() < len(truth):
        measured = measure_input_detection(scores[own], truth, confidence_level=confidence_level)
        names = ("auc", "auc_ci", "n_poisoned", "n_clean", "confidence_level")
        result |= {name: measured[name] for name in names}  # type: ignore[literal-required]
    return result


def _scores(finding: Finding) -> Scores:
    assert finding.scores is not None  # of a detector that judges images
    return finding.scores
