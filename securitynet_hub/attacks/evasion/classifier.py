"""A target as a classifier of pixels of 0 to 1 that gradients reach, and that counts its passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch

from securitynet_hub.core.errors import ModelError
from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.core.progress import tell
from securitynet_hub.data.pixels import Labels, Pixels, to_pixels
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.inference import CPU_ELEMENTS
from securitynet_hub.engine.processes import init_processes
from securitynet_hub.engine.soundness import as_classifier
from securitynet_hub.models.eval_mode import frozen, some_parameter
from securitynet_hub.models.functions import Function
from securitynet_hub.models.target import Target

TOLD_EVERY = 500
"""Passes between two reports of progress."""


class PixelClassifier(torch.nn.Module):
    """Maps pixels of 0 to 1, shape (n, channels, height, width), to logits, shape (n, classes), float32.

    Gradients pass through the target's own resize, crop and normalisation, which round nothing here: a ball
    around an image is a ball of what the attacker may change. A preprocessing of a publisher's own code,
    and a model that only answers, get whole grey levels and give no gradients.

    Attributes:
        target: the model.
        forwarded: images that were forwarded so far.
        gradients: images for which a gradient was taken so far.
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target
        self.forwarded = self.gradients = 0
        self._asked = target.module if isinstance(target.module, Function) else None
        self._network = as_classifier(target)
        self._accelerator = init_processes()
        if self._asked is None and not hasattr(target.module, "hf_device_map"):
            target.module.to(self._accelerator.device)

    @property
    def device(self) -> torch.device:
        """Where images must lie."""
        return self._accelerator.device if self._asked is None else torch.device("cpu")

    @property
    def passes(self) -> int:
        """Passes through the network so far, forward and backward."""
        return self.forwarded + self.gradients

    @contextmanager
    def attacked(self) -> Iterator[None]:
        """Freeze the network within the block, with gradients for pixels alone; restore it afterwards."""
        with plain_torch(), frozen(self.target.module), self._accelerator.autocast(), torch.no_grad():
            yield

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the logits of pixels.

        Raises:
            ModelError: they are not finite, or of another shape; or, when a gradient is taken, it is NaN.
        """
        before, self.forwarded = self.forwarded, self.forwarded + len(pixels)
        if before // TOLD_EVERY != self.forwarded // TOLD_EVERY:
            tell("passes", self.forwarded)
        if pixels.requires_grad:
            pixels.register_hook(self._require_slopes)  # type: ignore[no-untyped-call]
        if not isinstance(self.target.transform, Transform):
            logits = self._whole(pixels)
        elif self._asked is not None:
            logits = torch.from_numpy(self._asked.ask(list(self._levels(pixels)))).to(pixels.device)
        else:
            together = len(pixels)
            if pixels.device.type == "cpu":
                size = max(pixels[0].numel(), int(np.prod(self.target.transform.shape)))
                together = max(1, CPU_ELEMENTS // size)
            parts = [
                self._network(self.target.transform.differentiable(255 * part)).float()
                for part in torch.split(pixels, together)
            ]
            logits = parts[0] if len(parts) == 1 else torch.cat(parts)
        if logits.shape != (len(pixels), self.target.num_classes):
            raise ModelError(
                f"{self.target.id} gave outputs of {tuple(logits.shape)}, ({len(pixels)}, "
                f"{self.target.num_classes}) were expected."
            )
        if not torch.isfinite(logits).all():
            raise ModelError(f"{self.target.id} gave NaN or infinite outputs for an image under attack.")
        if logits.requires_grad:
            logits.register_hook(self._count)  # type: ignore[no-untyped-call]
        return logits

    def labels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the predicted labels of pixels, shape (n,), int64."""
        with torch.no_grad():
            found: torch.Tensor = self(pixels).argmax(1)
        return found

    def labels_of(self, images: Pixels) -> Labels:
        """Return the predicted labels of whole grey levels, shape (n, height, width, channels), uint8."""
        found: Labels = self.labels(self.as_pixels(images)).cpu().numpy()
        return found

    def as_pixels(self, images: Pixels | Sequence[Pixels]) -> torch.Tensor:
        """Return images of one size, uint8, as pixels of 0 to 1 on the device."""
        moved = np.ascontiguousarray(np.moveaxis(np.asarray(images), -1, 1), dtype=np.float32)
        return torch.from_numpy(moved).div_(255).to(self.device)

    @cached_property
    def has_gradients(self) -> bool:
        """Whether a gradient of the logits, which is not NaN, reaches the pixels, tried with a grey image."""
        if not self.target.has_weights or not isinstance(self.target.transform, Transform):
            return False
        if self.target.transform.depth is not None:
            return False
        height, width, channels = self.target.transform.shape
        before = self.forwarded, self.gradients
        with self.attacked(), torch.enable_grad():
            grey = torch.full((1, channels, height, width), 0.5, device=self.device, requires_grad=True)
            try:
                (slope,) = torch.autograd.grad(self(grey).sum(), grey, allow_unused=True)
            except (RuntimeError, ModelError):  # or it is NaN, from which no step follows
                slope = None
        self.forwarded, self.gradients = before
        return slope is not None

    def _require_slopes(self, slopes: torch.Tensor) -> None:
        """Refuse a gradient that is NaN: no step follows from it, so that the image would seem robust."""
        if torch.isnan(slopes).any():
            raise ModelError(
                f"a gradient of {self.target.id} is NaN, so that attacks that follow it find nothing. Attack "
                "it with those that need none, such as square and hop_skip_jump."
            )

    def _count(self, slopes: torch.Tensor) -> None:
        self.gradients += len(slopes)

    def _levels(self, pixels: torch.Tensor) -> Pixels:
        """Return pixels as whole grey levels, shape (n, height, width, channels)."""
        levels = np.moveaxis(255 * pixels.detach().cpu().double().numpy(), 1, -1)
        return np.ascontiguousarray(to_pixels(levels))

    def _whole(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the logits of whole grey levels, without gradients."""
        levels = self._levels(pixels)
        if self._asked is not None:
            return torch.from_numpy(self._asked.ask(list(levels))).to(pixels.device)
        inputs = self.target.transform(levels).to(some_parameter(self.target.module).device)
        logits: torch.Tensor = self._network(inputs).float().detach()
        return logits
