"""Arrays as callers give them: checked, and named by their rows where they are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
"""One number per sample, or one per sample and class."""

Labels = npt.NDArray[np.int64]
"""One class per sample."""

Rows = npt.NDArray[np.int64]
"""Positions in an array."""

Flags = npt.NDArray[np.bool_]
"""One yes or no per sample."""


def require_finite(values: npt.NDArray[Any], name: str) -> None:
    """Refuse NaN and infinite entries, naming their rows (entries along the first axis)."""
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real numbers; got dtype {values.dtype}.")
    if values.dtype.kind != "f":
        return
    finite = np.isfinite(values)
    if not finite.all():
        bad = np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))
        raise ValueError(f"{name} must be finite; {name_rows(bad)} hold NaN or an infinite value.")


def as_array(values: Any, name: str) -> npt.NDArray[Any]:
    """Return NumPy's view of a list, an array, or a torch tensor of any device and precision.

    Raises:
        ValueError: it is ragged or masked.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; fill or drop what is masked first.")
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        values = tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, lists of tensors with gradients
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from error


def name_rows(indices: npt.NDArray[np.intp]) -> str:
    """Name the first few of the rows that a complaint is about, and count them all.

    >>> name_rows(np.array([3, 8]))
    '2 row(s) (3, 8)'
    """
    shown = ", ".join(str(i) for i in indices[:5])
    return f"{len(indices)} row(s) ({shown}{', ...' if len(indices) > 5 else ''})"
