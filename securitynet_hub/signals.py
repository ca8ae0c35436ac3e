"""Membership signals: one float64 score per sample from a classifier's outputs and the labels.

Every signal is oriented **higher = more likely a member** and takes ``from_logits`` explicitly. With
z the logits, p their softmax and y the label, all of them are computed from

    margin  phi = z_y - log sum_{i != y} exp z_i,      p_y = 1 / (1 + exp(-phi))

or from probabilities relative to the top class, so that scores stay finite and ordered where
``1 - p_y`` would round to 0. Probabilities are used as given, clipped at 1e-30 inside logarithms (Song
& Mittal 2021); logits need no clip. The arithmetic is NumPy's, whose result for a row does not depend on
the row's place (torch's vector loops treat the last rows apart), so that equal rows tie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.statistics import name_rows

Outputs: TypeAlias = "torch.Tensor | npt.ArrayLike"
Scores = npt.NDArray[np.float64]
Columns = npt.NDArray[np.int64]

CLIP = 1e-30
"""Smallest probability inside a logarithm, as in Song & Mittal's reference."""

CHUNK_ELEMENTS = 1 << 21
"""Outputs are widened to float64 in chunks of this many elements: 16 MiB whatever the input's size."""


def correctness(outputs: Outputs, labels: Outputs, *, from_logits: bool) -> Scores:
    """Score 1 where the top class is the label, else 0 (Yeom et al. 2018, the gap attack).

    Of tied classes the first is the top class.

    Args:
        outputs: shape (n, classes), logits or probabilities, NumPy, torch or nested lists, any float.
        labels: shape (n,), integers in 0..classes-1.
        from_logits: whether outputs are logits; nothing is guessed.

    Raises:
        ValueError: shapes differ, rows are not finite, labels are out of range, or probabilities are
            negative or do not sum to one.

    >>> correctness([[2.0, 1.0], [0.0, 3.0]], [0, 0], from_logits=True)
    array([1., 0.])
    """
    return _score(_correctness, outputs, labels, from_logits)


def confidence(outputs: Outputs, labels: Outputs, *, from_logits: bool) -> Scores:
    """Score the probability of the label, s = p_y (Song & Mittal 2021). Arguments as for `correctness`.

    >>> confidence([[0.25, 0.75]], [1], from_logits=False)
    array([0.75])
    """
    return _score(_confidence, outputs, labels, from_logits)


def loss(outputs: Outputs, labels: Outputs, *, from_logits: bool) -> Scores:
    """Score minus the cross-entropy, s = log p_y <= 0 (Yeom et al. 2018). Arguments as for `correctness`.

    >>> loss([[0.0, 0.0]], [1], from_logits=True)
    array([-0.69314718])
    """
    return _score(_loss, outputs, labels, from_logits)


def entropy(outputs: Outputs, labels: Outputs, *, from_logits: bool) -> Scores:
    """Score minus the Shannon entropy over classes in nats, s = sum_i p_i log p_i <= 0.

    Salem et al. (2019), Song & Mittal (2021). The labels are checked but do not change the score: every
    signal has one signature. Arguments as for `correctness`.

    >>> entropy([[0.5, 0.5]], [0], from_logits=False)
    array([-0.69314718])
    """
    return _score(_entropy, outputs, labels, from_logits)


def modified_entropy(outputs: Outputs, labels: Outputs, *, from_logits: bool) -> Scores:
    """Score minus the modified entropy (Song & Mittal 2021, eq. 8). Arguments as for `correctness`.

    s = (1 - p_y) log p_y + sum_{i != y} p_i log(1 - p_i) <= 0: near 0 for a confident right answer and
    far below for a confident wrong one, which the plain entropy cannot tell apart.

    >>> modified_entropy([[0.25, 0.75]], [1], from_logits=False)  # 2 * 0.25 * log 0.75
    array([-0.14384104])
    """
    return _score(_modified_entropy, outputs, labels, from_logits)


SIGNALS: dict[str, Callable[..., Scores]] = {
    signal.__name__: signal for signal in (correctness, confidence, loss, entropy, modified_entropy)
}
"""Every signal by its public name."""


class _Rows(NamedTuple):
    """A chunk of samples in float64, with the column of each row's label, shape (n, 1)."""

    outputs: Scores
    labels: Columns
    from_logits: bool

    @property
    def at_label(self) -> Scores:
        return _pick(self.outputs, self.labels)[:, 0]


def _correctness(rows: _Rows) -> Scores:
    right: Scores = (_top(rows.outputs) == rows.labels)[:, 0].astype(np.float64)
    return right


def _confidence(rows: _Rows) -> Scores:
    return _sigmoid(_margin(rows.outputs, rows.labels)) if rows.from_logits else rows.at_label


def _loss(rows: _Rows) -> Scores:
    return _log_sigmoid(_margin(rows.outputs, rows.labels)) if rows.from_logits else _log(rows.at_label)


def _entropy(rows: _Rows) -> Scores:
    if not rows.from_logits:
        return _row_sums(rows.outputs * _log(rows.outputs))
    weights, gaps = _relative_to_top(rows.outputs)
    # p_top = 1 / (1 + rest): its logarithm keeps its digits when p_top rounds to one.
    rest = _row_sums(weights)
    return _row_sums(weights * gaps) / (1 + rest) - np.log1p(rest)


