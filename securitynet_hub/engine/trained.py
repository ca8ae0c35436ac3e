"""Store trained networks as safetensors, each named by a hash of everything that decides it."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.files import atomic_path
from securitynet_hub.engine.training import build_seeded
from securitynet_hub.models.state import choose_state, load_state
from securitynet_hub.weights.reading.checkpoints import read_checkpoint
from securitynet_hub.weights.reading.safetensors_layout import read_header

DECIDED = "decided"
"""The key in a file's metadata for what the model was trained on and how."""


def network_hash(build: Callable[[], torch.nn.Module], seed: int) -> str:
    """Return a hash of a network's modules, settings and initial weights."""
    module = build_seeded(build, seed)
    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_decided(path: Path) -> dict[str, Any]:
    """Return what a stored model was trained on and how: hash of the images, members, recipe and more.

    Raises:
        WeightsError: `keep_trained` did not write the file.
    """
    try:
        with path.open("rb") as file:
            about = read_header(file, path.stat().st_size).about
        decided: dict[str, Any] = json.loads(about[DECIDED])
    except (OSError, WeightsError, struct.error, KeyError, ValueError) as error:
        raise WeightsError(f"{path} does not state what it was trained on: {error}.") from error
    return decided


def find_trained(build: Callable[[], torch.nn.Module], path: Path) -> torch.nn.Module | None:
    """Return the stored model, None if there is none or its file is damaged."""
    if not path.exists():
        return None
    with torch.random.fork_rng(devices=[]):
        module = build()
    try:
        chosen = choose_state(module, read_checkpoint(path), "", name=path.name)
        load_state(module, chosen.tensors, name=path.name)
    except WeightsError:
        return None
    return module.eval()


def keep_trained(module: torch.nn.Module, path: Path, decided: dict[str, Any] | None = None) -> None:
    """Write a trained model as safetensors, atomically, with what decided it for `read_decided`."""
    about = None if decided is None else {DECIDED: json.dumps(decided, sort_keys=True)}
    try:
        with atomic_path(path) as part:
            safetensors.torch.save_model(module, str(part), about)
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{path} cannot be written: {error}.") from error
