"""A batched forward pass through Accelerate: every requested image exactly once, on any device."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from accelerate.utils import DynamoBackend
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from securitynet_hub.core.arrays import Rows, as_array, name_rows
from securitynet_hub.core.errors import ModelError, ProcessError
from securitynet_hub.data.pixels import Labels, Pixels
from securitynet_hub.engine.processes import gather, init_processes, raise_together
from securitynet_hub.models.target import Preprocessing, Target

BATCH_SIZE = 256

CPU_ELEMENTS = 1 << 21
"""What a CPU forwards at once, 13 images of 3 x 224 x 224: the activations of more leave its caches.

A batch of 256 such images would take up to twice the time for each, and ten times the memory.
"""

PREPARED = 4
"""Batches at most that are prepared ahead of the device, each by a thread of its own."""


def predict(
    target: Target,
    pixels: Pixels,
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] = lambda size: None,
) -> npt.NDArray[np.float32]:
    """Return the target's logits, shape (n, classes), row i for image i, the same on every process.

    Each process forwards its share of the batches, which are the same whatever the number of processes, so
    that the logits are, too. Rows are gathered with their positions and put in their place. Training flags
    and the random state are left as they were; the module stays on Accelerate's device.

    Mixed precision and compilation are those that Accelerate was launched with (``--mixed_precision bf16``,
    ``--dynamo_backend inductor``). A batch that does not fit into memory is forwarded in halves; on a CPU,
    where a large one is slower, in parts of at most `CPU_ELEMENTS`.

    Args:
        target: the classifier; its transform is applied to the pixels.
        pixels: shape (n, height, width, channels), uint8.
        batch_size: images in one forward pass, on each process.
        on_batch: called with the number of images after each batch of this process, for a progress bar.

    Raises:
        ValueError: no images, or images of a size that the target does not take.
        ModelError: the model gave NaN or infinite logits, or the wrong number of them.
        ProcessError: another process of the launch ended. What fails on one of them is raised on all.
    """
    logits = predict_module(target.module, target.transform, pixels, batch_size=batch_size, on_batch=on_batch)
    if logits.shape[1:] != (target.num_classes,):
        raise ModelError(
            f"{target.id} gave outputs of {logits.shape[1:]}, {target.num_classes} were expected."
        )
    return logits


def predict_module(
    module: torch.nn.Module,
    transform: Preprocessing,
    pixels: Pixels,
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] = lambda size: None,
) -> npt.NDArray[np.float32]:
    """Do what `predict` does for a bare module and its transform."""
    if not len(pixels):
        raise ValueError("there are no images to predict.")
    accelerator = init_processes()
    forward = _Forward(module, accelerator)
    batches = np.split(np.arange(len(pixels)), range(batch_size, len(pixels), batch_size))
    share = np.array_split(np.arange(len(batches)), accelerator.num_processes)[accelerator.process_index]
    # A process for which there is no batch repeats the first: all must answer when rows are gathered.
    own = [batches[place] for place in share] or batches[:1]
    answers: list[torch.Tensor] = []
    failure: Exception | None = None

    def prepare(batch: Rows) -> torch.Tensor:
        return transform(pixels[batch[0] : batch[-1] + 1])  # a slice, which is not copied

    with evaluating(module), torch.inference_mode(), accelerator.autocast():
        try:
            for inputs in _ahead(prepare, own, accelerator.device):
                answers.append(forward(inputs).float())
                on_batch(len(inputs))
        except ProcessError:
            raise
        except Exception as error:
            failure = error
    if failure := raise_together(failure):
        raise failure
    outputs = _gathered(accelerator, np.concatenate(own), torch.cat(answers), len(pixels))
    broken = np.flatnonzero(~np.isfinite(outputs).reshape(len(outputs), -1).all(1))
    if len(broken):
        raise ModelError(
            f"the model gave NaN or infinite outputs for {len(broken)} image(s), the first at {broken[0]}."
        )
    return outputs


class _Forward:
    """A module on the device, compiled if the launch says so, that takes large batches in parts.

    A CPU's parts have `CPU_ELEMENTS` at most; elsewhere a batch too large for the memory is halved.

    Accelerate's `find_executable_batch_size` would run the whole pass again, with other batches on one
    process than on the others; here each keeps its share, and the size that fits is remembered.
    """

    def __init__(self, module: torch.nn.Module, accelerator: Accelerator) -> None:
        self._most: int | None = None
        self._elements: int | None = None
        self._device = accelerator.device
        self._call: Callable[[torch.Tensor], torch.Tensor] = module
        if hasattr(module, "hf_device_map"):  # it lies where `device_maps.place` put it
            return
        if accelerator.device.type == "cpu":
            self._elements = CPU_ELEMENTS
        module.to(accelerator.device)
        if accelerator.device.type == "cuda" and _is_for_images(module):
            # The order in which tensor cores take convolutions; the module keeps it.
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        dynamo = accelerator.state.dynamo_plugin
        if dynamo.backend != DynamoBackend.NO:
            self._call = torch.compile(module, **dynamo.to_kwargs())

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the outputs for a batch."""
        if inputs.ndim == 4 and self._device.type == "cuda":
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if self._most is None and self._elements is not None:
            self._most = max(1, self._elements // inputs[0].numel())
        if self._most is not None and len(inputs) > self._most:
            return torch.cat([self(part) for part in torch.split(inputs, self._most)])
        try:
            return self._call(inputs)
        except RuntimeError as error:
            if len(inputs) == 1 or not should_reduce_batch_size(error):
                raise
        self._most = -(-len(inputs) // 2)
        clear_device_cache(garbage_collection=True)
        return self(inputs)


def _is_for_images(module: torch.nn.Module) -> bool:
    """Tell whether no weight has more dimensions than images: then they all can lie channels_last."""
    return all(parameter.ndim <= 4 for parameter in module.parameters())


def _ahead(
    prepare: Callable[[Rows], torch.Tensor],
    batches: Iterable[Rows],
    device: torch.device,
) -> Iterator[torch.Tensor]:
    """Yield batches on the device; while one is forwarded there, threads prepare the next."""
    if device.type == "cpu":  # which is busy enough
        yield from map(prepare, batches)
        return

    def pinned(batch: Rows) -> torch.Tensor:
        ready = prepare(batch)
        return ready.pin_memory() if device.type == "cuda" else ready

    count = max(1, min(PREPARED, (os.cpu_count() or 1) // 2))
    left = iter(batches)
    with ThreadPoolExecutor(count) as threads:
        upcoming = deque(threads.submit(pinned, batch) for batch in islice(left, count))
        while upcoming:
            ready = upcoming.popleft().result()
            upcoming.extend(threads.submit(pinned, batch) for batch in islice(left, 1))
            yield ready.to(device, non_blocking=True)


def _gathered(
    accelerator: Accelerator, positions: Rows, answers: torch.Tensor, size: int
) -> npt.NDArray[np.float32]:
    """Put the rows of all processes in their place, shape (size, ...)."""
    if accelerator.num_processes == 1:
        own: npt.NDArray[np.float32] = answers.cpu().numpy()
        return own
    rows = torch.from_numpy(positions).to(answers.device)
    places = gather(accelerator, rows, pad=-1).cpu().numpy()
    values = gather(accelerator, answers).cpu().numpy()
    outputs = np.full((size, *values.shape[1:]), np.nan, np.float32)
    outputs[places[places >= 0]] = values[places >= 0]
    missing = np.setdiff1d(np.arange(size), places)
    if len(missing):
        raise ModelError(f"{len(missing)} of {size} images came back without an output.")
    return outputs


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Put a module and all its parts in eval mode, and each part's own flag back afterwards."""
    flags = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in flags.items():
            part.training = training


def ask(target: Target, pixels: Pixels, batch_size: int) -> Labels:
    """Return the predicted labels, shape (n,): all that these attacks see of a model."""
    labels: Labels = predict(target, pixels, batch_size=batch_size).argmax(1)
    return labels


def as_images(target: Target, pixels: Any, labels: Any) -> tuple[Pixels, Labels]:
    """Check images and labels against one another and the target.

    Raises:
        ValueError: there are none, they differ in number, or are of another kind than the target's.
    """
    pixels, labels = as_array(pixels, "pixels"), as_array(labels, "labels")
    if pixels.dtype != np.uint8 or pixels.ndim < 2 or not pixels.size:
        raise ValueError(f"pixels must be uint8 images, at least one; got {pixels.dtype} of {pixels.shape}.")
    if labels.shape != (len(pixels),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be {len(pixels)} integers, one for each image; got {labels.dtype} of "
            f"{labels.shape}."
        )
    strange = np.flatnonzero((labels < 0) | (labels >= target.num_classes))
    if len(strange):
        raise ValueError(
            f"labels must lie in 0..{target.num_classes - 1}; {name_rows(strange)} do not, the first is "
            f"{labels[strange[0]]}."
        )
    return pixels, labels.astype(np.int64)
