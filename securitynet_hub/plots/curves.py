"""Membership scores as figures: ROC curves with bands, and how members and non-members are scored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from securitynet_hub.plots.plot import BLUE, CYCLE, INK, ORANGE, Plot, drawing, file_name, label, words_of
from securitynet_hub.statistics.rates import rate_at_fpr, split_scores

RATES = 60
"""Points of a ROC curve."""

BINS = 40


class Curve(NamedTuple):
    """A ROC curve with pointwise intervals: Wilson's, at the threshold of each false-positive rate."""

    fpr: list[float]
    tpr: list[float]
    low: list[float]
    high: list[float]


def roc_curve(scores: npt.ArrayLike, is_member: npt.ArrayLike, *, confidence_level: float = 0.95) -> Curve:
    """Return the TPR and its interval where 1, 2, ... non-members may be accused, evenly on a log axis.

    >>> roc_curve([3, 2, 1, 0], [1, 0, 1, 0])[:2]
    ([0.5, 1.0], [1.0, 1.0])
    """
    ranking = split_scores(scores, is_member)
    n = len(ranking.nonmembers)
    allowed = np.unique(np.geomspace(1, n, RATES).round().astype(int))
    points = [rate_at_fpr(ranking, int(count) / n, confidence_level) for count in allowed]
    points = [
        point for point in points if point.achieved_fpr > 0
    ]  # of ties: at no false alarm there is no log
    return Curve(
        [point.achieved_fpr for point in points],
        [point.tpr for point in points],
        [point.ci.low for point in points],
        [point.ci.high for point in points],
    )


def roc_plot(curves: Mapping[str, Curve]) -> Plot:
    """Draw ROC curves with their bands on logarithmic axes, where low false-positive rates can be seen."""
    data: dict[str, list[Any]] = {name: [] for name in ("attack", *Curve._fields)}
    with drawing(4.6, 4.0) as (figure, (axes,)):
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
        axes.legend(loc="lower right", fontsize=8)
    return Plot(
        "roc",
        "ROC curves on logarithmic axes with 95 % bands: "
        + "; ".join(f"{words_of(name)} {_at(curve, 0.01)}" for name, curve in curves.items()),
        figure,
        data,
        "Members found where so many non-members are accused, both on logarithmic axes; bands: 95\u00a0%. "
        "Dotted: guessing. The left end is what an attacker gains who must hardly ever accuse wrongly.",
    )


def scores_plot(attack: str, scores: npt.NDArray[np.float64], is_member: npt.NDArray[np.bool_]) -> Plot:
    """Draw how one attack's scores are distributed among members and non-members.

    The outer half percent on each side is counted into the outer bins, so that one far score does not press
    the others together. Where nonetheless most lie in one bin, as probabilities do near one, ranks are drawn.
    """
    middle = [float(np.median(scores[rows])) for rows in (is_member, ~is_member)]
    edges, quantity = _edges(scores), "score"
    if np.histogram(scores, edges)[0].max() > len(scores) / 2 and len(np.unique(scores)) > BINS:
        scores = 100 * (rankdata(scores) - 0.5) / len(scores)
        edges, quantity = np.linspace(0, 100, BINS + 1), "rank in percent"
    inside = np.clip(scores, edges[0], edges[-1])
    shares = {
        name: np.histogram(inside[rows], edges)[0] / max(1, rows.sum())
        for name, rows in (("members", is_member), ("non-members", ~is_member))
    }
    with drawing(4.6, 2.6) as (figure, (axes,)):
        for (name, share), colour, hatch in zip(shares.items(), (ORANGE, BLUE), ("///", None), strict=True):
            axes.stairs(share, edges, color=colour, fill=True, alpha=0.3, lw=0, hatch=hatch)
            axes.stairs(share, edges, color=colour, lw=1.4, label=name)
        axes.set(xlabel=f"{quantity} by {label(attack)} (higher: more likely a member)", ylabel="share")
        axes.legend(fontsize=8)
    told = (
        "Far scores are counted into the outer bins."
        if quantity == "score"
        else ("Ranks of the scores, as most scores lie close together.")
    )
    return Plot(
        f"scores-{file_name(attack)}",
        f"Histograms of the scores by {words_of(attack)}: median {middle[0]:.3g} of members, {middle[1]:.3g} "
        "of non-members.",
        figure,
        {"from": edges[:-1].tolist(), "to": edges[1:].tolist(), **{k: v.tolist() for k, v in shares.items()}},
        f"How {words_of(attack)} scores members and non-members: the less they overlap, the more it tells. "
        f"Medians: {middle[0]:.3g} and {middle[1]:.3g}. {told}",
    )


def _edges(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, high = np.quantile(scores, [0.005, 0.995])
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def _at(curve: Curve, rate: float) -> str:
    below = [tpr for fpr, tpr in zip(curve.fpr, curve.tpr, strict=True) if fpr <= rate]
    return f"finds {below[-1]:.1%} at {rate:.0%} FPR" if below else f"is not resolved at {rate:.0%} FPR"
