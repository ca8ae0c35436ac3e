"""The type of a classifier under audit: module, preprocessing, classes and provenance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.data.pixels import Pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """A classifier under audit: logits = module(transform(pixels)), shape (n, num_classes)."""

    annotation: Annotation
    module: torch.nn.Module = field(repr=False)
    transform: Preprocessing
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


class Preprocessing(Protocol):
    """Turns pixels into a network's input: a `Transform`, or a publisher's own code with its interface."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Depth,) height, width and channels of the network's input."""

    def __call__(self, pixels: Pixels) -> torch.Tensor:
        """Turn uint8 pixels (n, [depth,] height, width, channels) into inputs (n, channels, [depth,] ...)."""

    def as_dict(self) -> dict[str, Any]:
        """Return the settings that decide the result, for a record."""
