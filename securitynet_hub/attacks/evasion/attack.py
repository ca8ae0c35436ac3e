"""An attack on a model's robustness: the literal that ends its file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from securitynet_hub.attacks import kind
from securitynet_hub.attacks.evasion.classifier import PixelClassifier
from securitynet_hub.attacks.evasion.threat import Threat


@dataclass(frozen=True, kw_only=True)
class Attack(kind.Attack):
    """One attack: ``run(classifier, images, labels, threat=..., seed=..., **settings)`` changes images.

    Images are floats of 0 to 1, shape (n, channels, height, width), on the classifier's device; the changed
    ones are returned. What they achieve is checked afterwards, so that no attack need be believed.

    Attributes:
        order: sort key: attacks that cost least come first.
        norms: the norms that it knows.
        package: the optional package that it needs.
        black_box: whether it sees answers only.
        min_classes: smallest number of classes that it needs.
        cost: takes the settings; returns the most passes for one image, forward and backward.
        measures: whether it measures a model as a whole: ``run(subject, options, context, **settings)``
            returns a `worst_case.Measurement`.
        bounded: whether changes are bounded by norm and eps.
    """

    kind: ClassVar[str] = "evasion"
    supplied: ClassVar[frozenset[str]] = frozenset({"threat", "seed"})

    order: int = 0
    norms: tuple[str, ...] = ("Linf", "L2")
    package: str | None = None
    black_box: bool = False
    min_classes: int = 2
    cost: Callable[..., int] | None = field(default=None, repr=False)
    measures: bool = False
    bounded: bool = True

    def why_not(self, classifier: PixelClassifier, threat: Threat) -> str | None:
        """Return why the attack cannot run, or None."""
        target = classifier.target
        if reason := self.unanswerable(target):
            return reason
        if threat.norm not in self.norms:
            return f"it knows the norm {' and '.join(self.norms)} alone, and {threat.norm} is asked for"
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            return f"it needs the package {self.package}: pip install 'securitynet-hub[{self.kind}]'"
        if target.num_classes < self.min_classes:
            return f"it needs {self.min_classes} classes or more, and {target.id} has {target.num_classes}"
        if self.weights and not classifier.has_gradients:
            return f"no gradient of {target.id} reaches its pixels"
        return None
