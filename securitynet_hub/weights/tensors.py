"""Flatten nested checkpoints, nest them again, and store flat tensors as safetensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from securitynet_hub.core.errors import WeightsError

MAX_DEPTH, MAX_NAME = 64, 4096
"""Largest number of keys that lead to a tensor, and of characters in them together."""

UNSTORED = {torch.complex128}
CHUNK = 1 << 20
"""Number of elements that are checked at a time."""


def flatten(checkpoint: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    """Return every tensor of a nested checkpoint under the keys that lead to it, joined by ``/``.

    Left out are values that are not tensors (epochs, settings), tensors of a dtype that safetensors cannot
    store (complex128), and what has neither a text nor a number as its key. A tensor is copied if it shares
    memory with an earlier one or covers only a part of its storage, because safetensors cannot store such
    tensors.

    Raises:
        WeightsError: two tensors get the same key, a tensor is sparse or quantised, or the nesting is too
            deep.

    >>> list(flatten({"net": {"conv1.weight": torch.zeros(1)}, "steps": [torch.ones(1)], "epoch": 3}))
    ['net/conv1.weight', 'steps/0']
    """
    tensors: dict[str, torch.Tensor] = {}
    taken: set[int] = set()
    for key, tensor in _walk(checkpoint, ()):
        if tensor.dtype in UNSTORED:
            continue
        if key in tensors:
            raise WeightsError(f"the checkpoint has two tensors that would both be called {key!r}.")
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise WeightsError(f"the tensor {key!r} is sparse or quantised; only plain ones can be stored.")
        storage = tensor.untyped_storage()
        own = tensor.is_contiguous() and storage.nbytes() == tensor.nbytes and storage.data_ptr() not in taken
        plain = tensor.detach()
        tensors[key] = plain if own else plain.clone(memory_format=torch.contiguous_format)
        taken.add(storage.data_ptr())
    return tensors


def nest(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Undo `flatten`: return the nested mapping whose joined keys are the given ones.

    >>> nest({"net/weight": torch.zeros(1), "net/bias": torch.ones(1)})
    {'net': {'weight': tensor([0.]), 'bias': tensor([1.])}}
    """
    nested: dict[str, Any] = {}
    for path, tensor in tensors.items():
        *outer, key = path.split("/")
        inner = nested
        for part in outer:
            inner = inner.setdefault(_unescaped(part), {})
            if not isinstance(inner, dict):
                raise WeightsError(f"the checkpoint has a tensor at {path!r} and one on the way to it.")
        inner[_unescaped(key)] = tensor
    return nested


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, torch.Tensor]]:
    if len(path) > MAX_DEPTH:
        raise WeightsError(f"the checkpoint is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, torch.Tensor):
        if sum(map(len, path)) > MAX_NAME:
            raise WeightsError(
                f"the checkpoint has a tensor whose keys have more than {MAX_NAME:,} characters."
            )
        yield "/".join(part.replace("~", "~0").replace("/", "~1") for part in path), value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(key, (str, int)):
                yield from _walk(inner, (*path, str(key)))
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        for index, inner in enumerate(value):
            yield from _walk(inner, (*path, str(index)))


def require_truth_values(tensor: torch.Tensor) -> None:
    """Refuse booleans whose byte is neither 0 nor 1.

    Raises:
        WeightsError: there are such bytes.
    """
    if tensor.dtype is not torch.bool:
        return
    for piece in _pieces(tensor.reshape(-1).view(torch.uint8)):
        if piece.amax() > 1:
            raise WeightsError(
                f"a tensor of shape {tuple(tensor.shape)} and {tensor.dtype} holds a byte that is no truth "
                "value"
            )


def is_finite(tensor: torch.Tensor) -> bool:
    """Return whether no number of a tensor is NaN or infinite; one on the meta device holds none.

    >>> is_finite(torch.tensor([1.0, 2.0])), is_finite(torch.tensor([1.0, float("nan")]))
    (True, False)
    """
    if tensor.is_meta or not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    return all(_all_finite(piece) for piece in _pieces(tensor.reshape(-1)))


def is_mask(tensor: torch.Tensor) -> bool:
    """Return whether a tensor masks attention: it holds zeros and minus infinity, and nothing else.

    >>> is_mask(torch.tensor([[0.0, -torch.inf], [0.0, 0.0]])), is_mask(torch.tensor([-torch.inf, 0.5]))
    (True, False)
    """
    if not tensor.is_floating_point() or tensor.element_size() == 1:
        return False
    return all(bool(((piece == 0) | (piece == -torch.inf)).all()) for piece in _pieces(tensor.reshape(-1)))


def _pieces(flat: torch.Tensor) -> Iterator[torch.Tensor]:
    return (flat[start : start + CHUNK] for start in range(0, len(flat), CHUNK))


def _all_finite(numbers: torch.Tensor) -> bool:
    if numbers.element_size() == 1:  # 8-bit floats have neither sum nor isfinite
        numbers = numbers.float()
    # NaN and infinity never leave a sum again, and adding is several times as fast as checking each number. A
    # sum of finite numbers may overflow, too: then each number is checked.
    return bool(numbers.sum().isfinite()) or bool(numbers.isfinite().all())


def store_safetensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write tensors as a safetensors file.

    Raises:
        WeightsError: safetensors cannot hold a tensor of this type.
    """
    try:
        safetensors.torch.save_file(tensors, path)
    except (KeyError, ValueError, safetensors.SafetensorError) as error:
        raise WeightsError(f"the tensors cannot be stored as safetensors: {error}") from error
