"""The figures of a report, each with its data and a text alternative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from securitynet_hub.plots.plot import BLUE, CYCLE, INK, ORANGE, Plot, drawing, file_name, label, words_of
from securitynet_hub.report.placement import WORDS, Placement

LABELLED = 30
"""Models that can be named in the overview."""


class PerClass(NamedTuple):
    """What a detector found for a class: one value for each restart that found any."""

    number: int
    values: list[float]


class Measured(NamedTuple):
    """A figure of one model, with its interval where there is one."""

    label: str
    value: float
    ci: tuple[float, float] | None


def placement_plot(placements: Sequence[Placement]) -> Plot:
    """Draw a model's figure among those of its peers, one dot a model, each group of peers a row."""
    with drawing(4.6, 0.75 + 0.75 * len(placements), len(placements), 1) as (figure, every):
        for axes, placement in zip(every, placements, strict=True):
            heights = np.tile([0.2, 0.6, 0.4, 0.8], -(-len(placement.figures) // 4))[: len(placement.figures)]
            axes.scatter(placement.figures, heights, s=7, color=BLUE, alpha=0.6, lw=0)
            if placement.ci:
                axes.axvspan(*placement.ci, color=ORANGE, alpha=0.2, lw=0)
            axes.axvline(placement.value, color=ORANGE, lw=2)
            axes.set(ylim=(0, 1), yticks=[])
            axes.grid(visible=False)
            axes.spines["left"].set_visible(False)
            axes.set_title(placement.peers, fontsize=8)
        every[-1].set_xlabel(WORDS[placements[0].column])
    return Plot(
        f"placement-{file_name(placements[0].column)}",
        f"{WORDS[placements[0].column]} {placements[0].value:.3f} (line) among those of "
        + "; ".join(f"{len(p.figures)} {p.peers}" for p in placements),
        figure,
        {
            "peers": [p.peers for p in placements for _ in p.figures],
            placements[0].column: [figure for p in placements for figure in p.figures],
        },
        f"This model's {WORDS[placements[0].column]} (line, its interval shaded) among that of SecurityNet's "
        "models, a dot each. The height of a dot means nothing.",
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
            axes.plot(budgets, values, "o-", color=colour, ms=4, lw=1.5, label=label(name))
            for column, column_values in zip(
                data, ([name] * len(line), budgets, values, *bounds.T.tolist()), strict=True
            ):
                data[column] += column_values
        budgets = sorted({budget for found in points.values() for budget, _ in found})
        axes.set(xscale="log", xlabel="queries", ylabel="agreement with the target")
        axes.set_xticks(budgets, [f"{budget:,.0f}" for budget in budgets])
        axes.minorticks_off()
        if len(points) > 1:
            axes.legend(fontsize=8)
    ends = [(name, min(found), max(found)) for name, found in points.items()]
    return Plot(
        "stealing",
        "Agreement of stolen copies with the target by the number of queries: "
        + "; ".join(
            f"{words_of(name)} {first[1].value:.1%} at {first[0]:,.0f}, {last[1].value:.1%} at {last[0]:,.0f}"
            for name, first, last in ends
        ),
        figure,
        data,
        "The budget curve: how often the stolen copy answers as the model does, by the images that it was "
        "asked about. Bands: intervals.",
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
            axes.set(title=label(name), ylim=(len(models) - 0.5, -0.5), yticks=[])
            if number % columns == 0 and labelled:
                axes.set_yticks(range(len(models)), [label(_tail(model)) for model in models], fontsize=8)
            elif number % columns == 0:
                axes.set_ylabel("models, in the table's order")
            lines = [name] * len(found), [m.label for m in found], values, *bounds.T.tolist()
            for column, cells in zip(data, lines, strict=True):
                data[column] += cells
    return Plot(
        "overview",
        "Every model's figures with their intervals, a panel a figure, a line a model. "
        + " ".join(_extent(name, found) for name, found in panels.items()),
        figure,
        data,
        "The same figures side by side, a line a model, in the table's first order. Lines through the dots: "
        "intervals. Dashed: guessing.",
    )


def classes_plot(name: str, values: Sequence[PerClass], what: str, marked: Sequence[int]) -> Plot:
    """Draw what a detector finds for each class: bars are medians over restarts, dots the restarts."""
    with drawing(4.6, 2.4) as (figure, (axes,)):
        places = range(len(values))
        for place, (number, found) in zip(places, values, strict=True):
            hot = number in marked
            height = float(np.median(found)) if found else 0.0
            axes.bar(place, height, color=ORANGE if hot else BLUE, hatch="///" if hot else None, alpha=0.85)
            if len(found) > 1:
                axes.plot([place] * len(found), found, ".", color=INK, ms=3)
        shown = [(place, number) for place, (number, _) in zip(places, values, strict=True)]
        shown = shown[:: -(-len(shown) // 12)]  # as many as have room
        axes.set_xticks([place for place, _ in shown], [str(number) for _, number in shown])
        axes.set(xlabel="class", ylabel=what)
    named = ", ".join(map(str, marked)) or "none"
    unknown = [str(number) for number, found in values if not found]
    lacking = f" Nothing was found for {', '.join(unknown)}." if unknown else ""
    rows = [(number, one) for number, found in values for one in found]
    return Plot(
        f"{file_name(name)}-classes",
        f"{words_of(name)}: {what} for each of {len(values)} classes; suspected: {named}.{lacking}",
        figure,
        {"class": [number for number, _ in rows], "value": [one for _, one in rows]},
        f"{words_of(name)}: {what} for each class. Hatched: the suspected one"
        + ("; dots: restarts." if any(len(found) > 1 for _, found in values) else ".")
        + lacking,
    )


def _extent(name: str, found: Sequence[Measured]) -> str:
    low, high = (pick(found, key=lambda measured: measured.value) for pick in (min, max))
    return f"{name}: from {low.value:.3f} ({low.label}) to {high.value:.3f} ({high.label})."


def _tail(id: str) -> str:
    """Return the last two parts of an id, shortened to what fits beside a figure."""
    tail = "/".join(id.split("/")[-2:])
    return tail if len(tail) <= 32 else f"{tail[:31]}\u2026"
