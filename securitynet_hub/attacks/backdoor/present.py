"""What backdoor detection shows in a terminal and in a report."""

from __future__ import annotations

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from securitynet_hub.attacks.tables import Audited, auc_text, short
from securitynet_hub.core.tables import plain_table


def tables(audited: Audited, width: int) -> Iterator[Table]:
    """Yield the tables of an audit for a terminal: detectors of models, of inputs, of training images."""
    for judges, table in ((None, _models_table), ("inputs", _images_table), ("training", _images_table)):
        part = [(row, [r for r in found if r.result.get("judges") == judges]) for row, found in audited]
        if any(found for _, found in part):
            yield table(part)


def _models_table(audited: Audited) -> Table:
    table = plain_table(
        "Backdoor detection: which class a trigger would lead to",
        caption="Score: higher = more likely poisoned; of one detector on networks of one kind alone. Clean\n"
        "networks are flagged, too: docs/backdoors.md says how often.",
    )
    table.add_column("model", overflow="fold")
    table.add_column("detector")
    for heading in ("score", "suspect", "flagged"):
        table.add_column(heading, justify="right")
    for annotation, records in audited:
        for record in records:
            result = record.result
            table.add_row(
                escape(short(annotation.id)),
                record.attack["name"],
                "-" if result["score"] is None else f"{result['score']:.2f}",
                "-" if result["suspect"] is None else str(result["suspect"]),
                ", ".join(map(str, result.get("flagged_classes", []))) or "-",
            )
    return table


def _images_table(audited: Audited) -> Table:
    inputs = any(record.result["judges"] == "inputs" for _, records in audited for record in records)
    table = plain_table(
        "Backdoored inputs: which images a detector flags"
        if inputs
        else "Poisoned training images: among those that were told as the target's",
        caption="Flagged: beyond what 5 % of other clean images reach. AUC, and poisoned images that pass,\n"
        "where it is known which are poisoned; 0.5 is chance."
        if inputs
        else "AUC where it is known which are poisoned; 0.5 is chance, far below it the wrong side.",
    )
    table.add_column("model", overflow="fold")
    table.add_column("detector")
    for heading in ("images", *(("flagged",) if inputs else ()), "AUC", *(("pass",) if inputs else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    for annotation, records in audited:
        for record in records:
            result, cells = record.result, []
            if inputs:
                missed = [
                    a["far"] for a in result.get("acceptance", []) if a["target_frr"] == result["target_frr"]
                ]
                flagged = "-" if result["threshold"] is None else str(result["n_flagged"])
                cells = [flagged, auc_text(result), f"{missed[0]:.0%}" if missed else "-"]
            table.add_row(
                escape(short(annotation.id)),
                record.attack["name"],
                str(record.counts["images"]),
                *(cells or [auc_text(result)]),
            )
    return table
