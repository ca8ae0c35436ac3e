"""Records as rows of the data set's config `results`: columns to query by, the whole record beside them.

The columns never change, so that shards of every age load together; what a later record knows more stands in
`record` alone.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, NamedTuple

from securitynet_hub.annotations.schema import features
from securitynet_hub.records.figures import number
from securitynet_hub.records.record import Record

CONFIG = "results"
FOLDER = f"data/{CONFIG}"

FIGURES = {
    "membership-inference": "auc",
    "model-stealing": "agreement",
    "backdoor-detection": "score",
}
"""The figure by which the results of each kind of attack are compared unless another is named."""

FALLING = {"kl", "total_variation", "norm_ratio", "p_value"}
"""Figures of which the lowest is the worst for the model: distances of a copy, signs of a backdoor."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One published measurement."""

    id: Annotated[str, "Hash of the whole record"]
    unit: Annotated[str, "Hash of what decides the result: model, data, attack and code"]
    schema_version: Annotated[int, "Of the record"]
    kind: Annotated[str, "membership-inference, model-stealing or backdoor-detection"]
    attack: Annotated[str, "Name of the attack or of the detector"]
    target: Annotated[str, "Model that was attacked; an `id` of the other configs where it is annotated"]
    weights_hash: Annotated[str | None, "Hash of its weights", "hexadecimal"] = None
    data: Annotated[str, "Images it was attacked on"]
    data_sha256: Annotated[str | None, "Hash of them", "hexadecimal"] = None
    split_sha256: Annotated[str | None, "Hash of which of them were members", "hexadecimal"] = None
    figure: Annotated[str | None, "What the next three columns give: auc, agreement or score"] = None
    value: Annotated[float | None, "That figure"] = None
    low: Annotated[float | None, "Lower end of its confidence interval"] = None
    high: Annotated[float | None, "Upper end of it"] = None
    created: Annotated[str, "When it was measured", "UTC, ISO 8601"]
    author: Annotated[str | None, "Who measured, in their own words; not verified"] = None
    record: Annotated[str, "The whole record: settings, all figures, counts, code, versions", "JSON"]


class Figure(NamedTuple):
    """A figure of a record and its confidence interval, where it has one."""

    value: float
    low: float | None
    high: float | None


def find_figure(result: dict[str, Any], name: str) -> Figure | None:
    """Return a figure of a record's result by its name, None where it has none.

    ``tpr@RATE`` is the true-positive rate where at most that share of the non-members is accused.

    >>> find_figure({"auc": 0.75, "auc_ci": [0.5, 0.9]}, "auc")
    Figure(value=0.75, low=0.5, high=0.9)
    >>> rates = [{"target_fpr": 0.01, "tpr": 0.25, "ci": [0.125, 0.5]}]
    >>> find_figure({"tpr_at_fpr": rates}, "tpr@0.01")
    Figure(value=0.25, low=0.125, high=0.5)
    """
    value, interval = result.get(name), result.get(f"{name}_ci")
    if rate := re.fullmatch(r"tpr@(\d*\.?\d+(?:e-\d+)?)", name):
        entries = result.get("tpr_at_fpr")
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("target_fpr") == float(rate[1]):
                value, interval = entry.get("tpr"), entry.get("ci")
    ends = interval if isinstance(interval, list | tuple) and len(interval) == 2 else (None, None)
    found = [number(item) for item in (value, *ends)]
    return None if found[0] is None else Figure(found[0], *found[1:])


def result_row(record: Record) -> Result:
    """Return the row of a record."""
    kind = record.attack["kind"]
    name = FIGURES.get(kind)
    figure = find_figure(record.result, name) if name else None
    return Result(
        id=record.id,
        unit=record.unit,
        schema_version=record.schema_version,
        kind=kind,
        attack=record.attack["name"],
        target=record.target["id"],
        weights_hash=record.target.get("weights_hash"),
        data=record.data["name"],
        data_sha256=record.data.get("sha256"),
        split_sha256=record.data.get("split_sha256"),
        figure=name if figure else None,
        **(figure._asdict() if figure else {}),
        created=record.created,
        author=record.author,
        record=json.dumps({"id": record.id, "unit": record.unit, **vars(record)}, sort_keys=True),
    )


def results_shard(records: Iterable[Record]) -> bytes:
    """Return records as a Parquet file, in the order of their ids; same records, same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [asdict(result_row(record)) for record in sorted(records, key=lambda record: record.id)]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=features(Result).arrow_schema), file, compression="zstd")
    return file.getvalue()


def task_id(kind: str, attack: str, dataset: str) -> str:
    """Name the leaderboard of an attack on the models of one data set.

    >>> task_id("membership-inference", "rmia", "CIFAR-10"), task_id("model-stealing", "random", "SVHN")
    ('rmia.cifar-10', 'model-stealing.svhn')
    """
    measured = kind if kind == "model-stealing" else attack
    return f"{measured}.{re.sub('[^a-z0-9]+', '-', dataset.lower())}"
