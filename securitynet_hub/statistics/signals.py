"""Membership signals: one float64 score per sample from a classifier's outputs and the labels.

Every signal is oriented **higher = more likely a member** and takes ``from_logits`` explicitly. With z the
logits, p their softmax and y the label, logits are scored through

    margin  phi = z_y - log sum_{i != y} exp z_i,      p_y = 1 / (1 + exp(-phi))

or relative to the top classes, so that scores stay finite and ordered where ``1 - p_y`` would round to 0.
Probabilities are used as given, clipped at 1e-30 inside logarithms (Song & Mittal 2021); logits need no
clip. A row's score does not depend, to the bit, on the batch, the row's position or the other signals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Scores, as_array, as_list, name_rows, require_plain
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.statistics.posteriors import Logits, Probabilities

Outputs: TypeAlias = Any
"""A list, a NumPy array, a torch tensor or a column of a data set."""

CHUNK_ELEMENTS = 1 << 16
"""Outputs are widened to float64 in chunks of this many elements: 512 KiB, which stay in the cache."""


def correctness(outputs: Outputs, labels: Outputs, *, from_logits: bool) -> Scores:
    """Score 1 where the top class is the label, else 0 (Yeom et al. 2018, the gap attack).

    Ties go to the first class.

    Args:
        outputs: shape (n, classes), logits or probabilities, NumPy, torch or nested lists, any float.
        labels: shape (n,), integers in 0..classes-1.
        from_logits: whether outputs are logits; this is never guessed.

    Raises:
        ValueError: shapes differ, rows are not finite, labels are out of range, or probabilities are
            negative or do not sum to one.

    >>> correctness([[2.0, 1.0], [0.0, 3.0]], [0, 0], from_logits=True)
    array([1., 0.])
    """
    return _score(outputs, labels, from_logits, ["correctness"])["correctness"]


def confidence(outputs: Outputs, labels: Outputs, *, from_logits: bool) -> Scores:
    """Score the probability of the label, s = p_y (Song & Mittal 2021). Arguments as for `correctness`.

    >>> confidence([[0.25, 0.75]], [1], from_logits=False)
    array([0.75])
    """
    return _score(outputs, labels, from_logits, ["confidence"])["confidence"]


def loss(outputs: Outputs, labels: Outputs, *, from_logits: bool) -> Scores:
    """Score minus the cross-entropy, s = log p_y <= 0 (Yeom et al. 2018). Arguments as for `correctness`.

    >>> loss([[0.0, 0.0]], [1], from_logits=True)
    array([-0.69314718])
    """
    return _score(outputs, labels, from_logits, ["loss"])["loss"]


def entropy(outputs: Outputs, labels: Outputs, *, from_logits: bool) -> Scores:
    """Score minus the Shannon entropy over classes in nats, s = sum_i p_i log p_i <= 0.

    Salem et al. (2019), Song & Mittal (2021). The labels are checked but do not change the score: every
    signal has one signature. Arguments as for `correctness`.

    >>> entropy([[0.5, 0.5]], [0], from_logits=False)
    array([-0.69314718])
    """
    return _score(outputs, labels, from_logits, ["entropy"])["entropy"]


def modified_entropy(outputs: Outputs, labels: Outputs, *, from_logits: bool) -> Scores:
    """Score minus the modified entropy (Song & Mittal 2021, eq. 8). Arguments as for `correctness`.

    s = (1 - p_y) log p_y + sum_{i != y} p_i log(1 - p_i) <= 0: near 0 for a confident right answer and
    far below for a confident wrong one, which the plain entropy cannot tell apart.

    >>> modified_entropy([[0.25, 0.75]], [1], from_logits=False)  # 2 * 0.25 * log 0.75
    array([-0.14384104])
    """
    return _score(outputs, labels, from_logits, ["modified_entropy"])["modified_entropy"]


def hinge(outputs: Outputs, labels: Outputs, *, from_logits: bool) -> Scores:
    """Score the label's lead over the best other class, s = z_y - max_{i != y} z_i (Bertran et al. 2023).

    For probabilities it is log p_y - log max_{i != y} p_i, the same number, because log-probabilities differ
    from the logits by one constant per row. Arguments as for `correctness`.

    >>> hinge([[3.0, 1.0, 0.5]], [1], from_logits=True)
    array([-2.])
    """
    return _score(outputs, labels, from_logits, ["hinge"])["hinge"]


def logit_margin(outputs: Outputs, labels: Outputs, *, from_logits: bool) -> Scores:
    """Score the log-odds of the label, s = phi = log p_y - log sum_{i != y} p_i (LiRA's confidence).

    Carlini et al. (2022, section VI): log(p_y / (1 - p_y)), close to normal over models, in the form that
    does not lose 1 - p_y to rounding. It orders samples as `loss` does, and also distinguishes samples whose
    loss rounds to 0. Arguments as for `correctness`.

    >>> logit_margin([[0.0, 400.0, 0.0]], [1], from_logits=True)  # 400 - log 2
    array([399.30685282])
    """
    return _score(outputs, labels, from_logits, ["logit_margin"])["logit_margin"]


SIGNALS: dict[str, Callable[..., Scores]] = {
    signal.__name__: signal
    for signal in (correctness, confidence, loss, entropy, modified_entropy, hinge, logit_margin)
}
"""Every signal by its public name."""


def score_all(
    outputs: Outputs, labels: Outputs, *, from_logits: bool, signals: Iterable[str] = tuple(SIGNALS)
) -> dict[str, Scores]:
    """Score several signals in one pass; the scores equal those of the single functions to the bit.

    Arguments as for `correctness`, and:

    Args:
        outputs: shape (n, classes).
        labels: shape (n,).
        from_logits: whether outputs are logits.
        signals: names from `SIGNALS`.

    Returns:
        The scores of each signal, in the order of `signals`.

    Raises:
        UnknownNameError: there is no such signal; the message gives the closest names.
        ValueError: as `correctness`.

    >>> score_all([[0.25, 0.75]], [1], from_logits=False, signals=["correctness", "confidence"])
    {'correctness': array([1.]), 'confidence': array([0.75])}
    """
    names = [signals] if isinstance(signals, str) else as_list(signals, "signals")
    for name in names:
        if not isinstance(name, str) or name not in SIGNALS:
            raise UnknownNameError("signal", name, SIGNALS)
    return _score(outputs, labels, from_logits, names)


def _score(outputs: Outputs, labels: Outputs, from_logits: bool, names: list[str]) -> dict[str, Scores]:
    if not isinstance(from_logits, (bool, np.bool_)):
        raise ValueError(f"from_logits must be True or False, it is never guessed; got {from_logits!r}.")
    # A tensor is converted chunk by chunk, so that a large one is never held twice.
    if hasattr(outputs, "detach"):
        require_plain(outputs, "outputs")
    values = outputs if hasattr(outputs, "detach") else as_array(outputs, "outputs")
    targets = as_array(labels, "labels")
    _require_shapes(values, targets)
    size = max(1, CHUNK_ELEMENTS // values.shape[1])
    scores = {name: np.empty(len(values)) for name in names}
    for start in range(0, len(values), size):
        part = slice(start, start + size)
        chunk = as_array(values[part], "outputs")
        if chunk.dtype.kind not in "fiu":
            raise ValueError(f"outputs must be real numbers; got {chunk.dtype}.")
        chunk = np.ascontiguousarray(chunk, np.float64)
        _require_finite(chunk, start)
        if not from_logits:
            require_probabilities(chunk, start)
        rows = (Logits if from_logits else Probabilities)(chunk, targets[part].astype(np.int64))
        for name in names:
            scores[name][part] = getattr(rows, name)
    return scores


def _require_shapes(outputs: Any, labels: npt.NDArray[Any]) -> None:
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ValueError(
            "outputs must be numbers of shape (samples, classes) with at least two classes; got shape "
            f"{tuple(outputs.shape)}."
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be integers of shape (samples,); got {labels.shape} of {labels.dtype}."
        )
    if len(outputs) != len(labels):
        raise ValueError(
            f"outputs and labels must have one row per sample; got {len(outputs)} and {len(labels)}."
        )
    if not len(outputs):
        raise ValueError("outputs are empty; at least one sample is needed.")
    classes = outputs.shape[1]
    strange = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(strange):
        raise ValueError(
            f"labels must lie in 0..{classes - 1}; {name_rows(strange)} do not, the first is "
            f"{labels[strange[0]]}."
        )


def _require_finite(chunk: Scores, start: int) -> None:
    # Beyond 1e300 the difference of two outputs may be infinite. NaN fails every comparison.
    if not (chunk.max() < 1e300 and chunk.min() > -1e300):
        bad = np.flatnonzero(~(np.abs(chunk) < 1e300).all(1))
        raise ValueError(
            f"outputs must be finite, below 1e300; {name_rows(bad + start)} hold NaN or an infinite value."
        )


def require_probabilities(chunk: npt.NDArray[Any], start: int = 0, name: str = "outputs") -> None:
    """Refuse rows with a negative entry or a sum other than one; `start` is the number of the first row."""
    # A softmax in bfloat16 may miss a sum of one by half a per cent; logits miss it by far more.
    bad = np.flatnonzero((chunk < 0).any(1) | (np.abs(chunk.sum(1, dtype=np.float64) - 1) > 1e-2))
    if len(bad):
        raise ValueError(
            f"{name} must be probabilities, not negative and summing to one; {name_rows(bad + start)} "
            "are not. Pass from_logits=True if these are logits."
        )
