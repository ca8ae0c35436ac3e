"""What a detector finds for each class."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import NamedTuple

import numpy as np

from securitynet_hub.plots.plot import BLUE, INK, ORANGE, Plot, drawing, file_name, words_of


class PerClass(NamedTuple):
    """What a detector found for a class: one value for each restart that found any."""

    number: int
    values: list[float]


def classes_plot(name: str, values: Sequence[PerClass], what: str, marked: Sequence[int]) -> Plot:
    """Draw what a detector finds for each class: a bar for the median over restarts, a dot for each restart.

    Args:
        name: the detector's name.
        values: by class.
        what: the quantity, in words.
        marked: numbers of the classes to mark as suspected.
    """
    with drawing(4.6, 2.4) as (figure, (axes,)):
        places = range(len(values))
        for place, (number, found) in zip(places, values, strict=True):
            hot = number in marked
            height = float(np.median(found)) if found else 0.0
            axes.bar(place, height, color=ORANGE if hot else BLUE, hatch="///" if hot else None, alpha=0.85)
            if len(found) > 1:
                axes.plot([place] * len(found), found, ".", color=INK, ms=3)
        shown = [(place, number) for place, (number, _) in zip(places, values, strict=True)]
        shown = shown[:: -(-len(shown) // 12)]  # no more than fit
        axes.set_xticks([place for place, _ in shown], [str(number) for _, number in shown])
        axes.set(xlabel="class", ylabel=fill(what, 28))  # no longer than the axis
    named = ", ".join(map(str, marked)) or "none"
    unknown = [str(number) for number, found in values if not found]
    lacking = f" Nothing was found for {', '.join(unknown)}." if unknown else ""
    rows = [(number, value) for number, found in values for value in found]
    return Plot(
        f"{file_name(name)}-classes",
        f"{words_of(name)}: {what} for each of {len(values)} classes; suspected: {named}.{lacking}",
        figure,
        {"class": [number for number, _ in rows], "value": [value for _, value in rows]},
        f"{words_of(name)}: {what} for each class. Hatched: suspected"
        + ("; dots: restarts." if any(len(found) > 1 for _, found in values) else ".")
        + lacking,
    )
