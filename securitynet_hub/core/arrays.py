"""Convert and check the arrays that callers pass in; errors name the rows that are wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
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


LARGE = 1 << 24
"""Entries of an array that are looked at together."""


def require_finite(values: npt.NDArray[Any], name: str) -> None:
    """Refuse NaN and infinite entries, naming their rows (entries along the first axis)."""
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real numbers; got dtype {values.dtype}.")
    if values.dtype.kind != "f":
        return
    if values.ndim and values.size > LARGE:  # such as a file: a flag for each entry would not fit into memory
        step = max(1, LARGE * len(values) // values.size)
        parts = (values[start : start + step] for start in range(0, len(values), step))
        finite = np.concatenate([np.isfinite(part).reshape(len(part), -1).all(axis=1) for part in parts])
    else:
        finite = np.isfinite(values)
    if not finite.all():
        bad = np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))
        raise ValueError(f"{name} must be finite; {name_rows(bad)} hold NaN or an infinite value.")


def as_array(values: Any, name: str) -> npt.NDArray[Any]:
    """Return a list, an array, or a torch tensor of any device and precision as a NumPy array.

    Raises:
        ValueError: the values are ragged, masked, no array at all, or a tensor as `require_plain` refuses it.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; fill or drop the masked entries first.")
    if hasattr(values, "detach"):
        require_plain(values, name)
        tensor = values.detach().cpu()
        values = tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, lists of tensors with gradients
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from error
    if array.dtype == object and not array.ndim and values is not None:
        raise ValueError(f"{name} must be a list, an array or a tensor; got {type(values).__name__}.")
    return array


def require_plain(tensor: Any, name: str) -> None:
    """Refuse a tensor that does not simply hold its numbers: a meta, sparse, nested or quantized one."""
    for strange, kind in (
        (tensor.is_meta, "on the meta device: it holds no numbers"),
        (getattr(tensor, "is_nested", False), "nested: use to_padded_tensor()"),
        (tensor.is_sparse or not str(tensor.layout).endswith("strided"), "sparse: use to_dense()"),
        (tensor.is_quantized, "quantized: use dequantize()"),
    ):
        if strange:
            raise ValueError(f"{name} is a tensor that is {kind}.")


def is_real(value: Any) -> bool:
    """Return whether a value is one real number: no truth value, no text, no duration, no array.

    >>> is_real(0.5), is_real(np.float32(2)), is_real(True), is_real("1"), is_real(10**400)
    (True, True, False, False, False)
    """
    if isinstance(value, bool | np.timedelta64) or not isinstance(value, Real):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def require_flag(value: Any, name: str) -> bool:
    """Return True or False; refuse what is only taken for one, such as "no" or NaN."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False; got {shortened(value)}.")
    return bool(value)


def as_list(values: Iterable[Any], name: str) -> list[Any]:
    """Return several values as a list; refuse one alone, and text."""
    try:
        if isinstance(values, str | bytes | dict):
            raise TypeError("text and maps are no lists")
        return list(values)
    except (TypeError, RuntimeError) as error:  # RuntimeError: a nested tensor
        raise ValueError(f"{name} must be a list; got {shortened(values)}.") from error


def as_ids(first: Any, second: Any, names: tuple[str, str]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return what identifies the samples of two groups: whole numbers in both, or texts in both.

    Anything else may not equal itself, and a number never equals a text.

    >>> first, second = as_ids([3, 1], [4], ("ids", "population_ids"))
    >>> first.tolist(), second.tolist()
    ([3, 1], [4])
    """
    arrays = []
    for values, name in ((first, names[0]), (second, names[1])):
        array = as_array(values, name)
        if array.dtype == object and all(isinstance(value, str) for value in array.flat):
            array = array.astype(np.str_)
        if array.ndim != 1 or array.dtype.kind not in "iuU":
            raise ValueError(
                f"{name} must be a list of whole numbers or of texts; got {array.shape} of {array.dtype}."
            )
        arrays.append(array)
    if len({array.dtype.kind == "U" for array in arrays}) > 1:
        raise ValueError(f"{names[0]} and {names[1]} must both be numbers, or both texts.")
    return arrays[0], arrays[1]


def require_seed(seed: Any) -> int:
    """Return a seed; refuse anything but a whole number of 0 or more that torch and NumPy both take."""
    if not is_real(seed) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be a whole number of 0 or more, below 2**63; got {shortened(seed)}.")
    return int(seed)


def require_share(value: float, name: str) -> float:
    """Return a share; refuse anything but a number of 0 to 1.

    >>> require_share(93, "expected_accuracy")
    Traceback (most recent call last):
    ...
    ValueError: expected_accuracy must lie in 0..1; got 93. Of 93 %, write 0.93.
    """
    if not (is_real(value) and 0 <= value <= 1):
        per_cent = f" Of {value:g} %, write {value / 100:g}." if is_real(value) and 1 < value <= 100 else ""
        raise ValueError(f"{name} must lie in 0..1; got {shortened(value)}.{per_cent}")
    return float(value)


def require_count(value: Any, name: str) -> int:
    """Return a count; refuse anything but a whole number of 1 or more.

    >>> require_count(3.0, "members")
    3
    """
    if not (is_real(value) and 1 <= value < math.inf and value == int(value)):
        raise ValueError(f"{name} must be a count of 1 or more; got {shortened(value)}.")
    return int(value)


def shortened(value: Any) -> str:
    """Return a value as an error message shows it: its form in Python, cut off after 100 characters."""
    try:
        shown = repr(value)
    except Exception:  # whatever the type of a caller's value does
        shown = ""
    return (shown if len(shown) <= 100 else f"{shown[:100]}...") if shown else type(value).__name__


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
