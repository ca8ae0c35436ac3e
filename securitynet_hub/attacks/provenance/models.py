"""What provenance compares: models with their answers to the same images, asked once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.core.arrays import Labels, Scores
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.engine.inference import BATCH_SIZE, predict
from securitynet_hub.models.target import Target


@dataclass(frozen=True, kw_only=True, eq=False)
class Models:
    """Models and their answers; of a comparison the reference comes first, the suspect second.

    Attributes:
        outputs: logits, shape (models, n, classes).
        labels: true classes of the n images, shape (n,).
        targets: the models themselves; none where only answers are at hand.
        pixels: returns the images, shape (n, height, width, channels), uint8.
        seed: decides what is drawn.
        batch_size: images in one forward pass.
        labels_only: whether the outputs tell labels alone.
        asked: images that were made for a model, and answers to them, by model; filled in on use.
    """

    outputs: npt.NDArray[Any] = field(repr=False)
    labels: Labels = field(repr=False)
    targets: Sequence[Target] = ()
    pixels: Callable[[], Pixels] | None = field(default=None, repr=False)
    seed: int = 0
    batch_size: int = BATCH_SIZE
    labels_only: bool = False
    asked: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def told(self) -> Labels:
        """The classes that the models answer with, shape (models, n)."""
        told: Labels = self.outputs.argmax(2)
        return told

    def with_suspect(self, target: Target | None, outputs: npt.NDArray[Any]) -> Models:
        """Return the same comparison with another suspect."""
        targets = self.targets
        if target is not None:
            targets = (targets[0], target, *targets[2:])
        answers = np.concatenate([self.outputs[:1], outputs[None], self.outputs[2:]])
        return replace(self, outputs=answers, targets=targets)

    def once(self, key: Any, targets: Sequence[Target], make: Callable[[], Any]) -> Any:
        """Return what is made of models, made once for them; other suspects share it."""
        key = (key, *map(id, targets))
        if key not in self.asked:
            self.asked[key] = make(), tuple(targets)  # kept, so that no other object gets their ids
        return self.asked[key][0]

    def ask(self, number: int, images: Pixels) -> Labels:
        """Return the classes that one of the models answers further images with."""
        told: Labels = predict(self.targets[number], images, batch_size=self.batch_size).argmax(1)
        return told


def weighted_agreement(same: npt.NDArray[np.bool_], reference: int) -> Scores:
    """Return each model's share of agreement with the reference, where rare agreement counts for more.

    With ``k(x)`` the number of other models that agree with the reference on x, of m models in all,

        s(M) = sum over x of w(x) 1[M agrees on x] / sum of w(x),    w(x) = log(m / (1 + k(x))),

    so that what every model answers alike weighs nothing. The weights are the same for all models and do not
    depend on which of them is suspected, so that ranks among them stay valid.

    Args:
        same: shape (models, n), whether each model agrees with the reference.
        reference: its row, which is left out.

    >>> same = np.array([[True, True], [True, True], [True, False], [True, False]])
    >>> weighted_agreement(same, 0).tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    m = len(same)
    agreeing = same.sum(0) - 1
    weights = np.log(m / (1 + agreeing))
    total = weights.sum()
    found: Scores = same @ weights / total if total > 0 else np.ones(m)
    return found
