"""What membership inference shows in a terminal and in a report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.table import Table

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.attacks.tables import Audited, annotated, auc_text, short
from securitynet_hub.core.tables import plain_table
from securitynet_hub.records.record import Record


def tables(audited: Audited, width: int) -> Iterator[Table]:
    """Yield the tables of an audit for a terminal of so many columns: AUC by model and attack."""
    names = list(dict.fromkeys(record.attack["name"] for _, records in audited for record in records))
    fitting = max(1, (width - 44) // 18)
    for start in range(0, len(names), fitting):
        yield _auc_table(audited, names[start : start + fitting])


def _auc_table(audited: Audited, names: list[str]) -> Table:
    measured = [(row, {r.attack["name"]: r for r in records}) for row, records in audited if records]
    level = next(iter(measured[0][1].values())).result["confidence_level"]
    table = plain_table(
        f"Membership inference: AUC and its {level:.0%} interval",
        caption="0.5: nothing leaks. Red: above 0.5 beyond the interval. Gap: train - test accuracy.",
    )
    table.add_column("model", overflow="fold")
    for heading in ("members/\nothers", "acc.\ngap", *(f"{name}\nAUC" for name in names)):
        table.add_column(heading.replace("_", " "), justify="right", no_wrap=True)
    for annotation, records in measured:
        first = next(iter(records.values()))
        table.add_row(
            escape(short(annotation.id)),
            f"{first.result['n_members']}/{first.result['n_nonmembers']}",
            _gap(annotation, first),
            *(_auc(records[name].result) if name in records else "-" for name in names),
        )
    return table


def _gap(annotation: Annotation, record: Record) -> str:
    """Return the annotated gap between training and test accuracy, else the one that was measured."""
    counts = record.counts
    if annotation.overfit_gap is not None or "members_right" not in counts:
        return annotated(annotation, "overfit_gap")
    members, others = ((counts[f"{side}_right"], counts[side]) for side in ("members", "nonmembers"))
    return f"{members[0] / members[1] - others[0] / others[1]:.3f}"


def _auc(result: dict[str, Any]) -> str:
    text = auc_text(result)
    return f"[red]{text}[/red]" if result["auc_ci"][0] > 0.5 else text
