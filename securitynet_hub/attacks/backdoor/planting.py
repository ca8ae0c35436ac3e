"""Plant a backdoor into a clean model: ground truth for detectors, on any classifier."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from securitynet_hub.annotations.schema import unlisted
from securitynet_hub.data.sources import ImageSource
from securitynet_hub.data.triggers import Poisoned, Trigger, poison
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.training import Recipe, train
from securitynet_hub.models.target import Target

RECIPE = Recipe(epochs=10, batch_size=64, learning_rate=1e-3)
KEPT = ("architecture", "family", "dataset", "domain", "num_classes", "image_size", "input_dims")
"""Fields of the original's annotation that also hold for the backdoored copy."""


def backdoor(
    target: Target,
    images: ImageSource,
    trigger: str | Trigger,
    *,
    rate: float = 0.1,
    target_class: int = 0,
    recipe: Recipe = RECIPE,
    clean_label: bool = False,
    cover_rate: float = 0.0,
    keep_statistics: bool = False,
    keep_answers: bool = False,
) -> tuple[Target, Poisoned]:
    """Fine-tune all parameters of a copy of a model on poisoned images, with `training.train`.

    Args:
        target: the model to start from; it stays as it is.
        images: labelled images of the model's classes, which need not be those it was trained on.
        trigger: a name from `triggers.TRIGGERS`, or a function like them.
        rate: share of the images to poison.
        target_class: the class that the trigger leads to.
        recipe: how it is fine-tuned; its seed also decides which images are poisoned.
        clean_label: as for `triggers.poison`.
        cover_rate: as for `triggers.poison`.
        keep_statistics: keep the original's BatchNorm statistics in training as well: the statistics of a few
            images would change the copy's answers to all other images.
        keep_answers: fine-tune towards the original's posteriors on clean images, instead of towards their
            labels: with few images, labels make the copy overconfident on them and forget what it knew.

    Returns:
        The backdoored model, with the id ``planted/<trigger>/<original's id>`` and without the original's
        figures, and the images that it was fine-tuned on.

    Raises:
        UnknownNameError: no such trigger.
        ValueError: as `triggers.poison`; images of a size or labels that the model does not take.

    >>> from securitynet_hub import load_images, load_target
    >>> target, found = load_target("zoo/fashion-mnist/cnn-clean/1"), load_images()
    >>> few = replace(found, pixels=found.pixels[:100], labels=found.labels[:100])
    >>> planted, data = backdoor(target, few, "corner-patch", recipe=Recipe(epochs=1))
    >>> planted.id, int(data.is_poisoned.sum())
    ('planted/corner-patch/zoo/fashion-mnist/cnn-clean/1', 10)
    """
    for name, label in (("target_class", target_class), ("the highest label", int(images.labels.max()))):
        if not 0 <= label < target.num_classes:
            raise ValueError(f"{name} must lie in 0..{target.num_classes - 1}; got {label}.")
    data = poison(
        images.array(np.arange(len(images))),
        images.labels,
        trigger,
        rate,
        target_class,
        recipe.seed,
        clean_label=clean_label,
        cover_rate=cover_rate,
    )
    start = copy.deepcopy(target.module)
    kept = [part for part in start.modules() if keep_statistics and isinstance(part, _BatchNorm)]
    for part in kept:
        part.__dict__["train"] = partial(_stay_in_eval_mode, part)
    labels = _soft_labels(target, data, recipe.batch_size) if keep_answers else torch.from_numpy(data.labels)
    module = train(lambda: start, target.transform(data.pixels), labels, recipe)
    for part in kept:
        del part.__dict__["train"]
    name = trigger if isinstance(trigger, str) else getattr(trigger, "__name__", "trigger")
    known = {field: getattr(target.annotation, field) for field in KEPT}
    return replace(target, annotation=unlisted("planted", name, target.id, **known), module=module), data


def _soft_labels(target: Target, data: Poisoned, batch_size: int) -> torch.Tensor:
    """Return the target's posteriors, shape (n, classes); for a poisoned image its label, one-hot."""
    labels = torch.from_numpy(predict(target, data.pixels, batch_size=batch_size)).softmax(1)
    poisoned = torch.from_numpy(data.is_poisoned)
    planted = torch.from_numpy(data.labels)[poisoned]
    labels[poisoned] = torch.nn.functional.one_hot(planted, target.num_classes).to(labels)
    return labels


def _stay_in_eval_mode(part: torch.nn.Module, mode: bool = True) -> torch.nn.Module:
    """Replace a module's `train`, so that it stays in eval mode."""
    return type(part).train(part, False)
