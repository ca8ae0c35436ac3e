"""Records as rows of the Hub's config `results`, and rows that say something else than their record."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from securitynet_hub.annotations.schema import features
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.records.record import Record
from securitynet_hub.records.rows import Result, find_figure

HEADLINE = ("figure", "value", "low", "high")
"""Columns that only a version which knows the kind of attack can fill."""


def result_row(record: Record) -> Result:
    """Return the row of a record; without a figure for a kind of attack that this version does not know."""
    kind = record.attack["kind"]
    found = kinds()[kind].headline_of(record.result) if kind in kinds() else None
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
        figure=found[0] if found else None,
        **(found[1]._asdict() if found else {}),
        created=record.created,
        author=record.author,
        record=json.dumps({"id": record.id, "unit": record.unit, **record.content()}, sort_keys=True),
    )


def results_shard(records: Iterable[Record]) -> bytes:
    """Return records as a Parquet file, in the order of their ids; same records, same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [asdict(result_row(record)) for record in sorted(records, key=lambda record: record.id)]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=features(Result).arrow_schema), file, compression="zstd")
    return file.getvalue()


def contradicted(row: Mapping[str, Any], record: Record) -> Iterator[str]:
    """Yield the columns of a row that say something else than its record, which is fit to be shared.

    A newer version's kind of attack has a figure that is not known here: it must be one of the record's.
    """
    expected = asdict(result_row(record))
    if record.attack["kind"] not in kinds() and isinstance(row["figure"], str):
        figure = find_figure(record.result, row["figure"])
        expected |= dict(zip(HEADLINE, (row["figure"], *(figure or ())), strict=False))
    yield from (name for name, value in row.items() if name != "record" and value != expected[name])
