"""How well scores separate poisoned inputs from clean ones, and how many a threshold lets pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.kind import CONFIDENCE_LEVEL
from securitynet_hub.core.arrays import as_array, as_ids, as_list, name_rows, require_finite
from securitynet_hub.statistics.rates import (
    Interval,
    Sides,
    auc_interval,
    require_share,
    split_scores,
    wilson_interval,
)

TARGET_FRRS = (0.01, 0.05)
SIDES = Sides("is_poisoned", "mark", "poisoned", "clean")


class Acceptance(NamedTuple):
    """The error rates of a threshold that was chosen on clean calibration images.

    Attributes:
        target_frr: the share of clean inputs that may be rejected.
        threshold: higher scores are rejected; None where too few calibration images reject nothing.
        frr: false-rejection rate: share of clean inputs rejected.
        frr_ci: its Wilson interval at this threshold.
        far: false-acceptance rate: share of poisoned inputs accepted.
        far_ci: its Wilson interval at this threshold.
        resolvable: whether there are enough calibration images for the target.
    """

    target_frr: float
    threshold: float | None
    frr: float
    frr_ci: Interval
    far: float
    far_ci: Interval
    resolvable: bool


class InputDetectionResult(TypedDict):
    """What one set of scores of inputs shows, with counts and intervals."""

    auc: float
    auc_ci: Interval
    acceptance: list[dict[str, Any]] | None
    n_poisoned: int
    n_clean: int
    n_calibration: int
    confidence_level: float


def measure_input_detection(
    scores: npt.ArrayLike,
    is_poisoned: npt.ArrayLike,
    *,
    calibration: npt.ArrayLike | None = None,
    ids: npt.ArrayLike | None = None,
    calibration_ids: npt.ArrayLike | None = None,
    target_frrs: Sequence[float] = TARGET_FRRS,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> InputDetectionResult:
    """Measure how well scores separate poisoned inputs from clean ones.

    Args:
        scores: shape (n,), higher = more likely poisoned.
        is_poisoned: shape (n,), booleans or 0/1.
        calibration: shape (m,), scores of other clean images, on which thresholds are chosen; None for no
            thresholds.
        ids: shape (n,), the identity of each input: hash, name or position.
        calibration_ids: shape (m,), the same for calibration images; an image in both is refused.
        target_frrs: false-rejection rates at which to give the false-acceptance rate.
        confidence_level: of every interval.

    Returns:
        auc and auc_ci (`statistics.roc_auc`, `roc_auc_interval`), acceptance (the fields of `Acceptance` for
        each target, in order; None without calibration), and the counts behind them.

    Raises:
        ValueError: as `statistics.split_scores`, a rate outside 0..1, ids that are misaligned or shared.

    >>> found = measure_input_detection([4, 1, 2, 0], [1, 1, 0, 0], calibration=range(4), target_frrs=[0.4])
    >>> found["auc"], found["acceptance"][0]["threshold"], found["acceptance"][0]["far"]
    (0.75, 2.0, 0.5)
    """
    ranking = split_scores(scores, is_poisoned, sides=SIDES)
    poisoned, clean = ranking
    auc, auc_ci = auc_interval(ranking, confidence_level)
    acceptance = None
    n_calibration = 0
    if calibration is not None:
        n_calibration = len(_calibration(calibration))
        _require_disjoint(ids, len(poisoned) + len(clean), calibration_ids, n_calibration)
        acceptance = []
        for target in as_list(target_frrs, "target_frrs"):
            threshold = rejection_threshold(calibration, target)
            cut = math.inf if threshold is None else threshold
            rejected, accepted = int((clean > cut).sum()), int((poisoned <= cut).sum())
            rates = Acceptance(
                target_frr=float(target),
                threshold=threshold,
                frr=rejected / len(clean),
                frr_ci=wilson_interval(rejected, len(clean), confidence_level=confidence_level),
                far=accepted / len(poisoned),
                far_ci=wilson_interval(accepted, len(poisoned), confidence_level=confidence_level),
                resolvable=threshold is not None,
            )
            acceptance.append(rates._asdict())
    elif ids is not None or calibration_ids is not None:
        raise ValueError("ids tell that calibration images are others; there are no calibration scores.")
    return InputDetectionResult(
        auc=auc,
        auc_ci=auc_ci,
        acceptance=acceptance,
        n_poisoned=len(poisoned),
        n_clean=len(clean),
        n_calibration=n_calibration,
        confidence_level=confidence_level,
    )


def rejection_threshold(calibration: npt.ArrayLike, target_frr: float) -> float | None:
    """Return the score above which an input is rejected, chosen on clean images only.

    The k-th smallest of the m calibration scores with ``k = ceil((1 - target_frr) (m + 1))``: a clean image
    drawn from the same distribution lies above it with a probability of at most
    ``1 - k / (m + 1) <= target_frr``, whatever the distribution (Vovk et al. 2005). STRIP's authors take the
    quantile of a fitted normal distribution, which holds for normal scores. None, to reject nothing, where k
    is above m: that few images cannot resolve so low a rate.

    Args:
        calibration: shape (m,), finite, higher = more likely poisoned; scores of images that are not judged.
        target_frr: between 0 and 1.

    >>> rejection_threshold([5, 1, 2, 3, 4, 6, 7, 8, 9], 0.2), rejection_threshold([1, 2], 0.1)
    (8.0, None)
    """
    values = _calibration(calibration)
    require_share(target_frr, "target_frr")
    rank = math.ceil(
        round((1 - target_frr) * (len(values) + 1), 9)
    )  # 0.9 * 10 is 9.000000000000002 elsewhere
    if rank > len(values):
        return None
    return float(np.sort(values.astype(np.float64))[max(rank, 1) - 1])


def _calibration(scores: npt.ArrayLike) -> npt.NDArray[Any]:
    values = as_array(scores, "calibration")
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"calibration must be one score for each clean image, at least one; got {values.shape}."
        )
    require_finite(values, "calibration")
    return values


def _require_disjoint(ids: Any, n: int, calibration_ids: Any, n_calibration: int) -> None:
    if ids is None and calibration_ids is None:
        return
    if ids is None or calibration_ids is None:
        missing = "ids" if ids is None else "calibration_ids"
        raise ValueError(
            f"ids and calibration_ids must name {n} and {n_calibration} images; got no {missing}."
        )
    judged, known = as_ids(ids, calibration_ids, ("ids", "calibration_ids"))
    if judged.shape != (n,) or known.shape != (n_calibration,):
        raise ValueError(
            f"ids and calibration_ids must name {n} and {n_calibration} images; got {judged.shape} and "
            f"{known.shape}."
        )
    shared = np.flatnonzero(np.isin(judged, known))
    if len(shared):
        raise ValueError(
            f"inputs must not be judged by a threshold chosen on them; {name_rows(shared)} of ids are among "
            "calibration_ids."
        )
