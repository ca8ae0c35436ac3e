"""What provenance shows in a terminal and in a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table

from securitynet_hub.attacks.present import (
    Cell,
    Column,
    Line,
    PageTable,
    Section,
    Summary,
    measured,
    measured_on,
)
from securitynet_hub.attacks.provenance.kind import KIND
from securitynet_hub.attacks.provenance.measures import ORDERS
from securitynet_hub.attacks.provenance.shortage import decides, figure_of, needs, similarity_of
from securitynet_hub.attacks.provenance.verdict import Judged, judge, word
from securitynet_hub.attacks.tables import Audited, short
from securitynet_hub.core.tables import plain_table
from securitynet_hub.core.text import printable_markup
from securitynet_hub.plots.measured import percent
from securitynet_hub.plots.plot import words_of
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.figures import number
from securitynet_hub.records.record import Record

COLUMNS = ("similarity", "independent models", "p-value", "smallest possible", "copies found")
"""Headings of a table's figures."""

MEANINGS = {
    "p-value (provenance)": "How often an independent model would be as similar to the reference. Similar "
    "models "
    "are not yet copies: all good models agree on most images. A p-value is the share of independent "
    "models, or "
    "of pairs of them, that are as similar, the audited model counted among them, so that n models give none "
    "below 1 / (n + 1).",
}

CAPTION = (
    "Similarity to the reference, higher = more likely derived, and its range over independent models; "
    "copies: of "
    "the reference, made to try the test."
)


def tables(audited: Audited, width: int) -> Iterator[Table]:
    """Yield the verdicts in words; then for each model and reference the signs with their p-values."""
    about = [
        (annotation.id, judge([Entry(record, Path()) for record in records]))
        for annotation, records in audited
        if records
    ]
    for model, found in about:
        yield _verdicts(model, found)
    for model, found in about:
        for judged in found:
            yield _signs(model, judged)


def _verdicts(model: str, found: Sequence[Judged]) -> Table:
    table = plain_table(printable_markup(short(model)), caption="")
    table.add_column("verdict", overflow="fold")
    for judged in found:
        said = word(judged, model)
        table.add_row(printable_markup(f"{said.title}. {said.text} {said.basis}".strip()))
    return table


def _signs(model: str, judged: Judged) -> Table:
    """Return the signs of one model and one reference, which the title names: cells would break their ids."""
    names = printable_markup(f"{short(model)} compared with {short(judged.reference)}")
    caption = printable_markup(f"{CAPTION} {needs(judged.entries)}".strip())
    table = plain_table(f"\n{KIND.title}: {names}", caption=caption)
    table.add_column("sign", no_wrap=True)
    for heading in COLUMNS:
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for entry in judged.entries:
        table.add_row(words_of(entry.attack), *(cell or "-" for cell in _cells(entry)))
    return table


def _cells(entry: Entry) -> list[str]:
    """Return the figures of one record as texts, empty where it has none."""
    result = entry.record.result
    similarity = similarity_of(entry)
    p_value, smallest, power = (number(result.get(name)) for name in ("p_value", "smallest_p_value", "power"))
    if not decides(result):  # neither a copy nor anything else could have been found
        p_value = power = None
    others = result.get("independent") if figure_of(entry) == "similarity" else None
    known = (
        [value for other in others if (value := number(other)) is not None]
        if isinstance(others, list)
        else []
    )
    spread = f"{min(known):.2f} to {max(known):.2f} ({len(known)})" if known else ""
    if result.get("null") == ORDERS and not known:
        spread = "orders of units"
    return [
        "" if similarity is None else f"{similarity:.2f}",
        spread,
        "" if p_value is None else f"{p_value:.2g}",
        "" if smallest is None else f"{smallest:.2g}",
        "" if power is None else percent(power, 0),
    ]


def summarise(entries: Sequence[Entry], samples: Sequence[Path]) -> Summary:
    """Sum up one model's records: a verdict for each reference, the smallest p-value first."""
    found = judge(entries)
    verdicts = [word(judged, entries[0].model) for judged in found]
    accuracy, images = measured_on(entries, "accuracy")
    return Summary(
        entries=[entry for judged in found for entry in judged.entries],
        verdicts=verdicts,
        severity=float(max((verdict.severity for verdict in verdicts), default=0)),
        accuracy=accuracy,
        images=images,
        meanings=MEANINGS,
    )


def section(entries: Sequence[Entry], samples: Sequence[Path]) -> Section:
    """Show each sign's similarity, its range over independent models, and its p-value."""
    parts: list[PageTable] = []
    for judged in judge(entries):
        lines = []
        for entry in judged.entries:
            cells: list[Cell] = list(_cells(entry))
            figure = figure_of(entry)
            cells[0] = None if figure is None else measured(entry, figure)
            cells[2] = measured(entry, "p_value") if decides(entry.record.result) else None
            lines.append(Line(words_of(entry.attack), [cell or None for cell in cells], attack=entry.attack))
        parts.append(
            PageTable(
                label=f"Similarity to {judged.reference}",
                heading="sign",
                columns=[Column(name, prose=name in COLUMNS[1:2]) for name in COLUMNS],
                lines=lines,
                caption=f"Compared with {judged.reference}. {CAPTION}",
                note=f"{needs(judged.entries)} {word(judged, entries[0].model).basis}".strip(),
            )
        )
    return Section(title=KIND.title, parts=parts)


def frame(records: Sequence[Record]) -> dict[str, float | None]:
    """Return nothing: SecurityNet's annotations have no such figure."""
    return {}
