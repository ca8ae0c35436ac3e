"""Membership inference: scores of single samples, and what they give away of a training set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy.typing as npt

from securitynet_hub.errors import UnknownNameError
from securitynet_hub.signals import SIGNALS, Outputs
from securitynet_hub.statistics import (
    Interval,
    Scores,
    advantage_interval,
    auc_interval,
    rate_at_fpr,
    split_scores,
)

TARGET_FPRS = (0.001, 0.01)
CONFIDENCE_LEVEL = 0.95


class MembershipResult(TypedDict):
    """What one set of membership scores shows, with counts and intervals."""

    auc: float
    auc_ci: Interval
    advantage: float
    advantage_ci: Interval
    tpr_at_fpr: list[dict[str, Any]]
    n_members: int
    n_nonmembers: int
    confidence_level: float


def membership_scores(attack: str, outputs: Outputs, labels: Outputs, *, from_logits: bool) -> Scores:
    """Score every sample with a metric-based attack, higher = more likely a member.

    Raises:
        UnknownNameError: no such attack; the closest names are given.

    >>> membership_scores("loss", [[0.0, 0.0]], [1], from_logits=True)
    array([-0.69314718])
    """
    if attack not in SIGNALS:
        raise UnknownNameError("membership attack", attack, SIGNALS)
    return SIGNALS[attack](outputs, labels, from_logits=from_logits)


def measure_membership(
    scores: npt.ArrayLike,
    is_member: npt.ArrayLike,
    *,
    target_fprs: Sequence[float] = TARGET_FPRS,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> MembershipResult:
    """Measure how well scores tell members from non-members.

    Args:
        scores: shape (n,), higher = more likely a member.
        is_member: shape (n,), booleans or 0/1.
        target_fprs: false-positive rates at which to give the true-positive rate.
        confidence_level: of every interval.

    Returns:
        auc and auc_ci (`roc_auc`, `roc_auc_interval`), advantage and advantage_ci (`advantage`),
        tpr_at_fpr (the fields of `tpr_at_fpr` for each target, in order) and the counts behind them.

    Raises:
        ValueError: as `statistics.split_scores`, or a rate outside 0..1.

    >>> result = measure_membership([3, 2, 1, 0], [1, 0, 1, 0], target_fprs=[0.5])
    >>> result["auc"], result["advantage"], result["tpr_at_fpr"][0]["tpr"]
    (0.75, 0.5, 1.0)
    """
    ranking = split_scores(scores, is_member)
    auc, auc_ci = auc_interval(ranking, confidence_level)
    advantage, advantage_ci = advantage_interval(ranking, confidence_level)
    rates = [rate_at_fpr(ranking, target, confidence_level) for target in target_fprs]
    return MembershipResult(
        auc=auc,
        auc_ci=auc_ci,
        advantage=advantage,
        advantage_ci=advantage_ci,
        tpr_at_fpr=[rate._asdict() for rate in rates],
        n_members=len(ranking.members),
        n_nonmembers=len(ranking.nonmembers),
        confidence_level=confidence_level,
    )
