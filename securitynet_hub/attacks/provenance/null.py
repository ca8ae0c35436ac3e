"""The null hypothesis that two models are independent, and p-values against it.

Two good models of one task agree although neither knows the other, so no similarity speaks for itself. It is
compared with the similarities of models that are known to be independent (Nikolic et al. 2025, arXiv
2502.00706, do so with a test of proportions). The p-values here are ranks and assume no
distribution.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from securitynet_hub.core.arrays import Scores, is_real, shortened

LEAST_SIGNIFICANCE = 1e-9
"""Smallest significance that may be asked for: no number of models gives a smaller p-value."""

NULLS = ("reference", "pairs")
"""What a similarity is ranked among: those of the independent models to the reference, or of all pairs."""


class Ranked(NamedTuple):
    """A p-value and the smallest one that this many models can give."""

    p_value: float
    smallest: float


def rank_among_models(similarity: float, independent: Scores) -> Ranked:
    """Return the p-value of a similarity to the reference among those of independent models.

        p = (1 + #{i: s(reference, independent_i) >= s(reference, suspect)}) / (1 + n)

    It is valid, ``P[p <= a] <= a``, if an independent suspect is exchangeable with the n models: of their
    data set, architecture and recipe (Vovk, Gammerman & Shafer 2005, chapter 2: the conformal p-value).
    The reference may be any model. Ties count against the suspicion.

    Args:
        similarity: of reference and suspect.
        independent: of reference and each independent model, shape (n,); n may be 0.

    >>> rank_among_models(0.9, np.array([0.6, 0.7, 0.65, 0.95]))
    Ranked(p_value=0.4, smallest=0.2)
    """
    n = len(independent)
    return Ranked((1 + int((independent >= similarity).sum())) / (1 + n), 1 / (1 + n))


def rank_among_pairs(similarities: Scores, reference: int = 0, suspect: int = 1) -> Ranked:
    """Return the p-value of two models' similarity among those of all ordered pairs of models.

        p = #{(i, j), i != j: s(i, j) >= s(reference, suspect)} / (m (m - 1))

    It is valid if all m models, the reference too, are exchangeable where suspect and reference are
    independent: then the pair is one of m (m - 1) equally likely ones (a permutation test; Lehmann & Romano
    2005, theorem 15.2.1). So five independent models suffice for a level of 5 %, where ranking to the
    reference alone takes 19.

    Args:
        similarities: shape (m, m), row i to reference i; the diagonal is not looked at.
        reference: row of the reference.
        suspect: column of the suspect.

    >>> same = np.array([[0, 0.9, 0.5], [0.9, 0, 0.6], [0.4, 0.6, 0]])
    >>> rank_among_pairs(same).p_value == 2 / 6, rank_among_pairs(same, 2, 0)
    (True, Ranked(p_value=1.0, smallest=0.16666666666666666))
    """
    m = len(similarities)
    pairs = similarities[~np.eye(m, dtype=np.bool_)]
    return Ranked(float((pairs >= similarities[reference, suspect]).sum()) / len(pairs), 1 / len(pairs))


def require_significance(significance: Any) -> float:
    """Return a significance as a float; raise ValueError unless it lies in 1e-9..1, without 1."""
    if not (is_real(significance) and LEAST_SIGNIFICANCE <= significance < 1):
        raise ValueError(
            f"significance must be {LEAST_SIGNIFICANCE:g} or more and below 1; got {shortened(significance)}."
        )
    return float(significance)


def models_needed(level: float, null: str) -> int:
    """Return how many independent models a level needs, so that a similarity above all others is enough.

    Of pairs, two are expected to stand above all others: that of reference and suspect, in either order.

    >>> models_needed(0.05, "reference"), models_needed(0.05, "pairs"), models_needed(0.01, "pairs")
    (19, 5, 13)
    """
    if null == "reference":
        return max(0, math.ceil(1 / level - 1 - 1e-9))
    n = max(
        0, int(math.sqrt(2 / level + 0.25) - 1.5) - 2
    )  # a little below the root of (n + 2) (n + 1) level = 2
    while 2 / ((n + 2) * (n + 1)) > level * (1 + 1e-9):
        n += 1
    return n
