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
from securitynet_hub.core.progress import tell
from securitynet_hub.core.seeds import seeded
from securitynet_hub.engine.processes import connect, init_processes
from securitynet_hub.models.eval_mode import evaluating

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""A function from outputs, shape (n, classes), and targets, n rows, to a scalar."""

PROGRESS_SECONDS = 2.0
"""Least time between two saved states: writing one can take as long as an epoch of a small network."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a classifier is trained: AdamW with a one-cycle learning rate; the last epoch's weights are kept.

    Attributes:
        epochs: passes over the training images.
        batch_size: images in one step, over all processes together.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: AdamW's decoupled weight decay, per step.
        augment: ``shift`` moves each image by up to 2 pixels in each direction and mirrors half of them.
        seed: decides initial weights, order, augmentation and dropout.
        mixed_precision: ``no``, ``bf16`` or, on a GPU, ``fp16``: the forward pass in half precision, the
            weights in float32. None uses Accelerate's own setting.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    augment: Literal["none", "shift"] = "none"
    seed: int = 0
    mixed_precision: Literal["no", "bf16", "fp16"] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for a record; the precision is left out if none was chosen."""
        fields = asdict(self)
        if self.mixed_precision is None:
            del fields["mixed_precision"]
        return fields


def describe_processes() -> dict[str, Any]:
    """Return the settings of Accelerate that change a training: number of processes, and precision."""
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

    Initial weights, order, augmentation and dropout depend on the recipe's seed alone; the global random
    state is restored.

    Several processes share each batch. Their gradients are averaged by the number of images, so the weights
    equal those of one process up to rounding. With BatchNorm, which sees a share of the batch, or dropout,
    the weights differ as with another seed.

    Args:
        build: makes the module with its initial weights.
        inputs: shape (n, channels, height, width), float32, preprocessed.
        labels: shape (n,), int64; or shape (n, classes), posteriors; or n rows that `loss` accepts.
        recipe: epochs, step size, augmentation and seed.
        loss: the function to minimise, a mean over the rows; cross-entropy by default.
        on_step: called after each optimiser step, for a progress bar.
        progress: a file for the state after an epoch, written at most every `PROGRESS_SECONDS`. The same
            call after an interruption resumes there and ends with the same weights. Another call needs
            another file. The file is removed at the end. All processes must have access to it.

    Raises:
        WeightsError: the progress cannot be written.
        ProcessError: the processes of the launch cannot connect.
    """
    with _accelerating(recipe.mixed_precision) as accelerator, _own_randomness(accelerator.device):
        generator = torch.Generator().manual_seed(recipe.seed)
        module = build_seeded(build, recipe.seed).train()
        optimizer = torch.optim.AdamW(
            module.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=all(parameter.is_floating_point() for parameter in module.parameters()),  # none complex
        )
        in_plain_order = recipe.augment == "shift" and not _takes_shifted(module, inputs[:2].cpu())
        steps = len(_batches(torch.arange(len(inputs)), recipe.batch_size))  # in an epoch
        module, prepared = accelerator.prepare(module, optimizer)
        if accelerator.scaler is not None:
            optimizer = prepared  # without a scaler, it would only cost time in every step
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.learning_rate, total_steps=recipe.epochs * steps
        )
        state = _State(accelerator, module, optimizer, scheduler, generator)
        done = state.read(progress) if progress else 0
        kept = time.monotonic()
        for epoch in range(done, recipe.epochs):
            # Each epoch has its own seed, so that dropout after an interruption is as without it.
            _seed(recipe.seed + 1_000_003 * (1 + epoch) + accelerator.process_index, accelerator.device)
            order = torch.randperm(len(inputs), generator=generator)
            for batch in _batches(order, recipe.batch_size):
                share, weight = _share(len(batch), accelerator.process_index, accelerator.num_processes)
                rows = batch.to(inputs.device)
                images = inputs[rows].to(accelerator.device)
                if (
                    recipe.augment == "shift"
                ):  # applied to the whole batch, so that all processes draw the same
                    images = _shift_and_mirror(images, generator)
                if in_plain_order:
                    images = images.clone(memory_format=torch.contiguous_format)
                outputs = module(images[share])
                error = weight * loss(outputs, labels[rows[share]].to(accelerator.device))
                module.zero_grad()
                accelerator.backward(error)
                optimizer.step()
                scheduler.step()
                on_step()
            tell("epochs", epoch + 1, recipe.epochs)
            if progress and time.monotonic() - kept >= PROGRESS_SECONDS:
                state.write(progress, epoch + 1)
                kept = time.monotonic()
        trained: torch.nn.Module = accelerator.unwrap_model(module, keep_fp32_wrapper=False)
        broadcast(trained.state_dict())  # BatchNorm's statistics differ between processes
    if progress:
        progress.unlink(missing_ok=True)
    return trained.cpu().eval()


