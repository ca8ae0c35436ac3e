"""The annotated models as rows of one table, and which of their figures can be trusted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from securitynet_hub.annotations.flags import FLAGS
from securitynet_hub.annotations.schema import load_annotations

if TYPE_CHECKING:
    import pandas as pd

NOT_MEASURED = "not measured"
COLUMNS = (
    "id",
    "purpose",
    "dataset",
    "architecture",
    "family",
    "num_parameters",
    "train_accuracy",
    "test_accuracy",
    "overfit_gap",
    "stealing_accuracy",
    "stealing_agreement",
    "wrn_stealing_accuracy",
    "wrn_stealing_agreement",
    "imagenet_stealing_accuracy",
    "imagenet_stealing_agreement",
    "mia_correctness_auc",
    "mia_modified_entropy_auc",
    "mia_members",
    "mia_nonmembers",
    "paper_venue_type",
    "paper_year",
    "paper_countries",
    "paper_num_authors",
    "flags",
)
"""The columns of the annotations that the study and the report read."""

AUDITED = "audited"
"""The `purpose` of a row that comes from records."""


class Complete(NamedTuple):
    """The rows that have every wanted figure, and how many were left out by reason."""

    rows: pd.DataFrame
    left_out: dict[str, int]


def annotation_frame(config: str = "models") -> pd.DataFrame:
    """Return the annotated models, one row each, in the order of the file; flagged figures are still there.

    >>> len(annotation_frame())
    529
    """
    return load_annotations(config).to_pandas()[list(COLUMNS)].astype(object)


def complete(frame: pd.DataFrame, columns: Sequence[str]) -> Complete:
    """Keep the rows that have a figure in every column which no flag says to distrust.

    Args:
        frame: with `flags` and the columns.
        columns: the figures that a statistic needs together.

    Returns:
        The rows, and the number left out by reason: "not measured", or the first flag that distrusts one of
        the columns.

    >>> complete(annotation_frame(), ["stealing_agreement"]).left_out
    {'evaluation-suspect': 36, 'evaluation-broken': 36, 'not measured': 20, 'constant-predictor': 4, \
'stealing-failed': 1}
    """
    measured = frame[list(columns)].notna().all(axis=1)
    reasons = [
        next((flag for flag in flags if set(columns) & set(FLAGS[flag].distrust)), "")
        if known
        else NOT_MEASURED
        for flags, known in zip(frame["flags"], measured, strict=True)
    ]
    counted = Counter(reason for reason in reasons if reason)
    # An array: an empty list of booleans would be read as one of columns.
    kept = np.array([not reason for reason in reasons], np.bool_)
    return Complete(frame[kept], dict(counted.most_common()))


@lru_cache(maxsize=1024)
def dataset_named(reference: str) -> str:
    """Return the SecurityNet data set that a reference to images names, as the annotations spell it.

    A name counts if it is a whole part of the reference, whatever separates its letters and digits. If there
    is none, the reference is returned as it is.

    >>> [dataset_named(r) for r in ("uoft-cs/cifar10 (train, test)", "data/CIFAR_100", "tiny-imagenet-1k")]
    ['CIFAR-10', 'CIFAR-100', 'tiny-imagenet-1k']
    """
    parts = {re.sub(r"[^a-z0-9]", "", part) for part in re.split(r"[/\\\s:?@(),]+", reference.lower())}
    known = load_annotations().to_pandas()["dataset"].unique()
    return next((str(name) for name in known if re.sub(r"[^a-z0-9]", "", name.lower()) in parts), reference)


def column_words(column: str) -> str:
    """Write the name of a column for readers.

    >>> column_words("mia_modified_entropy_auc"), column_words("overfit_gap")
    ('modified entropy AUC', 'overfit gap')
    """
    return column.removeprefix("mia_").replace("_", " ").replace("auc", "AUC")
