"""The parts of an extraction, found from the names and numbers that a command line or a record gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from securitynet_hub.attacks.stealing.output_formats import OutputFormat
from securitynet_hub.attacks.subject import AuditData
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.images import images_from
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.query_images import QUERY_IMAGES, query_images, transfer_set
from securitynet_hub.engine.training import Recipe
from securitynet_hub.models.architectures import Architecture, architecture, fitted
from securitynet_hub.models.target import Target

CALLERS = ("file", "function", "module", "onnx")
"""Sources of models whose network only the caller can make anew."""

POOL_SIZE = 1797
"""Images in a pool of another origin: as many as the smallest source of `query_images`, the digits, has."""


def find_view(view: str | Mapping[str, Any] | OutputFormat) -> OutputFormat:
    """Return the format of the answers, from its kind or its fields.

    Raises:
        UnknownNameError: no such kind or field; the closest names are given.

    >>> find_view({"kind": "top_k", "k": 3}).k
    3
    """
    if isinstance(view, OutputFormat):
        return view
    given = {"kind": view} if isinstance(view, str) else dict(view)
    _require_known("field of an output format", given, (field.name for field in fields(OutputFormat)))
    return OutputFormat(**given)


def find_recipe(recipe: Mapping[str, Any] | Recipe, otherwise: Recipe) -> Recipe:
    """Return how surrogates are trained, from the fields that differ from another recipe's.

    Raises:
        UnknownNameError: no such field; the closest names are given.

    >>> recipe = find_recipe({"epochs": 5}, Recipe(epochs=100, augment="shift"))
    >>> recipe.epochs, recipe.augment
    (5, 'shift')
    """
    if isinstance(recipe, Recipe):
        return recipe
    _require_known("field of a recipe", recipe, (field.name for field in fields(Recipe)))
    return replace(otherwise, **recipe)


def find_network(
    surrogate: str | Architecture | None, pretrained: bool, target: Target, data: AuditData
) -> Architecture:
    """Return the surrogate's network: the target's own from scratch, unless another one is given.

    A network for images of another size gets the images resized.

    Args:
        surrogate: the id of a model, or the network itself.
        pretrained: whether the network keeps the named model's weights, except the last layer's.
        target: the model under attack; decides the number of classes.
        data: decides the size of the images.

    Raises:
        ValueError: `pretrained` without a name, or only the caller knows the target's own network.
        Others: as `architectures.architecture`.
    """
    if isinstance(surrogate, Architecture):
        found = surrogate
    elif surrogate is None and pretrained:
        raise ValueError("pretrained needs surrogate, the id of the model whose weights are to be kept.")
    elif surrogate is None and target.build is not None:
        found = Architecture(f"{target.id}, from scratch", target.build, target.transform)
    elif surrogate is None and target.annotation.source in CALLERS:
        raise ValueError(
            f"how the network of {target.id} is initialised is not known here; pass the id of another model "
            "as surrogate, or an Architecture."
        )
    elif surrogate is None:
        # Its preprocessing is that of the images' size, as `subject.at_one_size` leaves it.
        found = architecture(target.annotation, target.num_classes)._replace(transform=target.transform)
    else:
        found = architecture(surrogate, target.num_classes, pretrained=pretrained)
    return fitted(found, _shape(data))


def find_queries(named: str | Sequence[str], data: AuditData, pool_size: int) -> Pixels:
    """Return images to ask about, in the shape of the audit's images.

    Args:
        named: a name that `query_images` takes; several such names, for a random transfer set drawn from all
            of them; or a folder or data set that `datasets.load_dataset` takes, for a draw from its training
            images.
        data: decides the shape.
        pool_size: number of images.

    Raises:
        ValueError: there are fewer images, or none can be read.

    >>> from securitynet_hub.attacks.subject import known_data
    >>> from securitynet_hub.models.loading import find_annotation
    >>> data = known_data(find_annotation("zoo/fashion-mnist/cnn-clean/1"))
    >>> find_queries(["digits", "shapes"], data, 10).shape
    (10, 28, 28, 1)
    """
    shape = _shape(data)
    if not isinstance(named, str):
        sources = [query_images(name, min(pool_size, POOL_SIZE), shape) for name in named]
        return transfer_set(pool_size, sources, shape)
    if named in QUERY_IMAGES or not set("/.") & set(named):
        return query_images(named, pool_size, shape)
    import datasets

    height, width, channels = shape
    loaded = datasets.load_dataset(named, split="train")
    if height != width:
        raise ValueError(f"images of {named} can be made square alone; the target's are {height} x {width}.")
    images = images_from(loaded, name=named, limit=pool_size, channels=channels, size=height)
    return images.array(np.arange(len(images)))


def _shape(data: AuditData) -> tuple[int, ...]:
    """Return the one size of the images.

    Raises:
        ValueError: they differ in size; `subject.at_one_size` mends that.
    """
    if data.images.shape is None:
        raise ValueError(f"{data.images.name} has images of several sizes; bring them to one size first.")
    return data.images.shape


def _require_known(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    names = tuple(known)
    for name in given:
        if name not in names:
            raise UnknownNameError(kind, name, names)
