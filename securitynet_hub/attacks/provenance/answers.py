"""Provenance from answers alone, for whoever has them: the figures of the metric."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.provenance import all_answers, error_agreement
from securitynet_hub.attacks.provenance.measures import measure
from securitynet_hub.attacks.provenance.models import Models
from securitynet_hub.attacks.provenance.null import NULLS, require_significance
from securitynet_hub.core.arrays import Labels, as_array, require_finite
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.statistics.rates import require_level

LARGEST = 2**53
"""Largest label: beyond it numbers of floating point are no longer all whole ones."""


def measure_provenance(
    suspect: Any,
    references: Any,
    target: Any,
    independent: Any,
    *,
    null: str = "reference",
    significance: float = 0.05,
    confidence_level: float = 0.95,
) -> dict[str, Any]:
    """Return whether a suspect's answers tell that it is derived from a target, beside independent models.

    The signs are `error_agreement` and, with logits, `answer_correlation`, joined as `all_answers` does; the
    p-value is that of `null.rank_among_models` or `null.rank_among_pairs`.

    Args:
        suspect: labels, shape (n,), or logits, shape (n, classes). Log-posteriors are logits, too.
        references: true labels, shape (n,).
        target: answers of the model that may have been copied, as `suspect`.
        independent: those of independent models, shape (models, n[, classes]); models may be 0.
        null: one of `null.NULLS`.
        significance: largest p-value that is called derived.
        confidence_level: of the interval.

    Raises:
        UnknownNameError: no such null.
        ValueError: other shapes, no samples, labels out of range, or answers that are not finite.

    >>> labels, target = [0, 1, 0, 1], [0, 1, 1, 0]
    >>> found = measure_provenance(target, labels, target, [[0, 1, 0, 1], [0, 1, 1, 1]])
    >>> round(found["p_value"], 3), found["agreement_on_errors"], found["independent_agreement_on_errors"]
    (0.333, 1.0, [0.0, 0.5])
    """
    if not isinstance(null, str) or null not in NULLS:
        raise UnknownNameError("null", null, NULLS)
    require_significance(significance)
    require_level(confidence_level)
    truth = as_array(references, "references")
    if truth.ndim != 1 or not len(truth) or truth.dtype.kind not in "iuf" or (truth != np.floor(truth)).any():
        raise ValueError(
            f"references must be integer labels of shape (n,), n above 0; got {truth.dtype} of {truth.shape}."
        )
    sides = {"suspect": as_array(suspect, "suspect"), "target": as_array(target, "target")}
    shape = sides["target"].shape
    others = as_array(independent, "independent")
    if others.ndim and not len(others):
        others = np.empty((0, *shape))
    for name, array in {**sides, "independent": others}.items():
        wanted = f"(models, {', '.join(map(str, shape))})" if name == "independent" else str(shape)
        found = array.shape[1:] if name == "independent" else array.shape
        if found != shape or not 1 <= len(shape) <= 2 or shape[0] != len(truth):
            raise ValueError(
                f"{name} must have a row for each of {len(truth)} references and the shape of target, "
                f"{wanted}; got "
                f"{array.shape}."
            )
        require_finite(array, name)
    answers = np.concatenate([sides["target"][None], sides["suspect"][None], others])
    labels_only = answers.ndim == 2
    most = LARGEST if labels_only else answers.shape[2] - 1
    if truth.min() < 0 or truth.max() > most:
        raise ValueError(f"references must lie in 0..{most}; got {truth.min()} to {truth.max()}.")
    outputs, labels = _one_hot(answers, truth) if labels_only else (answers, truth.astype(np.int64))
    models = Models(outputs=outputs, labels=labels, labels_only=labels_only)
    measured = measure(all_answers.ATTACK, models, null, significance, confidence_level)
    result = {name: value for name, value in measured._asdict().items() if name not in ("figures", "pairs")}
    return {**result, **error_agreement.figures(models, confidence_level)}


def _one_hot(answers: npt.NDArray[Any], truth: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Labels]:
    """Return answers as outputs, and the true labels, numbered anew for each sample.

    Only whether labels of a sample are the same counts, so that the outputs need no more classes than there
    are models, whatever the labels are.
    """
    if (answers != np.floor(answers)).any() or answers.min() < 0 or answers.max() > LARGEST:
        raise ValueError(
            f"suspect, target and independent must be whole labels of 0 to {LARGEST}, or logits."
        )
    told = np.concatenate([truth[None], answers])
    numbers = np.stack([(told == row).argmax(0) for row in told])  # of the first who says the same
    outputs = numbers[1:, :, None] == np.arange(len(told))
    return outputs, numbers[0]
