"""One training loop for every classifier the project trains, through Accelerate."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.files import atomic_path
from securitynet_hub.core.seeds import seeded
from securitynet_hub.engine.processes import init_processes

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Outputs, shape (n, classes), and what they should be, n rows, to a scalar."""

PROGRESS_SECONDS = 2.0
"""Between two states that are kept: writing one can take as long as a small network's epoch."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a classifier is trained: AdamW, one-cycle learning rate, last epoch kept.

    Attributes:
        epochs: passes over the training images.
        batch_size: images in one step, of all processes together.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: decoupled, per step, as AdamW's.
        augment: ``shift`` moves each image by up to 2 pixels either way and mirrors half of them.
        seed: decides initial weights, order, augmentation and dropout.
        mixed_precision: ``no``, ``bf16`` or, on a GPU, ``fp16``: the forward pass in half precision, the
            weights in float32. None leaves it to Accelerate's own set-up.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    augment: Literal["none", "shift"] = "none"
    seed: int = 0
    mixed_precision: Literal["no", "bf16", "fp16"] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for a record, a precision only where one was chosen."""
        fields = asdict(self)
        if self.mixed_precision is None:
            del fields["mixed_precision"]
        return fields


def describe_processes() -> dict[str, Any]:
    """Return what of Accelerate's set-up changes a training: processes that share a batch, and precision."""
    accelerator = init_processes()
    return {"processes": accelerator.num_processes, "mixed_precision": accelerator.mixed_precision}


def train(
    build: Callable[[], torch.nn.Module],
    inputs: torch.Tensor,
    labels: torch.Tensor,
    recipe: Recipe,
    *,
    loss: Loss = torch.nn.functional.cross_entropy,
    on_step: Callable[[], None] = lambda: None,
    progress: Path | None = None,
) -> torch.nn.Module:
    """Train a freshly built module and return it on the CPU in eval mode.

    The global random state is left as it was: initial weights, order, augmentation and dropout come from
    the recipe's seed alone.

    Several processes share each batch; their gradients are averaged by the number of images, so that the
    weights are those of one process up to rounding. Where images of a batch depend on one another
    (BatchNorm, which sees a share) or on chance (dropout), they differ as another seed's would.

    Args:
        build: makes the module with its initial weights.
        inputs: shape (n, channels, height, width), float32, preprocessed.
        labels: shape (n,), int64; shape (n, classes), posteriors; or n rows of whatever `loss` takes.
        recipe: epochs, step size, augmentation and seed.
        loss: what is minimised, a mean over the rows: cross-entropy, unless given.
        on_step: called after each optimiser step, for a progress bar.
        progress: a file that keeps the state after an epoch, at most every `PROGRESS_SECONDS`: the same call
            after an interruption goes on there and ends with the same weights. Another call needs another
            file. It is removed at the end. All processes must see it.

    Raises:
        WeightsError: the progress cannot be written.
        ProcessError: the processes of the launch do not find one another.
    """
    with _accelerating(recipe.mixed_precision) as accelerator, _own_randomness(accelerator.device):
        generator = torch.Generator().manual_seed(recipe.seed)
        module = build_seeded(build, recipe.seed).train()
        optimizer = torch.optim.AdamW(
            module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        steps = -(-len(inputs) // recipe.batch_size)  # in an epoch
        module, prepared = accelerator.prepare(module, optimizer)
        if accelerator.scaler is not None:
            optimizer = prepared  # otherwise it would only look for packages, in every step
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.learning_rate, total_steps=recipe.epochs * steps
        )
        state = _State(accelerator, module, optimizer, scheduler, generator)
        done = state.read(progress) if progress else 0
        kept = time.monotonic()
        for epoch in range(done, recipe.epochs):
            # Of the epoch's own, so that dropout goes on after an interruption as it would have without.
            _seed(recipe.seed + 1_000_003 * (1 + epoch) + accelerator.process_index, accelerator.device)
            order = torch.randperm(len(inputs), generator=generator)
            for batch in torch.split(order, recipe.batch_size):
                share, weight = _share(len(batch), accelerator.process_index, accelerator.num_processes)
                rows = batch.to(inputs.device)
                images = inputs[rows].to(accelerator.device)
                if recipe.augment == "shift":  # of the whole batch: all processes draw the same
                    images = _shift_and_mirror(images, generator)
                outputs = module(images[share])
                error = weight * loss(outputs, labels[rows[share]].to(accelerator.device))
                module.zero_grad()
                accelerator.backward(error)
                optimizer.step()
                scheduler.step()
                on_step()
            if progress and time.monotonic() - kept >= PROGRESS_SECONDS:
                state.write(progress, epoch + 1)
                kept = time.monotonic()
        trained: torch.nn.Module = accelerator.unwrap_model(module, keep_fp32_wrapper=False)
        broadcast(trained.state_dict())  # BatchNorm's statistics are each process's own
    if progress:
        progress.unlink(missing_ok=True)
    return trained.cpu().eval()


def _share(size: int, number: int, of: int) -> tuple[slice, float]:
    """Return which rows of a batch are this process's, and what weighs their mean in that of the processes.

    Every process takes a batch whole that is too small to give each two images, the fewest of which
    BatchNorm can take the variance.

    >>> _share(5, 0, 2), _share(5, 1, 2), _share(3, 1, 2)
    ((slice(0, 2, None), 0.8), (slice(2, 5, None), 1.2), (slice(0, 3, None), 1.0))
    """
    if size < 2 * of:
        return slice(0, size), 1.0
    start, stop = number * size // of, (number + 1) * size // of
    return slice(start, stop), (stop - start) * of / size


@dataclass(frozen=True, eq=False)
class _State:
    """All that an epoch leaves to the next."""

    accelerator: Accelerator
    module: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator

    @property
    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {
            "module": self.accelerator.unwrap_model(self.module),
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "scaler": self.accelerator.scaler,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def write(self, path: Path, epochs: int) -> None:
        """Keep the state after so many epochs, whole or not at all."""
        if not self.accelerator.is_main_process:
            return
        kept = {name: part.state_dict() for name, part in self._parts.items()}
        try:
            with atomic_path(path, fsync=False) as part:
                torch.save({"epochs": epochs, "order": self.generator.get_state(), **kept}, part)
        except (OSError, RuntimeError) as error:
            raise WeightsError(f"{path} cannot be written: {error}.") from error

    def read(self, path: Path) -> int:
        """Take up the state that was kept and return its epochs; 0 where there is none or it is damaged."""
        try:
            kept = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return 0
        for name, part in self._parts.items():
            part.load_state_dict(kept[name])
        self.generator.set_state(kept["order"])
        return int(kept["epochs"])


@contextmanager
def _accelerating(mixed_precision: str | None) -> Iterator[Accelerator]:
    """Give an accelerator of this precision.

    Accelerate holds one precision for the whole process and refuses another, so that what it holds is set
    aside meanwhile.
    """
    if mixed_precision is None:
        yield init_processes()
        return
    shared = AcceleratorState._shared_state
    held = dict(shared)
    shared.clear()
    try:
        yield init_processes(mixed_precision)
    finally:
        shared.clear()
        shared.update(held)


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Leave the global random state, on the CPU and on the device, as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _seed(seed: int, device: torch.device) -> None:
    """Seed the CPU's chance and the device's, but no other device's, which nobody would put back."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def build_seeded(build: Callable[[], torch.nn.Module], seed: int) -> torch.nn.Module:
    """Build a module whose initial weights the seed decides; the global random state stays as it was."""
    with seeded(seed):
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
