"""The robust membership inference attack (RMIA): does the target favour x more than samples of a population?

Zarifzadeh, Liu & Shokri (2024), arXiv 2312.03262. With p(x | theta) the probability that the target gives
to the label of x, and p(x) its average over models that did and models that did not train on x,

    LR(x, z) = [p(x | theta) / p(x)] / [p(z | theta) / p(z)],      score(x) = P_z[LR(x, z) >= gamma]

over samples z of the population. All arithmetic uses log-probabilities, such as those of `signals.loss`. The
ratios of z are sorted once, and each x is looked up by bisection: O((n + m) log m) time and O(n + m) memory
instead of an n x m matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.membership.attack import Attack, Rows, Tuned
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.attacks.membership.reference_models import (
    LARGEST,
    References,
    Selected,
    as_signals,
    check_references,
    require_disjoint,
    signal_chunks,
)
from securitynet_hub.core.arrays import Scores, as_array, name_rows
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.shares import Share, alone
from securitynet_hub.statistics.rates import roc_auc
from securitynet_hub.statistics.signals import Outputs

Mode = Literal["offline", "online"]

CANDIDATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Values of a that `tune_offline_a` tries, as in the authors' tool."""

DECIMALS = 10
"""Decimals that log ratios are rounded to, so that ratios which are equal on paper tie."""

PAIRS = 1 << 20
"""Number of pairs (x, z) whose votes are counted at a time, if samples have several augmentations."""


class TunedA(NamedTuple):
    """The best offline coefficient, and the AUC of each candidate, averaged over reference models."""

    a: float
    aucs: dict[float, float]


def rmia_scores(
    target_x: Outputs,
    ref_x: Outputs,
    ref_in: Outputs,
    target_z: Outputs,
    ref_z: Outputs,
    *,
    gamma: float = 2.0,
    a: float = 0.3,
    mode: Mode = "offline",
    ref_in_z: Outputs | None = None,
    ids_x: Outputs | None = None,
    ids_z: Outputs | None = None,
    requested_models: int | None = None,
    share: Share = alone,
) -> Scores:
    """Score each sample by the share of the population that the target favours gamma times less.

    From Zarifzadeh et al. 2024, arXiv 2312.03262: ``score(x) = P_z[LR(x, z) >= gamma]`` with
    ``LR(x, z) = [p(x | theta) / p(x)] / [p(z | theta) / p(z)]``. The average p(x) is

    - ``offline``: ``((1 + a) p_out + (1 - a)) / 2`` with p_out the mean over the OUT models, as
      ``p_in ~ a p_out + 1 - a``;
    - ``online``: ``(p_in + p_out) / 2``, the means over the IN and over the OUT models. For a z that all
      models saw, or none, it is the mean over all.

    The pair (x, z) counts if ``log LR(x, z) >= log gamma``. Ties count; the authors' code does not count
    them. Log ratios are compared to 10 decimals, so that ratios which are equal on paper tie. With several
    augmentations of each sample, a pair counts if it does so for more than half of the augmentations, as in
    the authors' code; this takes O(n m) time, in blocks.

    Args:
        target_x: shape (n,) or (n, augmentations), log-probabilities of the label, at most 0. The logarithm
            of another confidence in (0, 1], such as the authors' Taylor softmax, works as well.
        ref_x: shape (models, n) or (models, n, augmentations), likewise from the reference models.
        ref_in: shape (models, n), True where x was in that model's training set.
        target_z: shape (m,) or (m, augmentations), for the population, which the target was not trained on.
        ref_z: shape (models, m) or (models, m, augmentations).
        gamma: smallest ratio that counts, at least 1. The paper's experiments use 2; the authors' current
            code (ml_privacy_meter) uses 1, and counts ratios above it. For one target it does not change the
            order of samples, except for ties at 0 and 1; samples that leak little tie at 0 with a large one.
        a: offline only, 0..1; lower values suit targets that overfit more; see `tune_offline_a`.
        mode: ``offline`` or ``online``.
        ref_in_z: shape (models, m); None if no reference model was trained on any z.
        ids_x: shape (n,), a unique identifier of each sample.
        ids_z: shape (m,), likewise; if both are given, they must not overlap.
        requested_models: intended number of reference models.
        share: who scores which block of samples, as for `lira_scores`.

    Returns:
        Shape (n,), float64 in [0, 1], higher = more likely a member. The order of models, samples and
        population does not matter.

    Raises:
        ValueError: shapes do not fit together; an input is not finite or is positive; a sample has no OUT
            model (or online no IN model; the error names the rows); a sample is in both x and z; gamma or a
            is out of range.
        UnknownNameError: no such mode.

    Warns:
        FewModelsWarning: there are fewer models than requested.

    Example: the target gives x a probability of 0.9, the reference model 0.45. For both z the two models
    agree, so both pairs count.

    >>> log = np.log
    >>> rmia_scores(log([0.9]), log([[0.45]]), [[False]], log([0.4, 0.8]), log([[0.4, 0.8]]), a=1)
    array([1.])
    """
    if mode not in get_args(Mode):
        raise UnknownNameError("RMIA mode", mode, get_args(Mode))
    _require_in_range(gamma, a)
    require_disjoint(ids_x, ids_z, ("ids_x", "ids_z"))
    of_x = check_references(
        target_x,
        ref_x,
        ref_in,
        names=("target_x", "ref_x", "ref_in"),
        fewest_in=int(mode == "online"),
        fewest_out=1,
        requested_models=requested_models,
    )
    require_not_positive(of_x.target, "target_x", 0)
    of_z = _population(target_z, ref_z, ref_in_z, mode)
    if of_x.target.shape[1] != of_z.target.shape[1] or len(of_x.is_in) != len(of_z.is_in):
        raise ValueError(
            "x and z must have the same models and as many queries of each sample; got "
            f"{len(of_x.is_in)} models and {of_x.target.shape[1]} queries for x, {len(of_z.is_in)} and "
            f"{of_z.target.shape[1]} for z."
        )
    population = _Population(of_z.in_blocks(lambda block: log_ratios(block, mode, a), share))
    return of_x.in_blocks(
        lambda block: population.share_below(log_ratios(block, mode, a) - math.log(gamma)), share
    )


