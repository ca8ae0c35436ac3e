"""Load a model: put verified weights into its network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.models.class_count import count_classes
from securitynet_hub.models.sources import Loader as Loader
from securitynet_hub.models.sources import find_annotation as find_annotation
from securitynet_hub.models.sources import find_loader as find_loader
from securitynet_hub.models.sources import known_loaders as known_loaders
from securitynet_hub.models.sources import require_options
from securitynet_hub.models.state import Chosen, choose_state, load_state
from securitynet_hub.models.target import Target
from securitynet_hub.weights.fetch import load_weights
from securitynet_hub.weights.tensors import nest


@plain_torch()
def load_target(model: Any, **options: Any) -> Target:
    """Load a model: verified weights in the right network, in eval mode.

    Args:
        model: an id ``source/dataset/name[/seed]``, as `load_annotations` lists them; or an annotation; or
            ``source:reference`` for a model that is not in the tables: ``timm:<name>`` or
            ``transformers:<repository>``, optionally with ``@<revision>``, or ``file:<path>``. The loader
            is the module ``securitynet_hub.loaders.<source>``. Or a model in memory: a `torch.nn.Module`, a
            model of transformers or timm, a pipeline.
        options: options of that loader's ``annotate``; for a model in memory ``name``, ``transform``,
            ``num_classes``, ``outputs`` and ``reduce``, as `securitynet_hub.loaders.module.adopt` has them.

    Raises:
        UnknownNameError: there is no such model (the message gives the closest ids), or no loader for it.
        MissingPackageError: the loader needs a package that is not installed.
        WeightsError: the weights are missing or damaged, or belong to another network.
        ValueError: the network has another number of classes than annotated, or the loader does not know an
            option.

    >>> target = load_target("zoo/fashion-mnist/cnn-overfitted-500/1")
    >>> target.num_classes, target.transform.shape, target.module.training
    (10, (28, 28, 1), False)
    """
    if not isinstance(model, (str, Annotation)):
        adopt = getattr(find_loader("module"), "adopt")  # noqa: B009 (no part of the protocol)
        require_options(adopt, "a model in memory", model, options)
        adopted: Target = adopt(model, **options)
        return adopted
    annotation = model if isinstance(model, Annotation) else find_annotation(model, **options)
    loader = find_loader(annotation.source)
    if load := getattr(loader, "load", None):
        whole: Target = load(annotation, **options)
        return whole
    require_options(loader.build, annotation.source, annotation, options)
    with torch.random.fork_rng(devices=[]):
        with _SkipInit():
            module, transform = loader.build(annotation, **options)
        chosen = _choose(loader, module, nest(load_weights(annotation)), annotation)
        load_state(module, chosen.tensors, name=annotation.id)
    if chosen.place != (annotation.weights_key_prefix or ""):
        annotation = replace(annotation, weights_key_prefix=chosen.place)
    finish: Callable[..., Target] | None = getattr(loader, "finish", None)
    target = Target(
        annotation=annotation,
        module=module,
        transform=transform,
        num_classes=annotation.num_classes
        if finish is not None
        else count_classes(module, transform, annotation.num_classes),
        notes=chosen.notes,
        class_names=_class_names(loader, annotation),
    )
    return target if finish is None else finish(target, **options)


def _choose(
    loader: Loader, module: torch.nn.Module, checkpoint: Mapping[str, Any], annotation: Annotation
) -> Chosen:
    """Find the network's tensors, as the loader does if it knows how."""
    find: Callable[..., dict[str, torch.Tensor]] | None = getattr(loader, "state_dict", None)
    if find is not None:
        return Chosen(find(checkpoint, annotation), annotation.weights_key_prefix or "")
    return choose_state(module, checkpoint, annotation.weights_key_prefix, name=annotation.id)


def _class_names(loader: Any, annotation: Annotation) -> tuple[str, ...] | None:
    """Return the names of a model's classes in its order, where its publisher states one for each."""
    find = getattr(loader, "class_names", None)
    names = None if find is None else find(annotation)
    return None if names is None or len(names) != annotation.num_classes else tuple(names)


class _SkipInit(TorchFunctionMode):
    """Fill initial weights with zeros instead of drawing them, because they are replaced straight away.

    Drawing the initial weights of a ResNet-50 takes longer than reading its file.
    """

    DRAWS = frozenset(
        {torch.Tensor.uniform_, torch.Tensor.normal_}
        | {nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_, nn.init.kaiming_normal_}
    )

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        first = args[0] if args else options.get("tensor")
        if func in self.DRAWS and isinstance(
            first, nn.Parameter
        ):  # other tensors may be drawn again until they fulfil a condition
            return nn.init.zeros_(first)
        return func(*args, **options)
