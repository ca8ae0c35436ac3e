"""A classifier ready to be attacked: module, preprocessing as data, classes and provenance."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.annotations import Annotation, load_annotations
from securitynet_hub.errors import UnknownNameError

MODEL_CONFIGS = ("extended", "zoo")
"""Where to look for a model: `extended` holds all of `models`."""


@dataclass(frozen=True, kw_only=True)
class Transform:
    """Preprocessing as data, so that a record can tell it: scale to [0, 1], then normalise per channel.

    >>> Transform(height=1, width=1, mean=(0.5,), std=(0.5,))(np.full((1, 1, 1, 1), 255, np.uint8))
    tensor([[[[1.]]]])
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images it takes."""
        return self.height, self.width, len(self.mean)

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Turn uint8 pixels (n, height, width, channels) into float32 inputs (n, channels, height, width)."""
        if pixels.ndim != 4 or pixels.shape[1:] != self.shape or pixels.dtype != np.uint8:
            raise ValueError(
                f"this model takes uint8 images of height, width and channels {self.shape}; got "
                f"{pixels.dtype} of {pixels.shape[1:]}."
            )
        scaled = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32) / 255
        return torch.from_numpy(scaled).sub_(_per_channel(self.mean)).div_(_per_channel(self.std))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for a record."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """A classifier under audit: logits = module(transform(pixels)), shape (n, num_classes)."""

    annotation: Annotation
    module: torch.nn.Module = field(repr=False)
    transform: Transform
    num_classes: int

    def __post_init__(self) -> None:
        if self.annotation.num_classes != self.num_classes:
            raise ValueError(
                f"{self.annotation.id} is annotated with {self.annotation.num_classes} classes; the "
                f"loader built {self.num_classes}."
            )
        self.module.eval()

    @property
    def id(self) -> str:
        """The annotation's id."""
        return self.annotation.id


def load_target(id: str) -> Target:
    """Load an annotated model: verified weights in the right network, in eval mode.

    Args:
        id: ``source/dataset/name[/seed]``, as `load_annotations` lists them. The loader is the module
            ``securitynet_hub.loaders.<source>``.

    Raises:
        UnknownNameError: no such model (the closest ids are given), or its source has no loader.
        WeightsError: the weights are missing or damaged.

    >>> target = load_target("zoo/fashion-mnist/cnn-overfitted-500/1")
    >>> target.num_classes, target.transform.shape, target.module.training
    (10, (28, 28, 1), False)
    """
    annotation = find_annotation(id)
    if annotation.source not in known_loaders():
        raise UnknownNameError("loader for source", annotation.source, known_loaders())
    loader = importlib.import_module(f"securitynet_hub.loaders.{annotation.source}")
    target: Target = loader.load(annotation)
    return target


def find_annotation(id: str) -> Annotation:
    """Return the annotation of a model, from the public models or the embedded zoo."""
    known: list[str] = []
    for config in MODEL_CONFIGS:
        annotations = load_annotations(config)
        if id in annotations:
            annotation: Annotation = annotations[id]
            return annotation
        known += annotations
    raise UnknownNameError("model", id, known)


@lru_cache(maxsize=1)
def known_loaders() -> tuple[str, ...]:
    """Return the sources that have a loader, found by looking into the loaders' folder."""
    loaders = importlib.import_module("securitynet_hub.loaders")
    return tuple(sorted(module.name for module in pkgutil.iter_modules(loaders.__path__)))


def _per_channel(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)
