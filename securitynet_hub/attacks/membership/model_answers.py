"""Answers of reference models as an audit holds them: their margins, and the logits where these are kept.

The label's logit margin says all that LiRA, RMIA, BASE and the attacks of Ye and Watson look at: the loss
follows from it to the bit. It takes 8 bytes for each model and sample, where logits take 4 for each class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.membership.reference_models import Chosen, Unread
from securitynet_hub.core.arrays import Rows, Scores
from securitynet_hub.statistics.posteriors import log_sigmoid

Margins = npt.NDArray[np.floating[Any]]

FROM_MARGIN: dict[str, Callable[[Scores], Scores]] = {
    "logit_margin": lambda margins: margins,
    "loss": log_sigmoid,
}
"""The signals that follow from the margin to the bit."""


class ModelAnswers:
    """Answers of models for some samples of a pool, of which nothing is copied.

    Args:
        margins: returns the labels' logit margins, shape (models, pool, augmentations), once they are needed;
            they may lie in a file.
        places: shape (n,), the samples' places in the pool.
        shape: numbers of models, augmentations and classes.
        views: whether all augmentations count, or only the first.
        logits: shape (models, pool, augmentations, classes); None where they were not kept.
    """

    def __init__(
        self,
        margins: Callable[[], Margins],
        places: Rows,
        *,
        shape: tuple[int, int, int],
        views: bool,
        logits: npt.NDArray[np.float32] | None = None,
    ) -> None:
        self._margins, self._places, self._logits, self._views = margins, places, logits, views
        models, augmentations, classes = shape
        several = (augmentations,) if views else ()
        self.shape: tuple[int, ...] = (models, len(places), *several, classes)
        self.ndim = len(self.shape)

    def __array__(self, *arguments: Any, **options: Any) -> npt.NDArray[Any]:
        """Return the logits, shape (models, n[, augmentations], classes).

        Raises:
            ValueError: they were not kept.
        """
        if self._logits is None:
            raise ValueError(
                "the logits of the reference models were not kept, only what LiRA, RMIA and the like need: "
                "call attacks.membership.shadows.train_shadows(..., keep='logits'), which takes "
                f"{4 * math.prod(self.shape):,} bytes."
            )
        logits = self._logits if self._views else self._logits[:, :, 0]
        return np.asarray(logits[:, self._places], *arguments, **options)

    def signals(self, signal: str, *, views: bool) -> Unread | None:
        """Return a signal of every answer, computed a part at a time; None if it takes the logits.

        Its shape is (models, n), or (models, n, augmentations) with `views` if there are several.
        """
        if signal not in FROM_MARGIN:
            return None
        return _Signals(self._margins(), self._places, FROM_MARGIN[signal], views=views and self._views)


class _Signals(Unread):
    def __init__(
        self, margins: Margins, places: Rows, transform: Callable[[Scores], Scores], *, views: bool
    ) -> None:
        self._margins, self._places, self._transform, self._views = margins, places, transform, views
        self.shape = (len(margins), len(places), *(margins.shape[2:] if views else ()))

    def __getitem__(self, key: tuple[Chosen, Chosen]) -> npt.NDArray[Any]:
        places = self._places[key[1]]
        models = self._margins[key[0]] if isinstance(key[0], slice) else [self._margins[m] for m in key[0]]
        found = np.empty((len(models), len(places), *self.shape[2:]))
        for own, margins in zip(found, models, strict=True):
            own[:] = margins[places] if self._views else margins[places, 0]
        return self._transform(found)
