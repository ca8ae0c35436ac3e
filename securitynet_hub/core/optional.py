"""Import packages that define networks and are optional."""

from __future__ import annotations

import importlib
from typing import Any

from securitynet_hub.core.errors import MissingPackageError


def import_network(module: str, network: str) -> Any:
    """Import a module of torchvision, or of timm, which needs torchvision, for a network.

    Raises:
        MissingPackageError: the package is not installed, or torchvision was built for another torch.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # RuntimeError: one that was built for another torch
        package = module.partition(".")[0]
        install = "Install" if package == "torchvision" else f"pip install {package}, and install"
        raise MissingPackageError(
            f"the network {network} is defined in {package}, which cannot be imported ({error}). {install} "
            "the torchvision that goes with your torch: https://pytorch.org/get-started"
        ) from error
