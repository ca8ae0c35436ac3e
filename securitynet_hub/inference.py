"""A batched forward pass through Accelerate: every requested image exactly once, on any device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

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

    Each process forwards its share of the batches; rows are gathered with their positions and put in
    their place, so that samples repeated to even out the last batch cannot be counted twice. Training
    flags and the random state are left as they were; the module stays on Accelerate's device.

    Args:
        target: the classifier; its transform is applied to the pixels.
        pixels: shape (n, height, width, channels), uint8.
        batch_size: images in one forward pass, on each process.
        on_batch: called with the number of images after each batch, for a progress bar.

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
    loader: DataLoader[Any] = DataLoader(
        range(len(pixels)),  # type: ignore[arg-type]  # positions only: batches are sliced, not collated
        batch_size=batch_size,
        generator=torch.Generator(),  # or the loader would draw from the global random state
    )
    outputs: npt.NDArray[np.float32] | None = None
    seen = np.zeros(len(pixels), np.bool_)
    with evaluating(module), torch.inference_mode():
        for batch in accelerator.prepare(loader):
            logits = module(transform(pixels[batch.cpu().numpy()]).to(accelerator.device)).float()
            positions, gathered = (part.cpu().numpy() for part in accelerator.gather((batch, logits)))
            if outputs is None:
                outputs = np.empty((len(pixels), *gathered.shape[1:]), np.float32)
            outputs[positions] = gathered
            seen[positions] = True
            on_batch(len(np.unique(positions)))
    if outputs is None or not seen.all():
        raise ModelError(f"{np.count_nonzero(~seen)} of {len(pixels)} images came back without an output.")
    broken = np.flatnonzero(~np.isfinite(outputs).reshape(len(outputs), -1).all(1))
    if len(broken):
        raise ModelError(
            f"the model gave NaN or infinite outputs for {len(broken)} image(s), the first at {broken[0]}."
        )
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