def _batches(order: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Split the images of an epoch; one that is left over joins the batch before, as BatchNorm refuses it.

    >>> [len(batch) for batch in _batches(torch.arange(9), 4)]
    [4, 5]
    """
    batches = list(torch.split(order, size))
    if size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _share(size: int, number: int, of: int) -> tuple[slice, float]:
    """Return this process's rows of a batch, and the weight of their mean in the mean over all processes.

    If a batch is too small to give each process two images, the minimum for BatchNorm's variance, every
    process takes the whole batch.

    >>> _share(5, 0, 2), _share(5, 1, 2), _share(3, 1, 2)
    ((slice(0, 2, None), 0.8), (slice(2, 5, None), 1.2), (slice(0, 3, None), 1.0))
    """
    if size < 2 * of:
        return slice(0, size), 1.0
    start, stop = number * size // of, (number + 1) * size // of
    return slice(start, stop), (stop - start) * of / size


@dataclass(frozen=True, eq=False)
class _State:
    """Everything that an epoch passes on to the next one."""

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
        """Write the state after `epochs` epochs, atomically."""
        if not self.accelerator.is_main_process:
            return
        kept = {name: part.state_dict() for name, part in self._parts.items()}
        try:
            with atomic_path(path, fsync=False) as part:
                torch.save({"epochs": epochs, "order": self.generator.get_state(), **kept}, part)
        except (OSError, RuntimeError) as error:
            raise WeightsError(f"{path} cannot be written: {error}.") from error

    def read(self, path: Path) -> int:
        """Restore a saved state and return its number of epochs; 0 if there is none or it is damaged."""
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
    """Yield an accelerator of this precision.

    Accelerate has one precision for the whole process and refuses another one. So its state is replaced
    within the block and restored afterwards.
    """
    if mixed_precision is None:
        yield connect()  # which keeps the module and the optimiser
        return
    shared = AcceleratorState._shared_state
    held = dict(shared)
    shared.clear()
    try:
        yield connect(mixed_precision)
    finally:
        shared.clear()
        shared.update(held)


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Restore the global random state of the CPU and of the device after the block."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _seed(seed: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of the device; the other devices' would not be restored."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def build_seeded(build: Callable[[], torch.nn.Module], seed: int) -> torch.nn.Module:
    """Build a module whose initial weights depend on the seed alone; the global random state is restored."""
    with seeded(seed):
        return build()


def _takes_shifted(module: torch.nn.Module, images: torch.Tensor) -> bool:
    """Return whether a network takes images with the channels last in memory, where shifting leaves them.

    Training is a fifth faster so, but a network that calls ``view`` after a convolution cannot.
    """
    try:
        with evaluating(module), torch.no_grad():
            module(_shift_and_mirror(images, torch.Generator()))
    except Exception:  # a caller's network may raise anything
        return False
    return True


def _shift_and_mirror(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by -2..2 pixels along both axes, repeating its edges, and mirror half of them."""
    n, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    shifts = torch.randint(0, 5, (2, n, 1), generator=generator)
    rows = (shifts[0] + torch.arange(height)).to(images.device)
    columns = torch.arange(width).expand(n, width)
    mirrored = torch.rand((n, 1), generator=generator) < 0.5
    columns = (shifts[1] + torch.where(mirrored, columns.flip(1), columns)).to(images.device)
    picked = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[picked, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
