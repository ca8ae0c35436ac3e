"""What decides a target's answers, so that kept ones are those of the same network."""

from __future__ import annotations

import hashlib
import itertools
import json

import torch

from securitynet_hub.engine.engine_choice import describe_engine
from securitynet_hub.engine.processes import find_precision
from securitynet_hub.models.target import Target


def network_digest(target: Target) -> bytes:
    """Hash what decides a target's logits: the network as printed, tensors, preprocessing, precision, engine.

    Two networks with equal tensors and equal printed form share a digest even if they compute differently.
    """
    digest = hashlib.sha256(repr(target.module).encode())
    digest.update(json.dumps(target.transform.as_dict(), sort_keys=True, default=str).encode())
    if find_precision() != "no":
        digest.update(find_precision().encode())
    if engine := describe_engine():
        digest.update(engine.encode())
    for name, tensor in itertools.chain(target.module.named_parameters(), target.module.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()
