"""A network's last linear layer: the features that it reads, from which its logits are linear."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.models.eval_mode import evaluating

TOLERANCE = 1e-3
"""Largest difference between logits and those of the layer, relative to the largest logit."""

STRENGTHS = (1.0, 5.0, 25.0, 1.0, 5.0, 25.0)
"""By what the noise of each input is multiplied that a network is tried with."""


def noise_for(shape: tuple[int, ...]) -> torch.Tensor:
    """Return the inputs of noise, faint and strong, that a network is tried with, shape (6, channels, ...).

    Args:
        shape: ([depth,] height, width, channels) of an input.
    """
    noise = torch.randn((len(STRENGTHS), shape[-1], *shape[:-1]), generator=torch.Generator().manual_seed(0))
    return noise * torch.tensor(STRENGTHS).view(-1, *[1] * len(shape))


class WithFeatures(nn.Module):
    """A classifier that also returns what its last linear layer reads, beside its logits.

    The answer to inputs (n, ...) has shape (n, classes + d): the logits, then the d features h, so that
    ``logits = W h + b``, up to one number for each image, which posteriors do not depend on. A convolution
    with a 1 x 1 kernel is such a layer, too; where its outputs are averaged over places, h is that average.

    Args:
        classifier: maps a batch of inputs to logits.
        layer: the name of its last linear layer, from `find_last_layer`.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> name = find_last_layer(net, (2, 2, 1))
    >>> name, WithFeatures(net, name)(torch.ones(5, 1, 2, 2)).shape
    ('3', torch.Size([5, 5]))
    """

    def __init__(self, classifier: nn.Module, layer: str) -> None:
        super().__init__()
        self.classifier, self.layer = classifier, layer
        if hasattr(classifier, "hf_device_map"):
            self.hf_device_map = classifier.hf_device_map  # says that it is on its devices already

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs (n, channels, ...) to logits and features (n, classes + d)."""
        layer = self.classifier.get_submodule(self.layer)
        read: list[torch.Tensor] = []
        hook = layer.register_forward_pre_hook(lambda part, given: read.append(given[0]))
        try:
            logits = self.classifier(inputs)
        finally:
            hook.remove()
        return torch.cat([logits, _features(layer, read[-1]).to(logits)], 1)


def find_last_layer(classifier: nn.Module, shape: tuple[int, ...]) -> str | None:
    """Return the name of the linear layer that makes a classifier's logits, or None where there is none.

    The classifier is asked about a few inputs of noise, faint and strong. A layer is the last one if the
    logits are its outputs, up to one number for each image, and if it is asked once. That holds for a network
    that ends in a softmax, and for no ensemble and no network whose outputs are scaled, combined or made by a
    function.

    Args:
        classifier: maps a batch of inputs to logits.
        shape: ([depth,] height, width, channels) of an input.

    >>> find_last_layer(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh()), (2, 2, 1)) is None
    True
    """
    parameter = next((p for p in classifier.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return None
    candidates: dict[nn.Module, str] = {
        part: name for name, part in classifier.named_modules() if _is_linear(part)
    }
    called: list[tuple[nn.Module, torch.Tensor]] = []

    def keep(part: nn.Module, given: tuple[Any, ...]) -> None:
        if given and isinstance(given[0], torch.Tensor):
            called.append((part, given[0]))

    hooks = [part.register_forward_pre_hook(keep) for part in candidates]
    try:
        with plain_torch(), evaluating(classifier), torch.no_grad():
            logits = classifier(noise_for(shape).to(parameter)).float()
            once = [part for part, _ in called]
            for part, given in reversed(called):
                if once.count(part) == 1 and _makes(part, given, logits):
                    return candidates[part]
    except Exception:  # a stranger's network; the pass over the images says what is wrong with it
        return None
    finally:
        for hook in hooks:
            hook.remove()
    return None


def _is_linear(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear) or (
        isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        and set(part.kernel_size) == {1}
        and set(part.stride) == {1}
        and part.groups == 1
        and not any(part.padding)
    )


def _features(layer: nn.Module, given: torch.Tensor) -> torch.Tensor:
    """Return what the layer reads, shape (n, d): the mean over places where there are several."""
    if not isinstance(layer, nn.Linear):
        given = given.movedim(1, -1)
    return given.flatten(1, -2).mean(1) if given.ndim > 2 else given


def _makes(layer: Any, given: torch.Tensor, logits: torch.Tensor) -> bool:
    """Return whether the logits are the layer's outputs, up to one number for each image."""
    features = _features(layer, given).float()
    weight = layer.weight.float().flatten(1)
    if len(features) != len(logits):
        return False
    own = (features @ weight.T + (0 if layer.bias is None else layer.bias.float())).to(logits.device)
    if own.shape[1] == 1 and logits.shape[1] == 2:  # one logit z, read as [0, z]
        own = torch.cat([torch.zeros_like(own), own], 1)
    if own.shape != logits.shape:
        return False
    apart = own - logits
    apart = apart - apart.mean(1, keepdim=True)
    return bool(apart.abs().max() <= TOLERANCE * (1e-6 + logits.abs().max()))
