"""What model stealing shows in a terminal and in a report."""

from __future__ import annotations

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from securitynet_hub.attacks.tables import Audited, short
from securitynet_hub.core.tables import plain_table


def tables(audited: Audited, width: int) -> Iterator[Table]:
    """Yield the table of an audit for a terminal: agreement by model and query budget."""
    yield _stealing_table(audited)


def _stealing_table(audited: Audited) -> Table:
    level = next(r for _, records in audited for r in records).result["confidence_level"]
    table = plain_table(
        f"Model stealing: agreement with the target and its {level:.0%} interval",
        caption="Queries: images that the target was asked about. Accuracy: of surrogate and target.",
    )
    table.add_column("model", overflow="fold")
    headings = ("queries", "seed", "agreement", "where the\ntarget errs", "accuracy", "target\naccuracy")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for annotation, records in audited:
        for record in records:
            result, errors = record.result, record.result["agreement_on_target_errors"]
            low, high = result["agreement_ci"]
            table.add_row(
                escape(short(annotation.id)),
                str(record.attack["budget"]),
                str(record.attack["seed"]),
                f"{result['agreement']:.3f} ({low:.3f}-{high:.3f})",
                "-" if errors is None else f"{errors:.3f}",
                f"{result['accuracy']:.3f}",
                f"{result['target_accuracy']:.3f}",
            )
    return table
