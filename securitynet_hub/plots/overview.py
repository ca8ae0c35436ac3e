"""The figures of several models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from securitynet_hub.plots.measured import Measured
from securitynet_hub.plots.plot import BLUE, INK, Plot, drawing, label

LABELLED = 30
"""Most models that can be named beside the panels."""


def overview_plot(
    panels: Mapping[str, Sequence[Measured]], guessing: Mapping[str, float] = MappingProxyType({})
) -> Plot:
    """Draw figures with their intervals on one scale: a panel for each figure, a line for each model.

    Args:
        panels: for each figure's name the models' values; the models keep their order in every panel.
        guessing: for each figure's name the value that guessing reaches, where there is one.
    """
    models = list(dict.fromkeys(measured.label for found in panels.values() for measured in found))
    place = {model: number for number, model in enumerate(models)}
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    labelled = len(models) <= LABELLED
    every_end = [end for found in panels.values() for m in found for end in (m.value, *(m.ci or ()))]
    ends = [*every_end, *guessing.values()]
    margin = 0.04 * ((max(ends) - min(ends)) or 1)
    scale = (min(ends) - margin, max(ends) + margin)
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
            if name in guessing:
                axes.axvline(guessing[name], color=INK, lw=0.8, ls=(0, (2, 3)))
            axes.set(title=label(name), xlim=scale, ylim=(len(models) - 0.5, -0.5), yticks=[])
            if number % columns == 0 and labelled:
                axes.set_yticks(range(len(models)), [label(_tail(model)) for model in models], fontsize=8)
            elif number % columns == 0:
                axes.set_ylabel("models, in the table's order")
            lines = [name] * len(found), [m.label for m in found], values, *bounds.T.tolist()
            for column, cells in zip(data, lines, strict=True):
                data[column] += cells
    return Plot(
        "overview",
        "The figures of all models with their intervals: one panel for each figure, one line for each model. "
        + " ".join(_extent(name, found) for name, found in panels.items()),
        figure,
        data,
        "One line for each model, in the table's first order, all panels on one scale. Lines through the "
        "dots: intervals. Dashed: guessing.",
    )


def _extent(name: str, found: Sequence[Measured]) -> str:
    low, high = (pick(found, key=lambda measured: measured.value) for pick in (min, max))
    return f"{name}: from {low.value:.3f} ({low.label}) to {high.value:.3f} ({high.label})."


def _tail(id: str) -> str:
    """Return the last two parts of an id, shortened to what fits beside a figure."""
    tail = "/".join(id.split("/")[-2:])
    return tail if len(tail) <= 32 else f"{tail[:31]}\u2026"
