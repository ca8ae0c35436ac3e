"""Attacks that rank the target's signal among its signals on a population, or among other models' signals.

Ye et al. (2022), arXiv 2111.09679, name them Attack-P and Attack-R. Watson et al. (2022), arXiv 2111.08440,
subtract the mean signal of models that were not trained on the sample. Signals are oriented higher = more
likely a member, such as `signals.loss` (minus the cross-entropy) or a margin.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from securitynet_hub.attacks.membership.attack import Attack, Rows
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.reference_models import (
    Counts,
    RankedSide,
    References,
    check_references,
    ranked_side,
    require_disjoint,
)
from securitynet_hub.core.arrays import Scores, as_array, name_rows, require_finite
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.shares import Share, alone
from securitynet_hub.statistics.signals import Outputs

Smoothing = Literal["none", "linear"]

LARGEST_LOSS = 1000.0
"""Largest loss of the linear interpolation, as in Ye et al.'s code; the smallest is 0."""


def attack_p_scores(
    target: Outputs,
    population: Outputs,
    *,
    classes: Outputs | None = None,
    population_classes: Outputs | None = None,
    ids: Outputs | None = None,
    population_ids: Outputs | None = None,
) -> Scores:
    """Score each sample by its rank in a population that the target was not trained on (Attack-P).

    From Ye et al. 2022, arXiv 2111.09679:

    ``s = P_z[signal(z) < signal(x)] + P_z[signal(z) = signal(x)] / 2``, one minus the mid-p-value of x
    among the z. If the signal is the loss, this is the share of the population with a larger loss. The rule
    ``s > 1 - alpha`` accuses a share of about alpha of the non-members (Ye et al.'s threshold at the
    alpha-quantile).

    Args:
        target: shape (n,), signals of the samples to score.
        population: shape (m,), signals of non-members.
        classes: shape (n,), integers; if given, each sample is ranked within its class. Samples of a class
            that the population lacks are ranked within the whole population.
        population_classes: shape (m,), given together with `classes` or not at all.
        ids: shape (n,), a unique identifier of each sample.
        population_ids: shape (m,), likewise; if both are given, they must not overlap.

    Returns:
        Shape (n,), float64 in [0, 1], higher = more likely a member.

    Raises:
        ValueError: an input is empty, not finite or misaligned, or a sample is in both groups.

    >>> attack_p_scores([-0.1, -2.0], [-3.0, -2.0, -1.0, -0.5])
    array([1.   , 0.375])
    """
    require_disjoint(ids, population_ids, ("ids", "population_ids"))
    signals, ranked = _column(target, "target"), _column(population, "population")
    scores = _rank(signals, ranked)
    if (classes is None) != (population_classes is None):
        raise ValueError("classes and population_classes must be given together or not at all.")
    if classes is None:
        return scores
    of_target = _labels(classes, len(signals), "classes")
    of_population = _labels(population_classes, len(ranked), "population_classes")
    for label in np.intersect1d(of_target, of_population):
        here = of_target == label
        scores[here] = _rank(signals[here], ranked[of_population == label])
    return scores


def attack_r_scores(
    target: Outputs,
    reference: Outputs,
    reference_in: Outputs,
    *,
    smoothing: Smoothing = "none",
    requested_models: int | None = None,
    share: Share = alone,
) -> Scores:
    """Score each sample by the target's rank among the reference models not trained on it (Attack-R).

    From Ye et al. 2022, arXiv 2111.09679:

    ``s = P_ref[signal_ref(x) < signal(x)] + P_ref[signal_ref(x) = signal(x)] / 2`` over the OUT models. If
    the signal is the loss, this is the share of OUT models with a larger loss on x. With k models the score
    takes at most 2 k + 1 values, so that it cannot resolve false-positive rates far below 1 / k. Ye et al.'s
    code has two remedies. ``linear`` interpolates between the losses, with 0 and 1,000 added as ends; signals
    must be minus a loss. The other one, a normal fitted to the models, is `lira_scores` of margins with
    ``mode="offline", centre="mean"``.

    Args:
        target: shape (n,) or (n, augmentations); the scores of a sample's augmentations are averaged.
        reference: shape (models, n) or (models, n, augmentations).
        reference_in: shape (models, n), True where the sample was in that model's training set.
        smoothing: ``none`` or ``linear``.
        requested_models: intended number of reference models.
        share: who scores which block of samples, as for `lira_scores`.

    Returns:
        Shape (n,), float64 in [0, 1], higher = more likely a member.

    Raises:
        ValueError: shapes do not fit together, an input is not finite, a sample has no OUT model, or, with
            ``linear``, a signal is outside -1000..0.
        UnknownNameError: no such smoothing.

    Warns:
        FewModelsWarning: there are fewer models than requested.

    >>> attack_r_scores([-0.5], [[-2.0], [-1.0], [-0.1]], [[False], [False], [True]])
    array([1.])
    >>> attack_r_scores([-0.5], [[-2.0], [-1.0], [-0.1]], [[False], [False], [True]], smoothing="linear")
    array([0.83333333])
    """
    if smoothing not in get_args(Smoothing):
        raise UnknownNameError("smoothing", smoothing, get_args(Smoothing))
    references = check_references(
        target, reference, reference_in, fewest_out=1, requested_models=requested_models
    )
    if smoothing == "linear":
        _require_losses(references.target, "target")

    def score(block: References) -> Scores:
        scores = np.empty(block.target.shape)
        for side in ranked_side(block, inside=False):
            at = block.target[side.samples, :, None]
            below, to = (side.values < at).sum(-1), (side.values <= at).sum(-1)
            if smoothing == "none":
                scores[side.samples] = (below + to) / (2 * side.counts)
            else:
                scores[side.samples] = _interpolate(side, at, below, to, block.first)
        mean: Scores = scores.mean(1)
        return mean

    return references.in_blocks(score, share)


