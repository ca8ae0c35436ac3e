"""Training objectives of a surrogate: softened answers, their top class, or their logarithms."""

from __future__ import annotations

import numpy as np
import torch

from securitynet_hub.core.arrays import Scores
from securitynet_hub.engine.training import Loss

LOSSES = ("soft", "hard", "mse")
LEAST_POSTERIOR = 1e-6
"""Smallest posterior for ``mse``: the logarithm of a posterior rounded to 0 would be infinite."""


def objective(loss: str, answers: Scores, temperature: float = 1.0) -> tuple[torch.Tensor, Loss]:
    """Return the training targets of a surrogate and the loss, as `steal` defines them.

    >>> wanted, loss = objective("soft", np.array([[0.25, 0.75]]))
    >>> loss(torch.tensor([[0.0, 0.0]]), wanted).item()  # log 2
    0.6931471824645996
    """
    if loss == "hard":
        return torch.from_numpy(answers.argmax(1)), torch.nn.functional.cross_entropy
    if loss == "mse":
        logarithms = np.log(np.maximum(answers, LEAST_POSTERIOR))
        return _as_float(logarithms - logarithms.mean(1, keepdims=True)), _centred_error
    softened = answers ** (1 / temperature)

    def soft_loss(outputs: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        error = torch.nn.functional.cross_entropy(outputs / temperature, wanted)
        return temperature**2 * error  # keeps the gradient's size

    return _as_float(softened / softened.sum(1, keepdims=True)), soft_loss


def _centred_error(outputs: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.mse_loss(outputs - outputs.mean(1, keepdim=True), wanted)


def _as_float(values: Scores) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
