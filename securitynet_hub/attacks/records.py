"""The records of an audit together: what they say in words, and as a table."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from securitynet_hub.attacks.verdicts import verdict, verdicts
from securitynet_hub.core.text import printable
from securitynet_hub.records.frame import to_frame
from securitynet_hub.records.record import SHOWN, Record, html_table

if TYPE_CHECKING:
    import pandas as pd


class Records(list[Record]):
    """A list of records; printed, or as the last line of a notebook's cell, it opens with the verdict."""

    @property
    def verdict(self) -> str:
        """What the records say in words, as a report does; see `verdicts.verdict`."""
        return verdict(self)

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each record; see `to_frame`."""
        return to_frame(self)

    def __repr__(self) -> str:
        more = [f"and {len(self) - SHOWN:,} more"] if len(self) > SHOWN else []
        return "\n".join([self.verdict, *map(repr, self[:SHOWN]), *more]) if self else "no records"

    def _repr_html_(self) -> str:
        said = "".join(
            f"<p>{escape(printable(id))}: <b>{_shown(each.title)}</b><br>{_shown(each.text)}</p>"
            for id, own in verdicts(self).items()
            for each in own
        )
        return said + html_table(self)


def _shown(text: str) -> str:
    return escape(printable(text.replace("\u00a0", " "), limit=4000))
