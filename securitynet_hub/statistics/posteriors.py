"""The arithmetic of the membership signals on one chunk of outputs; shared terms are computed once.

Let z be the logits, p their softmax, y the label, t the top class and r the runner-up. All signals follow
from one exponential per output,

    u_i = exp(z_i - z_r) for i != t,    S = sum_{i != t} u_i >= 1,    lead = z_t - z_r >= 0,

so ``1 - p_t = S / (S + exp lead)`` keeps its digits when p_t rounds to one:

    p_i = c u_i  for i != t,    c = exp(-lead) / (1 + S exp(-lead)),    p_t = 1 / (1 + S exp(-lead)).

The arithmetic is NumPy's, whose result for a row does not depend on the row's position, so that equal rows
tie. (torch's vector loops treat the last rows differently.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from securitynet_hub.core.arrays import Flags, Labels, Rows, Scores

Cells: TypeAlias = tuple[Rows, Labels]
"""One cell of each row, as an index."""

CLIP = 1e-30
"""Smallest probability inside a logarithm, as in Song & Mittal's reference."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """A chunk of samples in float64, shape (n, classes), with the label of each."""

    outputs: Scores
    labels: Labels

    @cached_property
    def at_label(self) -> Cells:
        return np.arange(len(self.labels)), self.labels

    @cached_property
    def at_top(self) -> Cells:
        return np.arange(len(self.labels)), self.outputs.argmax(1)

    @cached_property
    def right(self) -> Flags:
        right: Flags = self.at_top[1] == self.labels
        return right

    @property
    def correctness(self) -> Scores:
        return self.right.astype(np.float64)


class Probabilities(_Rows):
    """Signals of probabilities, which are clipped inside logarithms and otherwise used as given."""

    @cached_property
    def confidence(self) -> Scores:
        """``p_y``."""
        return self.outputs[self.at_label]

    @cached_property
    def loss(self) -> Scores:
        """``log p_y``, at most 0 even if a softmax has rounded above 1."""
        return np.minimum(_log(self.confidence), 0)

    @property
    def entropy(self) -> Scores:
        """``sum_i p_i log p_i``."""
        return _row_sums(self.outputs * _log(self.outputs))

    @property
    def modified_entropy(self) -> Scores:
        """``(1 - p_y) log p_y + sum_{i != y} p_i log(1 - p_i)``."""
        terms = self.outputs * _log(1 - self.outputs)
        terms[self.at_label] = 0
        return (1 - self.confidence) * self.loss + _row_sums(terms)

    @cached_property
    def _others(self) -> Scores:
        others = self.outputs.copy()
        others[self.at_label] = 0
        return others

    @property
    def hinge(self) -> Scores:
        """``log p_y - log max_{i != y} p_i``."""
        return self.loss - _log(self._others.max(1))

    @property
    def logit_margin(self) -> Scores:
        """``log p_y - log sum_{i != y} p_i``."""
        return self.loss - _log(_row_sums(self._others))


class Logits(_Rows):
    """Signals of logits; the terms are defined in the docstring of the module."""

    @cached_property
    def _second(self) -> Scores:
        others = self.outputs.copy()
        others[self.at_top] = -np.inf
        second: Scores = others.max(1)
        return second

    @cached_property
    def _lead(self) -> Scores:
        return self.outputs[self.at_top] - self._second

    @cached_property
    def _gaps(self) -> Scores:
        return self.outputs - self._second[:, None]

    @cached_property
    def _weights(self) -> Scores:
        """u, with 0 for the top class."""
        weights = self._gaps.copy()
        weights[self.at_top] = -np.inf
        return np.exp(weights, out=weights)

    @cached_property
    def _rest(self) -> Scores:
        """S, the odds against the top class times exp lead."""
        return _row_sums(self._weights)

    @cached_property
    def _scale(self) -> Scores:
        """c, the probability of the runner-up."""
        odds = np.exp(-self._lead)
        return odds / (1 + self._rest * odds)

    @cached_property
    def hinge(self) -> Scores:
        """``z_y - max_{i != y} z_i``."""
        behind = self.outputs[self.at_label] - self.outputs[self.at_top]
        return np.where(self.right, self._lead, behind)

    @cached_property
    def logit_margin(self) -> Scores:
        """``phi = z_y - log sum_{i != y} exp z_i``."""
        # A wrong label trails the top class by the hinge; the other classes add their share of p_t.
        others = np.exp(-self._lead) * (self._rest - self._weights[self.at_label])
        return self.hinge - np.where(self.right, np.log(self._rest), np.log1p(others))

    @property
    def confidence(self) -> Scores:
        """``p_y``."""
        return _sigmoid(self.logit_margin)

    @cached_property
    def loss(self) -> Scores:
        """``log p_y``."""
        return log_sigmoid(self.logit_margin)

    @property
    def entropy(self) -> Scores:
        """``sum_i p_i log p_i``."""
        surprise = _row_sums(self._weights * self._gaps) - self._rest * self._lead
        return self._scale * surprise - np.log1p(self._rest * np.exp(-self._lead))

    @property
    def modified_entropy(self) -> Scores:
        """``(1 - p_y) log p_y + sum_{i != y} p_i log(1 - p_i)``."""
        p = self._weights * self._scale[:, None]
        p[self.at_label] = 0
        # The top class has no weight; it counts among the other classes if the prediction is wrong.
        top_margin = self._lead - np.log(self._rest)
        of_top = np.where(self.right, 0, _sigmoid(top_margin) * log_sigmoid(-top_margin))
        return _sigmoid(-self.logit_margin) * self.loss + of_top + _sums_of_p_log_one_minus_p(p)


def _sums_of_p_log_one_minus_p(p: Scores) -> Scores:
    """Return sum_i p_i log(1 - p_i) of each row, for p_i <= 1/2.

    Up to 2 ** -10, five terms of the logarithm's series have a relative error below 2e-16 and are several
    times faster. With many classes, nearly all probabilities are that small.
    """
    terms = p / 5
    for k in (4, 3, 2, 1):
        terms += 1 / k
        terms *= p
    terms *= p
    large = np.flatnonzero(p > 2**-10)
    of_large = p.ravel()[large]
    terms.ravel()[large] = -of_large * np.log1p(-of_large)
    return -_row_sums(terms)


def _row_sums(values: Scores) -> Scores:
    sums: Scores = values.sum(1)
    return sums


def _sigmoid(x: Scores) -> Scores:
    small = np.exp(-np.abs(x))
    probability: Scores = np.where(x >= 0, 1, small) / (1 + small)
    return probability


def log_sigmoid(x: Scores) -> Scores:
    """Return the loss signal ``log p_y`` from the label's logit margin.

    >>> log_sigmoid(np.array([0.0, 800.0, -800.0]))
    array([-6.93147181e-01,  0.00000000e+00, -8.00000000e+02])
    """
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def _log(probabilities: Scores) -> Scores:
    return np.log(np.maximum(probabilities, CLIP))
