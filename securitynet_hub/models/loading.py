"""Load a model: find its annotation and loader, and put verified weights into its network."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from itertools import islice
from typing import Any, Protocol

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from securitynet_hub.annotations.finding import find_listed
from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.errors import UnknownNameError, WeightsError
from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.models.target import Preprocessing, Target
from securitynet_hub.weights.fetch import load_weights
from securitynet_hub.weights.tensors import nest

ENTRY_POINTS = "securitynet_hub.loaders"
"""Entry-point group in which installed packages offer loaders: the source's name, and a `Loader`."""

SHOWN = 5
"""Number of keys that an error message lists."""


class Loader(Protocol):
    """A module in ``securitynet_hub.loaders``, or an entry point of an installed package.

    A loader also has ``state_dict(checkpoint, annotation)`` if `Annotation.weights_key_prefix` is not enough
    to find the tensors in the checkpoint. A loader of models that are not in the tables also has
    ``annotate(reference, **options)``, which describes the model named ``source:reference``; `build` gets the
    same options. A loader of what has no tensors to be put in has, in the place of `build`,
    ``load(annotation, **options)``, which returns the target.
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
        pick: Callable[..., dict[str, torch.Tensor]] = getattr(loader, "state_dict", state_dict)
        load_state(module, pick(nest(load_weights(annotation)), annotation), name=annotation.id)
    return Target(
        annotation=annotation,
        module=module,
        transform=transform,
        num_classes=count_classes(module),
    )


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


def state_dict(checkpoint: Mapping[str, Any], annotation: Annotation) -> dict[str, torch.Tensor]:
    """Pick a network's tensors out of a checkpoint as the annotation's ``weights_key_prefix`` says.

    A prefix that ends in a dot is removed from every key. Any other prefix is the key under which the tensors
    lie; entries beside it (an epoch, an accuracy) are ignored.

    Raises:
        WeightsError: a key lacks the prefix, there is nothing under it, or an entry is not a tensor.
    """
    prefix = annotation.weights_key_prefix or ""
    tensors: Any = checkpoint
    if prefix.endswith("."):
        strange = sorted(key for key in checkpoint if not key.startswith(prefix))
        if strange:
            raise WeightsError(
                f"{annotation.id}: every key should start with {prefix!r}; these do not: {listed(strange)}."
            )
        tensors = {key.removeprefix(prefix): tensor for key, tensor in checkpoint.items()}
    elif prefix:
        tensors = checkpoint.get(prefix)
        if not isinstance(tensors, Mapping):
            raise WeightsError(
                f"{annotation.id}: the weights should lie under {prefix!r}; there are {listed(checkpoint)}."
            )
    strange = sorted(key for key, value in tensors.items() if not isinstance(value, torch.Tensor))
    if strange:
        raise WeightsError(f"{annotation.id}: these entries are not tensors: {listed(strange)}.")
    return dict(tensors)


def load_state(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], *, name: str) -> None:
    """Copy tensors into a network: every key, shape and kind of number must match.

    Only BatchNorm's ``num_batches_tracked`` may be missing, as torch allows for files from before 0.4.1; it
    does not change the network's outputs.

    Raises:
        WeightsError: keys are missing or unexpected, or tensors have another shape; the message names them.
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in tensors and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in tensors if key not in expected]
    differing = [
        f"{key} is {_describe(tensors[key])} instead of {_describe(expected[key])}"
        for key in expected
        if key in tensors and _describe(tensors[key]) != _describe(expected[key])
    ]
    found = {"missing": missing, "not the network's": unexpected, "of another form": differing}
    if any(found.values()):
        text = "; ".join(f"{kind}: {listed(keys)}" for kind, keys in found.items() if keys)
        raise WeightsError(f"{name}: the weights are not those of this network. {text}.")
    tied: dict[int, str] = {}
    for key in expected.keys() & tensors.keys():
        place = expected[key].data_ptr()  # 0 for a tensor without memory
        first = tied.setdefault(place, key) if place else key
        if first != key and not torch.equal(tensors[first], tensors[key]):
            raise WeightsError(f"{name}: {first} and {key} are one tensor of the network, but differ.")
    expected.update(tensors)  # unlike a plain dict, it has the versions of the layers' formats
    module.load_state_dict(expected, strict=True)


def count_classes(module: torch.nn.Module) -> int:
    """Return the number of classes of a classifier: the number of rows of its last parameter.

    A forward pass would also give the number, but takes longer than loading. Tests compare the two, and
    `securitynet_hub.engine.inference.predict` checks every output.

    >>> count_classes(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), torch.nn.Linear(8, 5)))
    5
    """
    *_, last = (torch.empty(0), *module.parameters())
    return len(last)


def find_annotation(model: str, **options: Any) -> Annotation:
    """Return the annotation of a public model, a model of the embedded zoo, or ``source:reference``."""
    if not isinstance(model, str):
        raise ValueError(f"a model must be named by its id or by source:reference; got {model!r}.")
    source, colon, reference = model.partition(":")
    if colon:
        annotate = _annotator(source)
        _require_options(annotate, source, reference, options)
        return annotate(reference, **options)
    if options:
        raise ValueError(
            f"{model!r} is a model of the tables and takes no options; got {', '.join(options)}."
        )
    return find_listed(model)


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


def listed(keys: Collection[str]) -> str:
    """List the first keys and count the rest."""
    rest = len(keys) - SHOWN
    return ", ".join(islice(keys, SHOWN)) + (f" and {rest} more" if rest > 0 else "")


def _describe(tensor: torch.Tensor) -> str:
    """Describe shape and kind of number; precision may differ."""
    kind = "floating-point" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{kind} {tuple(tensor.shape)}"
