"""Independent networks: how far networks that never saw each other agree on one's errors."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.independent import independent_models
from securitynet_hub.data.pixels import Labels, Pixels
from securitynet_hub.engine.inference import BATCH_SIZE, predict
from securitynet_hub.models.loading import load_target
from securitynet_hub.models.target import Target


class IndependentAgreement(TypedDict):
    """Networks that were trained without a target; how often each gives the target's label where it errs."""

    models: list[str]
    agreement_on_target_errors: list[float]


def measure_independent(
    target: Target, pixels: Pixels, labels: Labels, answers: npt.ArrayLike, *, batch_size: int = BATCH_SIZE
) -> IndependentAgreement | None:
    """Measure on a target's errors how often networks that have learnt nothing from it give its label.

    A copy that agrees no more than these has learnt the task, for all that this figure tells, and not its
    target's mistakes.

    Args:
        target: the model under attack.
        pixels: images that neither was trained on, shape (n, height, width, channels), uint8.
        labels: shape (n,).
        answers: the target's outputs, shape (n, classes).
        batch_size: images in one forward pass.

    Returns:
        The `independent_models` with one share each; None where there are none or the target makes no error.
    """
    told = np.asarray(answers).argmax(1)
    wrong = told != labels
    models = independent_models(target)
    if not models or not wrong.any():
        return None
    shares = []
    for model in models:
        own = predict(load_target(model), pixels[wrong], batch_size=batch_size).argmax(1)
        shares.append(float((own == told[wrong]).mean()))
    return IndependentAgreement(models=models, agreement_on_target_errors=shares)
