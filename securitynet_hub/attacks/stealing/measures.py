"""Model stealing: how closely a surrogate's answers match its target's."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.kind import CONFIDENCE_LEVEL
from securitynet_hub.core.arrays import Scores, as_array, name_rows, require_finite
from securitynet_hub.statistics.means import resolvable_interval
from securitynet_hub.statistics.posteriors import CLIP
from securitynet_hub.statistics.rates import Interval, wilson_interval
from securitynet_hub.statistics.signals import CHUNK_ELEMENTS, Outputs, require_probabilities

Labels = npt.NDArray[np.int64]


class StealingResult(TypedDict):
    """Figures of a surrogate and its target on samples that neither was trained on."""

    accuracy: float
    accuracy_ci: Interval
    target_accuracy: float
    target_accuracy_ci: Interval
    relative_accuracy: float | None
    agreement: float
    agreement_ci: Interval
    agreement_on_target_errors: float | None
    agreement_on_target_errors_ci: Interval | None
    kl: float | None
    kl_ci: Interval | None
    total_variation: float | None
    total_variation_ci: Interval | None
    n: int
    n_target_errors: int
    confidence_level: float


class ClassAgreement(NamedTuple):
    """Agreement on the samples of one class; None where there are none."""

    label: int
    n: int
    agreement: float | None
    ci: Interval | None


class _Aligned(NamedTuple):
    """Predicted and true labels, shape (n,), and the outputs, shape (n, classes), where they were given."""

    surrogate: Labels
    references: Labels
    target: Labels
    surrogate_outputs: npt.NDArray[Any] | None
    target_outputs: npt.NDArray[Any] | None
    num_classes: int


def measure_stealing(
    surrogate: Outputs,
    references: Outputs,
    target: Outputs,
    *,
    from_logits: bool | None = None,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> StealingResult:
    """Measure how closely a surrogate's answers match its target's, on samples that neither was trained on.

    With t(x) and s(x) the labels that target and surrogate predict, p and q their posteriors:

        agreement        mean of 1[s(x) = t(x)], the fidelity of Jagielski et al. 2020 (arXiv 1909.01838)
        kl               mean of KL(p || q) = sum_i p_i (log p_i - log q_i), in nats
        total_variation  mean of 1/2 sum_i |p_i - q_i|

    Ties go to the first class. Logits go through a log-softmax in float64; probabilities are
    clipped at 1e-30 before their logarithm and divided by their sum.

    Args:
        surrogate: predicted labels, shape (n,), or outputs, shape (n, classes).
        references: true labels, shape (n,), integers.
        target: as `surrogate`.
        from_logits: whether outputs are logits or probabilities; required with outputs.
        confidence_level: of every interval.

    Returns:
        accuracy, target_accuracy and agreement, each with its Wilson interval; relative_accuracy, their
        ratio (None where the target is never right); agreement_on_target_errors with its interval (None
        where the target makes no error); kl and total_variation (None unless both sides gave outputs), each
        with its interval (`means.resolvable_interval`; None of fewer than 200 samples); the number of
        samples n and of the target's errors.

    Raises:
        ValueError: sides of different length or number of classes, empty or non-finite input, labels that
            are no integers or out of range, outputs that are no probabilities though `from_logits` says so.

    >>> result = measure_stealing([0, 1, 1, 0], [0, 1, 0, 1], [0, 1, 1, 1])
    >>> result["accuracy"], result["target_accuracy"], result["agreement"]
    (0.5, 0.75, 0.75)
    >>> result["agreement_on_target_errors"], result["n_target_errors"], result["kl"]
    (1.0, 1, None)
    """
    rows = _align(surrogate, references, target, from_logits)
    n = len(rows.references)
    agreeing, right = rows.surrogate == rows.target, rows.target == rows.references
    n_right, n_errors = int(right.sum()), int((~right).sum())

    def rate(hits: npt.NDArray[np.bool_]) -> tuple[float, Interval]:
        count = int(hits.sum())
        return count / len(hits), wilson_interval(count, len(hits), confidence_level=confidence_level)

    accuracy, accuracy_ci = rate(rows.surrogate == rows.references)
    target_accuracy, target_accuracy_ci = rate(right)
    agreement, agreement_ci = rate(agreeing)
    require_agreement_bound(accuracy, target_accuracy, agreement)
    on_errors, on_errors_ci = rate(agreeing[~right]) if n_errors else (None, None)
    divergences = _divergences(rows, bool(from_logits))
    (kl, kl_ci), (total_variation, total_variation_ci) = (
        _mean(values, most, confidence_level)
        for values, most in zip(divergences, (math.inf, 1.0), strict=True)
    )
    return StealingResult(
        accuracy=accuracy,
        accuracy_ci=accuracy_ci,
        target_accuracy=target_accuracy,
        target_accuracy_ci=target_accuracy_ci,
        relative_accuracy=accuracy / target_accuracy if n_right else None,
        agreement=agreement,
        agreement_ci=agreement_ci,
        agreement_on_target_errors=on_errors,
        agreement_on_target_errors_ci=on_errors_ci,
        kl=kl,
        kl_ci=kl_ci,
        total_variation=total_variation,
        total_variation_ci=total_variation_ci,
        n=n,
        n_target_errors=n_errors,
        confidence_level=confidence_level,
    )


def agreement_per_class(
    surrogate: Outputs,
    references: Outputs,
    target: Outputs,
    *,
    from_logits: bool | None = None,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> list[ClassAgreement]:
    """Return the agreement on the samples of each true class. Arguments and errors as `measure_stealing`.

    The classes are those of the outputs; of labels alone, all up to the largest.

    >>> [(c.label, c.n, c.agreement) for c in agreement_per_class([0, 2, 2], [0, 0, 2], [0, 1, 2])]
    [(0, 2, 0.5), (1, 0, None), (2, 1, 1.0)]
    """
    rows = _align(surrogate, references, target, from_logits)
    agreeing = rows.references[rows.surrogate == rows.target]
    result = []
    for label in range(rows.num_classes):
        n = int(np.count_nonzero(rows.references == label))
        count = int(np.count_nonzero(agreeing == label))
        ci = wilson_interval(count, n, confidence_level=confidence_level) if n else None
        result.append(ClassAgreement(label, n, count / n if n else None, ci))
    return result


def require_agreement_bound(accuracy: float, target_accuracy: float, agreement: float) -> None:
    """Refuse accuracies and an agreement that cannot come from one set of samples.

    With accuracies s and a and agreement g, ``a + s - 1 <= g <= 1 - |a - s|``: where both networks are right
    they agree, and where only one is right they do not. The bound holds for any three lists of labels, even
    shuffled ones, so only a fault of `measure_stealing` itself could break it there. Figures collected from
    several places break it when they were measured on different samples, or when one is wrong.

    Args:
        accuracy: the surrogate's.
        target_accuracy: the target's.
        agreement: of the two.

    Raises:
        ValueError: the bound is broken by more than rounding.

    >>> require_agreement_bound(0.9, 0.8, 0.75)
    >>> require_agreement_bound(0.9, 0.8, 0.65)
    Traceback (most recent call last):
    ...
    ValueError: agreement must lie in 0.7..0.9 where the accuracies are 0.9 and 0.8; got 0.65. ...
    """
    low = max(0.0, accuracy + target_accuracy - 1)
    high = 1 - abs(accuracy - target_accuracy)
    if not low - 1e-9 <= agreement <= high + 1e-9:
        raise ValueError(
            f"agreement must lie in {low:.6g}..{high:.6g} where the accuracies are {accuracy:.6g} and "
            f"{target_accuracy:.6g}; got {agreement:.6g}. The three were not measured on the same samples, "
            "or one is wrong."
        )


def _align(surrogate: Outputs, references: Outputs, target: Outputs, from_logits: bool | None) -> _Aligned:
    """Check that the three inputs agree; labels have one dimension, outputs two."""
    truth = _as_labels(as_array(references, "references"), "references")
    labels, outputs = {}, {}
    for name, given in (("surrogate", surrogate), ("target", target)):
        array = as_array(given, name)
        if len(array.shape) == 2:
            outputs[name] = _check_outputs(array, name, from_logits)
            labels[name] = array.argmax(1).astype(np.int64)
        else:
            labels[name] = _as_labels(array, name)
        if len(array) != len(truth):
            raise ValueError(
                f"{name} and references must have one row per sample; got {len(array)} and {len(truth)}."
            )
    if not len(truth):
        raise ValueError("surrogate, references and target are empty; at least one sample is needed.")
    widths = {name: array.shape[1] for name, array in outputs.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(
            f"surrogate and target must have the same classes; got {widths['surrogate']} and "
            f"{widths['target']}."
        )
    found = {"references": truth, **labels}
    classes = next(iter(widths.values()), 1 + max(int(side.max()) for side in found.values()))
    for name, side in found.items():
        strange = np.flatnonzero(side >= classes)
        if len(strange):
            raise ValueError(
                f"{name} must hold labels in 0..{classes - 1}; {name_rows(strange)} do not, the first is "
                f"{side[strange[0]]}."
            )
    return _Aligned(
        labels["surrogate"],
        truth,
        labels["target"],
        outputs.get("surrogate"),
        outputs.get("target"),
        classes,
    )


def _as_labels(array: npt.NDArray[Any], name: str) -> Labels:
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        outputs = "" if name == "references" else " or outputs of shape (n, classes)"
        raise ValueError(
            f"{name} must be integer labels of shape (n,){outputs}; got {array.dtype} of {array.shape}."
        )
    negative = np.flatnonzero(array < 0)
    if len(negative):
        raise ValueError(f"{name} must hold labels of 0 and above; {name_rows(negative)} do not.")
    return array.astype(np.int64)


def _check_outputs(array: npt.NDArray[Any], name: str, from_logits: bool | None) -> npt.NDArray[Any]:
    if not isinstance(from_logits, (bool, np.bool_)):
        raise ValueError(
            f"{name} holds outputs, so from_logits must be True or False, nothing is guessed; got "
            f"{from_logits!r}."
        )
    if array.shape[1] < 2:
        raise ValueError(f"{name} must have at least two classes; got outputs of {array.shape}.")
    require_finite(array, name)
    if not from_logits:
        require_probabilities(array, name=name)
    return array


def _mean(
    values: Scores | None, most: float, confidence_level: float
) -> tuple[float | None, Interval | None]:
    if values is None:
        return None, None
    # Summed without rounding, so that the order of the rows cannot matter.
    mean = math.fsum(values) / len(values)
    return mean, resolvable_interval(values, bounds=(0, most), confidence_level=confidence_level)


def _divergences(rows: _Aligned, from_logits: bool) -> tuple[Scores | None, Scores | None]:
    """Return each sample's KL(target || surrogate) and total variation, in chunks of bounded memory."""
    if rows.surrogate_outputs is None or rows.target_outputs is None:
        return None, None
    n = len(rows.references)
    kl, variation = np.empty(n), np.empty(n)
    size = max(1, CHUNK_ELEMENTS // rows.num_classes)
    for start in range(0, n, size):
        part = slice(start, start + size)
        log_q = _log_posteriors(rows.surrogate_outputs[part], from_logits)
        log_p = _log_posteriors(rows.target_outputs[part], from_logits)
        p = np.exp(log_p)
        kl[part] = np.maximum(0, (p * (log_p - log_q)).sum(1))  # rounding alone can take it below 0
        variation[part] = np.abs(p - np.exp(log_q)).sum(1) / 2
    return kl, variation


def _log_posteriors(outputs: npt.NDArray[Any], from_logits: bool) -> Scores:
    values = outputs.astype(np.float64)
    logits = values if from_logits else np.log(np.maximum(values, CLIP))
    below = logits - logits.max(1, keepdims=True)
    log_posteriors: Scores = below - np.log(np.exp(below).sum(1, keepdims=True))
    return log_posteriors
