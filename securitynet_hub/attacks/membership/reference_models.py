"""Signals of a target and of reference models: checks and layouts for every attack that compares them.

A reference (or shadow) model is **IN** for the samples it was trained on and **OUT** for all other samples.
Signals are oriented higher = more likely a member. Attacks compute statistics of one side from sorted signals
or with sums that do not round, so that the order of the models does not change a single bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Scores, as_array, as_ids, name_rows
from securitynet_hub.core.errors import FewModelsWarning
from securitynet_hub.core.shares import Share
from securitynet_hub.statistics.signals import Outputs

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

LARGEST = 1e100
"""Signals beyond this are refused: their squares, in units of the smallest deviation, would overflow."""

CHUNK_ELEMENTS = 1 << 16
"""Signals are widened to float64 and sorted in chunks of this many elements, which fit a core's cache."""

BLOCK = 1 << 16
"""Most samples that are scored at a time: memory beyond the signals' own does not grow with their number."""

BLOCK_SIGNALS = 1 << 22
"""Signals in a block of samples: 32 MiB in float64. A sample may have more."""


class ModelCounts(NamedTuple):
    """The number of reference models, and the smallest numbers trained with, and without, any one sample."""

    models: int
    fewest_in: int
    fewest_out: int


class References(NamedTuple):
    """Checked signals: of the target, shape (n, augmentations), and of the reference models."""

    target: Scores
    reference: Any
    """Shape (models, n[, augmentations]), numbers: a tensor, an array or `Unread`; see `signal_chunks`."""
    is_in: Mask
    """Shape (models, n)."""
    name: str
    """What the caller calls `reference`."""
    most: tuple[int, int]
    """Largest numbers of OUT and of IN models that any sample has, also of samples outside a block."""
    first: int = 0
    """The place of the first sample, where these are a block of more."""

    def block(self, part: slice) -> References:
        """Return some of the samples, their signals read if they are not yet."""
        return self._replace(
            target=self.target[part],
            reference=self.reference[:, part],
            is_in=self.is_in[:, part],
            first=self.first + part.start,
        )

    def in_blocks(self, work: Callable[[References], Scores], share: Share) -> Scores:
        """Return what `work` gives for each sample, a block of them at a time, shared out by `share`."""
        n, augmentations = self.target.shape
        size = max(1, min(BLOCK, BLOCK_SIGNALS // (len(self.is_in) * augmentations)))
        parts = [slice(start, start + size) for start in range(0, n, size)]
        return np.concatenate(share(lambda part: work(self.block(part)), parts))


Chosen = slice | npt.NDArray[np.int64]
"""Some models, or some samples."""


class Unread:
    """Signals of models, shape (models, n[, augmentations]), that are read or computed a part at a time."""

    shape: tuple[int, ...]

    def __getitem__(self, key: tuple[Chosen, Chosen]) -> npt.NDArray[Any]:
        """Return the signals of some models for some samples, ``[models, samples]``."""
        raise NotImplementedError

    def __array__(self, *arguments: Any, **options: Any) -> npt.NDArray[Any]:
        """Return all signals."""
        return np.asarray(self[:, :], *arguments, **options)


class ModelByModel(Unread):
    """Signals of models in an array each, such as a memory-mapped file; see `check_references`.

    Args:
        models: arrays of shape (n[, augmentations]).
    """

    def __init__(self, models: Sequence[npt.NDArray[Any]]) -> None:
        self._models = models
        self.shape = (len(models), *models[0].shape)

    def __getitem__(self, key: tuple[Chosen, Chosen]) -> npt.NDArray[Any]:
        """Read the signals of some models for some samples."""
        return np.stack([self._models[model][key[1]] for model in np.arange(len(self._models))[key[0]]])


class Selected(Unread):
    """Signals of some models for some samples, without a copy.

    Args:
        signals: shape (models, n[, augmentations]), an array or `Unread`.
        models: indices.
        rows: indices of samples.
    """

    def __init__(self, signals: Any, models: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> None:
        self._signals, self._models, self._rows = signals, models, rows
        self.shape = (len(models), len(rows), *signals.shape[2:])

    def __getitem__(self, key: tuple[Chosen, Chosen]) -> npt.NDArray[Any]:
        """Read the signals of some of the models for some of the samples."""
        models, rows = self._models[key[0]], self._rows[key[1]]
        chosen = (models, rows) if isinstance(self._signals, Unread) else np.ix_(models, rows)
        found: npt.NDArray[Any] = self._signals[chosen]
        return found


class RankedSide(NamedTuple):
    """A chunk of samples and their signals over the models of one side, sorted upwards."""

    samples: slice
    values: Scores
    """Shape (samples, augmentations, width), padded with +inf after a sample's last signal."""
    counts: Counts
    """Shape (samples, 1), the models on this side."""
    held: Mask
    """Shape (samples, 1, width), False for the padding."""


def count_models(reference_in: Outputs) -> ModelCounts:
    """Count the reference models behind a score, for the record.

    Args:
        reference_in: shape (models, n), True where the sample was in that model's training set.

    >>> count_models([[True, False, True], [True, False, False]])
    ModelCounts(models=2, fewest_in=0, fewest_out=0)
    """
    is_in = _as_mask(reference_in, "reference_in")
    counts = is_in.sum(0)
    return ModelCounts(len(is_in), int(counts.min()), len(is_in) - int(counts.max()))


def check_references(
    target: Outputs,
    reference: Outputs,
    reference_in: Outputs,
    *,
    names: tuple[str, str, str] = ("target", "reference", "reference_in"),
    fewest_in: int = 0,
    fewest_out: int = 0,
    requested_models: int | None = None,
) -> References:
    """Check that signals and masks fit together and that every sample has the models that an attack needs.

    Args:
        target: shape (n,) or (n, augmentations).
        reference: shape (models, n) or (models, n, augmentations). A memory-mapped array is read a chunk at a
            time, and so are `Unread` and a list of arrays, one for each model, such as of a file each.
        reference_in: shape (models, n), booleans; it may be memory-mapped, too.
        names: the caller's names of the three, for errors.
        fewest_in: minimum number of IN models for every sample.
        fewest_out: minimum number of OUT models for every sample.
        requested_models: intended number of models.

    Raises:
        ValueError: shapes or types do not fit, the input is empty, a target's signal is not finite, or
            samples have too few models; the error names their rows.

    Warns:
        FewModelsWarning: there are fewer models than requested.
    """
    of_target, of_reference, of_mask = names
    values, is_in = as_array(target, of_target), _as_mask(reference_in, of_mask)
    # A tensor is converted chunk by chunk, so that it is never in memory twice.
    signals: Any = reference if hasattr(reference, "detach") else as_signals(reference, of_reference)
    if values.ndim not in (1, 2) or values.dtype.kind not in "fiu" or not values.size:
        raise ValueError(
            f"{of_target} must be numbers of shape (samples,) or (samples, augmentations), at least one; got "
            f"{values.shape} of {values.dtype}."
        )
    if tuple(signals.shape) != (len(is_in), *values.shape):
        raise ValueError(
            f"{of_reference} must hold {values.shape} signals, the shape of {of_target}, for each of the "
            f"{len(is_in)} models of {of_mask}; got {tuple(signals.shape)}."
        )
    if is_in.shape[1] != len(values):
        raise ValueError(
            f"{of_mask} must have one column for each of the {len(values)} samples of {of_target}; got "
            f"{is_in.shape}."
        )
    if values.ndim == 1:
        values = values[:, None]
    values = values.astype(np.float64)
    _require_moderate(values, of_target, 0)
    counts = is_in.sum(0, dtype=np.int32)
    for side, fewest, found in (("IN", fewest_in, counts), ("OUT", fewest_out, len(is_in) - counts)):
        short = np.flatnonzero(found < fewest)
        if len(short):
            raise ValueError(
                f"every sample needs {fewest} {side} model(s) at least; {name_rows(short)} have fewer, the "
                f"first {found[short[0]]} of {len(is_in)}. Leave these samples out or give more models."
            )
    if requested_models is not None and len(is_in) < requested_models:
        warnings.warn(
            f"{len(is_in)} reference models were given where {requested_models} were requested.",
            FewModelsWarning,
            stacklevel=3,
        )
    most = len(is_in) - int(counts.min()), int(counts.max())
    return References(values, signals, is_in, of_reference, most)


def as_signals(reference: Outputs, name: str) -> npt.NDArray[Any] | Unread:
    """Return signals of models as an array or, what may be large, in a form that is read part by part."""
    if isinstance(reference, Unread):
        return reference
    return ModelByModel(reference) if _is_model_by_model(reference) else as_array(reference, name)


def signal_chunks(references: References) -> Iterator[tuple[slice, Scores]]:
    """Yield chunks of samples with their signals in float64, shape (samples, augmentations, models).

    Raises:
        ValueError: a signal is not a finite number; the error names the samples.
    """
    samples, augmentations = references.target.shape
    size = max(1, CHUNK_ELEMENTS // (len(references.is_in) * augmentations))
    for start in range(0, samples, size):
        part = slice(start, start + size)
        chunk = as_array(references.reference[:, part], references.name)
        chunk = chunk if chunk.ndim == 3 else chunk[..., None]
        if chunk.dtype.kind not in "fiu":
            raise ValueError(f"{references.name} must be real numbers; got {chunk.dtype}.")
        signals = np.moveaxis(np.asarray(chunk, np.float64), 0, -1)
        _require_moderate(signals, references.name, references.first + start)
        yield part, signals


def ranked_side(references: References, *, inside: bool, cut: bool = False) -> Iterator[RankedSide]:
    """Yield chunks of samples with their signals over the IN or the OUT models, sorted upwards.

    With `cut`, only a sample's first models on that side count, as many as the sample with the fewest has.

    Raises:
        ValueError: as `signal_chunks`.
    """
    width = references.most[inside]
    if cut:  # where one sample has fewest models on a side, it has most on the other
        width = len(references.is_in) - references.most[not inside]
    for part, chunk in signal_chunks(references):
        signals = np.ascontiguousarray(chunk)
        own = np.ascontiguousarray(references.is_in[:, part].T ^ (not inside))[:, None]
        if cut:
            own = own & (own.cumsum(-1) <= width)
        counts = own.sum(-1, dtype=np.int32)
        held = np.arange(width) < counts[:, :, None]
        # Indices, because a random boolean mask is several times as slow.
        values = signals.ravel().take(np.flatnonzero(np.broadcast_to(own, signals.shape)))
        shape = (*signals.shape[:-1], width)
        if held.all():
            values = values.reshape(shape)
        else:
            filled = np.full(shape, np.inf)
            filled[np.broadcast_to(held, shape)] = values
            values = filled
        values.sort(-1)
        yield RankedSide(part, values, counts, held)


def require_disjoint(ids: Outputs | None, other_ids: Outputs | None, names: tuple[str, str]) -> None:
    """Refuse two groups that share a sample; check nothing if either is None.

    Raises:
        ValueError: a sample is in both groups.
    """
    if ids is None or other_ids is None:
        return
    shared = np.intersect1d(*as_ids(ids, other_ids, names))
    if len(shared):
        raise ValueError(
            f"{names[0]} and {names[1]} must not share a sample; {len(shared)} are in both, such as "
            f"{shared[0]!s}."
        )


def _is_model_by_model(reference: Any) -> bool:
    """Return whether signals come as one array for each model, all of one shape."""
    return (
        isinstance(reference, list | tuple)
        and len(reference) > 0
        and all(type(own) in (np.ndarray, np.memmap) for own in reference)
        and len({own.shape for own in reference}) == 1
    )


def _as_mask(mask: Outputs, name: str) -> Mask:
    array = as_array(mask, name)
    if array.ndim != 2 or array.dtype != np.bool_ or not array.size:
        raise ValueError(
            f"{name} must be booleans of shape (models, samples), at least one of each; got {array.shape} of "
            f"{array.dtype}."
        )
    return array


def _require_moderate(values: Scores, name: str, start: int) -> None:
    # NaN fails every comparison.
    if not (values.max() < LARGEST and values.min() > -LARGEST):
        bad = np.flatnonzero(~(np.abs(values) < LARGEST).reshape(len(values), -1).all(1))
        raise ValueError(
            f"{name} must be finite, below {LARGEST:g}; {name_rows(bad + start)} hold NaN or larger values."
        )
