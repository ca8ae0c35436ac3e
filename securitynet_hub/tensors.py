"""Nested checkpoints become flat tensors and back, and flat tensors a safetensors file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from securitynet_hub.errors import WeightsError

MAX_DEPTH = 16


def flatten(checkpoint: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    """Return every tensor of a nested checkpoint under the keys that lead to it, joined by ``/``.

    What is not a tensor (epochs, settings) is left out. Tensors are copied, so that none shares memory with
    another: safetensors stores no such thing.

    Raises:
        WeightsError: two tensors get the same key, one is sparse or quantised, or the nesting does not end.

    >>> list(flatten({"net": {"conv1.weight": torch.zeros(1)}, "steps": [torch.ones(1)], "epoch": 3}))
    ['net/conv1.weight', 'steps/0']
    """
    tensors: dict[str, torch.Tensor] = {}
    for key, tensor in _walk(checkpoint, ()):
        if key in tensors:
            raise WeightsError(f"the checkpoint has two tensors that would both be called {key!r}.")
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise WeightsError(f"the tensor {key!r} is sparse or quantised; only plain ones can be stored.")
        tensors[key] = tensor.detach().clone(memory_format=torch.contiguous_format)
    return tensors


def nest(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Undo `flatten`: return the nested mapping whose keys, joined by ``/``, are these.

    >>> nest({"net/weight": torch.zeros(1), "net/bias": torch.ones(1)})
    {'net': {'weight': tensor([0.]), 'bias': tensor([1.])}}
    """
    nested: dict[str, Any] = {}
    for path, tensor in tensors.items():
        *outer, key = path.split("/")
        inner = nested
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[key] = tensor
    return nested


def _walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, torch.Tensor]]:
    if len(path) > MAX_DEPTH:
        raise WeightsError(f"the checkpoint is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, torch.Tensor):
        yield "/".join(path), value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _walk(inner, (*path, str(key)))
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        for index, inner in enumerate(value):
            yield from _walk(inner, (*path, str(index)))


def parse_safetensors(content: bytes, path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors in the bytes of a safetensors file; `path` is for the error alone."""
    try:
        return safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file: {error}") from error


def store_safetensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write tensors as a safetensors file.

    Raises:
        WeightsError: tensors of a type that safetensors cannot hold.
    """
    try:
        safetensors.torch.save_file(tensors, path)
    except (KeyError, ValueError, safetensors.SafetensorError) as error:
        raise WeightsError(f"the tensors cannot be stored as safetensors: {error}") from error


def is_safetensors(path: Path) -> bool:
    """Tell by its first bytes whether a file is meant to be safetensors: a length, then a JSON object."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size
