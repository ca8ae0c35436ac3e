"""Find where a model comes from: the tables, or a loader. Nothing here waits for torch."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from securitynet_hub.annotations.finding import find_listed
from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.errors import UnknownNameError, WeightsError

if TYPE_CHECKING:
    import torch

    from securitynet_hub.models.target import Preprocessing

FILES = ("file", "onnx")
"""Sources whose models are named by the path of a file."""

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


def find_annotation(model: str, **options: Any) -> Annotation:
    """Return the annotation of a public model, a model of the embedded zoo, or ``source:reference``."""
    if not isinstance(model, str):
        raise ValueError(f"a model must be named by its id or by source:reference; got {model!r}.")
    source, colon, reference = model.partition(":")
    if colon:
        annotate = _annotator(source)
        require_options(annotate, source, reference, options)
        return annotate(reference, **options)
    _refuse_path(model)
    if options:
        raise ValueError(
            f"{model!r} is a model of the tables and takes no options; got {', '.join(options)}."
        )
    return find_listed(model)


def require_named(model: str) -> None:
    """Refuse a name under which there is no model, as far as that is seen without importing its loader.

    Raises:
        UnknownNameError: no such model of the tables, or no such source; the closest names are given.
        ValueError: it is the path of a file or a folder, without a source.
        WeightsError: there is no such file.

    >>> require_named("file:nowhere.pth")
    Traceback (most recent call last):
    ...
    securitynet_hub.core.errors.WeightsError: there is no file nowhere.pth.
    """
    source, colon, reference = model.partition(":")
    if not colon:
        find_annotation(model)
    elif source not in _own_loaders():
        installed = [point.name for point in entry_points(group=ENTRY_POINTS)]
        if source not in installed:
            raise UnknownNameError("open source", source, [*_described_sources(), *installed])
    elif source in FILES and not reference.startswith("hf://") and not Path(reference).expanduser().exists():
        folder = Path(reference).expanduser().parent
        beside = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        close = difflib.get_close_matches(Path(reference).name, beside, n=1)
        hint = f" Did you mean {folder / close[0]}?" if close else ""
        raise WeightsError(f"there is no file {reference}.{hint}")


def is_local(reference: str) -> bool:
    r"""Return whether a reference is a path, so that no network may be asked for it as a repository.

    It is one if there is something at it, if it is spelled like one, or if its first part is a folder here.
    With a revision, ``owner/name@main``, it is a repository.

    >>> [is_local(name) for name in ("/", "./vit", "a/b/c", "~/vit", "vit/", "c:\\vit", "/tmp@x")]
    [True, True, True, True, True, True, True]
    >>> [is_local(name) for name in ("microsoft/resnet-50", "resnet18.a1_in1k", "owner/name@main")]
    [False, False, False]
    """
    owner, slash, name = reference.partition("/")
    if reference.startswith(("/", "~", ".")) or "\\" in reference or "/" in name or (slash and not name):
        return True
    here = Path(reference).exists() or bool(slash and Path(owner).is_dir())
    return here and "@" not in reference


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


def require_options(
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


def _described_sources() -> list[str]:
    """Return the sources whose loader describes models that are in no table, read from its text."""
    folder: Any = importlib.import_module("securitynet_hub.loaders")
    return [
        name
        for name in sorted(_own_loaders())
        if "\ndef annotate(" in (Path(folder.__path__[0]) / f"{name}.py").read_text(encoding="utf-8")
    ]


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
