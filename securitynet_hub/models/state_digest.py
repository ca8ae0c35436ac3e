"""The hash of a network's weights themselves, whatever file they lie in, or none."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import torch

OF_TENSORS = "sha256-of-tensors"
"""The kind of such a hash in records."""


class Digest(NamedTuple):
    """A hash, and the name of its kind in records."""

    kind: str
    hexdigits: str


def state_digest(network: torch.nn.Module) -> Digest:
    """Hash a network's parameters and buffers: names, types, shapes and values, wherever they lie.

    A network without tensors is identified by its class and by what Python prints of it.

    >>> state_digest(torch.nn.ReLU()).kind
    'sha256-of-definition'
    """
    digest = hashlib.sha256()
    tensors = {key: value for key, value in tensors_of(network).items() if isinstance(value, torch.Tensor)}
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    if tensors:
        return Digest(OF_TENSORS, digest.hexdigest())
    made_by = f"{type(network).__module__}.{type(network).__qualname__} {network!r}"
    return Digest("sha256-of-definition", hashlib.sha256(made_by.encode()).hexdigest())


def tensors_of(network: torch.nn.Module) -> dict[str, Any]:
    """Return the state dict, with the values of weights that Accelerate keeps in memory or on disk."""
    tensors: dict[str, Any] = network.state_dict()
    if not any(isinstance(value, torch.Tensor) and value.is_meta for value in tensors.values()):
        return tensors
    for path, part in network.named_modules():
        kept: Any = getattr(getattr(part, "_hf_hook", None), "weights_map", None)
        for name in [] if kept is None else [*part._parameters, *part._buffers]:
            key = f"{path}.{name}" if path else name
            if key in tensors and tensors[key].is_meta:
                tensors[key] = kept[name]
    return tensors
