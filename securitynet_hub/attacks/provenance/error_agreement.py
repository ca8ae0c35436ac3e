"""Agreement where the reference errs: right answers are shared by all good models, mistakes less so."""

from __future__ import annotations

from typing import Any

from securitynet_hub.attacks.provenance.attack import Attack
from securitynet_hub.attacks.provenance.models import Models, weighted_agreement
from securitynet_hub.core.arrays import Scores
from securitynet_hub.statistics.rates import wilson_interval


def error_agreement(models: Models, reference: int) -> Scores:
    """Score each model by how often it repeats the reference's mistakes, rare mistakes counting for more.

        s(M) = sum over x with f(x) != y of w(x) 1[M(x) = f(x)] / sum of w(x)

    with f the reference and w that of `weighted_agreement`: a mistake that independent models make as well
    says little. Without weights it is the Anna Karenina heuristic of Godinot et al. 2025 (arXiv 2412.13021,
    proposition 1). Higher = more likely derived.

    Args:
        models: with their answers.
        reference: position of the model that the others are compared with.

    Returns:
        Shape (models,); all 1 where the reference makes no mistake.

    >>> import numpy as np
    >>> answers = np.eye(3)[np.array([[0, 1, 2, 2], [0, 1, 2, 2], [0, 1, 0, 2], [0, 1, 1, 2]])]
    >>> error_agreement(Models(outputs=answers, labels=np.array([0, 1, 1, 1])), 0).round(2)
    array([1., 1., 0., 0.])
    """
    told = models.told
    wrong = told[reference] != models.labels
    return weighted_agreement(told[:, wrong] == told[reference, wrong], reference)


def figures(models: Models, confidence_level: float) -> dict[str, Any]:
    """Return the plain share of the reference's mistakes that the suspect repeats, and their number."""
    told = models.told
    wrong = told[0] != models.labels
    n, same = int(wrong.sum()), int((told[0] == told[1])[wrong].sum())
    ends = wilson_interval(same, n, confidence_level=confidence_level) if n else None
    shares = [float((told[0] == other)[wrong].mean()) for other in told[2:]] if n else []
    return {
        "agreement_on_errors": same / n if n else None,
        "agreement_on_errors_ci": ends,
        "n_errors": n,
        "independent_agreement_on_errors": shares,
    }


ATTACK = Attack(
    name="error_agreement",
    run=error_agreement,
    summary="repeats the reference's mistakes",
    formula="weighted share of the reference's errors with the same answer",
    source="after Godinot et al. 2025, proposition 1",
    needs=("labels", "independent models"),
    fewest=1,
    labels_suffice=True,
    figures=figures,
)
