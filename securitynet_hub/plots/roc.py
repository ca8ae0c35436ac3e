"""ROC curves with their bands, on axes that show low false-positive rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.plots.plot import CYCLE, INK, Plot, drawing, label, legend_below, words_of
from securitynet_hub.statistics.rates import CONFIDENCE_LEVEL, split_scores
from securitynet_hub.statistics.roc import rate_at_fpr

RATES = 60
"""Points of a ROC curve, beside `NAMED`."""

NAMED = (0.001, 0.01, 0.1)
"""Rates of which texts speak."""


class Curve(NamedTuple):
    """A ROC curve with pointwise intervals, those of `statistics.tpr_at_fpr`."""

    fpr: list[float]
    tpr: list[float]
    low: list[float]
    high: list[float]


def roc_curve(
    scores: npt.ArrayLike, is_member: npt.ArrayLike, *, confidence_level: float = CONFIDENCE_LEVEL
) -> Curve:
    """Return the TPR and its interval at rates of 1, 2, ... non-members of n, evenly on a log axis.

    >>> roc_curve([3, 2, 1, 0], [1, 0, 1, 0])[:2]
    ([0.5, 1.0], [0.75, 1.0])
    """
    ranking = split_scores(scores, is_member)
    n = len(ranking.nonmembers)
    allowed = np.unique(np.geomspace(1, n, RATES).round().astype(int))
    rates = {int(count) / n for count in allowed} | {rate for rate in NAMED if rate * n >= 1}
    points = [rate_at_fpr(ranking, rate, confidence_level) for rate in sorted(rates)]
    return Curve(
        [point.target_fpr for point in points],
        [point.tpr for point in points],
        [point.ci.low for point in points],
        [point.ci.high for point in points],
    )


def roc_plot(curves: Mapping[str, Curve]) -> Plot:
    """Draw ROC curves with their bands on logarithmic axes, which show low false-positive rates."""
    data: dict[str, list[Any]] = {name: [] for name in ("attack", *Curve._fields)}
    with drawing(4.6, 4.4) as (figure, (axes,)):
        lowest = min((min(curve.fpr) for curve in curves.values() if curve.fpr), default=0.01)
        floor = 10 ** math.floor(math.log10(lowest))
        for number, (name, curve) in enumerate(curves.items()):
            colour, dash = CYCLE[number % len(CYCLE)], ("-", "--", ":")[number // len(CYCLE) % 3]
            found = np.array(curve.tpr) > 0  # a rate of zero has no place on a logarithmic axis
            fpr, tpr, low, high = (np.array(values)[found] for values in curve)
            axes.fill_between(fpr, np.maximum(low, floor / 10), high, color=colour, alpha=0.15, lw=0)
            axes.plot(fpr, tpr, dash, color=colour, lw=1.6, label=label(name))
            data["attack"] += [name] * len(curve.fpr)
            for column in Curve._fields:
                data[column] += getattr(curve, column)
        axes.plot([floor, 1], [floor, 1], color=INK, lw=0.8, ls=(0, (2, 3)), label="guessing")
        axes.set(xscale="log", yscale="log", xlim=(floor, 1.05), ylim=(floor, 1.15))
        axes.set(xlabel="non-members accused (FPR)", ylabel="members found (TPR)")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda rate, _: f"{100 * rate:g}\u00a0%")
        legend_below(figure, axes)
    return Plot(
        "roc",
        "ROC curves on logarithmic axes with 95 % bands: "
        + "; ".join(f"{words_of(name)} {_at(curve, 0.01)}" for name, curve in curves.items()),
        figure,
        data,
        "The share of members that each attack finds by the share of non-members that it wrongly accuses, "
        "both on logarithmic axes; bands: 95\u00a0% at each rate. Dotted: guessing. The left end shows "
        "what an attacker gains if false accusations must be rare.",
    )


def _at(curve: Curve, rate: float) -> str:
    below = [tpr for fpr, tpr in zip(curve.fpr, curve.tpr, strict=True) if fpr <= rate]
    return f"finds {below[-1]:.1%} at {rate:.0%} FPR" if below else f"is not resolved at {rate:.0%} FPR"
