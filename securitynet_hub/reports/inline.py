"""A report as a notebook shows it, and as a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from securitynet_hub.records.entries import Entry, read_entries
from securitynet_hub.records.record import Record
from securitynet_hub.reports.page import write_report

HEIGHT = 720
"""Pixels that a report takes in a notebook."""


@dataclass(frozen=True)
class Report:
    """One HTML page of records; the last line of a notebook's cell shows it.

    Attributes:
        html: the page, which needs no network.
        records: how many records it is about.
        path: the file it was written to, if any.
    """

    html: str = field(repr=False)
    records: int
    path: Path | None = None

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="report" sandbox="allow-scripts" '
            f'style="width: 100%; height: {HEIGHT}px; border: 1px solid #8888"></iframe>'
        )


def report(
    records: str | Path | Record | Iterable[str | Path | Record],
    out: str | Path | None = None,
    *,
    samples: str | Path | Iterable[str | Path] | None = None,
    **options: Any,
) -> Report:
    """Return a report of records: verdicts in plain words, figures with intervals, plots.

    Args:
        records: what `audit` returns, a folder of records, or several of either.
        out: a file to write it to as well.
        samples: the folder that ``audit(samples=...)`` wrote, or several, for ROC curves and pictures.
        options: more of `page.write_report`: ``title``, ``details``, ``data``.

    Raises:
        RecordError: there are no records, or a file cannot be read or written.

    >>> from securitynet_hub import audit, report
    >>> report(audit("zoo/fashion-mnist/cnn-clean/1", attacks="modified_entropy"))
    Report(records=1, path=None)
    """
    given = [records] if isinstance(records, (str, Path, Record)) else list(records)
    entries = read_entries([place for place in given if not isinstance(place, Record)])
    # Beside no file: pictures are found only beside records that were read from one.
    entries += [Entry(record, Path()) for record in given if isinstance(record, Record)]
    how = {"samples": samples, **options}
    if out is not None:
        path = write_report(entries, Path(out), **how)
        return Report(path.read_text(encoding="utf-8"), len(entries), path)
    with tempfile.TemporaryDirectory() as folder:
        page = write_report(entries, Path(folder) / "report.html", **how)
        return Report(page.read_text(encoding="utf-8"), len(entries))
