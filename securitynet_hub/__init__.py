"""Audit public image classifiers: annotations, safe loading, attacks as metrics, results with intervals.

Importing the package makes ``datasets.load_dataset("securitynet")`` load the shipped annotations. The
names below load their modules on first use, so that listing models does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet_hub import registration

if TYPE_CHECKING:
    from securitynet_hub import signals as signals
    from securitynet_hub import statistics as statistics
    from securitynet_hub.annotations import load_annotations as load_annotations
    from securitynet_hub.auditing import audit as audit
    from securitynet_hub.audits.subject import AuditData as AuditData
    from securitynet_hub.evaluation import load_metric as load_metric
    from securitynet_hub.images import LabelledImages as LabelledImages
    from securitynet_hub.images import load_images as load_images
    from securitynet_hub.records import read_records as read_records
    from securitynet_hub.splits import Split as Split
    from securitynet_hub.targets import load_target as load_target

_HOMES = {
    "AuditData": "audits.subject",
    "LabelledImages": "images",
    "Split": "splits",
    "audit": "auditing",
    "load_annotations": "annotations",
    "load_images": "images",
    "load_metric": "evaluation",
    "load_target": "targets",
    "read_records": "records",
}
_MODULES = ("signals", "statistics")

__all__ = [*_HOMES, *_MODULES]  # noqa: PLE0604

if not (Path(__file__).parent / "loaders").is_dir():
    # In a checkout metrics/ and loaders/ lie beside the package, not in it.
    __path__.append(str(Path(__file__).parents[1]))

registration.register()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
