"""Write rows of annotations as Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from securitynet_hub.annotations.schema import Annotation, Project, features


def write_parquet(rows: Sequence[Annotation | Project], path: Path) -> None:
    """Write rows of one class as Parquet, with the features in its schema; same rows, same bytes.

    Raises:
        ValueError: if there are no rows, they are of different classes, or ids repeat.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    classes = {type(row) for row in rows}
    if len(classes) != 1:
        names = ", ".join(sorted(c.__name__ for c in classes)) or "none"
        raise ValueError(f"Expected rows of exactly one class to write to {path}, got {names}.")
    if len({row.id for row in rows}) < len(rows):
        raise ValueError(f"Expected every id once among the rows to write to {path}.")
    schema = features(classes.pop()).arrow_schema
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema)
    pq.write_table(table, path, compression="zstd")
