"""BASE, the Bayes-optimal attack by the losses of reference models, and RMIA's ratio without a population.

Lassila, Ostman, Ngo & Graell i Amat (2025), Practical Bayes-Optimal Membership Inference Attacks,
arXiv 2505.24089. The attack accuses a sample whose loss lies below a threshold of its own, which the losses of
reference models give. Scores are log ratios, so that they are not tied at 0 and 1 as shares of a population are.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from securitynet_hub.attacks.membership.attack import Attack, Rows
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.reference_models import check_references
from securitynet_hub.attacks.membership.rmia import Mode, log_mean, log_ratios
from securitynet_hub.core.arrays import Scores
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.statistics.signals import Outputs


def base_scores(
    target: Outputs,
    reference: Outputs,
    reference_in: Outputs,
    *,
    mode: Mode = "offline",
    scale: float = 0.33,
    requested_models: int | None = None,
) -> Scores:
    """Score each sample by its log-probability beyond that of the reference models.

    With p the probability of the label, BASE's score is

    - ``online``: ``log p(target) - log mean p(reference)``, the mean over **all** models;
    - ``offline``: ``log p(target) - scale log mean p(reference)``, the mean over the OUT models. The scale
      makes up for the missing IN models, which lie closer to 1.

    These are the definitions of the authors' code (LeakPro, attack BASE), and its scale. That code divides
    the logits by a temperature of 2 first, and here they stay as they are. Online, where half of the models
    were trained on each sample, the score is the logarithm of RMIA's ratio ``p(x | theta) / p(x)``, of which
    RMIA's own score is the rank among those of a population, so that both give one order but for RMIA's ties.

    Several augmentations of a sample are scored one by one and averaged.

    Args:
        target: shape (n,) or (n, augmentations), log-probabilities of the label, at most 0.
        reference: shape (models, n) or (models, n, augmentations), likewise.
        reference_in: shape (models, n), True where the sample was in that model's training set.
        mode: ``offline`` or ``online``.
        scale: offline only, 0..1.
        requested_models: intended number of reference models.

    Returns:
        Shape (n,), float64, higher = more likely a member. The order of models and samples does not matter.

    Raises:
        ValueError: shapes do not fit together, an input is not finite or is positive, the scale is out of
            range, or offline a sample has no OUT model; the error names the rows.
        UnknownNameError: no such mode.

    Warns:
        FewModelsWarning: there are fewer models than requested.

    Example: the target gives a probability of 0.9, the reference models 0.2 and 0.4.

    >>> scores = base_scores(np.log([0.9]), np.log([[0.2], [0.4]]), [[False], [True]], mode="online")
    >>> float(np.exp(scores[0]).round(6))  # 0.9 / 0.3
    3.0
    """
    references = _checked(target, reference, reference_in, mode, requested_models)
    if not 0 <= scale <= 1:
        raise ValueError(f"scale must lie in 0..1; got {scale!r}.")
    if mode == "online":
        return (references.target - log_mean(references)).mean(1)
    return (references.target - scale * log_mean(references, inside=False)).mean(1)


def ratio_scores(
    target: Outputs,
    reference: Outputs,
    reference_in: Outputs,
    *,
    mode: Mode = "offline",
    a: float = 0.3,
    requested_models: int | None = None,
) -> Scores:
    """Score each sample by the logarithm of RMIA's ratio p(x | theta) / p(x), without a population.

    The ratio is that of `rmia_scores` for its `mode` and `a`. RMIA ranks it among the ratios of a population,
    which keeps the order of samples but ties those above, and those below, all of the population (section 4 of
    arXiv 2505.24089 has the equivalence). Arguments, errors and warnings as for `base_scores`.

    >>> float(np.exp(ratio_scores(np.log([0.9]), np.log([[0.45]]), [[False]], a=1)[0]).round(6))
    2.0
    """
    return log_ratios(_checked(target, reference, reference_in, mode, requested_models), mode, a).mean(1)
