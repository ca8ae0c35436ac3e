"""The folder of what this package downloads, trains and remembers."""

from __future__ import annotations

import os
from pathlib import Path


def package_cache() -> Path:
    """Return ``HF_HOME/securitynet``, whether or not it exists, without importing huggingface_hub.

    >>> package_cache().name
    'securitynet'
    """
    return _home() / "securitynet"


def hub_cache() -> Path:
    """Return the folder of huggingface_hub's downloads: ``HF_HUB_CACHE``, else ``HF_HOME/hub``.

    >>> hub_cache().is_absolute()
    True
    """
    stated = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(stated)).expanduser() if stated else _home() / "hub"


def _home() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{caches}/huggingface"
    return Path(os.path.expandvars(home)).expanduser()
