"""How Neural Cleanse weighs a trigger's size against its success, for many triggers side by side."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Arms = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The settings of an optimisation; the defaults are those of the authors' code for GTSRB.

    Attributes:
        steps: at most; after each the cost is adjusted.
        batches: mini-batches in a step; 0 for a single one with all images, whose success rate is exact.
        batch_size: images in a mini-batch.
        learning_rate: of Adam.
        betas: of Adam.
        success_threshold: share of the images that a trigger must turn to count.
        first_cost: weight of the mask's norm once `patience` steps in a row have succeeded without.
        multiplier: raises the cost after `patience` successes in a row; to the power of 1.5 it lowers it
            after as many failures.
        patience: in steps.
        stop_threshold: a step whose smallest norm is not below this share of the last one's is idle.
        stop_patience: idle steps in a row that end it, once the cost was raised and lowered; None for never.
    """

    steps: int = 1000
    batches: int = 31
    batch_size: int = 32
    learning_rate: float = 0.1
    betas: tuple[float, float] = (0.5, 0.9)
    success_threshold: float = 0.99
    first_cost: float = 1e-3
    multiplier: float = 2.0
    patience: int = 5
    stop_threshold: float = 1.0
    stop_patience: int | None = 25

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.patience) < 1 or self.batches < 0:
            raise ValueError(f"steps, batch_size and patience must be at least 1, batches 0; got {self}.")
        if not 0 < self.success_threshold <= 1 or self.learning_rate <= 0 or self.first_cost <= 0:
            raise ValueError(
                "success_threshold must be above 0 and at most 1, learning_rate and first_cost above 0; got "
                f"{self}."
            )
        if self.multiplier <= 1:
            raise ValueError(f"multiplier must be above 1; got {self.multiplier}.")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for a record."""
        return asdict(self)


REFERENCE = Schedule()
"""The authors' own: up to 31,000 batches of 32 images for each class."""


class Progress:
    """The state of the schedule for `n` triggers (arms), none of which knows of the others.

    Attributes:
        cost: shape (n,), weight of the mask's norm, from 0.
        best: shape (n,), the smallest norm that reached the threshold; infinite before any did.
        steps: shape (n,), steps done.
    """

    def __init__(self, schedule: Schedule, n: int) -> None:
        self.schedule = schedule
        self.cost: Numbers = np.zeros(n)
        self.best: Numbers = np.full(n, np.inf)
        self.steps: Arms = np.zeros(n, np.int64)
        self._before: Numbers = np.full(n, np.inf)
        self._initial, self._up, self._down, self._idle = (np.zeros(n, np.int64) for _ in range(4))
        self._raised, self._lowered = np.zeros(n, np.bool_), np.zeros(n, np.bool_)

    def candidates(self, arms: Arms, success_rate: Numbers, norm: Numbers) -> Flags:
        """Tell which of these arms' triggers succeed with a smaller norm than any before."""
        reached: Flags = (success_rate >= self.schedule.success_threshold) & (norm < self.best[arms])
        return reached

    def update(self, arms: Arms, success_rate: Numbers, norm: Numbers, improved: Flags) -> Flags:
        """Take in a step of some arms: keep the best norm, adjust the costs, and tell which are done.

        Args:
            arms: shape (k,), which ones.
            success_rate: shape (k,), of this step.
            norm: shape (k,), of this step.
            improved: shape (k,), those of the `candidates` whose norm counts.
        """
        schedule = self.schedule
        self.steps[arms] += 1
        self.best[arms[improved]] = norm[improved]
        idle = np.isfinite(self.best[arms]) & (
            self.best[arms] >= schedule.stop_threshold * self._before[arms]
        )
        self._idle[arms] = np.where(idle, self._idle[arms] + 1, 0)
        self._before[arms] = self.best[arms]
        finished: Flags = self.steps[arms] >= schedule.steps
        if schedule.stop_patience is not None:
            settled = self._raised[arms] & self._lowered[arms]
            finished |= settled & (self._idle[arms] >= schedule.stop_patience)
        self._adjust(arms, success_rate >= schedule.success_threshold)
        return finished

    def _adjust(self, arms: Arms, succeeded: Flags) -> None:
        schedule = self.schedule
        self._initial[arms] = np.where(succeeded & (self.cost[arms] == 0), self._initial[arms] + 1, 0)
        started = arms[self._initial[arms] >= schedule.patience]
        self.cost[started] = schedule.first_cost
        for counter in (self._initial, self._up, self._down, self._raised, self._lowered):
            counter[started] = 0
        self._up[arms] = np.where(succeeded, self._up[arms] + 1, 0)
        self._down[arms] = np.where(succeeded, 0, self._down[arms] + 1)
        raised = arms[self._up[arms] >= schedule.patience]
        lowered = arms[self._down[arms] >= schedule.patience]
        self.cost[raised] *= schedule.multiplier
        self.cost[lowered] /= schedule.multiplier**1.5
        self._up[raised], self._down[lowered] = 0, 0
        self._raised[raised], self._lowered[lowered] = True, True
