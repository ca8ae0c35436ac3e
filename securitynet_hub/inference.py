"""A batched forward pass through Accelerate: every requested image exactly once, on any device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from accelerate.utils import DynamoBackend
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from securitynet_hub.errors import ModelError
from securitynet_hub.targets import Preprocessing, Target

BATCH_SIZE = 256


def predict(
    target: Target,
    pixels: npt.NDArray[np.uint8],
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] = lambda size: None,
) -> npt.NDArray[np.float32]:
    """Return the target's logits, shape (n, classes), row i for image i, the same on every process.

    Each process forwards its share of the batches, which are the same whatever the number of processes, so
    that the logits are, too. Rows are gathered with their positions and put in their place. Training flags
    and the random state are left as they were; the module stays on Accelerate's device.

    Mixed precision and compilation are those that Accelerate was launched with (``--mixed_precision bf16``,
    ``--dynamo_backend inductor``). A batch that does not fit into memory is forwarded in halves.

    Args:
        target: the classifier; its transform is applied to the pixels.
        pixels: shape (n, height, width, channels), uint8.
        batch_size: images in one forward pass, on each process.
        on_batch: called with the number of images after each batch of this process, for a progress bar.

    Raises:
        ValueError: no images, or images of a size that the target does not take.
        ModelError: the model gave NaN or infinite logits, or the wrong number of them.
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
    pixels: npt.NDArray[np.uint8],
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[int], None] = lambda size: None,
) -> npt.NDArray[np.float32]:
    """Do what `predict` does for a bare module and its transform."""
    if not len(pixels):
        raise ValueError("there are no images to predict.")
    accelerator = Accelerator()
    module.to(accelerator.device)
    dynamo = accelerator.state.dynamo_plugin
    forward = module if dynamo.backend == DynamoBackend.NO else torch.compile(module, **dynamo.to_kwargs())
    batches = np.split(np.arange(len(pixels)), range(batch_size, len(pixels), batch_size))
    share = np.array_split(np.arange(len(batches)), accelerator.num_processes)[accelerator.process_index]
    # A process for which there is no batch repeats the first: all must answer when rows are gathered.
    own = [batches[place] for place in share] or batches[:1]
    answers = []
    with evaluating(module), torch.inference_mode(), accelerator.autocast():
        for inputs in _ahead((transform(pixels[batch]) for batch in own), accelerator.device):
            answers.append(_in_memory(forward, inputs).float())
            on_batch(len(inputs))
    outputs = _gathered(accelerator, np.concatenate(own), torch.cat(answers), len(pixels))
    broken = np.flatnonzero(~np.isfinite(outputs).reshape(len(outputs), -1).all(1))
    if len(broken):
        raise ModelError(
            f"the model gave NaN or infinite outputs for {len(broken)} image(s), the first at {broken[0]}."
        )
    return outputs


def _ahead(batches: Iterator[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """Yield batches on the device; while one is forwarded there, a thread prepares the next."""
    if device.type == "cpu":  # which is busy enough
        yield from batches
        return

    def prepare() -> torch.Tensor | None:
        batch = next(batches, None)
        return batch.pin_memory() if batch is not None and device.type == "cuda" else batch

    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(prepare)
        while (batch := upcoming.result()) is not None:
            upcoming = thread.submit(prepare)
            yield batch.to(device, non_blocking=True)


def _in_memory(module: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """Forward a batch; one that does not fit into memory, in halves."""
    try:
        return module(inputs)
    except RuntimeError as error:
        if len(inputs) == 1 or not should_reduce_batch_size(error):
            raise
    clear_device_cache(garbage_collection=True)
    return torch.cat([_in_memory(module, half) for half in inputs.chunk(2)])


def _gathered(
    accelerator: Accelerator, positions: npt.NDArray[np.int64], answers: torch.Tensor, size: int
) -> npt.NDArray[np.float32]:
    """Put the rows of all processes in their place, shape (size, ...)."""
    rows = torch.from_numpy(positions).to(answers.device)
    rows = accelerator.gather(accelerator.pad_across_processes(rows, pad_index=-1)).cpu().numpy()
    values = accelerator.gather(accelerator.pad_across_processes(answers)).cpu().numpy()
    outputs = np.full((size, *values.shape[1:]), np.nan, np.float32)
    outputs[rows[rows >= 0]] = values[rows >= 0]
    missing = np.setdiff1d(np.arange(size), rows)
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
