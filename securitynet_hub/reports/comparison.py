"""The comparison of several models: every figure by column, and the worst of each on one scale."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.present import Column
from securitynet_hub.pages.scale import Scale, common_scale
from securitynet_hub.plots.measured import Measured
from securitynet_hub.plots.overview import overview_plot
from securitynet_hub.plots.plot import Plot, words_of
from securitynet_hub.reports.models import Model

MEASURES = 6
"""Most measures that the table of models draws, each on a scale of its own."""

Row = tuple[Column, Measured]


class Comparison(NamedTuple):
    """Every model's figures by column.

    Attributes:
        groups: the columns in the order of the table: one list for each kind of attack, then percentiles.
        figures: by model and column; what was not measured is missing.
        beginning: what all ids begin with, which the table leaves out.
        names: what the page calls the models, by id.
    """

    groups: list[list[Column]]
    figures: dict[str, dict[Column, Measured]]
    beginning: str
    names: dict[str, str]

    @property
    def columns(self) -> list[Column]:
        """All columns, in the order of the table."""
        return [column for group in self.groups for column in group]

    @property
    def measures(self) -> dict[str, Scale]:
        """What the models are compared by at a glance, each with the scale on which all are drawn."""
        columns = {column.measure: column for column in self.columns[::-1] if column.measure}
        names = list(dict.fromkeys(column.measure for column in self.columns if column.measure))[:MEASURES]
        found = {
            name: common_scale(
                _ends(row for own in self.figures.values() for row in own.items() if row[0].measure == name),
                columns[name].guessing,
            )
            for name in names
        }
        return {name: scale for name, scale in found.items() if scale}

    def worst(self, model: str) -> dict[str, Row]:
        """Return a model's first figure of each measure, which is its worst, with its column."""
        found: dict[str, Row] = {}
        for column, measured in self.figures[model].items():
            found.setdefault(column.measure, (column, measured))
        return found


OWN = re.compile(r"^([a-z]+/)?[0-9a-f]{12}/(?=.)")
"""How the id of a model of one's own begins: with its source and a hash; its name follows."""

SHARES = Scale(0, 1)
"""The scale of a forest plot: of every report, so that two can be laid side by side."""


def compare(models: Sequence[Model], ids: Sequence[str] | None = None) -> Comparison:
    """Gather the figures of all models; where a model has several for one column, the first counts.

    Args:
        models: that are compared.
        ids: of all models that the page names; those of `models` unless given.
    """
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
    named = [*figures] if ids is None else ids
    beginning = _beginning(named)
    return Comparison([*groups.values(), percentiles], figures, beginning, _names(named, beginning))


def forest(comparison: Comparison, model: str) -> dict[str, list[Row]]:
    """Return the figures of one model by what is measured, which are shares, each measure's worst first."""
    groups: dict[str, list[Row]] = {}
    for column, measured in comparison.figures[model].items():
        if column.measure:
            groups.setdefault(column.measure, []).append((column, measured))
    return groups


def draw_overview(models: Sequence[Model], comparison: Comparison) -> Plot | None:
    """Draw what the page shows at a glance: of one model a line for each attack, else for each model."""
    if len(models) == 1:
        panels = {
            name: [Measured(words_of(column.attack), *measured[1:]) for column, measured in rows]
            for name, rows in forest(comparison, models[0].id).items()
        }
    else:
        worst = [comparison.worst(model.id) for model in models]
        panels = {name: [row[name][1] for row in worst if name in row] for name in comparison.measures}
    guessing = {c.measure: c.guessing for c in comparison.columns if c.measure and c.guessing is not None}
    return overview_plot(panels, guessing) if panels else None


def _ends(rows: Iterable[Row]) -> list[float]:
    return [end for _, measured in rows for end in (measured.value, *(measured.ci or ()))]


def _append(columns: list[Column], column: Column) -> None:
    if column not in columns:
        columns.append(column)


def _names(ids: Sequence[str], beginning: str) -> dict[str, str]:
    """Return ids without their common beginning, and without the hashes of own models if that stays unique.

    >>> _names(["file/4e43ce24dccd/mine", "zoo/a/x"], "")
    {'file/4e43ce24dccd/mine': 'mine', 'zoo/a/x': 'zoo/a/x'}
    """
    full = {id: id.removeprefix(beginning) for id in ids}
    own = {id: OWN.sub("", name) for id, name in full.items()}
    return own if len({*own.values()}) == len(ids) else full


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
