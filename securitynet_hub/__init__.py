"""Audit public image classifiers: annotations, safe loading, attacks as metrics, results with intervals.

Importing the package makes ``datasets.load_dataset("securitynet")`` load the shipped annotations. The
names below load their modules on first use, so that listing models does not wait for PyTorch.

>>> import securitynet_hub as hub
>>> (record,) = hub.audit("zoo/fashion-mnist/cnn-overfitted-500/1", attacks="modified_entropy")
>>> record
Record(modified_entropy on zoo/fashion-mnist/cnn-overfitted-500/1: auc 0.628 (0.604 to 0.652))
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet_hub.annotations import registration

if TYPE_CHECKING:
    from securitynet_hub import statistics as statistics
    from securitynet_hub.annotations.schema import load_annotations as load_annotations
    from securitynet_hub.attacks.audit import audit as audit
    from securitynet_hub.attacks.membership.comparing import compare as compare
    from securitynet_hub.attacks.membership.comparing import compare_leakage as compare_leakage
    from securitynet_hub.attacks.membership.own_shadows import train_shadows as train_shadows
    from securitynet_hub.attacks.subject import AuditData as AuditData
    from securitynet_hub.attacks.verdicts import verdict as verdict
    from securitynet_hub.data.images import LabelledImages as LabelledImages
    from securitynet_hub.data.images import load_images as load_images
    from securitynet_hub.data.per_image import PerImage as PerImage
    from securitynet_hub.data.splits import Split as Split
    from securitynet_hub.data.transforms import Transform as Transform
    from securitynet_hub.engine.training import Recipe as Recipe
    from securitynet_hub.evaluation import load_metric as load_metric
    from securitynet_hub.models.functions import black_box as black_box
    from securitynet_hub.models.loading import load_target as load_target
    from securitynet_hub.records.frame import to_frame as to_frame
    from securitynet_hub.records.index import read_records as read_records
    from securitynet_hub.reports.inline import report as report
    from securitynet_hub.statistics import signals as signals

_HOMES = {
    "AuditData": "attacks.subject",
    "LabelledImages": "data.images",
    "PerImage": "data.per_image",
    "Recipe": "engine.training",
    "Split": "data.splits",
    "Transform": "data.transforms",
    "audit": "attacks.audit",
    "black_box": "models.functions",
    "compare": "attacks.membership.comparing",
    "compare_leakage": "attacks.membership.comparing",
    "load_annotations": "annotations.schema",
    "load_images": "data.images",
    "load_metric": "evaluation",
    "load_target": "models.loading",
    "read_records": "records.index",
    "report": "reports.inline",
    "to_frame": "records.frame",
    "train_shadows": "attacks.membership.own_shadows",
    "verdict": "attacks.verdicts",
}
_MODULES = {"signals": "statistics.signals", "statistics": "statistics"}

__all__ = [*_HOMES, *_MODULES]  # noqa: PLE0604

for _name in ("loaders", "metrics"):
    _folder = Path(__file__).parents[1] / _name
    if not (Path(__file__).parent / _name).is_dir():
        # In a checkout the two lie beside the package, not in it.
        _spec = spec_from_file_location(
            f"{__name__}.{_name}", _folder / "__init__.py", submodule_search_locations=[str(_folder)]
        )
        assert _spec is not None
        assert _spec.loader is not None
        globals()[_name] = sys.modules[_spec.name] = module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules[_spec.name])

registration.register()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
