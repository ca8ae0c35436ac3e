"""Models that records measure, as rows in the columns of the annotations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from securitynet_hub.annotations.schema import Annotation, load_annotations
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.records.record import Record
from securitynet_hub.study.frames import AUDITED, COLUMNS, dataset_named

if TYPE_CHECKING:
    import pandas as pd

ACCURACIES = ("test_accuracy", "overfit_gap", "train_accuracy")
"""Columns in which a trusted annotation counts rather than a record: it is over the whole test set."""


def record_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return the models that records measure, one row each, in the columns of the annotations.

    Each kind of attack says which columns its records fill in; of several records that give the same figure
    of a model the last created counts, so that a correction replaces what it corrects. Accuracies come from
    the model's annotation if that is trusted, otherwise from the records.
    """
    import pandas as pd

    known = {**load_annotations("extended"), **load_annotations("zoo")}
    models: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.created):
        models.setdefault(str(record.target.get("id")), []).append(record)
    rows = []
    for id, found in models.items():
        row = _row(id, found[0], known.get(id))
        for name, kind in kinds().items():
            if own := [record for record in found if record.attack.get("kind") == name]:
                for column, value in kind.present.frame(own).items():
                    if value is not None and (column not in ACCURACIES or row.get(column) is None):
                        row[column] = value
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)


def _row(id: str, record: Record, annotation: Annotation | None) -> dict[str, Any]:
    if annotation is None:
        dataset = dataset_named(str(record.data.get("name")))
        return {"id": id, "dataset": dataset, "purpose": AUDITED, "flags": ()}
    return {
        **{n: getattr(annotation, n) for n in ("id", "dataset", "architecture", "family", "num_parameters")},
        **{name: annotation.trusted(name) for name in ACCURACIES},
        "purpose": AUDITED,
        "flags": (),
    }
