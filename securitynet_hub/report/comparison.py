"""The comparison of several models: every figure by column, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.present import Column
from securitynet_hub.plots.measured import Measured
from securitynet_hub.plots.overview import overview_plot
from securitynet_hub.plots.plot import Plot
from securitynet_hub.report.models import Model

PANELS, OF_ONE_KIND = 9, 6
"""Most panels of the overview, and most panels of one kind of attack."""


class Comparison(NamedTuple):
    """Every model's figures by column.

    Attributes:
        groups: the columns in the order of the table: one list for each kind of attack, then percentiles.
        figures: by model and column; what was not measured is missing.
        beginning: what all ids begin with, which the table leaves out.
    """

    groups: list[list[Column]]
    figures: dict[str, dict[Column, Measured]]
    beginning: str

    @property
    def columns(self) -> list[Column]:
        """All columns, in the order of the table."""
        return [column for group in self.groups for column in group]


def compare(models: Sequence[Model]) -> Comparison:
    """Gather the figures of all models; where a model has several for one column, the first counts."""
    figures: dict[str, dict[Column, Measured]] = {model.id: {} for model in models}
    groups: dict[str, list[Column]] = {name: [] for name in kinds()}
    for model in models:
        for name, summary in model.summaries.items():
            for column, measured in summary.compared.items():
                figures[model.id].setdefault(column, measured)
                _append(groups[name], column)
    percentiles: list[Column] = []
    for model in models:
        for placement in model.placements[::-1]:
            if placement.percentile is not None and placement.comparable:
                column = Column(f"percentile, {placement.words}", digits=0)
                figures[model.id][column] = Measured(model.id, placement.percentile, placement.percentile_ci)
                _append(percentiles, column)
    return Comparison([*groups.values(), percentiles], figures, _beginning([model.id for model in models]))


def summarise(models: Sequence[Model]) -> list[tuple[str, int]]:
    """Count the models by what their verdicts say, the most alarming first, as the models are sorted."""
    verdicts = (verdict for model in models for verdict in model.verdicts if verdict.counted)
    return list(Counter(verdict.in_short for verdict in verdicts).items())


def draw_overview(models: Sequence[Model], comparison: Comparison) -> Plot | None:
    """Draw the columns that several models have, at most nine, and at most six of one kind of attack."""
    rows = [comparison.figures[model.id] for model in models]
    chosen: list[Column] = []
    for group in comparison.groups:
        several = [column for column in group if sum(column in row for row in rows) > 1]
        chosen += several[:OF_ONE_KIND]
    panels = {column.name: [row[column] for row in rows if column in row] for column in chosen[:PANELS]}
    guessing = {column.name: column.guessing for column in chosen if column.guessing is not None}
    return overview_plot(panels, guessing) if panels else None


def _append(columns: list[Column], column: Column) -> None:
    if column not in columns:
        columns.append(column)


def _beginning(ids: Sequence[str]) -> str:
    """Return the folders that all ids begin with.

    >>> _beginning(["zoo/a/x", "zoo/a/y/1"]), _beginning(["a/x", "b/x"]), _beginning(["a/x"])
    ('zoo/a/', '', '')
    """
    if len(ids) < 2:
        return ""
    shared = []
    for parts in zip(*(id.split("/")[:-1] for id in ids), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "".join(f"{part}/" for part in shared)