def tune_offline_a(
    ref_x: Outputs,
    ref_in: Outputs,
    ref_z: Outputs,
    *,
    gamma: float = 2.0,
    candidates: Sequence[float] = CANDIDATES,
    ref_in_z: Outputs | None = None,
    share: Share = alone,
) -> TunedA:
    """Choose the offline coefficient by attacking each reference model with all other reference models.

    The membership for an attacked model is **its own** row of `ref_in`. Samples that all other models were
    trained on cannot be scored and are left out of its AUC. Ties go to the first candidate.

    Args:
        ref_x: as for `rmia_scores`, with two models at least.
        ref_in: likewise.
        ref_z: likewise.
        gamma: likewise.
        candidates: values of a in 0..1.
        ref_in_z: likewise. A z that the attacked model was trained on is left out of its population.
        share: who attacks which reference models, as for `lira_scores`.

    Raises:
        ValueError: as `rmia_scores`; there are fewer than two models or no candidates; or for some model no
            member or no non-member can be scored.

    Example: each model gives its members a probability of 1.

    >>> ref_in = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]], dtype=bool)
    >>> ref_x = np.log(np.where(ref_in, 1.0, [[0.3, 0.9, 0.3, 0.6]]))
    >>> tune_offline_a(ref_x, ref_in, np.log(np.full((3, 2), 0.5)), gamma=1.1).aucs[1.0]
    1.0
    """
    for a in candidates:
        _require_in_range(gamma, a)
    signals_x, signals_z = as_signals(ref_x, "ref_x"), as_signals(ref_z, "ref_z")
    models, in_x = signals_x.shape[0], as_array(ref_in, "ref_in")
    in_z = (
        np.zeros(tuple(signals_z.shape[:2]), np.bool_) if ref_in_z is None else as_array(ref_in_z, "ref_in_z")
    )
    if models < 2 or not len(candidates):
        raise ValueError(
            f"at least two reference models and one candidate are needed; got {models} and {len(candidates)}."
        )
    if not models == len(in_x) == signals_z.shape[0] == len(in_z):
        raise ValueError(
            "ref_x, ref_in, ref_z and ref_in_z must have one row for each model; got "
            f"{models}, {len(in_x)}, {signals_z.shape[0]} and {len(in_z)}."
        )

    def attacked(model: int) -> list[float]:
        """Return the AUC of each candidate."""
        others = np.delete(np.arange(models), model)
        x = np.flatnonzero(~in_x[others].all(0))
        z = np.flatnonzero(~in_z[others].all(0) & ~in_z[model])
        of_x, of_z = (
            check_references(
                np.asarray(Selected(signals, np.array([model]), rows))[0],
                Selected(signals, others, rows),
                is_in[np.ix_(others, rows)],
                names=names,
                fewest_out=1,
            )
            for signals, is_in, rows, names in (
                (signals_x, in_x, x, ("ref_x", "ref_x", "ref_in")),
                (signals_z, in_z, z, ("ref_z", "ref_z", "ref_in_z")),
            )
        )
        out_x, out_z = (log_mean(r, inside=False) for r in (of_x, of_z))
        found = []
        for a in candidates:
            ratio_x, ratio_z = of_x.target - _mixed(out_x, a), of_z.target - _mixed(out_z, a)
            scores = _Population(ratio_z).share_below(ratio_x - math.log(gamma))
            found.append(roc_auc(scores, in_x[model, x]))
        return found

    aucs = np.array(share(attacked, range(models)))
    means = {float(a): math.fsum(column) / models for a, column in zip(candidates, aucs.T, strict=True)}
    return TunedA(max(means, key=means.__getitem__), means)


