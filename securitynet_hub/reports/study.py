"""The study as a page and a folder: Markdown, HTML, CSV and figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from securitynet_hub.core.errors import RecordError
from securitynet_hub.pages.page import render, write_page
from securitynet_hub.plots.plot import BLUE, GREEN, INK, ORANGE, PURPLE, Plot, drawing
from securitynet_hub.records.record import Record
from securitynet_hub.reports.frames import record_frame
from securitynet_hub.study.findings import Finding
from securitynet_hub.study.frames import AUDITED, annotation_frame, column_words, complete
from securitynet_hub.study.panels import Panel, count_panels
from securitynet_hub.study.securitynet import DATASETS, derive_findings
from securitynet_hub.study.writing import INTRODUCTION, RULE, as_csv, as_markdown, row_cells

if TYPE_CHECKING:
    import pandas as pd

COLOURS = {"benchmark": BLUE, "security": ORANGE, "other": GREEN, AUDITED: PURPLE}
MARKERS = {"benchmark": "o", "security": "^", "other": "s", AUDITED: "D"}


def write_study(out: Path, records: Iterable[Record] = ()) -> list[Finding]:
    """Derive the study and write it: ``study.md``, ``study.html``, ``study.csv`` and ``figures/``.

    The same records give the same bytes; older files of these names are replaced.

    Args:
        out: a folder.
        records: of further models, which make groups of their own.

    Raises:
        RecordError: the folder cannot be written.
    """
    import pandas as pd

    measured = record_frame(records)
    findings = derive_findings(measured)
    frame = annotation_frame()
    if len(measured):
        frame = pd.concat([frame, measured], ignore_index=True)
    panels = panels_plot(count_panels(annotation_frame()))
    plots = {
        finding.name: [relation_plot(frame, *pair) for pair in finding.relations] or [estimates_plot(finding)]
        for finding in findings
        if finding.relations or finding.answers
    }
    html = render(
        Path(__file__).parent / "study.html",
        title="SecurityNet's findings, derived again",
        introduction=INTRODUCTION,
        rule=RULE,
        findings=findings,
        panels=panels,
        plots=plots,
        cells=row_cells,
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "study.md").write_text(as_markdown(findings), encoding="utf-8")
        (out / "study.csv").write_text(as_csv(findings), encoding="utf-8")
    except OSError as error:
        raise RecordError(f"cannot write {out}: {error.strerror or error}.") from error
    for plot in (panels, *(plot for found in plots.values() for plot in found)):
        plot.write(out / "figures")
    write_page(out / "study.html", html)
    return findings


def panels_plot(panels: Sequence[Panel]) -> Plot:
    """Draw the six counts as stacked bars, split by purpose."""
    data: dict[str, list[str | int]] = {name: [] for name in ("panel", "value", "purpose", "models")}
    with drawing(9.0, 7.5, 3, 2) as (figure, every):
        for axes, panel in zip(every, panels, strict=True):
            labels, left = list(panel.counts.index), np.zeros(len(panel.counts))
            for purpose in panel.counts.columns:
                widths = panel.counts[purpose].to_numpy()
                axes.barh(labels, widths, left=left, color=COLOURS[purpose], label=purpose, height=0.75)
                left += widths
                for column, values in zip(
                    data, ([panel.title] * len(labels), labels, [purpose] * len(labels), widths.tolist()),
                    strict=True,
                ):  # fmt: skip
                    data[column] += values
            axes.invert_yaxis()
            axes.set_xlim(0, 1.05 * left.max())
            axes.grid(visible=False, axis="y")
            axes.tick_params(labelsize=7.5)
            unknown = f" ({panel.left_out} unknown)" if panel.left_out else ""
            axes.set_title(panel.title + unknown)
        every[0].legend(loc="lower right", fontsize=8)
        every[-1].set_xlabel("models")
        every[-2].set_xlabel("models")
    return Plot(
        "panels",
        "Numbers of SecurityNet's models by data set, family of networks, kind of venue, year, countries and "
        "number of authors, split by the purpose they were published for.",
        figure,
        data,
    )


def relation_plot(frame: pd.DataFrame, y: str, x: str) -> Plot:
    """Draw one figure of the models against another: one panel for each data set, and one for all models."""
    kept = complete(frame, [y, x]).rows
    points = kept.assign(**{name: kept[name].astype(float) for name in (x, y)}).sort_values([x, y, "id"])
    named = [name for name in DATASETS if (points["dataset"] == name).any()]
    further = sorted(set(points.loc[points["purpose"] == AUDITED, "dataset"]) - set(named))
    panels = [*named, *further, "all, pooled"]
    rows = -(-len(panels) // 3)
    with drawing(9.0, 2.5 * rows, rows, 3) as (figure, every):
        for axes in every[len(panels) :]:
            axes.set_axis_off()
        for axes, name in zip(every, panels, strict=False):
            inside = points if name == panels[-1] else points[points["dataset"] == name]
            for purpose, group in inside.groupby("purpose", sort=True):
                marker, colour = MARKERS[str(purpose)], COLOURS[str(purpose)]
                axes.plot(group[x], group[y], marker, color=colour, ms=3.5, mew=0, alpha=0.75, label=purpose)
            axes.locator_params(axis="x", nbins=4)
            axes.set_title(f"{name} (n = {len(inside)})")
        every[len(panels) - 1].legend(fontsize=8)
        figure.supxlabel(column_words(x), fontsize=9)
        figure.supylabel(column_words(y), fontsize=9)
    shown = ("id", "purpose", "dataset", x, y)
    return Plot(
        f"{y}-{x}".replace("_", "-"),
        f"{column_words(y)} of {len(points)} models against their {column_words(x)}, one panel for each data "
        "set; the last panel, pooled over data sets, shows how data sets differ.",
        figure,
        {name: points[name].tolist() for name in shown},
    )


def estimates_plot(finding: Finding) -> Plot:
    """Draw a finding's estimates with their intervals, one line each; zero means no relation."""
    lines = [(row, estimate) for row in finding.rows for estimate in row.estimates]
    labels = [f"{row.group}: {row.quantity.split(':')[0]}" for row, _ in lines]
    with drawing(9.0, 0.7 + 0.17 * len(lines)) as (figure, (axes,)):
        places = np.arange(len(lines))
        names = list(dict.fromkeys(estimate.statistic for _, estimate in lines))
        for place, (_, estimate) in zip(places, lines, strict=True):
            colour = (BLUE, ORANGE)[names.index(estimate.statistic) % 2]
            marker = "os"[names.index(estimate.statistic) % 2]
            axes.plot(estimate.ci, [place, place], color=colour, lw=1.6)
            axes.plot(estimate.value, place, marker, color=colour, ms=4.5)
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_yticks(places, labels, fontsize=7)
        axes.invert_yaxis()
        axes.set_xlabel(" (round), ".join(names) + (" (square)" if len(names) > 1 else ""))
    return Plot(
        finding.name,
        f"{finding.title}: estimates with 95 % intervals; {finding.reason}",
        figure,
        {
            "group": [row.group for row, _ in lines],
            "quantity": [row.quantity for row, _ in lines],
            "statistic": [estimate.statistic for _, estimate in lines],
            "value": [estimate.value for _, estimate in lines],
            "low": [estimate.ci.low for _, estimate in lines],
            "high": [estimate.ci.high for _, estimate in lines],
        },
    )
