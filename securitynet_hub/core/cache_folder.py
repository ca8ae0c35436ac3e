"""The folder of what this package downloads, trains and remembers."""

from __future__ import annotations

import os
from pathlib import Path


def package_cache() -> Path:
    """Return ``HF_HOME/securitynet``, whether or not it exists, without importing huggingface_hub.

    >>> package_cache().name
    'securitynet'
    """
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{caches}/huggingface"
    return Path(os.path.expandvars(home)).expanduser() / "securitynet"
