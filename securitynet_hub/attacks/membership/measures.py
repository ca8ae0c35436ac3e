"""Measure membership inference: how well the scores of samples separate members from non-members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.kind import CONFIDENCE_LEVEL
from securitynet_hub.attacks.membership.kind import TARGET_FPRS
from securitynet_hub.core.arrays import as_list
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.statistics.comparison import auc_difference, paired_auc_difference
from securitynet_hub.statistics.rates import (
    Interval,
    advantage_interval,
    auc_interval,
    check_scores,
    split_scores,
)
from securitynet_hub.statistics.roc import rate_at_fpr

EPSILON_METHODS = ("rates", "one_run")
"""How `measure_membership` may bound epsilon from below."""

UNFAIR = 1e-6
"""Smallest two-sided p-value at which the numbers of members and non-members still pass for a fair coin."""


class Asked(TypedDict, total=False):
    """What is measured besides the attack itself, if the caller asks for it."""

    comparison: dict[str, Any]
    epsilon_bound: dict[str, Any]


class MembershipResult(Asked):
    """The measures of one set of membership scores, with counts and intervals."""

    auc: float
    auc_ci: Interval
    advantage: float
    advantage_ci: Interval
    tpr_at_fpr: list[dict[str, Any]]
    n_members: int
    n_nonmembers: int
    confidence_level: float


def measure_membership(
    scores: npt.ArrayLike,
    is_member: npt.ArrayLike,
    *,
    target_fprs: Sequence[float] = TARGET_FPRS,
    confidence_level: float = CONFIDENCE_LEVEL,
    compare_with: npt.ArrayLike | None = None,
    compare_with_members: npt.ArrayLike | None = None,
    epsilon: str | None = None,
    delta: float = 0.0,
    seed: int = 0,
) -> MembershipResult:
    """Measure how well scores separate members from non-members.

    Args:
        scores: shape (n,), higher = more likely a member.
        is_member: shape (n,), booleans or 0/1.
        target_fprs: false-positive rates at which to give the true-positive rate.
        confidence_level: of every interval and bound.
        compare_with: another attack's scores of the same samples, shape (n,); or, with
            `compare_with_members`, another model's scores of samples of its own, shape (k,).
        compare_with_members: shape (k,), booleans or 0/1.
        epsilon: how to bound the epsilon of differential privacy from below. ``rates``: a threshold chosen on
            half of the members and of the non-members, drawn by `seed`, and the error rates of the other half
            (`choose_threshold`, `epsilon_lower_bound`); valid if each score comes from its own training run.
            ``one_run``: guesses about the tenth of highest and the tenth of lowest scores
            (`one_run_epsilon`); valid if a fair coin decided for each sample whether it was in the training
            set of one model.
        delta: delta of the (epsilon, delta)-privacy that is tested, in [0, 1).
        seed: decides the halves, and the order of equal scores.

    Returns:
        auc and auc_ci (`roc_auc`, `roc_auc_interval`), advantage and advantage_ci (`advantage`),
        tpr_at_fpr (the fields of `tpr_at_fpr` for each target, in order) and the counts behind them. If the
        caller asks for them, comparison (the fields of `AucDifference`: this AUC minus the other) and
        epsilon_bound (method, delta, and the fields of `EpsilonBound` or `OneRunBound`).

    Raises:
        ValueError: as `statistics.split_scores`, a rate outside 0..1, or too few samples or too uneven sides
            for the bound.
        UnknownNameError: no such way to bound epsilon.

    >>> result = measure_membership([3, 2, 1, 0], [1, 0, 1, 0], target_fprs=[0.5])
    >>> result["auc"], result["advantage"], result["tpr_at_fpr"][0]["tpr"]
    (0.75, 0.5, 0.75)
    """
    if compare_with is None and compare_with_members is not None:
        raise ValueError("compare_with_members is given without compare_with, the scores that it belongs to.")
    ranking = split_scores(scores, is_member)
    auc, auc_ci = auc_interval(ranking, confidence_level)
    advantage, advantage_ci = advantage_interval(ranking, confidence_level)
    targets = as_list(target_fprs, "target_fprs")
    rates = [rate_at_fpr(ranking, target, confidence_level) for target in targets]
    result = MembershipResult(
        auc=auc,
        auc_ci=auc_ci,
        advantage=advantage,
        advantage_ci=advantage_ci,
        tpr_at_fpr=[rate._asdict() for rate in rates],
        n_members=len(ranking.members),
        n_nonmembers=len(ranking.nonmembers),
        confidence_level=confidence_level,
    )
    if compare_with is not None:
        settings = {"confidence_level": confidence_level}
        result["comparison"] = (
            paired_auc_difference(scores, compare_with, is_member, **settings)
            if compare_with_members is None
            else auc_difference(scores, is_member, compare_with, compare_with_members, **settings)
        )._asdict()
    if epsilon is not None:
        bound = _epsilon_bound(scores, is_member, epsilon, delta, confidence_level, seed)
        result["epsilon_bound"] = {"method": epsilon, "delta": delta, **bound}
    return result


def _epsilon_bound(
    scores: npt.ArrayLike, is_member: npt.ArrayLike, method: str, delta: float, level: float, seed: int
) -> dict[str, Any]:
    from scipy.stats import binom  # slow to import

    from securitynet_hub.attacks.membership import privacy

    if not isinstance(method, str) or method not in EPSILON_METHODS:
        raise UnknownNameError("way to bound epsilon", method, EPSILON_METHODS)
    values, membership = check_scores(scores, is_member)
    fewer = min(int(membership.sum()), int((~membership).sum()))
    if method == "one_run":
        if 2 * binom.cdf(fewer, len(values), 0.5) < UNFAIR:
            raise ValueError(
                "epsilon='one_run' is for samples of which a fair coin made members; got "
                f"{membership.sum()} members and {(~membership).sum()} non-members."
            )
        tenth = max(1, len(values) // 10)
        return privacy.one_run_epsilon(
            values, membership, k_plus=tenth, k_minus=tenth, delta=delta, confidence_level=level, seed=seed
        )._asdict()
    if fewer < 2:
        raise ValueError(
            f"epsilon='rates' takes two members and two non-members at least; got {fewer} of one."
        )
    chosen = draw_share(0.5, membership, seed)
    threshold = privacy.choose_threshold(
        values[chosen], membership[chosen], delta=delta, confidence_level=level
    )
    return privacy.epsilon_lower_bound(
        values[~chosen], membership[~chosen], thresholds=threshold, delta=delta, confidence_level=level
    )._asdict()


def draw_share(share: float, is_member: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.bool_]:
    """Draw a share of the members and of the non-members; shape (n,), True for the drawn.

    >>> int(draw_share(0.5, np.array([True, True, False, False]), seed=0).sum())
    2
    """
    rng = np.random.default_rng(seed)
    drawn = np.zeros(len(is_member), np.bool_)
    for side in (True, False):
        rows = np.flatnonzero(is_member == side)
        drawn[rng.permutation(rows)[: round(share * len(rows))]] = True
    return drawn
