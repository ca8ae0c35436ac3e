"""A detector: what it returns, and the literal that ends its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks import kind
from securitynet_hub.attacks.backdoor.detector_inputs import DetectorInputs
from securitynet_hub.attacks.backdoor.inversion import Inversion
from securitynet_hub.attacks.backdoor.needs import Need
from securitynet_hub.models.target import Target

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """What a detector finds: one score for the model, or one score for each image that it judges.

    Attributes:
        score: the model's score, higher = more likely poisoned; None where it cannot be measured.
        suspect: the class that a backdoor would lead to; None where the detector names none.
        figures: everything else that belongs in a record.
        inversion: the recovered triggers, if the detector recovers any.
        scores: shape (images,), higher = more likely poisoned; for detectors of inputs and training images.
        pictures: for each name one of shape (height, width, channels), written beside the record.
    """

    score: float | None = None
    suspect: int | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    inversion: Inversion | None = None
    scores: npt.NDArray[np.float64] | None = None
    pictures: Mapping[str, Pixels] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Attack(kind.Attack):
    """One detector: ``run(target, inputs, **settings)`` returns a `Finding`.

    Attributes:
        needs: what must be at hand; each says in words what it is, and why a target lacks it.
        judges: the ``model``, each of the ``inputs``, or each of the ``training`` images.
        many: the most clean images that a detector of models uses; 0 for as many as the audit draws for all.
        compares: whether it compares the model with clean ones, where an auditor has some.
        unused_beside: its settings that mean nothing where it does.
        costly: whether it sends thousands of queries for each image; an audit then gives it fewer images.
        per_class: for each of its figures with one value for each class, by its name: what the value is.
    """

    kind: ClassVar[str] = "backdoor-detection"
    supplied: ClassVar[frozenset[str]] = frozenset({"beside", "clean", "seed", "on_step"})

    needs: tuple[Need, ...] = ()
    weights: bool = True
    judges: Literal["model", "inputs", "training"] = "model"
    many: int = 0
    compares: bool = False
    unused_beside: frozenset[str] = frozenset()
    costly: bool = False
    per_class: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def why_not(self, target: Target, inputs: DetectorInputs) -> str | None:
        """Return the first reason why the detector cannot run, or None."""
        reasons = (need(target, inputs) for need in self.needs)
        return self.unanswerable(target) or next(filter(None, reasons), None)
