"""What LiRA would find, estimated from the tails of one model's losses: no reference models are trained.

Dodd, Krco, Shilov & de Montjoye (2025), arXiv 2510.19773: training moves the samples at risk out of the tail
of high losses into the head of low ones, while non-members stay in the tail. So the true-negative rate (TNR)
of the loss attack at a low false-negative rate (FNR) predicts the true-positive rate (TPR) of LiRA at an
equally low false-positive rate (FPR). Of the paper we could read the abstract alone: equal rates on both
sides are our reading, and the interval is ours.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.statistics.rates import CONFIDENCE_LEVEL, Interval, Ranking, split_scores
from securitynet_hub.statistics.roc import rate_at_fpr

FPR = 0.01
"""The false-positive rate of LiRA for which the estimate was measured."""

REFERENCES = 63
"""Reference models of the LiRA whose TPR is estimated; half of them were trained on each sample."""

DESIGNS = 18
"""Sets of 64 networks on which `MODEL_ERROR` was measured; benchmarks/measure_tail.py has them."""

MODEL_ERROR = 0.415
"""Root mean square, over these sets, of ``log(LiRA's TPR / TNR)``."""


FITTED = math.log(2)
"""Loss below which a sample is surely predicted rightly. Where nearly all members have less, the model fits
them, and the relation fails: LiRA with 32 to 64 reference models found .51, .41 and .18 of the estimate for
three such networks outside of `DESIGNS`, of convolutions, so that only the interval's upper end stands."""


class LiraEstimate(NamedTuple):
    """The TPR that LiRA would reach, and how sure that is.

    Attributes:
        target_fpr: the false-positive rate.
        tpr: the estimate.
        tpr_ci: an interval of LiRA's TPR: the choice of the samples, and the error of the estimate itself.
        sampling_ci: the interval of the TNR alone, for the choice of the samples.
        resolvable: whether the members tell the rate from 0; else only the upper ends say anything.
        n_members: number of members.
        n_nonmembers: number of non-members.
        confidence_level: of the intervals.
    """

    target_fpr: float
    tpr: float
    tpr_ci: Interval
    sampling_ci: Interval
    resolvable: bool
    n_members: int
    n_nonmembers: int
    confidence_level: float

    def as_result(self) -> dict[str, Any]:
        """Return it as a record has it."""
        return {**self._asdict(), "references": REFERENCES}


def estimate_lira(
    log_confidences: npt.ArrayLike,
    is_member: npt.ArrayLike,
    *,
    target_fpr: float = FPR,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> LiraEstimate:
    """Estimate the TPR of online LiRA with 63 reference models from the losses of one model.

    **Estimate.** The share of non-members whose loss is larger than that of all but a share `target_fpr` of
    the members: the TNR of the loss attack where its FNR is `target_fpr` (arXiv 2510.19773). It is
    `tpr_at_fpr` with the two sides exchanged and the loss as the score; and it is `target_fpr` itself, the
    TPR of guessing, where the TNR is smaller.

    **Interval.** The TNR has a sampling error, whose interval is that of `tpr_at_fpr`. The other error, that
    the TNR is not LiRA's TPR, was measured: over `DESIGNS` sets of
    64 networks each the root mean square of ``log(TPR / TNR)`` is `MODEL_ERROR`. For a model that is to these
    as they are to one another, that ratio lies within ``exp(t MODEL_ERROR)``, t the quantile of Student's
    distribution with `DESIGNS` degrees of freedom. Both errors are combined on the logarithmic scale as the
    sides of a right angle (Zou & Donner 2008, doi 10.1002/sim.3095). Where all but a share `target_fpr` of
    the members have a loss below `FITTED`, the estimate may be many times too high, and the interval begins
    at `target_fpr`. It is no guarantee: these networks are small, and a defence that changes the losses alone
    breaks the relation.

    Members and non-members must be of one distribution. The rate must be resolved by the members:
    ``target_fpr n_members >= 1``.

    Args:
        log_confidences: shape (n,), log p_y of each sample, the negative loss; see `signals.loss`.
        is_member: shape (n,), booleans or 0/1.
        target_fpr: the false-positive rate in (0, 1); the error was measured for 0.01 alone.
        confidence_level: of the intervals.

    Raises:
        ValueError: as `tpr_at_fpr`, or the rate is 0 or 1.

    Example: no member has a loss above 1, and a fifth of the non-members has one.

    >>> losses, is_member = [1.0] * 500 + [0.5] * 400 + [2.0] * 100, [1] * 500 + [0] * 500
    >>> found = estimate_lira([-loss for loss in losses], is_member)
    >>> round(found.tpr, 2), found.tpr_ci.low < 0.1, found.tpr_ci.high > 0.4
    (0.2, True, True)
    """
    from scipy.special import stdtrit  # slow to import

    if not 0 < target_fpr < 1:
        raise ValueError(f"target_fpr must lie between 0 and 1; got {target_fpr!r}.")
    members, nonmembers = split_scores(log_confidences, is_member)
    swapped = Ranking(-nonmembers[::-1], -members[::-1])
    tail = rate_at_fpr(swapped, target_fpr, confidence_level)
    tpr = max(tail.tpr, target_fpr)
    error = MODEL_ERROR * float(stdtrit(DESIGNS, (1 + confidence_level) / 2))
    below = math.log(tpr / tail.ci.low) if tail.ci.low > 0 else math.inf
    above = math.log(max(tail.ci.high, tpr) / tpr)
    low, high = tpr * math.exp(-math.hypot(below, error)), min(1.0, tpr * math.exp(math.hypot(above, error)))
    if -np.quantile(members, target_fpr) < FITTED:
        low = min(low, float(target_fpr))
    return LiraEstimate(
        target_fpr=float(target_fpr),
        tpr=tpr,
        tpr_ci=Interval(low, high),
        sampling_ci=tail.ci,
        resolvable=tail.resolvable,
        n_members=len(members),
        n_nonmembers=len(nonmembers),
        confidence_level=float(confidence_level),
    )
