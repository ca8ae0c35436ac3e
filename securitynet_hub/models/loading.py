"""Load a model: find its annotation and loader, and put verified weights into its network."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from securitynet_hub.annotations.finding import find_listed
from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.models.class_count import count_classes
from securitynet_hub.models.state import Chosen, choose_state, load_state
from securitynet_hub.models.target import Preprocessing, Target
from securitynet_hub.weights.fetch import load_weights
from securitynet_hub.weights.tensors import nest

ENTRY_POINTS = "securitynet_hub.loaders"
"""Entry-point group in which installed packages offer loaders: the source's name, and a `Loader`."""


class Loader(Protocol):
    """A module in ``securitynet_hub.loaders``, or an entry point of an installed package.

    A loader also has ``state_dict(checkpoint, annotation)`` if `securitynet_hub.models.state.choose_state`
    cannot find the tensors in the checkpoint. A loader of models that are not in the tables also has
    ``annotate(reference, **options)``, which describes the model named ``source:reference``; `build` gets the
    same options. A loader of what has no tensors to be put in has, in the place of `build`,
    ``load(annotation, **options)``, which returns the target. A loader whose models state the names of their
    classes has ``class_names(annotation)``, which returns them in the model's order.
    """

    @staticmethod
    def build(annotation: Annotation, **options: Any) -> tuple[torch.nn.Module, Preprocessing]:
        """Return the network, whose weights are not loaded yet, and its preprocessing."""


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
        _require_options(adopt, "a model in memory", model, options)
        adopted: Target = adopt(model, **options)
        return adopted
    annotation = model if isinstance(model, Annotation) else find_annotation(model, **options)
    loader = find_loader(annotation.source)
    if load := getattr(loader, "load", None):
        whole: Target = load(annotation, **options)
        return whole
    _require_options(loader.build, annotation.source, annotation, options)
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


def find_annotation(model: str, **options: Any) -> Annotation:
    """Return the annotation of a public model, a model of the embedded zoo, or ``source:reference``."""
    if not isinstance(model, str):
        raise ValueError(f"a model must be named by its id or by source:reference; got {model!r}.")
    source, colon, reference = model.partition(":")
    if colon:
        annotate = _annotator(source)
        _require_options(annotate, source, reference, options)
        return annotate(reference, **options)
    _refuse_path(model)
    if options:
        raise ValueError(
            f"{model!r} is a model of the tables and takes no options; got {', '.join(options)}."
        )
    return find_listed(model)


def _refuse_path(model: str) -> None:
    """Say how to name a file or a folder of a model."""
    path = Path(model).expanduser()
    if path.is_file():
        how = (
            f"onnx:{model}"
            if path.suffix == ".onnx"
            else f"file:{model}, with its network as module= (--module PACKAGE:FACTORY)"
        )
        raise ValueError(f"{model} is a file: name it {how}.")
    if (path / "config.json").is_file():
        raise ValueError(f"{model} is a folder of transformers: name it transformers:{model}.")


def _annotator(source: str) -> Callable[..., Annotation]:
    def find(name: str) -> Callable[..., Annotation] | None:
        return getattr(find_loader(name), "annotate", None)

    annotate = find(source) if source in known_loaders() else None
    if annotate is None:
        raise UnknownNameError("open source", source, filter(find, known_loaders()))
    return annotate


def _require_options(
    function: Callable[..., Any], source: str, model: str | Annotation, options: dict[str, Any]
) -> None:
    """Refuse options that a loader does not know; the message lists the known ones."""
    signature = inspect.signature(function)
    try:
        signature.bind(model, **options)
    except TypeError as error:
        known = ", ".join(list(signature.parameters)[1:]) or "none"
        raise ValueError(f"{source}: {error}. Options of this source: {known}.") from error


def find_loader(source: str) -> Loader:
    """Return what loads the models of a source: a module of the folder, or else of an installed package.

    Raises:
        UnknownNameError: the source has no loader; the closest names are given.
    """
    loader: Any = None
    if source in _own_loaders():
        loader = importlib.import_module(f"securitynet_hub.loaders.{source}")
    elif source in known_loaders():
        loader = _installed_loaders()[source]
    else:
        raise UnknownNameError("loader for source", source, known_loaders())
    found: Loader = loader
    return found


@lru_cache(maxsize=1)
def known_loaders() -> tuple[str, ...]:
    """Return the sources that have a loader, in the folder ``loaders`` or in an installed package."""
    return tuple(sorted({*_own_loaders(), *_installed_loaders()}))


def _own_loaders() -> set[str]:
    """Return the names of the modules in the loaders' folder."""
    loaders = importlib.import_module("securitynet_hub.loaders")
    return {module.name for module in pkgutil.iter_modules(loaders.__path__)}


def _installed_loaders() -> dict[str, Any]:
    """Return the loaders that installed packages offer, by source.

    The folder's loader has priority where both have a source. A warning says which ones cannot be loaded.
    """
    found: dict[str, Any] = {}
    own = _own_loaders()
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        if point.name in own:
            continue
        try:
            loader = point.load()
            if not callable(getattr(loader, "build", None)):
                raise TypeError(f"{loader!r} has no function build")
        except Exception as error:  # another's code
            warnings.warn(
                f"the loader {point.value} for {point.name!r} cannot be loaded: {error!r}.",
                RuntimeWarning,
                stacklevel=2,
            )
            continue
        found.setdefault(point.name, loader)
    return found
