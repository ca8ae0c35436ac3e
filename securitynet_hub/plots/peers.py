"""A model's figure among those of its peers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from securitynet_hub.plots.measured import Measured
from securitynet_hub.plots.plot import BLUE, ORANGE, Plot, drawing, file_name


def peers_plot(column: str, words: str, measured: Measured, peers: Mapping[str, Sequence[float]]) -> Plot:
    """Draw a model's figure among those of its peers: one row for each group, one dot for each model.

    Args:
        column: the figure's name, for files.
        words: the figure's name for readers.
        measured: the model's own figure.
        peers: for each group of models their figures.
    """
    with drawing(4.6, 0.75 + 0.75 * len(peers), len(peers), 1) as (figure, every):
        for axes, (group, values) in zip(every, peers.items(), strict=True):
            heights = np.tile([0.2, 0.6, 0.4, 0.8], -(-len(values) // 4))[: len(values)]
            axes.scatter(values, heights, s=7, color=BLUE, alpha=0.6, lw=0)
            if measured.ci:
                axes.axvspan(*measured.ci, color=ORANGE, alpha=0.2, lw=0)
            axes.axvline(measured.value, color=ORANGE, lw=2)
            axes.set(ylim=(0, 1), yticks=[])
            axes.grid(visible=False)
            axes.spines["left"].set_visible(False)
            axes.set_title(group, fontsize=8)
        every[-1].set_xlabel(words)
    return Plot(
        f"placement-{file_name(column)}",
        f"{words} {measured.value:.3f} (line) among those of "
        + "; ".join(f"{len(values)} {group}" for group, values in peers.items()),
        figure,
        {
            "peers": [group for group, values in peers.items() for _ in values],
            column: [value for values in peers.values() for value in values],
        },
        f"This model's {words} (line, its interval shaded) among that of SecurityNet's models, one dot each. "
        "The height of a dot means nothing.",
    )
