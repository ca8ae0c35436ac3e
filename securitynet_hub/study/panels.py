"""What the models are, who published them and when: six counts of the annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from securitynet_hub.annotations.flags import FLAGS

if TYPE_CHECKING:
    import pandas as pd

PANELS = {
    "dataset": "Data set",
    "family": "Family of networks",
    "paper_venue_type": "Kind of venue",
    "paper_year": "Year of the paper",
    "paper_countries": "Countries of the authors",
    "paper_num_authors": "Number of authors",
}
"""The columns that are counted, with the panels' titles."""

SHOWN = 12
"""Bars in a panel; what is rarer is counted together."""


class Panel(NamedTuple):
    """How many models have each value of a column.

    Attributes:
        column: of the annotations.
        title: in words.
        counts: by value (index) and purpose (columns), numbers in order and names by frequency.
        left_out: models without a known value.
    """

    column: str
    title: str
    counts: pd.DataFrame
    left_out: int


def count_panels(frame: pd.DataFrame) -> list[Panel]:
    """Count the models by data set, family, venue, year, countries and authors, split by their purpose.

    A model whose authors come from several countries counts once for each.

    >>> from securitynet_hub.study.frames import annotation_frame
    >>> year = count_panels(annotation_frame())[3]
    >>> int(year.counts.sum().sum()), year.left_out
    (521, 8)
    """
    return [Panel(column, title, *_count(frame, column)) for column, title in PANELS.items()]


def _count(frame: pd.DataFrame, column: str) -> tuple[pd.DataFrame, int]:
    import pandas as pd

    distrusted = frame["flags"].map(lambda flags: any(column in FLAGS[flag].distrust for flag in flags))
    known = frame[~distrusted.astype(bool)].explode(column).dropna(subset=[column])
    counts = pd.crosstab(known[column], known["purpose"])
    if column in ("paper_year", "paper_num_authors"):
        counts.index = counts.index.astype(int).astype(str)
    else:
        counts = counts.loc[sorted(counts.index, key=lambda name: (-counts.loc[name].sum(), name))]
        if len(counts) > SHOWN:
            rest = counts.iloc[SHOWN - 1 :].sum().to_frame(f"{len(counts) - SHOWN + 1} others").T
            counts = pd.concat([counts.iloc[: SHOWN - 1], rest])
    return counts, len(frame) - known.index.nunique()
