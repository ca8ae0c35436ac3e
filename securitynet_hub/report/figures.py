"""The figures of a report, each with its data and a text alternative."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.report.placement import WORDS, Placement
from securitynet_hub.report.plots import BLUE, CYCLE, INK, ORANGE, Plot, drawing
from securitynet_hub.statistics import rate_at_fpr, split_scores

RATES = 60
"""Points of a ROC curve."""

BINS = 40

LABELLED = 30
"""Models that can be named in the overview."""


class Measured(NamedTuple):
    """A figure of one model, with its interval where there is one."""

    label: str
    value: float
    ci: tuple[float, float] | None


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
            axes.plot(fpr, tpr, dash, color=colour, lw=1.6, label=_words(name))
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
        + "; ".join(f"{_words(name)} {_at(curve, 0.01)}" for name, curve in curves.items()),
        figure,
        data,
    )


def scores_plot(attack: str, scores: npt.NDArray[np.float64], is_member: npt.NDArray[np.bool_]) -> Plot:
    """Draw how one attack's scores are distributed among members and non-members.

    The outer half percent on each side is counted into the outer bins, so that one far score does not press
    the others together.
    """
    low, high = np.quantile(scores, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    inside = np.clip(scores, edges[0], edges[-1])
    shares = {
        name: np.histogram(inside[rows], edges)[0] / max(1, rows.sum())
        for name, rows in (("members", is_member), ("non-members", ~is_member))
    }
    with drawing(4.6, 2.6) as (figure, (axes,)):
        for (name, share), colour, hatch in zip(shares.items(), (ORANGE, BLUE), ("///", None), strict=True):
            axes.stairs(share, edges, color=colour, fill=True, alpha=0.3, lw=0, hatch=hatch)
            axes.stairs(share, edges, color=colour, lw=1.4, label=name)
        axes.set(xlabel=f"score by {_words(attack)} (higher: more likely a member)", ylabel="share")
        axes.legend(fontsize=8)
    middle = (float(np.median(scores[rows])) for rows in (is_member, ~is_member))
    return Plot(
        f"scores-{_file(attack)}",
        f"Histograms of the scores by {_words(attack)}: median {next(middle):.3g} of members, "
        f"{next(middle):.3g} of non-members.",
        figure,
        {"from": edges[:-1].tolist(), "to": edges[1:].tolist(), **{k: v.tolist() for k, v in shares.items()}},
    )


def placement_plot(placements: Sequence[Placement]) -> Plot:
    """Draw a model's figure among those of its peers, one dot a model, each group of peers a row."""
    with drawing(4.6, 0.75 + 0.75 * len(placements), len(placements), 1) as (figure, every):
        for axes, placement in zip(every, placements, strict=True):
            heights = np.tile([0.2, 0.6, 0.4, 0.8], -(-len(placement.figures) // 4))[: len(placement.figures)]
            axes.scatter(placement.figures, heights, s=7, color=BLUE, alpha=0.6, lw=0)
            axes.axvline(placement.value, color=ORANGE, lw=2)
            axes.set(ylim=(0, 1), yticks=[])
            axes.grid(visible=False)
            axes.spines["left"].set_visible(False)
            axes.set_title(placement.peers, fontsize=8)
        every[-1].set_xlabel(WORDS[placements[0].column])
    return Plot(
        f"placement-{_file(placements[0].column)}",
        f"{WORDS[placements[0].column]} {placements[0].value:.3f} (line) among those of "
        + "; ".join(f"{len(p.figures)} {p.peers}" for p in placements),
        figure,
        {
            "peers": [p.peers for p in placements for _ in p.figures],
            placements[0].column: [figure for p in placements for figure in p.figures],
        },
    )


def curve_plot(points: Mapping[str, Sequence[tuple[float, Measured]]]) -> Plot:
    """Draw how well copies agree with their target by the number of queries, one line a way of stealing."""
    data: dict[str, list[Any]] = {name: [] for name in ("attack", "budget", "agreement", "low", "high")}
    with drawing(4.6, 3.0) as (figure, (axes,)):
        for number, (name, found) in enumerate(points.items()):
            line = sorted(found)
            budgets, values = [b for b, _ in line], [m.value for _, m in line]
            bounds = np.array([m.ci or (m.value, m.value) for _, m in line])
            colour = CYCLE[number % len(CYCLE)]
            axes.fill_between(budgets, bounds[:, 0], bounds[:, 1], color=colour, alpha=0.15, lw=0)
            axes.plot(budgets, values, "o-", color=colour, ms=4, lw=1.5, label=_words(name))
            for column, column_values in zip(
                data, ([name] * len(line), budgets, values, *bounds.T.tolist()), strict=True
            ):
                data[column] += column_values
        axes.set(xscale="log", xlabel="queries", ylabel="agreement with the target")
        axes.legend(fontsize=8)
    return Plot(
        "stealing", "Agreement of stolen copies with the target by the number of queries.", figure, data
    )


def overview_plot(panels: Mapping[str, Sequence[Measured]]) -> Plot:
    """Draw every model's figures, one panel a figure, one line a model in the same order, with intervals."""
    models = list(dict.fromkeys(measured.label for found in panels.values() for measured in found))
    place = {model: number for number, model in enumerate(models)}
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    labelled = len(models) <= LABELLED
    height = max(1.6, 0.8 + (0.22 * len(models) if labelled else 3.0))
    data: dict[str, list[Any]] = {name: [] for name in ("figure", "model", "value", "low", "high")}
    with drawing(9.0, height * rows, rows, columns) as (figure, every):
        for axes in every[len(panels) :]:
            axes.set_axis_off()
        for number, (axes, (name, found)) in enumerate(zip(every, panels.items(), strict=False)):
            places = [place[measured.label] for measured in found]
            values = [measured.value for measured in found]
            bounds = np.array([measured.ci or (measured.value, measured.value) for measured in found])
            axes.hlines(places, *bounds.T, color=BLUE, alpha=0.5, lw=1.4 if labelled else 0.8)
            axes.plot(values, places, "o", color=BLUE, ms=4 if labelled else 2, mew=0)
            if name.endswith("AUC"):
                axes.axvline(0.5, color=INK, lw=0.8, ls=(0, (2, 3)))
            axes.set(title=_words(name), ylim=(len(models) - 0.5, -0.5), yticks=[])
            if number % columns == 0 and labelled:
                axes.set_yticks(range(len(models)), [_words(_tail(model)) for model in models], fontsize=8)
            elif number % columns == 0:
                axes.set_ylabel("models, in the table's order")
            lines = [name] * len(found), [m.label for m in found], values, *bounds.T.tolist()
            for column, cells in zip(data, lines, strict=True):
                data[column] += cells
    return Plot(
        "overview",
        "Every model's figures with their intervals, a panel a figure, a line a model: "
        + "; ".join(f"{name} of {len(found)} models" for name, found in panels.items()),
        figure,
        data,
    )


def norms_plot(norms: Sequence[float], flagged: Sequence[int]) -> Plot:
    """Draw the size of the smallest trigger of each class; flagged classes are hatched."""
    with drawing(4.6, 2.4) as (figure, (axes,)):
        for number, norm in enumerate(norms):
            hot = number in flagged
            axes.bar(number, norm, color=ORANGE if hot else BLUE, hatch="///" if hot else None, alpha=0.85)
        axes.set(xlabel="class", ylabel="size of its trigger")
    named = ", ".join(map(str, flagged)) or "none"
    return Plot(
        "trigger-norms",
        f"Size of the smallest trigger of each of {len(norms)} classes; flagged: {named}.",
        figure,
        {"class": list(range(len(norms))), "norm": list(norms)},
    )


def _at(curve: Curve, rate: float) -> str:
    below = [tpr for fpr, tpr in zip(curve.fpr, curve.tpr, strict=True) if fpr <= rate]
    return f"finds {below[-1]:.1%} at {rate:.0%} FPR" if below else f"is not resolved at {rate:.0%} FPR"


def _words(name: str) -> str:
    # Matplotlib reads $...$ as mathematics; names are never that.
    return name.replace("_", " ").replace("$", r"\$")


def _tail(id: str) -> str:
    """Return the last two parts of an id, shortened to what fits beside a figure."""
    tail = "/".join(id.split("/")[-2:])
    return tail if len(tail) <= 32 else f"{tail[:31]}\u2026"


def _file(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)
