"""Whether a model's answers are what they are taken for, and the same whenever it is asked: told once."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch

from securitynet_hub.core.errors import AnswersWarning
from securitynet_hub.core.telling import warn_caller
from securitynet_hub.models.outputs import Classifier, doubt_of_logits
from securitynet_hub.models.target import Target

Forward = Callable[[torch.Tensor], torch.Tensor]
"""Maps a batch of inputs to logits."""

AGAIN = 8
"""Largest number of images that are forwarded again."""

REPEATED, ELSEWHERE, COARSE = 1e-4, 1e-2, 1e-1
"""Largest differences of logits, relative to the largest, between two equal passes, between batches of two
sizes, which sum in other orders, and in half precision."""

PUBLISHED = ("securitynet_hub.", "pytorchcv.", "torchvision.", "timm.", "efficientnet_lite_pytorch.")
"""Packages whose networks are steady; those of the tables are built from them."""

_SEEN: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()
"""The modules that have been looked at."""


def as_classifier(target: Target) -> Classifier:
    """Return a target's module if it answers with logits by itself, else the same as a `Classifier`."""
    if isinstance(target.module, Classifier):
        return target.module
    return Classifier(target.module, num_classes=target.num_classes, outputs=target.outputs)


def require_sound(target: Target, forward: Forward, inputs: torch.Tensor, logits: torch.Tensor) -> None:
    """Warn once for each module if its answers are in doubt, after the first batch.

    Of a caller's own model, some of the images are forwarded twice more. A model whose answers differ between
    the two draws at random (dropout is active). One whose answers differ from those in the larger batch mixes
    the images of a batch (BatchNorm is in training mode).

    Args:
        target: the model.
        forward: forwards a batch.
        inputs: the first batch, shape (n, channels, ...).
        logits: its answers, shape (n, classes).
    """
    if target.module in _SEEN or logits.ndim != 2:
        return
    _SEEN.add(target.module)
    doubts = []
    if target.outputs == "logits" and getattr(target.module, "outputs", None) is None:
        doubts.append(doubt_of_logits(logits.cpu().numpy()))
    if not _is_published(target):
        doubts.append(_unsteady(target, forward, inputs, logits))
    for doubt in filter(None, doubts):
        warn_caller(f"the answers of {target.id} {doubt}.", AnswersWarning)


def _is_published(target: Target) -> bool:
    """Return whether a target is a model of the tables, in the network of a package."""
    return target.annotation.table != "unlisted" and type(target.module).__module__.startswith(PUBLISHED)


def _unsteady(target: Target, forward: Forward, inputs: torch.Tensor, logits: torch.Tensor) -> str | None:
    """Return how the answers depend on more than the image, or None."""
    few = max(1, min(AGAIN, len(inputs) // 2))
    try:
        first, second = forward(inputs[:few]).float(), forward(inputs[:few]).float()
    except Exception as error:  # BatchNorm in training mode refuses a batch of one
        return f"exist for {len(inputs)} images, but not for {few} of them: {error}"
    scale = 1e-3 + float(logits[:few].abs().max())
    narrow = {p.dtype for p in target.module.parameters()} & {torch.float16, torch.bfloat16}
    apart = COARSE if narrow or torch.is_autocast_enabled(inputs.device.type) else ELSEWHERE
    between = float((first - second).abs().max()) / scale
    if between > REPEATED:
        return (
            f"differ by up to {between:.1%} from one pass to the next: the model draws at random in eval "
            "mode, as functional.dropout does without training=self.training. No figure can be repeated"
        )
    across = float((first - logits[:few]).abs().max()) / scale
    if across > apart:
        return (
            f"to an image differ by up to {across:.1%} with the other images of its batch: the model "
            "normalises over the batch in eval mode, as BatchNorm with training=True does. No figure can be "
            "repeated with another batch size"
        )
    return None
