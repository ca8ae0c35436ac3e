"""The type of a classifier under audit: module, preprocessing, classes and provenance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol

import torch

from securitynet_hub.annotations.schema import Annotation
from securitynet_hub.core.text import printable
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.models.outputs import Outputs
from securitynet_hub.models.state_digest import OF_TENSORS, Digest


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Target:
    """A classifier under audit: logits = module(transform(pixels)), shape (n, num_classes).

    Attributes:
        annotation: what is known of it.
        module: the network; or what asks a function or a service, which has no weights to look at.
        transform: its preprocessing.
        num_classes: number of classes.
        outputs: what the model itself answers with, before the module turns it into logits.
        class_names: the names of its classes in its order, where its publisher states them.
        build: makes its network anew, with initial weights; None where only the caller knows how.
        weights_digest: hash of the weights themselves, where the annotation's is that of a file: the same
            weights in memory have the same.
        notes: sentences on how its weights were found in their checkpoint, and what was ignored there.
    """

    annotation: Annotation
    module: torch.nn.Module
    transform: Preprocessing
    num_classes: int
    outputs: Outputs = "logits"
    build: Callable[[], torch.nn.Module] | None = None
    weights_digest: Digest | None = None
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.annotation.num_classes != self.num_classes:
            raise ValueError(
                f"{self.annotation.id} is annotated with {self.annotation.num_classes} classes; the "
                f"loader built {self.num_classes}."
            )
        if not getattr(self.module, "borrowed", False):  # a caller's own, which could not be copied
            self.module.eval()

    def __repr__(self) -> str:
        return f"Target({', '.join([repr(printable(self.id)), *self._facts()])})"

    def _repr_html_(self) -> str:
        facts = [*self._facts(), *self.notes]
        return f"<b>{escape(printable(self.id))}</b><br>" + "<br>".join(
            escape(printable(fact)) for fact in facts
        )

    def _facts(self) -> list[str]:
        size = " x ".join(map(str, self.transform.shape))
        weights = sum(parameter.numel() for parameter in self.module.parameters())
        return [
            f"{self.num_classes} classes",
            f"input {size}",
            f"{weights:,} parameters" if self.has_weights else "answers only",
            f"answers with {self.outputs}",
        ]

    @property
    def id(self) -> str:
        """The annotation's id."""
        return self.annotation.id

    @property
    def tensors_sha256(self) -> str | None:
        """Hash of the weights themselves, where it is known and the annotation's is another."""
        digest = self.weights_digest
        return digest.hexdigits if digest is not None and digest.kind == OF_TENSORS else None

    @property
    def has_weights(self) -> bool:
        """Whether there are weights and gradients to look at, rather than answers alone."""
        return not getattr(self.module, "answers_only", False)

    @property
    def labels_only(self) -> bool:
        """Whether the model answers with labels alone."""
        return self.outputs == "labels"


class Preprocessing(Protocol):
    """Turns pixels into a network's input: a `Transform`, or a publisher's own code with its interface."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Depth,) height, width and channels of the network's input."""

    def __call__(self, pixels: Pixels) -> torch.Tensor:
        """Turn uint8 pixels (n, [depth,] height, width, channels) into inputs (n, channels, [depth,] ...)."""

    def as_dict(self) -> dict[str, Any]:
        """Return the settings that decide the result, for a record."""
