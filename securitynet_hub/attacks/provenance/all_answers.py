"""All signs in answers together: one test instead of several, so that no correction for several is needed."""

from __future__ import annotations

import numpy as np

from securitynet_hub.attacks.provenance import adversarial_overlap, answer_correlation, error_agreement
from securitynet_hub.attacks.provenance.attack import Attack
from securitynet_hub.attacks.provenance.models import Models
from securitynet_hub.core.arrays import Scores


def all_answers(models: Models, reference: int) -> Scores:
    """Score each model by the mean of its standardised similarities to the reference.

        s(M) = mean over signs k of (s_k(M) - mean of s_k) / deviation of s_k

    over `error_agreement`, `answer_correlation` and, where the models have gradients, `adversarial_overlap`.
    Mean and deviation are those of all models but the reference and M itself, so that one copy stands far out
    and cannot hide in a deviation that it makes itself. Ranks of such a sum remain valid, as it treats all
    models alike (nonparametric combination: Pesarin & Salmaso 2010, chapter 4; signs after Godinot et al.
    2025, arXiv 2412.13021). Higher = more likely derived.

    Args:
        models: with their answers, and the models themselves for adversarial examples.
        reference: position of the model that the others are compared with.

    >>> answers = np.eye(3)[np.array([[0, 1, 2, 2], [0, 1, 2, 2], [0, 1, 0, 2], [0, 1, 1, 2], [0, 1, 1, 1]])]
    >>> found = all_answers(Models(outputs=answers, labels=np.array([0, 1, 1, 1])), 0)
    >>> int(found[1:].argmax()), bool(found[1] > 2)
    (0, True)
    """
    signs = [error_agreement.error_agreement(models, reference)]
    if not models.labels_only:
        signs.append(answer_correlation.answer_correlation(models, reference))
    if models.targets and all(adversarial_overlap.without_gradient(t) is None for t in models.targets):
        signs.append(adversarial_overlap.adversarial_overlap(models, reference))
    found: Scores = np.mean([_standardised(sign, reference) for sign in signs], axis=0).round(9)
    return found


def _standardised(values: Scores, reference: int) -> Scores:
    """Return how many deviations each value lies above the mean of all others but the reference's."""
    found = np.zeros(len(values))
    for k in range(len(values)):
        among = np.delete(values, sorted({reference, k}))
        if k != reference and len(among):
            apart = values[k] - among.mean()
            found[k] = apart / max(among.std(), LEAST * max(1.0, abs(apart)))
    return found


LEAST = 1e-6
"""Smallest deviation, relative to the distance: models that are all alike have none."""

ATTACK = Attack(
    name="all_answers",
    run=all_answers,
    summary="all signs in its answers together",
    formula="mean of standardised similarities",
    source="Pesarin & Salmaso 2010, chapter 4",
    needs=("labels", "independent models"),
    fewest=2,
    labels_suffice=True,
)
