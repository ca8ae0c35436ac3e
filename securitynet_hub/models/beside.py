"""A second model beside a target: named as a target is, or as weights of the target's own network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence, Set
from typing import Any

import torch

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.arrays import shortened
from securitynet_hub.core.errors import WeightsError
from securitynet_hub.models.loading import load_target
from securitynet_hub.models.outputs import Classifier
from securitynet_hub.models.target import Target


def load_beside(model: Any, target: Target) -> Target:
    """Return a model that is compared with a target, loaded.

    A file of weights, ``file:PATH``, fills the target's own network, with the target's preprocessing, which a
    module in memory gets, too.

    Args:
        model: a name or annotation as `load_target` takes it; a `torch.nn.Module`; or a loaded model, which
            is returned as it is.
        target: the target.

    Raises:
        UnknownNameError: there is no such model.
        WeightsError: its weights are missing or damaged, or do not fit the target's network.
        ValueError: it cannot be loaded by its name alone, or is nothing of these.

    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> load_beside("zoo/fashion-mnist/cnn-clean/2", target).id, load_beside(target, target) is target
    ('zoo/fashion-mnist/cnn-clean/2', True)
    >>> load_beside(target.module, target).id.split("/")[0]
    'module'
    """
    if isinstance(model, Target):
        return model
    if isinstance(model, torch.nn.Module):
        return load_target(model, transform=target.transform)
    if isinstance(model, Annotation):
        return load_target(model)
    if not isinstance(model, str):
        raise ValueError(
            "a model beside the audited one should be named as a model is ('timm:NAME', 'file:WEIGHTS'), or "
            f"be a torch.nn.Module or what load_target returned; got {shortened(model)}, of type "
            f"{type(model).__name__}."
        )
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


def as_several(models: Any) -> tuple[Any, ...]:
    """Return models as several: none for None; one alone, or what is no model, becomes a tuple of one.

    >>> as_several("timm:resnet18"), as_several(["one", "two"])
    (('timm:resnet18',), ('one', 'two'))
    """
    if models is None:
        return ()
    several = isinstance(models, (Sequence, Set, Iterator)) and not isinstance(models, str)
    return tuple(models) if several else (models,)


def require_same_classes(reference: Target, target: Target) -> None:
    """Refuse to compare two models whose classes differ.

    Raises:
        ValueError: they have other numbers of classes, or name them in other ways or orders.
    """
    if reference.num_classes != target.num_classes:
        raise ValueError(
            f"{reference.id} has {reference.num_classes} classes, {target.id} {target.num_classes}: only "
            "models of the same classes can be compared."
        )
    one, other = reference.class_names, target.class_names
    if one and other and one != other:
        first, second = next(pair for pair in zip(one, other, strict=True) if pair[0] != pair[1])
        raise ValueError(
            f"{reference.id} and {target.id} name their classes in different ways or orders, such as "
            f"{first!r} and {second!r}; only models of the same classes in one order can be compared."
        )
