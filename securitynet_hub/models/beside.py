"""A second model beside a target: named as a target is, or as weights of the target's own network."""

from __future__ import annotations

import contextlib

import torch

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.models.loading import load_target
from securitynet_hub.models.outputs import Classifier
from securitynet_hub.models.target import Target


def load_beside(model: Target | str, target: Target) -> Target:
    """Return a model that is compared with a target, loaded.

    A file of weights, ``file:PATH``, fills the target's own network, with the target's preprocessing.

    Args:
        model: what `load_target` takes, or a loaded model, which is returned as it is.
        target: the target.

    Raises:
        UnknownNameError: there is no such model.
        WeightsError: its weights are missing or damaged, or do not fit the target's network.
        ValueError: it cannot be loaded by its name alone.

    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> load_beside("zoo/fashion-mnist/cnn-clean/2", target).id, load_beside(target, target) is target
    ('zoo/fashion-mnist/cnn-clean/2', True)
    """
    if isinstance(model, Target):
        return model
    build = target.build
    if not model.startswith("file:") or build is None:
        return load_target(model)

    def network() -> torch.nn.Module:
        made = build()
        return made.network if isinstance(made, Classifier) else made

    how = {"module": network, "transform": target.transform, "num_classes": target.num_classes}
    place = target.annotation.weights_key_prefix or None
    try:
        if place is not None:  # where the target's weights lie in theirs
            with contextlib.suppress(WeightsError):
                return load_target(model, **how, key_prefix=place)
        return load_target(model, **how)
    except WeightsError as error:
        raise WeightsError(f"{model} is read into the target's network, and cannot be: {error}") from error
