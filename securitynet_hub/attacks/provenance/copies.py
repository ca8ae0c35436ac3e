"""Copies of a reference made on purpose, to see whether the same test would find them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from securitynet_hub.attacks.subject import AuditData
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.engine.inference import transform_each
from securitynet_hub.engine.training import Recipe, train
from securitynet_hub.models.target import Target

COPIES = ("quantised", "pruned", "fine-tuned")
"""How copies are made."""

PRUNED = 0.5
"""Share of each layer's weights that a pruned copy loses, the smallest first."""

TUNED_ON = 500
"""Most images that a copy is fine-tuned on."""


def make_copies(
    reference: Target, data: AuditData, kinds: Sequence[str] = COPIES, *, seed: int = 0
) -> Iterator[tuple[str, Target]]:
    """Yield copies of a model, each with how it was made: models that are derived from it for certain.

    - ``quantised``: each tensor in 8 bits, ``round(w / s) s`` with ``s = max |w| / 127``.
    - ``pruned``: the smaller half of the weights of each layer set to 0 (Han et al. 2015, arXiv 1506.02626).
    - ``fine-tuned``: trained on for two epochs with up to 500 of the data's members, at a learning rate of
      5e-4.

    Args:
        reference: a model with weights; it is left as it is. None is made of one that only answers.
        data: the members serve for fine-tuning.
        kinds: which copies.
        seed: of the fine-tuning.

    Raises:
        UnknownNameError: no such copy; the closest names are given.
    """
    for kind in kinds:
        if kind not in COPIES:
            raise UnknownNameError("sort of copy", kind, COPIES)
    if not reference.has_weights or getattr(reference.module, "borrowed", False):
        return
    for kind in kinds:
        module = copy.deepcopy(reference.module)
        if kind == "fine-tuned":
            tuned = _fine_tuned(module, reference, data, seed)
            if tuned is None:
                continue
            module = tuned
        with torch.no_grad():
            for parameter in module.parameters():
                if kind == "quantised":
                    _quantise(parameter)
                elif kind == "pruned" and parameter.dim() > 1:
                    _prune(parameter)
        yield kind, replace(reference, module=module)


def _quantise(parameter: torch.Tensor) -> None:
    if parameter.is_complex():
        parameter = torch.view_as_real(parameter)
    scale = float(parameter.abs().max()) / 127
    if scale > 0:
        parameter.copy_((parameter / scale).round() * scale)


def _prune(parameter: torch.Tensor) -> None:
    count = int(PRUNED * parameter.numel())
    if count:
        least = parameter.abs().flatten().kthvalue(count).values
        parameter.masked_fill_(parameter.abs() <= least, 0.0)


def _fine_tuned(
    module: torch.nn.Module, reference: Target, data: AuditData, seed: int
) -> torch.nn.Module | None:
    members = data.split.members
    if len(members) < 2:
        return None
    rows = np.sort(np.random.default_rng(seed).permutation(members)[:TUNED_ON])
    inputs = transform_each(data.images, reference.transform, rows)
    labels = torch.from_numpy(data.images.labels[rows].astype(np.int64))
    recipe = Recipe(epochs=2, batch_size=50, learning_rate=5e-4, seed=seed)
    place = next(module.parameters()).device
    return train(lambda: module, inputs, labels, recipe).to(place)
