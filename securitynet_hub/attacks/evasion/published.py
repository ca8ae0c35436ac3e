"""Figures of RobustBench, to stand beside ours: robust accuracy under AutoAttack, as published.

RobustBench keeps a JSON file for each model, ``model_info/<data set>/<norm>/<name>.json``, with figures in
percent.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.attacks.evasion.kind import Options
from securitynet_hub.attacks.evasion.threat import Threat

LARGEST = 1 << 16
"""Bytes of the largest file that is read."""

KNOWN: dict[str, dict[str, Any]] = {
    f"robust_models_transfer/imagenet-1k/{network}_linf_eps4.0": {
        "name": f"RobustBench imagenet/Linf/{name}",
        "clean_acc": clean,
        "autoattack_acc": robust,
        "eps": "4/255",
        "norm": "Linf",
    }
    for network, name, clean, robust in (
        ("resnet18", "Salman2020Do_R18", 52.92, 25.32),
        ("resnet50", "Salman2020Do_R50", 64.02, 34.96),
        ("wide_resnet50_2", "Salman2020Do_50_2", 68.46, 38.14),
    )
}
"""Published figures of models of the tables, of the same file's name (RobustBench's ``model_info``, MIT)."""


class ModelInfo(BaseModel):
    """What RobustBench says of a model; figures in percent."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = ""
    clean_acc: float
    autoattack_acc: float
    eps: str
    norm: str = "Linf"

    @field_validator("clean_acc", "autoattack_acc")
    @classmethod
    def _percent(cls, value: float) -> float:
        if not (math.isfinite(value) and 0 <= value <= 100):
            raise ValueError("should be a percentage in 0..100")
        return value

    @field_validator("eps", mode="before")
    @classmethod
    def _radius(cls, value: Any) -> str:
        Threat.of("Linf", value)
        return str(value)


def read_model_info(path: Path) -> ModelInfo:
    """Read a file of RobustBench's ``model_info``; the folder that holds it names the norm.

    Raises:
        ValueError: there is no such file, or it holds no such figures.
    """
    try:
        with path.open("rb") as file:
            read = file.read(LARGEST + 1)
        content = json.loads(read) if len(read) <= LARGEST else None
    except (OSError, RecursionError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a model_info of RobustBench: {error}") from error
    if len(read) > LARGEST:
        raise ValueError(f"{path} has more than {LARGEST:,} bytes and is no model_info of RobustBench.")
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no model_info of RobustBench: it holds a {type(content).__name__}.")
    norm = path.parent.name if path.parent.name in ("Linf", "L2") else "Linf"
    try:
        return ModelInfo.model_validate({"norm": norm, **content, "name": f"RobustBench {path.stem}"})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path} is no model_info of RobustBench: {place}: {first['msg']}.") from error


def find_published(annotation: Annotation, options: Options) -> dict[str, Any] | None:
    """Return the published figures of a model as fractions, and whether they are of the same threat; or None.

    Raises:
        ValueError: a file that is named cannot be read.

    >>> from dataclasses import replace
    >>> from securitynet_hub.models.loading import find_annotation
    >>> row = replace(find_annotation("zoo/fashion-mnist/cnn-clean/1"), id=next(iter(KNOWN)))
    >>> found = find_published(row, Options(eps="4/255"))
    >>> found["robust_accuracy"], found["same_threat"]
    (0.2532, True)
    """
    if options.published is not None:
        info = read_model_info(Path(options.published))
    elif annotation.id in KNOWN:
        info = ModelInfo.model_validate(KNOWN[annotation.id])
    else:
        return None
    own = Threat.of(options.norm, options.eps)
    same = own.norm == info.norm and math.isclose(own.eps, Threat.of(own.norm, info.eps).eps, rel_tol=1e-6)
    return {
        "source": info.name,
        "accuracy": round(info.clean_acc / 100, 6),
        "robust_accuracy": round(info.autoattack_acc / 100, 6),
        "norm": info.norm,
        "eps": info.eps,
        "same_threat": same,
    }
