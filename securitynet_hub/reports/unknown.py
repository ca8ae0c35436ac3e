"""The section of a record whose kind of attack is not installed: every number that it holds."""

from __future__ import annotations

from securitynet_hub.attacks.present import Column, Figures, Line, PageTable, Section
from securitynet_hub.plots.measured import Measured, text_of
from securitynet_hub.plots.pictures import pictures_beside
from securitynet_hub.plots.plot import words_of
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.figures import figures_of


def unknown_section(entry: Entry) -> Section:
    """Show every number of a record with its interval, and the pictures beside it."""

    def about(name: str) -> tuple[str, str]:
        words = f"{words_of(entry.attack)}: {name or 'picture'}"
        return words, words

    table = PageTable(
        label=f"Figures of {entry.attack}",
        heading="figure",
        columns=[Column("value")],
        lines=[
            Line(words_of(name), [Measured(entry.model, value, ci) if ci else text_of(value)])
            for name, value, ci in figures_of(entry.record.result)
        ],
    )
    pictures = pictures_beside(entry.path, about)
    return Section(
        title=f"{entry.attack} ({entry.kind})", parts=[table, Figures(pictures=pictures, small=True)]
    )