def _population(target_z: Outputs, ref_z: Outputs, ref_in_z: Outputs | None, mode: Mode) -> References:
    if ref_in_z is None:
        ref_in_z = np.zeros(tuple(np.shape(ref_z)[:2]), np.bool_)
    of_z = check_references(
        target_z,
        ref_z,
        ref_in_z,
        names=("target_z", "ref_z", "ref_in_z"),
        fewest_out=int(mode == "offline"),
    )
    require_not_positive(of_z.target, "target_z", 0)
    return of_z


def log_ratios(references: References, mode: Mode, a: float) -> Scores:
    """Return log(p(x | theta) / p(x)), shape (n, augmentations); see `rmia_scores`."""
    if mode == "online":
        return references.target - _online_average(references)
    return references.target - _mixed(log_mean(references, inside=False), a)


def _mixed(outside: Scores, a: float) -> Scores:
    """Return log p(x) from the log of the mean over OUT models."""
    return np.log((1 + a) / 2 * np.exp(outside) + (1 - a) / 2) if a < 1 else outside


def _online_average(references: References) -> Scores:
    inside, outside = (log_mean(references, inside=side) for side in (True, False))
    # A side without models has the mean -inf; then only the other side counts.
    sides = np.isfinite(inside).astype(np.float64) + np.isfinite(outside)
    average: Scores = np.logaddexp(inside, outside) - np.log(sides)
    return average


def log_mean(references: References, *, inside: bool | None = None) -> Scores:
    """Return the log of the mean probability over the models of one side, or all; -inf where are none."""
    means = np.full(references.target.shape, -np.inf)
    # Multiples of this number's last digit add up without rounding, so the order of models does not matter.
    coarse = 2.0 ** math.ceil(math.log2(len(references.is_in)))
    for part, signals in signal_chunks(references):
        # With models as the first axis, NumPy adds whole rows at a time.
        is_in = references.is_in[:, part]
        chosen = np.ones_like(is_in) if inside is None else is_in == inside
        counts = chosen.sum(0)[:, None]
        values = np.where(chosen[..., None], np.moveaxis(signals, -1, 0), -np.inf)
        largest = values.max(0, initial=-LARGEST)
        require_not_positive(largest, references.name, references.first + part.start)
        # Relative to the largest, no probability underflows, and equal probabilities average to themselves.
        values -= largest
        shares = np.exp(values, out=values)
        shares += coarse
        shares -= coarse
        np.log(shares.sum(0) / np.maximum(counts, 1), where=counts > 0, out=means[part])
        means[part] += largest
    return means


