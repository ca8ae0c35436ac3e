"""One training loop for every classifier the project trains, through Accelerate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Outputs, shape (n, classes), and what they should be, n rows, to a scalar."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a classifier is trained: AdamW, one-cycle learning rate, last epoch kept.

    Attributes:
        epochs: passes over the training images.
        batch_size: images in one step, on each process.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: decoupled, per step, as AdamW's.
        augment: ``shift`` moves each image by up to 2 pixels either way and mirrors half of them.
        seed: decides initial weights, order and augmentation.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    augment: Literal["none", "shift"] = "none"
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for a record."""
        return asdict(self)


def describe_processes() -> dict[str, Any]:
    """Return what of Accelerate's set-up changes a training: processes multiply the batch, and precision."""
    accelerator = Accelerator()
    return {"processes": accelerator.num_processes, "mixed_precision": accelerator.mixed_precision}


def train(
    build: Callable[[], torch.nn.Module],
    inputs: torch.Tensor,
    labels: torch.Tensor,
    recipe: Recipe,
    *,
    loss: Loss = torch.nn.functional.cross_entropy,
    on_step: Callable[[], None] = lambda: None,
) -> torch.nn.Module:
    """Train a freshly built module and return it on the CPU in eval mode.

    The global random state is left as it was: initial weights, order and augmentation come from the
    recipe's seed alone.

    Args:
        build: makes the module with its initial weights.
        inputs: shape (n, channels, height, width), float32, preprocessed.
        labels: shape (n,), int64; shape (n, classes), posteriors; or n rows of whatever `loss` takes.
        recipe: epochs, step size, augmentation and seed.
        loss: what is minimised: cross-entropy, unless given.
        on_step: called after each optimiser step, for a progress bar.
    """
    accelerator = Accelerator()
    generator = torch.Generator().manual_seed(recipe.seed)
    module = build_seeded(build, recipe.seed).train()
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    positions: DataLoader[Any] = DataLoader(
        range(len(inputs)),  # type: ignore[arg-type]  # positions only: batches are sliced, not collated
        batch_size=recipe.batch_size,
        shuffle=True,
        generator=generator,
    )
    module, optimizer, positions = accelerator.prepare(module, optimizer, positions)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.epochs * len(positions)
    )
    for _ in range(recipe.epochs):
        for batch in positions:
            rows = batch.to(inputs.device)
            images = inputs[rows].to(accelerator.device)
            if recipe.augment == "shift":
                images = _shift_and_mirror(images, generator)
            outputs = module(images)
            error = loss(outputs, labels[rows].to(accelerator.device))
            optimizer.zero_grad()
            accelerator.backward(error)
            optimizer.step()
            scheduler.step()
            on_step()
    trained: torch.nn.Module = accelerator.unwrap_model(module).cpu().eval()
    return trained


def build_seeded(build: Callable[[], torch.nn.Module], seed: int) -> torch.nn.Module:
    """Build a module whose initial weights the seed decides; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _shift_and_mirror(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Move each image by -2..2 pixels along both axes, edges repeated, and mirror half of them."""
    n, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    shifts = torch.randint(0, 5, (2, n, 1), generator=generator)
    rows = (shifts[0] + torch.arange(height)).to(images.device)
    columns = torch.arange(width).expand(n, width)
    mirrored = torch.rand((n, 1), generator=generator) < 0.5
    columns = (shifts[1] + torch.where(mirrored, columns.flip(1), columns)).to(images.device)
    picked = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[picked, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
