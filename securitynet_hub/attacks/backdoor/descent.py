"""Adam for a tensor whose slopes are computed by hand, without the machinery of torch.optim."""

from __future__ import annotations

import torch

EPSILON = 1e-8


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1).

    Args:
        learning_rate: step size.
        betas: how slowly the means of slopes and of their squares change.

    >>> value = torch.tensor([5.0])
    >>> adam = Adam(0.1)
    >>> for _ in range(200):
    ...     value = adam.step(value, 2 * value)
    >>> bool(value.abs() < 0.1)
    True
    """

    def __init__(self, learning_rate: float, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.learning_rate, self.betas, self.count = learning_rate, betas, 0
        self._mean: torch.Tensor | None = None
        self._square: torch.Tensor | None = None

    def step(self, value: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        """Return the value after a step against the slope."""
        if self._mean is None or self._square is None:
            self._mean, self._square = torch.zeros_like(value), torch.zeros_like(value)
        first, second = self.betas
        self.count += 1
        self._mean = torch.lerp(self._mean, slope, 1 - first)
        self._square = second * self._square + (1 - second) * slope * slope
        root = (self._square / (1 - second**self.count)).sqrt() + EPSILON
        return value - self.learning_rate / (1 - first**self.count) * self._mean / root
