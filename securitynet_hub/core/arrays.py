"""Convert and check the arrays that callers pass in; errors name the rows that are wrong."""

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
    """Return a list, an array, or a torch tensor of any device and precision as a NumPy array.

    Raises:
        ValueError: the values are ragged, masked or sparse, or on the meta device.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; fill or drop the masked entries first.")
    if hasattr(values, "detach"):
        if values.is_meta or values.is_sparse or not str(values.layout).endswith("strided"):
            kind = "on the meta device: it holds no numbers" if values.is_meta else "sparse: use to_dense()"
            raise ValueError(f"{name} is a tensor that is {kind}.")
        tensor = values.detach().cpu()
        values = tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, lists of tensors with gradients
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from error


def in_order(values: npt.NDArray[Any]) -> Scores:
    """Return numbers as float64 of the same order, ties and all.

    They are the numbers themselves, but for integers beyond 2^53 that float64 would make equal: those become
    their dense ranks, 0, 1, ...

    >>> in_order(np.array([2**53, 2**53 + 1])), in_order(np.array([3, 1]))
    (array([0., 1.]), array([3., 1.]))
    """
    floats: Scores = values.astype(np.float64)
    if values.dtype.kind not in "iu" or not values.size or np.abs(floats).max() < 2**53:
        return floats
    if len(np.unique(values)) == len(np.unique(floats)):
        return floats
    ranks: Scores = np.unique(values, return_inverse=True)[1].reshape(values.shape).astype(np.float64)
    return ranks


def name_rows(indices: npt.NDArray[np.intp]) -> str:
    """Return the number of rows that an error is about, and the first five of them.

    >>> name_rows(np.array([3, 8]))
    '2 row(s) (3, 8)'
    """
    shown = ", ".join(str(i) for i in indices[:5])
    return f"{len(indices)} row(s) ({shown}{', ...' if len(indices) > 5 else ''})"