def _modified_entropy(rows: _Rows) -> Scores:
    if not rows.from_logits:
        p, p_label = rows.outputs, rows.at_label
        terms = p * _log(1 - p)
        np.put_along_axis(terms, rows.labels, 0, 1)
        return (1 - p_label) * _log(p_label) + _row_sums(terms)
    weights, _ = _relative_to_top(rows.outputs)
    p = weights / (1 + _row_sums(weights)[:, None])
    # Of the classes other than the label only the top one can have 1 - p near 0: it gets the form that
    # keeps its digits. Where it is the label its term is dropped.
    top = _top(rows.outputs)
    top_margin = _margin(rows.outputs, top)[:, None]
    terms = p * np.log1p(-p)
    np.put_along_axis(terms, top, _sigmoid(top_margin) * _log_sigmoid(-top_margin), 1)
    np.put_along_axis(terms, rows.labels, 0, 1)
    margin = _margin(rows.outputs, rows.labels)
    return _sigmoid(-margin) * _log_sigmoid(margin) + _row_sums(terms)


def _margin(logits: Scores, column: Columns) -> Scores:
    """Return z_c - logsumexp of the other logits, for each row's column c."""
    others = logits.copy()
    np.put_along_axis(others, column, -np.inf, 1)
    largest = _pick(others, _top(others))
    others -= largest
    return (_pick(logits, column) - largest)[:, 0] - np.log(_row_sums(np.exp(others, out=others)))


def _relative_to_top(logits: Scores) -> tuple[Scores, Scores]:
    """Return p_i / p_top, but 0 for the top class itself, and log(p_i / p_top) <= 0."""
    top = _top(logits)
    gaps = logits - _pick(logits, top)
    weights = np.exp(gaps)
    np.put_along_axis(weights, top, 0, 1)
    return weights, gaps


def _top(values: Scores) -> Columns:
    top: Columns = values.argmax(1)[:, None]
    return top


def _pick(values: Scores, column: Columns) -> Scores:
    picked: Scores = np.take_along_axis(values, column, 1)
    return picked


def _row_sums(values: Scores) -> Scores:
    sums: Scores = values.sum(1)
    return sums


def _sigmoid(x: Scores) -> Scores:
    small = np.exp(-np.abs(x))
    probability: Scores = np.where(x >= 0, 1, small) / (1 + small)
    return probability


def _log_sigmoid(x: Scores) -> Scores:
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def _log(probabilities: Scores) -> Scores:
    return np.log(np.maximum(probabilities, CLIP))


def _score(signal: Callable[[_Rows], Scores], outputs: Outputs, labels: Outputs, from_logits: bool) -> Scores:
    values, targets = _as_tensor(outputs, "outputs"), _as_tensor(labels, "labels")
    _require_shapes(values, targets)
    size = max(1, CHUNK_ELEMENTS // values.shape[1])
    scores = np.empty(len(values))
    for start in range(0, len(values), size):
        part = slice(start, start + size)
        chunk = np.ascontiguousarray(values[part].cpu().double().numpy())
        _require_finite(chunk, start)
        if not from_logits:
            _require_probabilities(chunk, start)
        scores[part] = signal(_Rows(chunk, targets[part, None].cpu().long().numpy(), from_logits))
    return scores


def _as_tensor(values: Any, name: str) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values.detach()
    try:
        array = np.asarray(values)
        # torch warns of read-only memory; nothing here writes to it, a view is enough.
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from error


def _require_shapes(outputs: torch.Tensor, labels: torch.Tensor) -> None:
    if outputs.ndim != 2 or outputs.shape[1] < 2 or outputs.is_complex():
        raise ValueError(
            "outputs must be real numbers of shape (samples, classes) with at least two classes; got "
            f" {tuple(outputs.shape)} of {outputs.dtype}."
        )
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"labels must be integers of shape (samples,); got {tuple(labels.shape)} of {labels.dtype}."
        )
    if len(outputs) != len(labels):
        raise ValueError(
            f"outputs and labels must have one row per sample; got {len(outputs)} and {len(labels)}."
        )
    if not len(outputs):
        raise ValueError("outputs are empty; at least one sample is needed.")
    classes = outputs.shape[1]
    strange = ((labels < 0) | (labels >= classes)).nonzero()[:, 0].cpu().numpy()
    if len(strange):
        raise ValueError(
            f"labels must lie in 0..{classes - 1}; {name_rows(strange)} do not, the first is "
            f"{int(labels[strange[0]])}."
        )


def _require_finite(chunk: Scores, start: int) -> None:
    bad = np.flatnonzero(~np.isfinite(chunk).all(1))
    if len(bad):
        raise ValueError(f"outputs must be finite; {name_rows(bad + start)} hold NaN or an infinite value.")


def _require_probabilities(chunk: Scores, start: int) -> None:
    # A softmax in bfloat16 may miss one by half a per cent; logits miss it by far more.
    bad = np.flatnonzero((chunk < 0).any(1) | (np.abs(chunk.sum(1) - 1) > 1e-2))
    if len(bad):
        raise ValueError(
            f"outputs must be probabilities, not negative and summing to one; {name_rows(bad + start)} "
            "are not. Pass from_logits=True if these are logits."
        )
