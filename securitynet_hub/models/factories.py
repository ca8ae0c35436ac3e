"""A network that the user's own code builds, named as ``package.module:factory`` or ``file.py:factory``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from securitynet_hub.core.errors import UnknownNameError

Factory = Callable[[], Any]
"""Returns a model, or a pair of a model and its preprocessing."""


def find_factory(reference: str, *, num_classes: int | None = None) -> Factory:
    """Return the function or class that a reference names, to be called without arguments.

    Its module is imported, which runs it: it is the user's own code. Modules are also looked for in the
    working directory. A factory with a parameter ``num_classes`` gets the number, if there is one.

    Raises:
        ValueError: the reference has another form, or the module cannot be imported.
        UnknownNameError: the module has no such name; the closest are given.

    >>> find_factory("torch.nn:ReLU")()
    ReLU()
    """
    place, colon, name = reference.rpartition(":")
    if not colon or not place or not name:
        raise ValueError(
            f"a network must be named as package.module:factory or file.py:factory; got {reference!r}."
        )
    content = vars(_imported(place))
    if name not in content:
        raise UnknownNameError(f"network in {place} named", name, [key for key in content if key[:1] != "_"])
    factory = content[name]
    if not callable(factory):
        raise ValueError(f"{reference} must be a function or class that returns a model; got {factory!r}.")
    takes_number = num_classes is not None and "num_classes" in inspect.signature(factory).parameters

    def build() -> Any:
        return factory(num_classes=num_classes) if takes_number else factory()

    return build


def as_pair(made: Any) -> tuple[Any, Any]:
    """Return what a factory returned as a model and its preprocessing, None for none.

    >>> as_pair("model"), as_pair(("model", "transform"))
    (('model', None), ('model', 'transform'))
    """
    return made if isinstance(made, tuple) and len(made) == 2 else (made, None)


def _imported(place: str) -> Any:
    with _working_directory_first():
        try:
            if place.endswith(".py"):
                path = Path(place).expanduser().resolve()
                spec = importlib.util.spec_from_file_location(path.stem, path)
                assert spec is not None
                assert spec.loader is not None
                module = importlib.util.module_from_spec(spec)
                sys.modules.setdefault(path.stem, module)
                spec.loader.exec_module(module)
                return module
            return importlib.import_module(place)
        except (ImportError, OSError, SyntaxError) as error:
            raise ValueError(f"{place} cannot be imported: {error}.") from error


@contextmanager
def _working_directory_first() -> Iterator[None]:
    """Let imports find modules of the working directory, as ``python -m`` does, within the block."""
    here = os.getcwd()  # noqa: PTH109
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
