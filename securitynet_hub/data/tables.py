"""Tables of paths and labels as sides of an audit: CSV or Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.folders import SPLITS, Files
from securitynet_hub.data.sides import OnProgress, Side, number_classes, order_classes, silent

IMAGES = ("image", "path", "file", "filename", "file_name", "filepath", "image_path")
LABELS = ("label", "class", "target", "category")
SPLIT = "split"


def read_table_side(
    path: Path,
    split: str,
    *,
    image: str | None = None,
    label: str | None = None,
    on_progress: OnProgress = silent,
) -> Side:
    """Return the rows of one split of a table: a path, a label and a split for each picture.

    Relative paths start at the table's folder. Labels that are whole numbers in the table are class numbers.

    Args:
        path: a CSV, TSV or Parquet file.
        split: a value of the column ``split``.
        image: the column of paths; by default the first of `IMAGES` that there is.
        label: the column of labels; by default the first of `LABELS` that there is.
        on_progress: called once the table is read.

    Raises:
        UnknownNameError: there is no such column or split.
        ValueError: the table cannot be read, or has no column of splits.
    """
    import pandas as pd

    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
        else:
            separator = "\t" if path.suffix.lower() == ".tsv" else ","
            # Only nothing is missing: NA, None and null are names that classes have.
            table = pd.read_csv(path, sep=separator, index_col=False, keep_default_na=False, na_values=[""])
    except Exception as error:  # whatever pandas makes of a stranger's file
        raise ValueError(f"{path} cannot be read as a table: {error}") from error
    columns = [str(column) for column in table.columns]
    images = table[_column(columns, image, IMAGES, "image", path)]
    labels = table[_column(columns, label, LABELS, "label", path)]
    splits = table[_column(columns, None, (SPLIT,), SPLIT, path)].fillna("").astype(str)
    same = next((names for names in SPLITS if split.lower() in names), (split.lower(),))
    chosen = splits.str.lower().isin(same).to_numpy()
    if not chosen.any():
        raise UnknownNameError(f"split of {path}", split, sorted(set(splits)))
    if not images[chosen].map(lambda value: isinstance(value, str) and bool(value)).all():
        raise ValueError(f"{path} has rows of the split {split!r} without a path.")
    files = [str(path.parent / value) for value in images[chosen]]
    on_progress(f"listing {split}", len(files), None)
    names, places, numbered = _classes(labels, chosen, f"the column {labels.name!r} of {path}")
    return Side(name=split, store=Files(files), labels=places, class_names=names, numbered=numbered)


def _classes(labels: Any, chosen: np.ndarray[Any, Any], name: str) -> tuple[tuple[str, ...], Any, bool]:
    """Return class names, which are those of the whole table, and each row's place among them."""
    stated = labels.dropna()
    if len(stated) and stated.dtype.kind in "iuf" and (stated % 1 == 0).all() and (stated >= 0).all():
        known = number_classes(int(stated.max()), name)
        return known, labels[chosen].fillna(-1).astype(np.int64).to_numpy(), True
    names = order_classes(stated.astype(str))
    place = {name: number for number, name in enumerate(names)}
    own = [place.get(str(value), -1) if value == value else -1 for value in labels[chosen]]
    return names, np.array(own, np.int64), False


def _column(columns: list[str], named: str | None, usual: tuple[str, ...], what: str, path: Path) -> str:
    if named is not None:
        if named not in columns:
            raise UnknownNameError(f"column of {path}", named, columns)
        return named
    found = next((column for column in usual if column in columns), None)
    if found is None:
        more = (
            "; train in it says which rows the model was trained on, test which it was not"
            if what == SPLIT
            else f"; name another one with ?{what}=COLUMN"
        )
        raise ValueError(
            f"{path} needs a column {' or '.join(map(repr, usual[:3]))}; it has {', '.join(columns)}{more}."
        )
    return found
