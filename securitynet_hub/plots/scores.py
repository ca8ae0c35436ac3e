"""How an attack's scores are distributed among members and non-members."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from securitynet_hub.core.arrays import Flags, Scores
from securitynet_hub.plots.plot import BLUE, ORANGE, Plot, drawing, file_name, legend_below, words_of

BINS = 40
"""Bins of a histogram."""


def scores_plot(attack: str, scores: Scores, is_member: Flags) -> Plot:
    """Draw how one attack's scores are distributed among members and non-members.

    The outer half percent on each side is counted into the outer bins, so that one far score does not squeeze
    all other scores into a few bins. Where most scores still lie in one bin, as probabilities near one do,
    their ranks are drawn.
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
    with drawing(4.6, 2.9) as (figure, (axes,)):
        for (name, share), colour, hatch in zip(shares.items(), (ORANGE, BLUE), ("///", None), strict=True):
            axes.stairs(share, edges, color=colour, fill=True, alpha=0.3, lw=0, hatch=hatch)
            axes.stairs(share, edges, color=colour, lw=1.4, label=name)
        axes.set(xlabel=f"{quantity} (higher: more likely a member)", ylabel="share")
        axes.locator_params(axis="x", nbins=6)  # more ticks would touch
        legend_below(figure, axes)
    note = (
        "Far scores are counted into the outer bins."
        if quantity == "score"
        else "Ranks of the scores, as most scores lie close together."
    )
    return Plot(
        f"scores-{file_name(attack)}",
        f"Histograms of the scores by {words_of(attack)}: median {middle[0]:.3g} of members, {middle[1]:.3g} "
        "of non-members.",
        figure,
        {"from": edges[:-1].tolist(), "to": edges[1:].tolist(), **{k: v.tolist() for k, v in shares.items()}},
        f"How {words_of(attack)} scores members and non-members: the less they overlap, the more it reveals. "
        f"Medians: {middle[0]:.3g} and {middle[1]:.3g}. {note}",
    )


def _edges(scores: Scores) -> Scores:
    low, high = np.quantile(scores, [0.005, 0.995])
    return np.linspace(low, high if high > low else low + 1, BINS + 1)
