"""Robust accuracy and its interval, from which images withstood which attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import as_array, name_rows
from securitynet_hub.statistics.rates import CONFIDENCE_LEVEL
from securitynet_hub.statistics.sequences import Trials, clopper_pearson_interval, product_sequence


def rate_of(
    successes: int, n: int, *, confidence_level: float = CONFIDENCE_LEVEL
) -> tuple[float, tuple[float, float]]:
    """Return a share and its exact interval, for a number of images that was fixed before.

    >>> rate_of(0, 36)[0]
    0.0
    """
    low, high = clopper_pearson_interval(successes, n, confidence_level=confidence_level)
    return successes / n, (low, high)


def rate_of_stages(
    stages: Sequence[Trials], *, confidence_level: float = CONFIDENCE_LEVEL
) -> tuple[float, tuple[float, float]]:
    """Return the product of the stages' shares, and its interval of a confidence sequence.

    A stage without trials has no share; the product is then that of the others, which it cannot exceed.

    >>> rate_of_stages([Trials(50, 100, 10.0), Trials(20, 20)])[0]
    0.5
    """
    value = float(np.prod([stage.successes / stage.n for stage in stages if stage.n]))
    low, high = product_sequence(stages, confidence_level=confidence_level)
    return value, (min(low, value), max(high, value))


def measure_robustness(
    predictions: npt.ArrayLike,
    references: npt.ArrayLike,
    adversarial_predictions: Mapping[str, npt.ArrayLike] | npt.ArrayLike,
    *,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> dict[str, Any]:
    """Measure robust accuracy: the share of images that are classified correctly whatever the attacks do.

    ``robust = mean over i of [f(x_i) = y_i and f(x_i + d) = y_i for the d of every attack]``, point-wise
    worst over the attacks (Croce & Hein 2020, arXiv 2003.01690, section 5). Intervals are exact (Clopper &
    Pearson 1934).

    Args:
        predictions: labels of the unchanged images, shape (n,).
        references: true labels, shape (n,).
        adversarial_predictions: labels of the images as an attack has changed them, shape (n,); of several
            attacks shape (n, attacks), or by the attacks' names.
        confidence_level: of every interval.

    Returns:
        ``accuracy``, ``robust_accuracy`` and for each attack alone ``per_attack``, each with its interval;
        and ``n``.

    Raises:
        ValueError: there are no images or no attacks, shapes differ, or labels are no whole numbers.

    >>> found = measure_robustness([0, 1, 1, 0], [0, 1, 1, 1], [[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> found["accuracy"], found["robust_accuracy"], [each["robust_accuracy"] for each in found["per_attack"]]
    (0.75, 0.25, [0.5, 0.5])
    """
    truth, clean = _labels(references, "references"), _labels(predictions, "predictions")
    named = (
        dict(adversarial_predictions)
        if isinstance(adversarial_predictions, Mapping)
        else _by_number(as_array(adversarial_predictions, "adversarial_predictions"))
    )
    if not named:
        raise ValueError("adversarial_predictions must hold those of one attack or more; got none.")
    if truth.ndim != 1 or not len(truth):
        raise ValueError(f"references must be one label or more in one dimension; got {truth.shape}.")
    if truth.min() < 0:
        raise ValueError(
            f"references must be labels of 0 and above; {name_rows(np.flatnonzero(truth < 0))} are not."
        )
    answers = {name: _labels(each, f"adversarial_predictions of {name}") for name, each in named.items()}
    for name, each in {"predictions": clean, **answers}.items():
        if each.shape != truth.shape:
            raise ValueError(
                f"there must be one label for each of the {len(truth)} references; {name} has {each.shape}."
            )
    right = clean == truth
    withstood = {name: right & (each == truth) for name, each in answers.items()}
    worst = np.logical_and.reduce(list(withstood.values()))
    n, level = len(truth), confidence_level
    accuracy, accuracy_ci = rate_of(int(right.sum()), n, confidence_level=level)
    robust, robust_ci = rate_of(int(worst.sum()), n, confidence_level=level)
    per_attack = []
    for name, each in withstood.items():
        value, ends = rate_of(int(each.sum()), n, confidence_level=level)
        per_attack.append({"attack": name, "robust_accuracy": value, "robust_accuracy_ci": ends})
    return {
        "accuracy": accuracy,
        "accuracy_ci": accuracy_ci,
        "robust_accuracy": robust,
        "robust_accuracy_ci": robust_ci,
        "per_attack": per_attack,
        "n": n,
        "confidence_level": level,
    }


def _by_number(answers: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    columns = answers[:, None] if answers.ndim == 1 else answers
    if columns.ndim != 2:
        raise ValueError(
            "adversarial_predictions must have one row for each image, with a label for each attack; got "
            f"{answers.shape}."
        )
    return {f"attack {number}": columns[:, number] for number in range(columns.shape[1])}


def _labels(given: npt.ArrayLike, name: str) -> npt.NDArray[np.int64]:
    found = as_array(given, name)
    fit = found.dtype.kind in "iuf" and np.isfinite(found) & (found == np.floor(found)) & (abs(found) < 2**53)
    if not np.all(fit):
        where = f": {name_rows(np.flatnonzero(~fit))} are not" if found.dtype.kind in "iuf" else ""
        raise ValueError(f"{name} must be whole numbers, one label for each image{where}; got {found.dtype}.")
    return found.astype(np.int64)
