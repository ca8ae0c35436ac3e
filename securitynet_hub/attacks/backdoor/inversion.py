"""Recovered triggers: which class needs a far smaller trigger than the other classes, and the pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image

from securitynet_hub.attacks.backdoor.unlearning import Unlearning
from securitynet_hub.core.arrays import Scores, as_array, is_real, name_rows, require_finite, shortened
from securitynet_hub.statistics.rates import median_and_scale

THRESHOLD = 2.0
"""Anomaly index above which a class is flagged (Wang et al. 2019)."""

TINY = 1e-6
"""Norm in pixels below which logarithms stop."""


class Spread(NamedTuple):
    """The smallest and the largest over restarts."""

    low: float
    high: float


class InversionResult(TypedDict):
    """Figures of a model from the norms of its classes' triggers; medians over restarts.

    A figure is None where fewer than three classes had a trigger that works, in any restart.
    """

    anomaly_index: float | None
    anomaly_index_range: Spread | None
    log_anomaly_index: float | None
    log_anomaly_index_range: Spread | None
    norm_ratio: float | None
    norm_ratio_range: Spread | None
    smallest_class: int | None
    flagged_classes: list[int]
    n_classes: int
    n_converged: int
    n_restarts: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Inversion:
    """The trigger found for each class, the smallest that works, or the last one where none does.

    Attributes:
        classes: shape (k,), ascending: all classes of the model, or those that screening kept.
        controls: shape (k,), True for the classes with whose norms all are compared.
        norms: shape (restarts, k), L1 norms of the masks in pixels; NaN where no mask reached the threshold.
        success_rates: shape (restarts, k), share of the images that the trigger turns.
        steps: shape (restarts, k), steps taken.
        masks: shape (restarts, k, height, width), 0 to 1.
        patterns: shape (restarts, k, height, width, channels), 0 to 1.
        unlearning: what training against the smallest trigger does; None where it was not tried.
        gaps: shape (k,), by how much each class loses the clean images, in logits; None where nobody asked.
    """

    classes: npt.NDArray[np.int64]
    controls: npt.NDArray[np.bool_]
    norms: Scores
    success_rates: Scores
    steps: npt.NDArray[np.int64]
    masks: npt.NDArray[np.float32] = field(repr=False)
    patterns: npt.NDArray[np.float32] = field(repr=False)
    unlearning: Unlearning | None = None
    gaps: Scores | None = field(default=None, repr=False)

    def measure(self, *, threshold: float = THRESHOLD) -> InversionResult:
        """Return what the norms say of the model; see `measure_inversion`."""
        return measure_inversion(
            self.norms, classes=self.classes, controls=self.controls, threshold=threshold
        )

    def best(self, label: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return a class's smallest mask that works, of all restarts, and its pattern.

        Raises:
            ValueError: the class was not looked at to the end.
        """
        (place,) = np.nonzero(self.classes == label)
        if not len(place):
            raise ValueError(f"class {label} is not among the {len(self.classes)} that were looked at.")
        restart = int(np.argmin(np.nan_to_num(self.norms[:, place[0]], nan=np.inf)))
        return self.masks[restart, place[0]], self.patterns[restart, place[0]]


def measure_inversion(
    norms: npt.ArrayLike,
    *,
    classes: npt.ArrayLike | None = None,
    controls: npt.ArrayLike | None = None,
    threshold: float = THRESHOLD,
) -> InversionResult:
    """Measure how far the smallest norm of the classes' triggers lies below the median.

    A class's anomaly index is (median - norm) / (1.4826 MAD), the model's that of the smallest norm, as
    `statistics.anomaly_index` has it: one-sided, the median of an even count the mean of two,
    the mean deviation where the MAD is 0. Norms vary by factors rather than by sums, so the index of their
    logarithms is given as well, and the smallest norm over the median, which does not depend on how much the
    other norms vary. Medians and MAD are those of the controls.

    Args:
        norms: shape (classes,) or (restarts, classes); NaN or None where no trigger reached the threshold of
            success: such a class is left out, never taken for a small norm.
        classes: shape (classes,), the names of the classes; 0, 1, ... unless given.
        controls: shape (classes,), booleans, the classes to compare with; all unless given.
        threshold: a class with an index above it in more than half of the restarts is flagged.

    Raises:
        ValueError: norms of another shape, infinite or negative; names or controls of another length.

    >>> found = measure_inversion([10, 50, 60, 70, 80, None])
    >>> round(found["anomaly_index"], 4), round(found["norm_ratio"], 4), found["flagged_classes"]
    (3.3725, 0.1667, [0])
    >>> measure_inversion([10, None, None])["anomaly_index"] is None
    True
    """
    values = _as_norms(norms)
    restarts, k = values.shape
    names = np.arange(k) if classes is None else as_array(classes, "classes")
    compared = np.ones(k, np.bool_) if controls is None else as_array(controls, "controls")
    if names.dtype.kind not in "iu":
        raise ValueError(f"classes must be whole numbers; got {names.dtype}.")
    if compared.dtype.kind not in "biu" or not np.isin(compared, (0, 1)).all():
        raise ValueError(f"controls must be booleans or 0/1; got {compared.dtype}.")
    compared = compared.astype(np.bool_)
    if not (is_real(threshold) and math.isfinite(threshold)):
        raise ValueError(f"threshold must be a number; got {shortened(threshold)}.")
    if names.shape != (k,) or compared.shape != (k,):
        raise ValueError(
            f"classes and controls must have an entry for each of {k} norms; got {names.shape} and "
            f"{compared.shape}."
        )
    judged = [row for row in values if np.isfinite(row[compared]).sum() >= 3]
    indices = np.array([_indices(row, compared) for row in judged]).reshape(-1, k)
    logarithms = [_indices(np.log(np.maximum(row, TINY)), compared) for row in judged]
    ratios = [np.nanmin(row) / max(np.nanmedian(row[compared]), TINY) for row in judged]
    index, log_index, ratio = (
        _median_and_spread(figures)
        for figures in (
            np.nanmax(indices, 1) if judged else [],
            [np.nanmax(row) for row in logarithms],
            ratios,
        )
    )
    flagged = np.count_nonzero(np.nan_to_num(indices, nan=-np.inf) > threshold, axis=0) * 2 > restarts
    smallest = np.nanmin(np.where(np.isnan(values), np.inf, values), 0)
    return InversionResult(
        anomaly_index=index[0],
        anomaly_index_range=index[1],
        log_anomaly_index=log_index[0],
        log_anomaly_index_range=log_index[1],
        norm_ratio=ratio[0],
        norm_ratio_range=ratio[1],
        smallest_class=int(names[np.argmin(smallest)]) if np.isfinite(smallest).any() else None,
        flagged_classes=[int(name) for name in names[flagged]],
        n_classes=k,
        n_converged=int(np.isfinite(values).any(0).sum()),
        n_restarts=restarts,
    )


