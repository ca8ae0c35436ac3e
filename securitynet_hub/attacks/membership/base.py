"""BASE, the Bayes-optimal attack by the losses of reference models, and RMIA's ratio without a population.

Lassila, Ostman, Ngo & Graell i Amat (2025), Practical Bayes-Optimal Membership Inference Attacks,
arXiv 2505.24089. The attack accuses a sample whose loss lies below a threshold of its own, which the losses
of reference models give. Scores are log ratios, without the ties at 0 and 1 that shares of a population have.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from securitynet_hub.attacks.membership.attack import Attack, Rows
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.reference_models import References, check_references
from securitynet_hub.attacks.membership.rmia import (
    Mode,
    log_mean,
    log_ratios,
    require_not_positive,
    require_share,
)
from securitynet_hub.core.arrays import Scores
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.shares import Share, alone
from securitynet_hub.statistics.signals import Outputs


def base_scores(
    target: Outputs,
    reference: Outputs,
    reference_in: Outputs,
    *,
    mode: Mode = "offline",
    scale: float = 0.33,
    requested_models: int | None = None,
    share: Share = alone,
) -> Scores:
    """Score each sample by its log-probability beyond that of the reference models.

    From Lassila et al. 2025, arXiv 2505.24089. With p the probability of the label, BASE's score is

    - ``online``: ``log p(target) - log mean p(reference)``, the mean over **all** models;
    - ``offline``: ``log p(target) - scale log mean p(reference)``, the mean over the OUT models. The scale
      makes up for the missing IN models, which lie closer to 1.

    These are the definitions of the authors' code (LeakPro, attack BASE), and its scale; of the paper we
    could read the abstract alone. The code divides the logits by a temperature of 2 first; here they stay as
    they are. Online, where half of the models were trained on each sample, the score is the logarithm of
    RMIA's ratio ``p(x | theta) / p(x)``. RMIA's own score is the rank of that ratio among those of a
    population, so that both give one order but for RMIA's ties.

    Several augmentations of a sample are scored one by one and averaged.

    Args:
        target: shape (n,) or (n, augmentations), log-probabilities of the label, at most 0.
        reference: shape (models, n) or (models, n, augmentations), likewise.
        reference_in: shape (models, n), True where the sample was in that model's training set.
        mode: ``offline`` or ``online``.
        scale: offline only, 0..1.
        requested_models: intended number of reference models.
        share: who scores which block of samples, as for `lira_scores`.

    Returns:
        Shape (n,), float64, higher = more likely a member. The order of models and samples does not matter.

    Raises:
        ValueError: shapes do not fit together, an input is not finite or is positive, the scale is out of
            range, or offline a sample has no OUT model; the error names the rows.
        UnknownNameError: no such mode.

    Warns:
        FewModelsWarning: there are fewer models than requested.

    Example: the target gives a probability of 0.9, the reference models 0.2 and 0.4.

    >>> import numpy as np
    >>> scores = base_scores(np.log([0.9]), np.log([[0.2], [0.4]]), [[False], [True]], mode="online")
    >>> float(np.exp(scores[0]).round(6))  # 0.9 / 0.3
    3.0
    """
    if mode not in get_args(Mode):
        raise UnknownNameError("mode of BASE", mode, get_args(Mode))
    require_share(scale, "scale")
    fewest_out = int(mode == "offline")
    references = _checked(target, reference, reference_in, requested_models, fewest_out=fewest_out)

    def ratios(block: References) -> Scores:
        if mode == "online":
            return block.target - log_mean(block)
        return block.target - scale * log_mean(block, inside=False)

    return _mean(references.in_blocks(ratios, share))


def ratio_scores(
    target: Outputs,
    reference: Outputs,
    reference_in: Outputs,
    *,
    a: float = 0.3,
    requested_models: int | None = None,
    share: Share = alone,
) -> Scores:
    """Score each sample by the logarithm of offline RMIA's ratio ``p(x | theta) / p(x)``, without population.

    The ratio is that of `rmia_scores` (Zarifzadeh et al. 2024, arXiv 2312.03262), with
    ``p(x) = ((1 + a) p_out + (1 - a)) / 2``. RMIA ranks it among those of a population, which keeps the order
    of samples, but ties all above the whole population and all below it. Lassila et al. 2025 show this
    equivalence. Online, `base_scores` is that logarithm.

    Arguments, errors and warnings are those of `base_scores`, and `a` is that of `rmia_scores`.

    >>> import numpy as np
    >>> ratio_scores(np.log([0.9]), np.log([[0.45]]), [[False]], a=1).round(6)  # log 2
    array([0.693147])
    """
    require_share(a, "a")
    references = _checked(target, reference, reference_in, requested_models)
    return _mean(references.in_blocks(lambda block: log_ratios(block, "offline", a), share))


def _checked(
    target: Outputs, reference: Outputs, reference_in: Outputs, requested: int | None, *, fewest_out: int = 1
) -> References:
    references = check_references(
        target, reference, reference_in, fewest_out=fewest_out, requested_models=requested
    )
    require_not_positive(references.target, "target", 0)
    return references


def _mean(ratios: Scores) -> Scores:
    means: Scores = ratios.mean(1)
    return means


def run_on_losses(
    scores: Callable[..., Scores], inputs: MembershipInputs, rows: Rows, **settings: Any
) -> Scores:
    """Run one of the functions above on the losses of all augmentations."""
    target, reference = (read("loss", views=True) for read in (inputs.score, inputs.reference_signals))
    return scores(target, reference, inputs.reference_in, share=inputs.share, **settings)[rows]


ATTACKS = (
    Attack(
        name="base",
        run=partial(run_on_losses, base_scores),
        summary="loss relative to the log mean probability of reference models without the sample",
        formula="log p_y - scale log mean of the reference models' p_y",
        source="Lassila et al. 2025",
        needs=("labels", "reference_outputs", "reference_in"),
        configured_by=base_scores,
        min_references=(0, 1),
        augmented=True,
    ),
    Attack(
        name="base_online",
        run=partial(run_on_losses, partial(base_scores, mode="online")),
        summary="loss relative to the log mean probability of all reference models",
        formula="log p_y - log mean of the reference models' p_y",
        source="Lassila et al. 2025",
        needs=("labels", "reference_outputs", "reference_in"),
        configured_by=base_scores,
        min_references=(1, 1),
        augmented=True,
    ),
    Attack(
        name="rmia_ratio",
        run=partial(run_on_losses, ratio_scores),
        summary="RMIA's likelihood ratio itself, without a population",
        formula="log p(x | theta) - log p(x)",
        source="Zarifzadeh et al. 2024; Lassila et al. 2025",
        needs=("labels", "reference_outputs", "reference_in"),
        configured_by=ratio_scores,
        min_references=(0, 1),
        augmented=True,
    ),
)
