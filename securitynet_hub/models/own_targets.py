"""Models of one's own, listed in a TOML file: what each is called, how it is loaded, and its images."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.errors import MissingPackageError, UnknownNameError
from securitynet_hub.data.transforms import Transform
from securitynet_hub.models.loading import find_annotation

LOADING = ("module", "transform", "outputs", "num_classes", "key_prefix", "name", "sha256")
"""Fields of a table that are options of its source."""

FIELDS = ("model", "data", *LOADING)


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnTarget:
    """A model of one's own.

    Attributes:
        annotation: of the model.
        loading: options of `load_target`.
        data: where its images are, as ``--data`` takes it; None for those of its data set.
        stated: what the file says, which decides its results besides the weights.
    """

    annotation: Annotation
    loading: Mapping[str, Any] = field(repr=False)
    data: str | None
    stated: Mapping[str, Any]


def read_targets(path: Path) -> list[OwnTarget]:
    """Read a TOML file with a table ``[[target]]`` for each model.

    Each has ``model`` (as `load_target` takes it, such as ``file:weights.pth``; paths are relative to the
    file), and may have ``data``, ``module``, ``transform`` (a table of the fields of `Transform`),
    ``outputs``, ``num_classes``, ``key_prefix``, ``name`` and ``sha256``.

    Raises:
        ValueError: the file cannot be read, or a table has another form.
        UnknownNameError: a table has another field; the closest names are given.
        Others: as `find_annotation`.
    """
    tables = read_toml(path).get("target")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{path} must have a table [[target]] for each model.")
    return [_own(table, path) for table in tables]


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ValueError: it cannot be read.
        MissingPackageError: Python is older than 3.11, and tomli is not installed.
    """
    try:
        toml: Any = importlib.import_module("tomllib")
    except ImportError:
        try:
            toml = importlib.import_module("tomli")
        except ImportError as error:
            raise MissingPackageError("TOML files need Python 3.11, or: pip install tomli") from error
    try:
        found: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as TOML: {error}.") from error
    return found


def as_transform(stated: Mapping[str, Any]) -> Transform:
    """Return the preprocessing that named settings describe; lists become tuples.

    Raises:
        UnknownNameError: there is no such setting; the closest names are given.
        ValueError: as `Transform`, or height or width is missing.

    >>> as_transform({"height": 2, "width": 2, "mean": 0.5}).mean
    (0.5,)
    """
    _require_known("setting of a transform", stated, [part.name for part in fields(Transform)])
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stated.items()
    }
    try:
        return Transform(**settings)
    except TypeError as error:
        raise ValueError(
            f"a transform needs height and width, and numbers where numbers belong (resize=256, or 32,32 for "
            f"rows and columns); got {dict(stated)}."
        ) from error


def _own(table: Mapping[str, Any], path: Path) -> OwnTarget:
    _require_known("field of a target", table, FIELDS)
    if not isinstance(table.get("model"), str):
        raise ValueError(f"{path}: each [[target]] must name its model, such as model = 'file:net.pth'.")
    loading = {name: table[name] for name in LOADING if name in table}
    if "transform" in loading:
        loading["transform"] = as_transform(loading["transform"])
    if isinstance(loading.get("module"), str):
        file, colon, factory = loading["module"].rpartition(":")
        loading["module"] = f"{_relative_to(path.parent, file)}{colon}{factory}"
    model = _relative_to(path.parent, table["model"])
    return OwnTarget(
        annotation=find_annotation(model, **loading),
        loading=loading,
        data=None if "data" not in table else _relative_to(path.parent, table["data"]),
        stated={name: value for name, value in table.items() if name not in ("model", "data")},
    )


def _relative_to(folder: Path, reference: str) -> str:
    """Return a reference whose path is relative to a folder, if such a path is there."""
    source, colon, rest = reference.rpartition(":")
    place, question, query = rest.partition("?")
    there = folder / place
    return f"{source}{colon}{there}{question}{query}" if place and there.exists() else reference


def _require_known(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    names = list(known)
    for name in given:
        if name not in names:
            raise UnknownNameError(kind, name, names)
