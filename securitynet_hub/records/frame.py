"""Records as a table for pandas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from securitynet_hub.records.record import Record
from securitynet_hub.records.rows import find_figure

if TYPE_CHECKING:
    import pandas as pd

THREAT = ("norm", "eps")
"""Settings without which a figure of changed images says nothing."""


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return records as a table for pandas, one row each.

    Columns are ``model``, ``kind``, ``attack``, ``images``, ``created``, ``author`` and ``id``, then every
    number of the results by its name, with its interval in ``NAME_low`` and ``NAME_high``; the true-positive
    rates are ``tpr@0.01`` and so on. Where images were changed, ``norm`` and ``eps`` say within what. What a
    result does not have is missing (NaN).

    Args:
        records: from `audit` or `read_records`.

    >>> from securitynet_hub import audit
    >>> frame = to_frame(audit("zoo/fashion-mnist/cnn-overfitted-500/1", attacks="modified_entropy"))
    >>> frame.loc[0, "attack"], round(float(frame.loc[0, "auc"]), 3)
    ('modified_entropy', 0.628)
    """
    import pandas as pd

    return pd.DataFrame([_row(record) for record in records])


def _row(record: Record) -> dict[str, Any]:
    row = {
        "model": record.target.get("id"),
        "kind": record.attack.get("kind"),
        "attack": record.attack.get("name"),
        "images": record.data.get("name"),
        "created": record.created,
        "author": record.author,
        "id": record.id,
        **{name: record.attack[name] for name in THREAT if name in record.attack},
    }
    names = [name for name in record.result if name not in row]
    for entry in record.result.get("tpr_at_fpr") or ():
        names.append(f"tpr@{entry['target_fpr']:g}")
    for name in names:
        figure = find_figure(record.result, name)
        if figure is not None:
            row[name] = figure.value
            if figure.low is not None:
                row |= {f"{name}_low": figure.low, f"{name}_high": figure.high}
    return row
