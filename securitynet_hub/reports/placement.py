"""A model's place among the public models that SecurityNet measured."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.present import Standing
from securitynet_hub.core.arrays import as_array, require_finite
from securitynet_hub.plots.measured import Measured, percent
from securitynet_hub.plots.peers import peers_plot
from securitynet_hub.plots.plot import Plot
from securitynet_hub.statistics.rates import Interval
from securitynet_hub.study.frames import annotation_frame, complete

if TYPE_CHECKING:
    import pandas as pd

SIMILAR = 0.02
"""Largest difference of two accuracies, or two overfit gaps, that are called similar."""

WIDEST = 60
"""Most percentage points that the percentiles of an interval may span where a figure is placed."""

FEWEST = 5
"""Public models that a placement needs."""

Rows = npt.NDArray[np.bool_]
"""Which of the public models."""


class Placement(NamedTuple):
    """A model's place among peers.

    Attributes:
        column: the figure, as the annotations name it.
        words: the figure, as readers name it.
        value: the model's own.
        ci: its interval; None where it has none.
        peers: which models it is compared with.
        comparable: whether these are models of the same data set.
        figures: theirs, sorted.
        percentile: share of them below it in percent, ties counted half; None with fewer than five peers.
        percentile_ci: the percentiles of the ends of the figure's interval; None where it has none.
        left_out: peers left out, by reason.
        caveats: what a reader should know.
    """

    column: str
    words: str
    value: float
    ci: tuple[float, float] | None
    peers: str
    comparable: bool
    figures: tuple[float, ...]
    percentile: float | None
    percentile_ci: Interval | None
    left_out: dict[str, int]
    caveats: tuple[str, ...]

    @property
    def tells(self) -> bool:
        """Whether there is a place to tell: too few peers give none, nor an interval over most of them."""
        over = self.percentile_ci
        return self.percentile is not None and (over is None or over.high - over.low <= WIDEST)


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
    standing: Standing,
    *,
    dataset: str,
    accuracy: float | None = None,
    gap: float | None = None,
    id: str | None = None,
) -> list[Placement]:
    """Place a figure among the models of the same data set, and among those of similar accuracy.

    Where SecurityNet has no model of the data set, a figure that may be compared across data sets is placed
    among the models of similar overfit gap, whatever their data; a caveat says so.

    Args:
        standing: the figure; nothing is returned for a column that SecurityNet's models do not have.
        dataset: what the model was trained on, as the annotations spell it.
        accuracy: the model's test accuracy.
        gap: its overfit gap.
        id: the model's; SecurityNet's own figure of it is no peer, but a caveat states it.

    >>> auc = Standing(
    ...     column="mia_modified_entropy_auc", words="AUC", measured=Measured("mine", 0.56, None))
    >>> [(p.peers, len(p.figures), round(p.percentile))
    ...     for p in place(auc, dataset="CIFAR-10", accuracy=0.96)]
    [('models of CIFAR-10', 119, 84), ('models of CIFAR-10 with an accuracy of 0.94 to 0.98', 43, 77)]
    """
    column = standing.column
    if column not in _frame():
        return []
    public = ~_named(id)
    same = public & _trained_on(dataset)
    own = [
        f"SecurityNet itself found {known:.3f} for this model's {standing.words}."
        for known in ([] if public.all() else complete(_frame()[~public], [column]).rows[column])
    ]
    found: list[Placement] = []
    if same.any():
        found.append(_placed(standing, f"models of {dataset}", same, (column,), own))
        if accuracy is not None:
            near = same & _within("test_accuracy", accuracy)
            bounds = f"{max(0, accuracy - SIMILAR):.2f} to {min(1, accuracy + SIMILAR):.2f}"
            peers = f"models of {dataset} with an accuracy of {bounds}"
            found.append(_placed(standing, peers, near, (column, "test_accuracy"), own))
    elif gap is not None and standing.across_data:
        near = public & _within("overfit_gap", gap)
        needed = column, "overfit_gap"
        other = (
            f"SecurityNet has no model of {dataset}; these were trained on "
            f"{_peers(near.tobytes(), needed).trained_on}. An orientation, no "
            "comparison."
        )
        peers = f"models of any data set with an overfit gap of {gap - SIMILAR:.2f} to {gap + SIMILAR:.2f}"
        found.append(_placed(standing, peers, near, needed, [other, *own], comparable=False))
    return found


def draw_placements(placements: Sequence[Placement]) -> list[Plot]:
    """Draw one plot for each figure that has a percentile: a row for each group of peers."""
    drawn = [placement for placement in placements if placement.percentile is not None]
    plots = []
    for column in dict.fromkeys(placement.column for placement in drawn):
        own = [placement for placement in drawn if placement.column == column]
        measured = Measured("", own[0].value, own[0].ci)
        plots.append(peers_plot(column, own[0].words, measured, {p.peers: p.figures for p in own}))
    return plots


def in_sentences(placements: Sequence[Placement]) -> list[str]:
    """Say where a model stands: a sentence for each placement that tells."""
    sentences = []
    for placement in placements:
        if placement.percentile is None or not placement.tells:
            continue
        left = ", ".join(f"{count} {reason}" for reason, count in placement.left_out.items())
        left = f" Left out: {left}." if left else ""
        over = placement.percentile_ci
        ends = (f"{over.low:.0f}", percent(over.high / 100, 0)) if over else ("", "")
        wide = over and not ends[1].startswith(f"{ends[0]}\u00a0")
        extent = f" ({ends[0]} to {ends[1]} over its interval)" if wide else ""
        sentences.append(
            f"{_capital(placement.words)}, {placement.value:.3f}: higher than that of "
            f"{percent(placement.percentile / 100, 0)}{extent} of SecurityNet's {len(placement.figures)} "
            f"{placement.peers}.{left}"
        )
    return sentences


def _placed(
    standing: Standing,
    peers: str,
    chosen: Rows,
    needed: tuple[str, ...],
    caveats: Sequence[str],
    *,
    comparable: bool = True,
) -> Placement:
    peers_found = _peers(chosen.tobytes(), needed)
    kept, left_out, figures = peers_found.rows, peers_found.left_out, peers_found.figures
    value, ci = standing.measured.value, standing.measured.ci
    enough = len(figures) >= FEWEST
    return Placement(
        column=standing.column,
        words=standing.words,
        value=value,
        ci=ci,
        peers=peers,
        comparable=comparable,
        figures=peers_found.listed,
        percentile=percentile_of(value, figures) if enough else None,
        percentile_ci=Interval(*(percentile_of(end, figures) for end in ci)) if enough and ci else None,
        left_out=dict(left_out),
        caveats=(*caveats, *(_caveats(standing, peers_found) if enough else _too_few(len(kept)))),
    )


def _caveats(standing: Standing, peers: _Peers) -> list[str]:
    found = []
    if peers.differing:
        found.append(
            f"SecurityNet evaluated {peers.differing} of them with another image transform than their "
            "publisher's."
        )
    return [*found, *standing.caveats(peers.rows)]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _too_few(count: int) -> list[str]:
    return [f"A percentile needs at least {FEWEST} such models; SecurityNet has {count}."]


@lru_cache(maxsize=1)
def _frame() -> pd.DataFrame:
    return annotation_frame()


class _Peers(NamedTuple):
    """Public models that have all figures needed.

    Attributes:
        rows: these models.
        left_out: those that have not, by reason.
        figures: the first figure needed, sorted.
        listed: the same, held once for all models.
        differing: how many were evaluated with another transform than their publisher's.
        trained_on: their data sets and how many models each has, in words.
    """

    rows: pd.DataFrame
    left_out: dict[str, int]
    figures: npt.NDArray[np.float64]
    listed: tuple[float, ...]
    differing: int
    trained_on: str


@lru_cache(maxsize=512)
def _peers(chosen: bytes, needed: tuple[str, ...]) -> _Peers:
    """Select public models; reports of many models choose the same ones again and again."""
    kept, left_out = complete(_frame()[np.frombuffer(chosen, np.bool_)], needed)
    sets = kept["dataset"].value_counts()
    figures = np.sort(kept[needed[0]].to_numpy(np.float64))
    return _Peers(
        rows=kept,
        left_out=left_out,
        figures=figures,
        listed=tuple(figures.tolist()),
        differing=sum("preprocessing-differs" in flags for flags in kept["flags"]),
        trained_on=", ".join(f"{name} ({count})" for name, count in sorted(sets.items())) or "other data",
    )


def _named(id: str | None) -> Rows:
    rows = np.zeros(len(_frame()), np.bool_)
    rows[_places().get(id, [])] = True
    return rows


@lru_cache(maxsize=1)
def _places() -> dict[str | None, list[int]]:
    found: dict[str | None, list[int]] = {}
    for place, name in enumerate(_frame()["id"]):
        found.setdefault(name, []).append(place)
    return found


@lru_cache(maxsize=256)
def _trained_on(dataset: str) -> Rows:
    return (_frame()["dataset"] == dataset).to_numpy(np.bool_)


def _within(column: str, centre: float) -> Rows:
    # In floating point 0.98 - 0.96 exceeds 0.02; the tolerance keeps what is equal in decimal.
    near: Rows = np.abs(_numbers(column) - centre) <= SIMILAR + 1e-12
    return near


@lru_cache(maxsize=4)
def _numbers(column: str) -> npt.NDArray[np.float64]:
    return _frame()[column].to_numpy(np.float64)