class _Population:
    """The ratios of the population, shape (m, queries), sorted once."""

    def __init__(self, ratios: Scores) -> None:
        ratios = np.round(ratios, DECIMALS)
        self._ranked = np.sort(ratios, 0)
        self._kind = np.min_scalar_type(len(ratios))
        # Ranks instead of ratios: whole numbers compare faster than floats, with the same result.
        several = ratios.shape[1] > 1
        self._places = _ranks(self._ranked, ratios, "left").astype(self._kind) if several else None

    def share_below(self, limits: Scores) -> Scores:
        """Return, for each row of `limits`, the share of the population not above it in most columns."""
        n, queries = limits.shape
        reached = _ranks(self._ranked, np.round(limits, DECIMALS), "right")
        if self._places is None:
            return reached[:, 0] / len(self._ranked)
        reached = reached.astype(self._kind)
        shares = np.empty(n)
        size = max(1, PAIRS // len(self._places))
        for start in range(0, n, size):
            part = slice(start, start + size)
            votes = np.zeros((len(reached[part]), len(self._places)), np.uint16)
            for query in range(queries):
                votes += self._places[:, query] < reached[part, query, None]
            shares[part] = (2 * votes > queries).mean(1)
        return shares


def _ranks(ranked: Scores, values: Scores, side: Literal["left", "right"]) -> npt.NDArray[np.intp]:
    """Return each value's rank in its sorted column; look values up in order to stay in the cache."""
    ranks = np.empty(values.shape, np.intp)
    for column, order in enumerate(values.argsort(0).T):
        ranks[order, column] = np.searchsorted(ranked[:, column], values[order, column], side)
    return ranks


def _require_in_range(gamma: float, a: float) -> None:
    if not 1 <= gamma < math.inf:
        raise ValueError(f"gamma must be a finite number of at least 1; got {gamma!r}.")
    require_share(a, "a")


def require_share(value: float, name: str) -> None:
    """Refuse a coefficient outside 0..1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in 0..1; got {value!r}.")


def require_not_positive(values: Scores, name: str, start: int) -> None:
    """Refuse signals that are no log-probabilities; `start` is the first row's number."""
    bad = np.flatnonzero((values > 0).reshape(len(values), -1).any(1))
    if len(bad):
        raise ValueError(
            f"{name} must be log-probabilities, at most 0; {name_rows(bad + start)} hold larger ones. Pass "
            "the logarithm of probabilities."
        )


TUNED = "tuned"
"""Value of the setting ``a`` that lets `tune_offline_a` choose it on the reference models."""


def run_rmia(mode: Mode, inputs: MembershipInputs, rows: Rows, **settings: Any) -> Scores | Tuned:
    """Run `rmia_scores` on the losses of all augmentations, with `tune_offline_a` if a is "tuned"."""
    log_confidences = (
        inputs.score, inputs.reference_signals, inputs.population_scores, inputs.reference_population_signals,
    )  # fmt: skip
    target_x, ref_x, target_z, ref_z = (signal("loss", views=True) for signal in log_confidences)
    ref_in_z = inputs.reference_population_in
    tuned: dict[str, float] = {}
    if settings.get("a") == TUNED:
        gamma = settings.get("gamma", 2.0)
        tuned["a"] = tune_offline_a(
            ref_x, inputs.reference_in, ref_z, gamma=gamma, ref_in_z=ref_in_z, share=inputs.share
        ).a
    scores = rmia_scores(
        target_x,
        ref_x,
        inputs.reference_in,
        target_z,
        ref_z,
        mode=mode,
        ref_in_z=ref_in_z,
        share=inputs.share,
        **{**settings, **tuned},
    )[rows]
    return Tuned(scores, tuned) if tuned else scores


ATTACKS = (
    Attack(
        name="rmia",
        run=partial(run_rmia, "offline"),
        words=("tuned",),
        summary="pairwise likelihood ratios against a population",
        formula="P over z of [LR(x, z) >= gamma]",
        source="Zarifzadeh et al. 2024",
        needs=(
            "labels",
            "reference_outputs",
            "reference_in",
            "population_outputs",
            "population_labels",
            "reference_population_outputs",
        ),
        configured_by=rmia_scores,
        min_references=(0, 1),
        augmented=True,
        ranked=True,
    ),
    Attack(
        name="rmia_online",
        run=partial(run_rmia, "online"),
        words=("tuned",),
        summary="pairwise likelihood ratios, with reference models trained on the sample too",
        formula="P over z of [LR(x, z) >= gamma], p(x) from models with and without x",
        source="Zarifzadeh et al. 2024",
        needs=(
            "labels",
            "reference_outputs",
            "reference_in",
            "population_outputs",
            "population_labels",
            "reference_population_outputs",
        ),
        configured_by=rmia_scores,
        min_references=(1, 1),
        augmented=True,
    ),
)
