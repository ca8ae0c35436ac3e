"""Where a model stands among the public ones that SecurityNet measured."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import as_array, require_finite
from securitynet_hub.statistics.rates import Interval
from securitynet_hub.study.frames import annotation_frame, complete

if TYPE_CHECKING:
    import pandas as pd

SIMILAR = 0.02
"""How far two accuracies, or two overfit gaps, may lie apart to be called similar."""

FEWEST = 5
"""Public models that a placement needs."""

WORDS = {
    "mia_correctness_auc": "AUC of correctness",
    "mia_modified_entropy_auc": "AUC of modified entropy",
    "stealing_agreement": "agreement of the stolen copy",
}
"""The figures that SecurityNet gives of public models."""


class Placement(NamedTuple):
    """A model's place among peers.

    Attributes:
        column: the figure, as the annotations name it.
        value: the model's own.
        ci: its interval; None where it has none.
        peers: which models it is compared with.
        figures: theirs, sorted.
        percentile: share of them below it in percent, ties counted half; None with fewer than five peers.
        percentile_ci: the percentiles of the ends of the figure's interval; None where it has none.
        left_out: peers left out, by reason.
        caveats: what to mind.
    """

    column: str
    value: float
    ci: tuple[float, float] | None
    peers: str
    figures: tuple[float, ...]
    percentile: float | None
    percentile_ci: Interval | None
    left_out: dict[str, int]
    caveats: tuple[str, ...]


def percentile_of(value: float, figures: npt.ArrayLike) -> float:
    """Return the share of figures below a value, in percent; equal ones count half.

    Raises:
        ValueError: no figures, or one is NaN or infinite.

    >>> percentile_of(0.6, [0.5, 0.6, 0.6, 0.9])
    50.0
    """
    known = as_array(figures, "figures")
    if not known.size:
        raise ValueError("figures are empty; a percentile needs at least one model to compare with.")
    require_finite(known, "figures")
    return float(100 * (np.mean(known < value) + np.mean(known == value) / 2))


def place(
    column: str,
    value: float,
    *,
    dataset: str,
    ci: tuple[float, float] | None = None,
    n: int | None = None,
    accuracy: float | None = None,
    gap: float | None = None,
    id: str | None = None,
) -> list[Placement]:
    """Place a figure among the models of the same data set, and among those of similar accuracy.

    Where SecurityNet has no model of the data set it is placed among those of similar overfit gap, whatever
    their data, which says so.

    Args:
        column: one of `WORDS`.
        value: the model's figure.
        dataset: what it was trained on, as the annotations spell it.
        ci: the figure's interval.
        n: the images it is over.
        accuracy: the model's test accuracy.
        gap: its overfit gap.
        id: the model's; SecurityNet's own figure of it is no peer, but is told.

    >>> [(p.peers, len(p.figures), round(p.percentile)) for p in place(
    ...     "mia_modified_entropy_auc", 0.56, dataset="CIFAR-10", accuracy=0.96)]
    [('models of CIFAR-10', 119, 84), ('models of CIFAR-10 with an accuracy of 0.94 to 0.98', 43, 77)]
    """
    every = _frame()
    frame, itself = every[every["id"] != id], every[every["id"] == id]
    same = frame[frame["dataset"] == dataset]
    choices: list[tuple[str, pd.DataFrame, list[str], tuple[str, ...]]] = []
    if len(same):
        choices.append((f"models of {dataset}", same, [column], ()))
        if accuracy is not None:
            near = same[_within(same["test_accuracy"], accuracy)]
            bounds = f"{max(0, accuracy - SIMILAR):.2f} to {min(1, accuracy + SIMILAR):.2f}"
            choices.append((f"models of {dataset} with an accuracy of {bounds}", near,
                            [column, "test_accuracy"], ()))  # fmt: skip
    elif gap is not None and column.startswith("mia_"):
        near = frame[_within(frame["overfit_gap"], gap)]
        other = (
            f"SecurityNet has no model of {dataset}; these are of other data. An orientation, no comparison."
        )
        choices.append((f"models of any data set with an overfit gap of {gap - SIMILAR:.2f} to "
                        f"{gap + SIMILAR:.2f}", near, [column, "overfit_gap"], (other,)))  # fmt: skip
    own = [
        f"SecurityNet itself found {known:.3f} for this model's {WORDS[column]}."
        for known in complete(itself, [column]).rows[column]
    ]
    return [_placed(column, value, ci, n, *choice, own) for choice in choices]


def _placed(
    column: str,
    value: float,
    ci: tuple[float, float] | None,
    n: int | None,
    peers: str,
    rows: pd.DataFrame,
    needed: list[str],
    caveats: tuple[str, ...],
    own: list[str],
) -> Placement:
    kept, left_out = complete(rows, needed)
    figures = np.sort(kept[column].to_numpy(np.float64))
    enough = len(figures) >= FEWEST
    return Placement(
        column=column,
        value=value,
        ci=ci,
        peers=peers,
        figures=tuple(figures.tolist()),
        percentile=percentile_of(value, figures) if enough else None,
        percentile_ci=Interval(*(percentile_of(end, figures) for end in ci)) if enough and ci else None,
        left_out=left_out,
        caveats=(*caveats, *own, *(_caveats(column, kept, n) if enough else _too_few(len(kept)))),
    )


def _caveats(column: str, peers: pd.DataFrame, n: int | None) -> list[str]:
    found = []
    differing = sum("preprocessing-differs" in flags for flags in peers["flags"])
    if differing:
        found.append(f"Evaluated with another image transform than their publisher's: {differing} of them.")
    if column.startswith("mia_"):
        sizes = peers["mia_members"].dropna()
        if n is not None and len(sizes):
            largest = int(sizes.max())
            found.append(
                f"This figure is over {n:,} images, theirs over up to {largest:,} members and as many others."
            )
    else:
        found.append("How the public models were attacked, and with how many queries, was not released.")
    return found


def _too_few(count: int) -> list[str]:
    return [f"A percentile needs at least {FEWEST} such models; SecurityNet has {count}."]


def _within(values: pd.Series, centre: float) -> pd.Series:
    # A bound that holds in decimal holds here: 0.98 - 0.96 is above 0.02 in floating point.
    return (values.astype(float) - centre).abs() <= SIMILAR + 1e-12


@lru_cache(maxsize=1)
def _frame() -> pd.DataFrame:
    return annotation_frame()
