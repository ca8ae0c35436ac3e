"""Find the metrics that ship with the package: one folder each, with a script of the same name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def known_metrics() -> tuple[str, ...]:
    """Return the names of the metrics that ship with the package.

    >>> "membership_inference" in known_metrics()
    True
    """
    folders = _metrics_folder().iterdir()
    return tuple(sorted(f.name for f in folders if (f / f"{f.name}.py").is_file()))


def metric_folder(name: str) -> Path:
    """Return the folder of a known metric."""
    return _metrics_folder() / name


def _metrics_folder() -> Path:
    return Path(str(resources.files("securitynet_hub.metrics")))
