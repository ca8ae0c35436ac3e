"""Make `datasets.load_dataset("securitynet")` load the data set that ships with this package.

`datasets` has no registry for names, so the one function that all its loading goes through is
wrapped: the bare name leads to the shipped folder, every other name goes through untouched.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from securitynet_hub.annotations.schema import HUB_DATASET
from securitynet_hub.core.errors import UnknownNameError

NAME = "securitynet"

ABOUT = {
    "description": "SecurityNet's annotations of public image classifiers: accuracy, overfitting, model "
    "stealing, membership inference; with flags for what cannot be relied on, and every correction.",
    "citation": "Zhang et al., SecurityNet: Assessing Machine Learning Vulnerabilities on Public Models, "
    "USENIX Security 2024.",
    "homepage": "https://arxiv.org/abs/2310.12665",
    "license": "MIT",
}
"""What the data set's `info` says beside its features."""


def register() -> None:
    """Register the name now if `datasets` is imported, else as soon as it is. Idempotent."""
    if (module := sys.modules.get("datasets")) is not None:
        patch(module)
    elif not any(isinstance(finder, _WhenImported) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WhenImported())


def patch(datasets: ModuleType) -> None:
    """Route the name in `datasets.load` and in `datasets.inspect`, which imports from it.

    Warns, and changes nothing, if this version of `datasets` keeps the function elsewhere.
    """
    places: list[Any] = [getattr(datasets, name, None) for name in ("load", "inspect")]
    if not all(callable(getattr(place, "dataset_module_factory", None)) for place in places):
        warnings.warn(
            f"load_dataset({NAME!r}) is not available: securitynet_hub does not know how to add a "
            f"name to datasets {getattr(datasets, '__version__', '(unknown version)')}. Use "
            f"securitynet_hub.load_annotations() or load_dataset({str(HUB_DATASET)!r}) instead.",
            stacklevel=2,
        )
        return
    for place in places:
        if not hasattr(place.dataset_module_factory, "__securitynet__"):
            place.dataset_module_factory = _routed(place.dataset_module_factory)


def _routed(factory: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(factory)
    def dataset_module_factory(path: str, *args: Any, **kwargs: Any) -> Any:
        there = Path(path).is_dir()  # a folder of that name is what the user means
        if str(path).lower() == NAME and path != NAME and not there:
            raise UnknownNameError("data set", path, [NAME])
        if path != NAME or there:
            return factory(path, *args, **kwargs)
        module = factory(str(HUB_DATASET), *args, **kwargs)
        module.builder_kwargs["dataset_name"] = NAME
        for info in (module.dataset_infos or {}).values():
            for name, text in ABOUT.items():
                setattr(info, name, text)
        return module

    dataset_module_factory.__securitynet__ = True  # type: ignore[attr-defined]
    return dataset_module_factory


class _WhenImported(MetaPathFinder):
    """Patch `datasets` right after its import: importing it here would cost everyone 2 seconds."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "datasets":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(name, path, target) for finder in others if hasattr(finder, "find_spec"))
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            # Many packages look for the spec only to see whether `datasets` is there: stay until it runs.
            def exec_module(module: ModuleType) -> None:
                execute(module)
                with contextlib.suppress(ValueError):
                    sys.meta_path.remove(self)
                patch(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
