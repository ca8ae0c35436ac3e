"""Packages that define networks and are not installed with this one."""

from __future__ import annotations

import importlib
from typing import Any

from securitynet_hub.core.errors import MissingPackageError


def import_network(module: str, network: str) -> Any:
    """Import torchvision, or timm, which needs it, for a network.

    Raises:
        MissingPackageError: it is not installed, or torchvision was built for another torch.
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
