"""Which engine answers for a network on a CPU: torch, ONNX Runtime or OpenVINO.

The choice belongs to the process and its children, as the launch's precision does: ``--engine`` sets the
environment variable ``SECURITYNET_ENGINE``.
"""

from __future__ import annotations

import importlib
import os
from importlib import metadata

from securitynet_hub.core.errors import MissingPackageError, UnknownNameError

VARIABLE = "SECURITYNET_ENGINE"

TORCH = "torch"

NEEDS = {"onnxruntime": ("onnxruntime", "onnx", "onnxscript"), "openvino": ("openvino",)}
"""The packages of each engine: the first one runs networks, all of them convert."""

EXTRAS = {"onnxruntime": "onnx", "openvino": "openvino"}

ENGINES = (TORCH, *NEEDS)


def find_engine() -> str:
    """Return the engine that was chosen.

    Raises:
        UnknownNameError: there is none of that name.

    >>> find_engine()
    'torch'
    """
    name = os.environ.get(VARIABLE) or TORCH
    if name not in ENGINES:
        raise UnknownNameError("engine", name, ENGINES)
    return name


def describe_engine() -> str | None:
    """Return the chosen engine and its version, for records and the names of units; None for torch.

    >>> describe_engine() is None
    True
    """
    name = find_engine()
    return None if name == TORCH else f"{name} {metadata.version(NEEDS[name][0])}"


def choose_engine(name: str) -> None:
    """Let an engine answer in this process and in those that it starts; errors as `require_engine`.

    >>> choose_engine("torch")
    """
    require_engine(name)
    os.environ[VARIABLE] = name


def require_engine(name: str) -> None:
    """Refuse an engine that does not exist or is not installed.

    Raises:
        UnknownNameError: there is none of that name.
        MissingPackageError: one of its packages cannot be imported.

    >>> require_engine("torch")
    """
    if name not in ENGINES:
        raise UnknownNameError("engine", name, ENGINES)
    for package in NEEDS.get(name, ()):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingPackageError(
                f"the engine {name} needs {package}, which cannot be imported ({error}). "
                f"pip install 'securitynet-hub[{EXTRAS[name]}]'"
            ) from error