def difficulty_calibrated_scores(
    target: Outputs,
    reference: Outputs,
    reference_in: Outputs,
    *,
    requested_models: int | None = None,
    share: Share = alone,
) -> Scores:
    """Score each sample by how far the target's signal exceeds that of models not trained on the sample.

    ``s = signal(x) - mean_ref signal_ref(x)`` over the OUT models (Watson et al. 2022, arXiv 2111.08440): a
    sample that every model finds easy no longer looks like a member. One OUT model is enough.

    Args:
        target: shape (n,) or (n, augmentations); the scores of a sample's augmentations are averaged.
        reference: shape (models, n) or (models, n, augmentations).
        reference_in: shape (models, n), True where the sample was in that model's training set.
        requested_models: intended number of reference models.
        share: who scores which block of samples, as for `lira_scores`.

    Returns:
        Shape (n,), float64, higher = more likely a member.

    Raises:
        ValueError: shapes do not fit together, an input is not finite, or a sample has no OUT model.

    Warns:
        FewModelsWarning: there are fewer models than requested.

    >>> difficulty_calibrated_scores([-0.5], [[-2.0], [-1.0], [-0.1]], [[False], [False], [True]])
    array([1.])
    """
    references = check_references(
        target, reference, reference_in, fewest_out=1, requested_models=requested_models
    )

    def score(block: References) -> Scores:
        scores = np.empty(block.target.shape)
        for part, values, counts, held in ranked_side(block, inside=False):
            scores[part] = block.target[part] - values.sum(-1, where=held) / counts
        mean: Scores = scores.mean(1)
        return mean

    return references.in_blocks(score, share)


def _rank(signals: Scores, population: Scores) -> Scores:
    ranked = np.sort(population)
    doubled = np.searchsorted(ranked, signals, "left") + np.searchsorted(ranked, signals, "right")
    share: Scores = doubled / (2 * len(ranked))
    return share


def _interpolate(side: RankedSide, at: Scores, below: Counts, to: Counts, first: int) -> Scores:
    """Return a signal's position between the sorted signals, which are at 1 / (k + 1), ..., k / (k + 1)."""
    values = np.zeros((*below.shape, side.values.shape[-1] + 2))
    # After a sample's last signal comes 0, the upper end.
    np.copyto(values[..., 1:-1], side.values, where=side.held)
    _require_losses(values, "reference", first + side.samples.start)
    values[..., 0] = -LARGEST_LOSS
    lower, upper = (np.take_along_axis(values, i[..., None], -1)[..., 0] for i in (below, below + 1))
    between = below + (at[..., 0] - lower) / np.where(upper > lower, upper - lower, 1)
    # Among equal signals, the middle of their places.
    place = np.where(to > below, (below + 1 + to) / 2, between)
    return place / (side.counts + 1)


def _column(values: Outputs, name: str) -> Scores:
    array = as_array(values, name)
    if array.ndim != 1 or not len(array):
        raise ValueError(
            f"{name} must have one dimension, one signal per sample, at least one; got {array.shape}."
        )
    require_finite(array, name)
    return array.astype(np.float64)


def _labels(values: Outputs, n: int, name: str) -> Counts:
    array = as_array(values, name)
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be {n} integers, one per sample; got {array.shape} of {array.dtype}.")
    return array


def _require_losses(signals: Scores, name: str, start: int = 0) -> None:
    bad = np.flatnonzero(((signals > 0) | (signals < -LARGEST_LOSS)).reshape(len(signals), -1).any(1))
    if len(bad):
        raise ValueError(
            f"smoothing='linear' takes signals that are minus a loss, in -{LARGEST_LOSS:g}..0; "
            f"{name_rows(bad + start)} of {name} are not."
        )


def run_attack_p(inputs: MembershipInputs, rows: Rows) -> Scores:
    """Run `attack_p_scores` on the losses; without a population, rank among the known non-members."""
    losses = inputs.score("loss")
    if inputs.population_outputs is None or inputs.population_labels is None:
        return attack_p_scores(losses[rows], losses[inputs.outsiders])
    return attack_p_scores(losses[rows], inputs.population_scores("loss"))


def run_beside_references(
    function: Callable[..., Scores], inputs: MembershipInputs, rows: Rows, **settings: Any
) -> Scores:
    """Run an attack that compares the target's losses with those of reference models."""
    reference = inputs.reference_signals("loss")
    own = inputs.score("loss")
    return function(own, reference, inputs.reference_in, share=inputs.share, **settings)[rows]


ATTACKS = (
    Attack(
        name="attack_p",
        run=run_attack_p,
        summary="rank of the loss among losses of samples that the model never saw",
        formula="P over z of [loss(z) > loss(x)]",
        source="Ye et al. 2022",
        needs=("labels", "population_outputs", "population_labels"),
        configured_by=attack_p_scores,
        alternatives=("calibration",),
    ),
    Attack(
        name="attack_r",
        run=partial(run_beside_references, attack_r_scores),
        summary="rank of the loss among the losses of reference models",
        formula="P over models of [their loss(x) > the target's]",
        source="Ye et al. 2022",
        needs=("labels", "reference_outputs", "reference_in"),
        configured_by=attack_r_scores,
        min_references=(0, 1),
    ),
    Attack(
        name="difficulty_calibration",
        run=partial(run_beside_references, difficulty_calibrated_scores),
        summary="loss relative to the mean loss of reference models",
        formula="log p_y - mean of the reference models'",
        source="Watson et al. 2022",
        needs=("labels", "reference_outputs", "reference_in"),
        configured_by=difficulty_calibrated_scores,
        min_references=(0, 1),
    ),
)
