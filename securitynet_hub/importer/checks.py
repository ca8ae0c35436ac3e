"""Check what must hold in the imported rows: ranges, identities, unique ids, known values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from securitynet_hub.annotations.flags import FLAGS, MEASURED
from securitynet_hub.annotations.schema import FRACTION, Annotation, Project, columns
from securitynet_hub.importer.facts import CLOSED
from securitynet_hub.importer.tables import Problem

ROUNDING = 1.5e-6
"""Slack of a sum or difference of figures printed to 6 decimals."""

AUC_SLACK = {"security": ROUNDING, "benchmark": 0.0107}
"""How far the correctness AUC may be from (1 + gap) / 2: the security table takes both from the
same images, the benchmark table from other ones."""

HASH_DIGITS = {
    "sha256": range(64, 65), "sha256-prefix": range(8, 64),
    "sha1-of-member": range(40, 41), "git-blob-sha1": range(40, 41),
}  # fmt: skip
"""How many hexadecimal digits each kind of hash has."""


def check_models(rows: Sequence[Annotation]) -> Iterator[Problem]:
    """Yield every broken rule among the models."""
    yield from _unique_ids([(row.table, row) for row in rows])
    yield from _constant_per_dataset(rows)
    for row in rows:
        for column, message in _row_problems(row):
            yield Problem(row.table, row.upstream_row, column, message)
        yield from _vocabulary(row.table, row)


def check_extension(models: Sequence[Annotation], extension: Sequence[Annotation]) -> Iterator[Problem]:
    """Yield every broken rule among the further classifiers, alone and beside the models."""
    yield from check_models([*models, *extension])
    for row in extension:
        for column, message in _extension_problems(row):
            yield Problem(row.table, row.upstream_row, column, message)


def check_projects(rows: Sequence[Project]) -> Iterator[Problem]:
    """Yield every broken rule among the projects."""
    yield from _unique_ids([("projects", row) for row in rows])
    for row in rows:
        yield from _vocabulary("projects", row)


def _row_problems(row: Annotation) -> Iterator[tuple[str, str]]:
    for column in columns(Annotation):
        value = getattr(row, column.name)
        if value is not None and column.unit == FRACTION and not 0 <= value <= 1:
            yield column.name, f"{value} is not between 0 and 1"
        elif column.type is int and value is not None and value < 0:
            yield column.name, f"{value} is negative"
    yield from _check_hash(row)
    yield from _check_gap(row)
    for kind in ("", "wrn_", "imagenet_"):
        yield from _check_agreement(row, kind)
    for kind in ("train", "test"):
        figure, size = f"{kind}_accuracy", getattr(row, f"{kind}_eval_size")
        yield from _check_count(figure, getattr(row, figure), size)
    for figure in ("stealing_accuracy", "stealing_agreement"):
        yield from _check_count(figure, getattr(row, figure), row.stealing_eval_size)


def _extension_problems(row: Annotation) -> Iterator[tuple[str, str]]:
    """Check that nothing is measured, that the row says so, and that it has a link and a judge."""
    for column in MEASURED:
        if getattr(row, column) is not None:
            yield column, "nothing is measured for a model that is not SecurityNet's"
    if row.table != "extension" or "not-in-securitynet" not in row.flags:
        yield "flags", "a model that is not SecurityNet's must say so"
    if row.weights_url is None:
        yield "weights_url", "missing link"
    known = row.weights_hash is not None or row.reported_accuracy is not None
    if not known and not {"weights-hash-missing", "weights-member-assumed"} <= set(row.flags):
        yield "weights_hash", "neither a hash nor the publisher's accuracy"


def _check_hash(row: Annotation) -> Iterator[tuple[str, str]]:
    kind, digest = row.weights_hash_kind, row.weights_hash
    if (kind is None) != (digest is None):
        yield "weights_hash", "the hash and its kind must both be there or both be missing"
    elif kind is not None and digest is not None:
        if kind not in HASH_DIGITS:
            yield "weights_hash_kind", f"{kind!r} is not one of {', '.join(sorted(HASH_DIGITS))}"
        elif not re.fullmatch("[0-9a-f]+", digest) or len(digest) not in HASH_DIGITS[kind]:
            yield "weights_hash", f"{digest!r} is not a {kind}"


def _check_gap(row: Annotation) -> Iterator[tuple[str, str]]:
    """Check gap = train - test accuracy, and correctness AUC = (1 + gap) / 2."""
    nulled = [float(c.upstream) for c in row.corrections if c.column == "overfit_gap"]
    gap = nulled[0] if nulled else row.overfit_gap
    if gap is None or row.test_accuracy is None:
        return
    expected = (row.train_accuracy or 0) - row.test_accuracy
    if abs(gap - expected) > ROUNDING:
        yield "overfit_gap", f"{gap} is not train - test accuracy = {expected:.6g}"
    auc = row.mia_correctness_auc
    slack = AUC_SLACK.get(row.table, ROUNDING)
    if auc is not None and abs(auc - (1 + gap) / 2) > slack:
        yield (
            "mia_correctness_auc",
            f"{auc} is not within {slack:g} of (1 + gap) / 2 = {(1 + gap) / 2:.6g}",
        )


def _check_agreement(row: Annotation, kind: str) -> Iterator[tuple[str, str]]:
    """Check a + s - 1 <= g <= 1 - |a - s| for accuracies a, s and their agreement g."""
    target, copy = row.test_accuracy, getattr(row, f"{kind}stealing_accuracy")
    column = f"{kind}stealing_agreement"
    agreement = getattr(row, column)
    if (copy is None) != (agreement is None):
        yield column, "stealing accuracy and agreement must both be there or both be missing"
    elif target is not None and copy is not None:
        low, high = target + copy - 1, 1 - abs(target - copy)
        if not low - ROUNDING <= agreement <= high + ROUNDING:
            yield (
                column,
                f"{agreement} cannot be the agreement of models with accuracies {target} and "
                f"{copy}: expected {low:.6g} to {high:.6g}",
            )


def _check_count(figure: str, value: float | None, size: int | None) -> Iterator[tuple[str, str]]:
    """Check that a rate is a whole number of images out of `size`, to 6 decimals."""
    if value is not None and size and abs(value - round(value * size) / size) > ROUNDING / 2:
        yield figure, f"{value} is not a whole number of images out of {size}"


def _constant_per_dataset(rows: Iterable[Annotation]) -> Iterator[Problem]:
    first: dict[str, Annotation] = {}
    for row in rows:
        known = first.setdefault(row.dataset, row)
        for column in ("num_classes", "train_size", "domain"):
            value, expected = getattr(row, column), getattr(known, column)
            if value != expected:
                message = f"{value!r}, but {expected!r} in the first row with {row.dataset}"
                yield Problem(row.table, row.upstream_row, column, message)


def _unique_ids(rows: Sequence[tuple[str, Annotation | Project]]) -> Iterator[Problem]:
    counts = Counter(row.id for _, row in rows)
    for table, row in rows:
        if counts[row.id] > 1:
            message = f"{row.id!r} is the id of {counts[row.id]} rows"
            yield Problem(table, row.upstream_row, "id", message)


def _vocabulary(table: str, row: Annotation | Project) -> Iterator[Problem]:
    for column, known in CLOSED.items():
        value = getattr(row, column, None)
        if value is not None and value not in known:
            message = f"{value!r} is not one of {', '.join(sorted(known))}"
            yield Problem(table, row.upstream_row, column, message)
    for flag in row.flags:
        if flag not in FLAGS:
            yield Problem(table, row.upstream_row, "flags", f"{flag!r} is not a known flag")
