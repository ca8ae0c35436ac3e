"""Many triggers on the same images in one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from securitynet_hub.attacks.backdoor.expected_size import class_gaps
from securitynet_hub.attacks.backdoor.input_gradients import for_input_gradients
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace, network_inputs
from securitynet_hub.attacks.backdoor.schedule import Arms, Numbers, Schedule
from securitynet_hub.core.errors import ModelError
from securitynet_hub.models.target import Target


@dataclass(frozen=True, kw_only=True, eq=False)
class TriggerStamp:
    """A frozen module, images, and what it takes the images for.

    Attributes:
        module: from normalised inputs to logits.
        space: how pixels are normalised.
        inputs: shape (n, channels, height, width), normalised images.
        predicted: shape (n,), the module's answers.
        ranks: shape (classes,), how many classes stand above a class in an answer, the median over images.
        gaps: shape (classes,), by how much a class loses the images (`expected_size.class_gaps`).
        num_classes: of the module.
        batch_size: images in one forward pass.
    """

    module: torch.nn.Module
    space: PixelSpace
    inputs: torch.Tensor
    predicted: torch.Tensor
    ranks: Numbers
    gaps: Numbers
    num_classes: int
    batch_size: int

    @classmethod
    def from_target(cls, target: Target, images: npt.NDArray[np.uint8], batch_size: int) -> TriggerStamp:
        """Ask a target, its module frozen, what it takes the images for.

        Raises:
            ValueError: no images, images that it does not take, or a preprocessing that gradients cannot
                pass.
            ModelError: it answers NaN, infinities, or for another number of classes.
        """
        space, inputs = PixelSpace.from_target(target), network_inputs(target, images)
        module = for_input_gradients(target.module, inputs)
        with torch.no_grad():
            logits = torch.cat([module(part) for part in torch.split(inputs, batch_size)])
        if logits.shape != (len(inputs), target.num_classes) or not torch.isfinite(logits).all():
            raise ModelError(
                f"{target.id} must answer {len(inputs)} images with {target.num_classes} finite numbers "
                f"each; it gave {tuple(logits.shape)}, of which {int((~torch.isfinite(logits)).sum())} are "
                "not finite."
            )
        return cls(
            module=module,
            space=space,
            inputs=inputs,
            predicted=logits.argmax(1),
            ranks=np.median(logits.argsort(1, descending=True).argsort(1).cpu().numpy(), axis=0),
            gaps=class_gaps(logits.double().cpu().numpy(), np.arange(target.num_classes)),
            num_classes=target.num_classes,
            batch_size=batch_size,
        )

    def on(self, rows: npt.NDArray[np.int64]) -> TriggerStamp:
        """Return the same with these images alone."""
        chosen = torch.from_numpy(rows).to(self.inputs.device)
        return replace(self, inputs=self.inputs[chosen], predicted=self.predicted[chosen])

    def at_once(self, schedule: Schedule) -> int:
        """Return how many triggers fit side by side."""
        images = schedule.batch_size if schedule.batches else len(self.inputs)
        return max(1, self.batch_size // images)

    def success(self, labels: Arms, triggers: torch.Tensor) -> Numbers:
        """Return the share of the images that each trigger turns; arguments as for `gradient`."""
        with torch.no_grad():
            hits = [self._hits(part, self._logits(part)) for part in self._parts(labels, triggers)]
        successes: Numbers = np.sum(hits, 0)
        return successes

    def gradient(
        self, labels: Arms, triggers: torch.Tensor, rows: npt.NDArray[np.int64] | None = None
    ) -> tuple[torch.Tensor, Numbers]:
        """Return the gradients of each trigger's mean cross-entropy, and the share of images that it turns.

        Stamping and normalising are affine, so images stay normalised, and only patterns d are: with
        x' = x + m (d - x) and g the gradient at x', that of d is m times the sum of g over the images, that
        of m the sum of g (d - x) over images and channels. Nothing but the module passes through autograd.

        Args:
            labels: shape (k,), where each trigger should lead; images that are there already are left out.
            triggers: shape (k, 1 + channels, height, width), 0 to 1: masks, then patterns.
            rows: shape (k, b), the images for each trigger; None for all.
        """
        pattern = self.space.inputs(triggers[:, 1:])
        of_mask, of_pattern = torch.zeros_like(triggers[:, :1]), torch.zeros_like(pattern)
        successes: Numbers = np.zeros(len(labels))
        for part in self._parts(labels, triggers, rows):
            part.stamped.requires_grad_()
            logits = self._logits(part)
            goal = logits.gather(2, part.goals.expand(*logits.shape[:2], 1))[..., 0]
            error = ((logits.logsumexp(2) - goal) * part.weights).sum()
            (slope,) = torch.autograd.grad(error, part.stamped)
            total = slope.sum(1)
            of_pattern += total
            of_mask += (pattern * total - (slope * part.images).sum(1)).sum(1, keepdim=True)
            successes += self._hits(part, logits.detach())
        of_pattern *= triggers[:, :1] * self.space.range.to(triggers)
        return torch.cat([of_mask, of_pattern], 1), successes

    def _parts(
        self, labels: Arms, triggers: torch.Tensor, drawn: npt.NDArray[np.int64] | None = None
    ) -> Iterator[_Part]:
        """Cut the images so that a part of them, times the triggers, fits into one pass."""
        place = self.inputs.device
        chosen = torch.arange(len(self.inputs))[None] if drawn is None else torch.from_numpy(drawn)
        goals = torch.from_numpy(labels).to(place)[:, None, None]
        used = self.predicted[chosen.to(place)] != goals[..., 0]
        weights = used.to(self.inputs) / used.sum(1, keepdim=True).clamp(min=1)
        mask, pattern = triggers[:, None, :1], self.space.inputs(triggers[:, 1:])[:, None]
        at_once = max(1, self.batch_size // len(labels))
        parts = (torch.split(rows, at_once, 1) for rows in (chosen.to(place), weights))
        for few, weight in zip(*parts, strict=True):
            images = self.inputs[few]
            yield _Part(torch.lerp(images, pattern, mask), images, goals, weight)

    def _logits(self, part: _Part) -> torch.Tensor:
        logits: torch.Tensor = self.module(part.stamped.flatten(0, 1))
        return logits.reshape(*part.stamped.shape[:2], self.num_classes)

    def _hits(self, part: _Part, logits: torch.Tensor) -> Numbers:
        hits = (logits.argmax(2, keepdim=True) == part.goals)[..., 0]
        return (hits.double() * part.weights.double()).sum(1).cpu().numpy()


class _Part(NamedTuple):
    """Some images, a copy for each of k triggers: shape (k, b, ...), or (1, b, ...) where they share them."""

    stamped: torch.Tensor
    images: torch.Tensor
    goals: torch.Tensor
    weights: torch.Tensor
