"""One forward pass that returns a network's logits and what its last linear layer reads."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.core.errors import ModelError
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.sources import ImageSource
from securitynet_hub.engine.inference import predict_module
from securitynet_hub.engine.soundness import as_classifier, require_sound
from securitynet_hub.models.last_layer import WithFeatures, find_last_layer
from securitynet_hub.models.target import Target

Answers = npt.NDArray[np.float32]

_LAYERS: weakref.WeakKeyDictionary[torch.nn.Module, str | None] = weakref.WeakKeyDictionary()
"""The last layer's name in each module that has been looked at."""


def without_features(target: Target) -> str | None:
    """Return why a target's last layer cannot be looked at, or None.

    >>> from securitynet_hub.models.loading import load_target
    >>> without_features(load_target("zoo/fashion-mnist/cnn-clean/1")) is None
    True
    """
    if not target.has_weights:
        return f"it needs what the last layer reads, and {target.id} only answers"
    if _last_layer(target) is None:
        return (
            f"it needs what the last linear layer reads, and the answers of {target.id} are not the outputs "
            "of one linear layer, up to a softmax"
        )
    return None


def predict_with_features(
    target: Target, images: Pixels | ImageSource, **settings: Any
) -> tuple[Answers, Answers]:
    """Return the target's logits, shape (n, classes), and what its last layer reads, shape (n, d).

    Logits, errors and settings are those of `predict`. Both are parts of one array, in a temporary file if it
    is large.

    Raises:
        ModelError: as `predict`, or the target has no last linear layer.

    >>> from securitynet_hub import load_images
    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> logits, features = predict_with_features(target, load_images().pixels[:3])
    >>> weight, bias = (parameter.detach().numpy() for parameter in target.module[-1].parameters())
    >>> bool(np.allclose(features @ weight.T + bias, logits, atol=1e-4))
    True
    """
    if reason := without_features(target):
        raise ModelError(f"the features of {target.id} cannot be had: {reason}.")
    classifier, classes = as_classifier(target), target.num_classes
    layer = _last_layer(target)
    assert layer is not None

    def first(forward: Any, inputs: torch.Tensor, answers: torch.Tensor) -> None:
        require_sound(target, lambda batch: forward(batch)[:, :classes], inputs, answers[:, :classes])

    both = predict_module(
        WithFeatures(classifier, layer), target.transform, images, on_first=first, **settings
    )
    return both[:, :classes], both[:, classes:]


def _last_layer(target: Target) -> str | None:
    if target.module not in _LAYERS:
        _LAYERS[target.module] = find_last_layer(as_classifier(target), target.transform.shape)
    return _LAYERS[target.module]