def trigger_overlap(mask: npt.ArrayLike, stamped: npt.ArrayLike) -> float:
    """Return how well a recovered mask covers a true trigger: sum of min(m, t) over sum of max(m, t).

    For masks of 0 and 1 this is the intersection over the union (Jaccard).

    Args:
        mask: shape (height, width), 0 to 1.
        stamped: of the same shape, the pixels that the true trigger changes: booleans or 0 to 1.

    Raises:
        ValueError: shapes differ, or values beyond 0 and 1.

    >>> trigger_overlap([[1.0, 0.5], [0.0, 0.0]], [[True, True], [False, True]])
    0.5
    """
    found, true = (as_array(values, "masks").astype(np.float64) for values in (mask, stamped))
    if found.shape != true.shape or not found.size:
        raise ValueError(f"both masks must be of one shape; got {found.shape} and {true.shape}.")
    if not (min(found.min(), true.min()) >= 0 and max(found.max(), true.max()) <= 1):  # False for NaN
        raise ValueError("masks must lie between 0 and 1.")
    union = float(np.maximum(found, true).sum())
    return float(np.minimum(found, true).sum()) / union if union else 1.0


def stamped_pixels(
    trigger: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]], images: npt.NDArray[np.uint8]
) -> npt.NDArray[np.bool_]:
    """Return which pixels a trigger changes in any of the images, shape (height, width)."""
    changed: npt.NDArray[np.bool_] = (trigger(images) != images).any(axis=(0, -1))
    return changed


def save_triggers(
    inversion: Inversion, labels: list[int], folder: Path, *, stem: str = "class"
) -> list[Path]:
    """Write ``<stem>-<label>-mask.png``, ``-pattern.png`` and ``-trigger.png``, mask times pattern.

    Grey for one channel, colour for three; of more, and of volumes, nothing can be shown.

    Raises:
        ValueError: a class that was not looked at, or triggers that are no pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for label in labels:
        mask, pattern = inversion.best(label)
        if mask.ndim != 2 or pattern.shape[-1] not in (1, 3):
            raise ValueError(f"a trigger of shape {pattern.shape} cannot be shown as a picture.")
        pictures = {"mask": mask[..., None], "pattern": pattern, "trigger": mask[..., None] * pattern}
        for name, picture in pictures.items():
            pixels = np.rint(255 * picture).astype(np.uint8)
            paths.append(folder / f"{stem}-{label}-{name}.png")
            Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(paths[-1])
    return paths


def save_pictures(pictures: Mapping[str, npt.NDArray[np.uint8]], beside: Path) -> list[Path]:
    """Write pictures (height, width, channels) of one or three channels beside a file, as <file>-<name>.png.

    Pictures of another number of channels cannot be shown, and are left out.
    """
    paths = []
    for name, pixels in pictures.items():
        if pixels.shape[-1] in (1, 3):
            paths.append(beside.parent / f"{beside.stem}-{name}.png")
            Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(paths[-1])
    return paths


def _as_norms(norms: Any) -> Scores:
    """Return norms as (restarts, classes), NaN for what is missing."""
    values = as_array(norms, "norms")
    if values.dtype == object:
        strange = [v for v in values.flat if v is not None and not is_real(v)]
        if strange:
            raise ValueError(f"norms must be numbers, or None; got {shortened(strange[0])}.")
        values = np.array([math.nan if v is None else v for v in values.flat], np.float64).reshape(
            values.shape
        )
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(f"norms must be of shape (classes,) or (restarts, classes); got {values.shape}.")
    values = np.atleast_2d(values)
    given = np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf)
    require_finite(given, "norms")
    if given.min() < 0:
        raise ValueError(f"norms must not be negative; {name_rows(np.flatnonzero((given < 0).any(0)))} are.")
    return values.astype(np.float64)


def _indices(values: Scores, compared: npt.NDArray[np.bool_]) -> Scores:
    """Return each class's anomaly index, NaN for those left out."""
    among = values[compared]
    median, scale = median_and_scale(among[np.isfinite(among)])
    distances: Scores = median - values
    return distances / scale if scale else 0 * distances


def _median_and_spread(figures: Any) -> tuple[float | None, Spread | None]:
    if not len(figures):
        return None, None
    return float(np.median(figures)), Spread(float(np.min(figures)), float(np.max(figures)))
