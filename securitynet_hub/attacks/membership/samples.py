"""Membership scores of single samples and of groups of samples: slices, tables, the most exposed members."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from securitynet_hub.attacks.kind import CONFIDENCE_LEVEL
from securitynet_hub.attacks.membership.measures import MembershipResult, measure_membership
from securitynet_hub.attacks.membership.member_lists import NamedMembers
from securitynet_hub.attacks.membership.running import Run
from securitynet_hub.core.arrays import as_array
from securitynet_hub.core.errors import RecordError
from securitynet_hub.core.files import atomic_path
from securitynet_hub.core.text import csv_cell
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.sources import ImageSource
from securitynet_hub.statistics.rates import check_scores, split_scores

if TYPE_CHECKING:
    import pandas as pd

GAP = 2
"""Pixels between the tiles of a picture."""


def measure_slices(
    scores: npt.ArrayLike,
    is_member: npt.ArrayLike,
    slices: Any,
    *,
    target_fprs: tuple[float, ...] = (0.01,),
    confidence_level: float = CONFIDENCE_LEVEL,
    simultaneous: bool = False,
) -> dict[Hashable, MembershipResult | None]:
    """Measure an attack within each slice of the samples: per class, per decile of loss, ...

    Args:
        scores: shape (n,), higher = more likely a member.
        is_member: shape (n,), booleans or 0/1.
        slices: the name of each sample's slice, n of them: labels, for results per class.
        target_fprs: false-positive rates at which to give the true-positive rate.
        confidence_level: of every interval; with `simultaneous`, of all of them together.
        simultaneous: widen the intervals so that all slices' AUCs lie in theirs at that level (Bonferroni).
            Among twenty slices one 95 % interval misses its AUC on average.

    Returns:
        The slices in sorted order; None for one that lacks members or non-members.

    Raises:
        ValueError: as `measure_membership`, or another number of slices than of scores.

    >>> found = measure_slices([3, 1, 2, 5, 4], [1, 0, 1, 0, 1], ["a", "a", "a", "b", "c"])
    >>> found["a"]["auc"], found["b"], found["c"]
    (1.0, None, None)
    """
    import pandas as pd

    values, membership = check_scores(scores, is_member)
    names = pd.Series(list(slices.tolist() if hasattr(slices, "tolist") else slices))
    if len(names) != len(values) or names.isna().any():
        raise ValueError(
            f"slices must name one slice for each of {len(values)} scores; got {len(names)} names, "
            f"{names.isna().sum()} of them missing."
        )
    groups = dict(names.groupby(names).indices)
    if simultaneous:
        confidence_level = 1 - (1 - confidence_level) / len(groups)
    return {
        name: measure_membership(
            values[rows], membership[rows], target_fprs=target_fprs, confidence_level=confidence_level
        )
        if membership[rows].any() and not membership[rows].all()
        else None
        for name, rows in groups.items()
    }


def sample_table(
    runs: Mapping[str, Run],
    is_member: npt.ArrayLike,
    *,
    labels: npt.ArrayLike,
    positions: npt.ArrayLike,
) -> pd.DataFrame:
    """Gather every attack's score of every sample: one row a sample, one column an attack.

    Args:
        runs: for each attack's name its scores, higher = more likely a member, and the rows that it scored.
            A sample that an attack did not score, because it was calibrated on it, has a missing score (NaN).
        is_member: shape (n,), booleans or 0/1.
        labels: shape (n,).
        positions: shape (n,), each sample's place in its image set.

    Raises:
        ValueError: lengths differ.

    >>> run = Run(np.array([-1.0]), np.array([1]))
    >>> sample_table({"loss": run}, [1, 0], labels=[3, 4], positions=[10, 11])
       position  label  is_member  loss
    0        10      3       True   NaN
    1        11      4      False  -1.0
    """
    import pandas as pd

    about = {"position": positions, "label": labels, "is_member": is_member}
    columns = {name: as_array(values, name) for name, values in about.items()}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"every column needs one entry per sample; got {lengths}.")
    columns["is_member"] = check_scores(np.zeros(lengths["label"]), is_member)[1]
    for name, run in runs.items():
        columns[name] = np.full(lengths["label"], np.nan)
        columns[name][run.rows] = run.scores
    return pd.DataFrame(columns)


def most_exposed(scores: npt.ArrayLike, is_member: npt.ArrayLike, count: int = 25) -> npt.NDArray[np.int64]:
    """Return the rows of the members with the highest scores, the highest first; ties keep their order.

    >>> most_exposed([0.1, 0.9, 0.5, 0.9], [1, 1, 1, 0], 2)
    array([1, 2])
    """
    split_scores(scores, is_member)  # for its checks
    members = np.flatnonzero(np.asarray(as_array(is_member, "is_member"), np.bool_))
    order = np.argsort(-as_array(scores, "scores")[members].astype(np.float64), kind="stable")
    return members[order[:count]]


def tile(pixels: npt.NDArray[np.uint8], *, columns: int = 5) -> npt.NDArray[np.uint8]:
    """Lay images out in rows, with white between them.

    Args:
        pixels: shape (n, height, width, 1 or 3), uint8.
        columns: images in a row.

    Returns:
        Shape (rows * (height + 2) + 2, columns * (width + 2) + 2, channels).

    >>> tile(np.zeros((3, 4, 4, 1), np.uint8), columns=2).shape
    (14, 14, 1)
    """
    if pixels.ndim != 4 or pixels.shape[-1] not in (1, 3) or pixels.dtype != np.uint8 or not len(pixels):
        raise ValueError(
            "images must be uint8 of shape (n, height, width, 1 or 3), at least one; got "
            f"{pixels.dtype} of {pixels.shape}."
        )
    n, height, width, channels = pixels.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels), 255, np.uint8)
    for number, image in enumerate(pixels):
        top, left = (
            GAP + place * (side + GAP)
            for place, side in zip(divmod(number, columns), (height, width), strict=True)
        )
        sheet[top : top + height, left : left + width] = image
    return sheet


def kept_scores(folder: Path, positions: Any, is_member: Any) -> pd.DataFrame | None:
    """Return the scores that an earlier audit of the same samples wrote into a folder; None without one.

    Raises:
        RecordError: there is something else in the folder, or the scores of other samples.
    """
    import pandas as pd

    if not folder.exists():
        return None
    try:
        found = pd.read_parquet(folder / "scores.parquet")
        same = np.array_equal(found["position"], positions) and np.array_equal(found["is_member"], is_member)
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(f"{folder} is there, but scores.parquet in it cannot be read: {error}.") from error
    if not same:
        raise RecordError(
            f"{folder} has the scores of other members and non-members: name another folder with samples= "
            "(--samples), or remove it."
        )
    return found


def write_samples(
    table: pd.DataFrame,
    images: Pixels | ImageSource,
    folder: Path,
    *,
    count: int = 25,
    lists: Iterable[NamedMembers] = (),
) -> None:
    """Write every sample's scores and, for each attack, a picture of the members with the highest scores.

    ``scores.parquet`` is the table, ``exposed-<attack>.png`` the picture, the highest score first.
    Member lists are ``members-<attack>.csv``, all candidates in order, and ``.png``, those that are named.

    Args:
        table: from `sample_table`.
        images: shape (n, height, width, 1 or 3), uint8, or a source of one size: the image of each row.
        folder: where there may be those of an earlier audit of the same samples: other attacks' scores are
            kept, those of the same attacks replaced.
        count: images in a picture.
        lists: member lists to write beside.

    Raises:
        RecordError: the folder has other samples' scores, or cannot be written.
    """
    before = kept_scores(folder, table["position"], table["is_member"])
    whole = table if before is None else table.join(before[before.columns.difference(table.columns, False)])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if before is not None:
            _write_files(table, whole, images, count, lists, lambda name: atomic_path(folder / name))
            return
        with atomic_path(folder, replace=False) as part:
            part.mkdir()
            _write_files(table, whole, images, count, lists, lambda name: nullcontext(part / name))
    except OSError as error:
        raise RecordError(f"cannot write {folder}: {error.strerror or error}.") from error


def _write_files(
    table: pd.DataFrame,
    whole: pd.DataFrame,
    images: Pixels | ImageSource,
    count: int,
    lists: Iterable[NamedMembers],
    file: Callable[[str], AbstractContextManager[Path]],
) -> None:
    """Write pictures and lists, then the table of all scores; `file` gives the place for a name."""
    for name in table.columns[3:]:
        judged = table[table[name].notna()]
        rows = judged.index[most_exposed(judged[name], judged["is_member"], count)]
        shown = images.array(rows.to_numpy()) if isinstance(images, ImageSource) else images[rows]
        sheet = tile(shown)
        picture = Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet)
        with file(f"exposed-{name}.png") as path:
            picture.save(path, format="PNG")
    for named in lists:
        with file(f"members-{named.attack}.csv") as path:
            table = named.table.apply(lambda column: column.map(csv_cell))
            table.to_csv(path, index=False, errors="backslashreplace")
        if len(named.rows):
            with file(f"members-{named.attack}.png") as path:
                Image.fromarray(tile(named.thumbnails(), columns=10)).save(path, format="PNG")
    with file("scores.parquet") as path:
        whole.to_parquet(path, index=False)
