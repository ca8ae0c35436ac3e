"""Build the described tensors from the bytes of their storages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from io import BufferedReader

import torch

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.weights.reading.layout import ITEM_SIZES, Storage, View
from securitynet_hub.weights.tensors import require_truth_values


def build_tensors(
    file: BufferedReader, views: Iterable[View], places: Mapping[str, int]
) -> dict[View, torch.Tensor]:
    """Copy tensors out of a file, reading each storage once; no two tensors share memory.

    Args:
        file: the opened file.
        views: the tensors to build; each must lie within its storage.
        places: offset in the file of each storage's bytes, by the storage's key.

    Raises:
        WeightsError: a storage is cut off, a boolean's byte is neither 0 nor 1, or memory is exhausted.
    """
    of_storage: defaultdict[Storage, list[View]] = defaultdict(list)
    for view in views:
        of_storage[view.storage].append(view)
    tensors = {}
    try:
        for storage, its_views in of_storage.items():
            file.seek(places[storage.key])
            held = torch.empty(storage.bytes, dtype=torch.uint8)
            if file.readinto(held.numpy().data) != storage.bytes:
                raise WeightsError(f"its storage {storage.key!r} breaks off")
            for view in its_views:
                tensor = _laid_out(view, held)
                if len(its_views) > 1 or not tensor.is_contiguous() or tensor.nbytes != storage.bytes:
                    tensor = tensor.clone(memory_format=torch.contiguous_format)
                # Copying booleans would turn every byte into 0 or 1 before it is checked.
                tensors[view] = tensor.view(getattr(torch, view.dtype))
                require_truth_values(tensors[view])
    except RuntimeError as error:
        raise WeightsError(f"its tensors cannot be built ({error})") from error
    return tensors


def describe_tensors(views: Iterable[View]) -> dict[View, torch.Tensor]:
    """Return tensors of the described shapes on the meta device, which hold no numbers.

    Raises:
        WeightsError: torch cannot have a tensor of such a shape.
    """
    try:
        return {
            view: torch.empty(view.shape, dtype=getattr(torch, view.dtype), device="meta") for view in views
        }
    except RuntimeError as error:
        raise WeightsError(f"its tensors cannot be built ({error})") from error


def _laid_out(view: View, held: torch.Tensor) -> torch.Tensor:
    """Return the view on the storage's bytes; booleans as bytes."""
    dtype: torch.dtype = getattr(torch, view.dtype)
    whole = held[: len(held) - len(held) % ITEM_SIZES[view.dtype]]
    elements = whole.view(torch.uint8 if dtype is torch.bool else dtype)
    return elements.as_strided(view.shape, view.stride, view.offset)
