"""The network of any known model, from scratch or pre-trained, for any number of classes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.errors import ModelError
from securitynet_hub.data.transforms import Transform
from securitynet_hub.models.class_count import count_classes
from securitynet_hub.models.loading import find_annotation, find_loader, load_target
from securitynet_hub.models.target import Preprocessing


class Architecture(NamedTuple):
    """A network to be trained, such as a surrogate's.

    Attributes:
        name: the model that the network comes from, and whether its weights are kept.
        build: makes the network; initial weights are drawn from torch's random state.
        transform: the preprocessing of the network.
    """

    name: str
    build: Callable[[], torch.nn.Module]
    transform: Preprocessing


def architecture(
    model: str | Annotation, num_classes: int, *, pretrained: bool = False, **options: Any
) -> Architecture:
    """Return the network of a model, to be trained for `num_classes` classes.

    From scratch, all weights are drawn as the network's own code initialises them. A pre-trained network
    keeps its weights except for the last layer, which is drawn anew because its classes are different ones.

    Args:
        model: as for `targets.load_target`: an id, an annotation, ``timm:<name>``,
            ``transformers:<repository>`` or ``file:<path>``.
        num_classes: number of classes of the model to extract.
        pretrained: whether to keep the weights, which are downloaded and verified as for any target.
        options: options of the loader.

    Raises:
        ModelError: the last layer is neither linear nor a convolution.
        Others: as `targets.load_target`.

    >>> architecture("zoo/fashion-mnist/bn-cnn-clean/1", 7).build()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 7])
    """
    annotation = model if isinstance(model, Annotation) else find_annotation(model, **options)
    name = f"{annotation.id}, {'pre-trained' if pretrained else 'from scratch'}"
    if pretrained:
        target = load_target(annotation, **options)

        def build_pretrained() -> torch.nn.Module:
            return with_head(copy.deepcopy(target.module).cpu(), num_classes)

        return Architecture(name, build_pretrained, target.transform)
    loader = find_loader(annotation.source)

    def build() -> torch.nn.Module:
        module, _ = loader.build(annotation, **options)
        return module if count_classes(module) == num_classes else with_head(module, num_classes)

    with torch.random.fork_rng(devices=[]):
        _, transform = loader.build(annotation, **options)
    return Architecture(name, build, transform)


def fitted(network: Architecture, shape: Sequence[int]) -> Architecture:
    """Return the network, with a resize for images of this shape if it takes only images of its own size.

    Args:
        network: the network.
        shape: height, width and channels of the images.

    >>> fitted(architecture("zoo/fashion-mnist/cnn-clean/1", 10), (8, 8, 1)).transform.resize
    (28, 28)
    """
    transform = network.transform
    if not isinstance(transform, Transform) or transform.resize is not None or transform.depth is not None:
        return network
    sides = transform.height, transform.width
    return (
        network if tuple(shape[:2]) == sides else network._replace(transform=replace(transform, resize=sides))
    )


def with_head(module: torch.nn.Module, num_classes: int) -> torch.nn.Module:
    """Replace a classifier's last layer, in place, by a newly drawn one for `num_classes`, and return it.

    The last layer is the owner of the last parameter, as in `count_classes`.

    Raises:
        ModelError: the last layer is neither linear nor a convolution.

    >>> with_head(torch.nn.Sequential(torch.nn.Linear(4, 3)), 2)
    Sequential(
      (0): Linear(in_features=4, out_features=2, bias=True)
    )
    """
    *_, (key, _) = (("", None), *module.named_parameters())
    path, _, _ = key.rpartition(".")
    head = module.get_submodule(path)
    if type(head) is torch.nn.Linear:
        fresh: torch.nn.Module = torch.nn.Linear(head.in_features, num_classes, head.bias is not None)
    elif type(head) is torch.nn.Conv2d:
        fresh = torch.nn.Conv2d(
            head.in_channels,
            num_classes,
            head.kernel_size,  # type: ignore[arg-type]
            head.stride,  # type: ignore[arg-type]
            head.padding,  # type: ignore[arg-type]
            bias=head.bias is not None,
        )
    else:
        raise ModelError(
            f"the last layer of {type(module).__name__} is {head}, which cannot be made for "
            f"{num_classes} classes; a linear one or a convolution can."
        )
    if not path:
        return fresh
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, fresh)
    return module
