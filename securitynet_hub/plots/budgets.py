"""Agreement of stolen copies with their target, by the number of queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from securitynet_hub.plots.measured import Measured
from securitynet_hub.plots.plot import CYCLE, Plot, drawing, label, legend_below, words_of


def budgets_plot(points: Mapping[str, Sequence[tuple[float, Measured]]]) -> Plot:
    """Draw how well stolen copies agree with their target by the number of queries, a line for each way."""
    data: dict[str, list[Any]] = {name: [] for name in ("attack", "budget", "agreement", "low", "high")}
    with drawing(4.6, 3.0 + 0.2 * (len(points) > 1) * len(points)) as (figure, (axes,)):
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
            legend_below(figure, axes)
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
        "The budget curve: how often the stolen copy gives the model's answer, by the number of images that "
        "the attacker asked the model about. Bands: intervals.",
    )
