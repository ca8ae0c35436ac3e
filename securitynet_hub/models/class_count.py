"""The number of a network's classes, by the width of its answer to black images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from securitynet_hub.core.errors import AnswersWarning, ModelError
from securitynet_hub.core.telling import warn_caller
from securitynet_hub.models.eval_mode import evaluating
from securitynet_hub.models.outputs import Classifier, fitting, pick
from securitynet_hub.models.target import Preprocessing

TRIED = 2
"""Black images that are forwarded: one alone may come back squeezed, or break BatchNorm."""

SIDES = (28, 32, 64, 96, 128, 224, 299)
"""Sides in pixels that public classifiers take, tried where a network does not take its transform's."""


def count_classes(
    module: torch.nn.Module, transform: Preprocessing | None = None, expected: int | None = None
) -> int:
    """Return the number of classes of a classifier: the width of its answer to an image of zeros.

    The forward pass is left out where the last parameter has `expected` rows, as that of nearly every
    network has, and where there is no transform that says what an image is: then it is that number of rows.
    `securitynet_hub.engine.inference.predict` checks every output.

    Raises:
        ModelError: the network does not answer, or with no row of numbers.

    >>> count_classes(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), torch.nn.Linear(8, 5)))
    5
    """
    *_, last = (torch.empty(0), *module.parameters())
    rows = len(last) if last.ndim else 0
    if transform is None or rows == expected:
        return rows
    return width_of_answer(module, transform)


def width_of_answer(module: torch.nn.Module, transform: Preprocessing) -> int:
    """Return how many numbers a network answers an image of zeros with; one logit stands for two classes.

    The network is in eval mode for it, and as it was afterwards.

    Raises:
        ModelError: the network does not answer, or its logits are not found in what it returns.
    """
    inputs = transform(np.zeros((TRIED, *transform.shape), np.uint8))
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    try:
        with evaluating(module), torch.no_grad():
            answer = module(inputs.to(like))
    except Exception as error:  # another's code
        raise ModelError(
            f"{type(module).__name__} does not answer images of zeros of shape {tuple(inputs.shape)}: "
            f"{error!r}. Check its transform, or say num_classes=."
        ) from error
    width = math.prod(pick(answer, TRIED).shape[1:])
    return 2 if width == 1 else width


def answers_plainly(network: torch.nn.Module, transform: Preprocessing, num_classes: int, name: str) -> bool:
    """Return whether a network maps images to logits (n, classes) in float32, and leaves the images alone.

    It is tried with black images. What is trained or asked as it is should be such a network.

    Raises:
        ModelError: as `black_answer`.

    >>> from securitynet_hub.data.transforms import Transform
    >>> layers = torch.nn.Flatten(), torch.nn.Linear(4, 3)
    >>> answers_plainly(torch.nn.Sequential(*layers), Transform(height=2, width=2, channels=1), 3, "it")
    True
    """
    inputs = transform(np.zeros((TRIED, *transform.shape), np.uint8))
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    given = inputs.to(inputs.device if like.is_meta else like.device, like.dtype, copy=True)
    answer = black_answer(network, network, given, transform, name)
    plain = isinstance(answer, torch.Tensor) and answer.shape == (TRIED, num_classes)
    return plain and answer.dtype == torch.float32 and torch.equal(given, inputs.to(given))


def black_answer(
    module: torch.nn.Module,
    forward: Callable[[torch.Tensor], Any],
    inputs: torch.Tensor,
    transform: Preprocessing,
    name: str,
) -> Any:
    """Return what a network answers black images with.

    Args:
        module: the network, which is in eval mode meanwhile.
        forward: forwards inputs.
        inputs: `TRIED` black images after their preprocessing.
        transform: the preprocessing.
        name: names the model in errors.

    Raises:
        ModelError: it cannot forward them; the message says which height, width and number of channels it
            takes, if it takes usual ones.
    """
    with evaluating(module), torch.no_grad():
        try:
            return forward(inputs)
        except ModelError:
            raise
        except Exception as error:  # a caller's network may raise anything
            taken = _taken(forward, inputs)
            refused = ModelError(
                f"{name} cannot forward {TRIED} black images of {transform.shape} after its preprocessing, "
                f"which gives {tuple(inputs.shape)}: {str(error).rstrip('.')}. Check transform: "
                + _advice(inputs, taken)
            )
            # Where another shape is taken, the network's code is right, and its traceback tells nothing.
            raise refused from (error if taken is None else None)


def _taken(forward: Callable[[torch.Tensor], Any], inputs: torch.Tensor) -> tuple[int, int, int] | None:
    """Return channels, height and width of images that a network forwards; None if none of the usual ones."""
    if inputs.ndim != 4:
        return None
    _, own, *sides = inputs.shape
    for channels in dict.fromkeys((own, 3, 1)):
        for height, width in dict.fromkeys([tuple(sides), *((side, side) for side in SIDES)]):
            try:
                forward(inputs.new_zeros(TRIED, channels, height, width))
            except Exception:  # a caller's network may raise anything
                continue
            return channels, height, width
    return None


def _advice(inputs: torch.Tensor, taken: tuple[int, int, int] | None) -> str:
    if taken is None:
        return (
            "height and width must be those of the network's input, and the length of mean and std (or "
            "channels=) the number of its channels."
        )
    channels, *sides = taken
    said = []
    if sides != list(inputs.shape[2:]):
        said.append(f"the network takes images of height={sides[0]},width={sides[1]}")
    if channels != inputs.shape[1]:
        many = "s" * (channels > 1)
        said.append(
            f"the network takes {channels} channel{many}, and the length of mean and std is their number: "
            f"give {channels} value{many} of each, or channels={channels} and a number for all of them"
        )
    return "; ".join(said) + "."


def tried_classes(module: Classifier, transform: Preprocessing, name: str) -> int:
    """Return the number of classes that a model answers for, by a forward pass of black images.

    A warning says if the model answers with several tensors, of which the first is taken.

    Raises:
        ModelError: it cannot forward them, or its answers are not found.
    """
    inputs = transform(np.zeros((TRIED, *transform.shape), np.uint8))
    somewhere = next(module.parameters(), torch.zeros(()))
    inputs = inputs if somewhere.is_meta else inputs.to(somewhere.device)
    answer = black_answer(module.network, module.answer, inputs, transform, name)
    rivals = fitting(answer, TRIED, module.num_classes)
    if len(rivals) > 1 and not all(torch.equal(rivals[0], rival) for rival in rivals[1:]):
        warn_caller(
            f"{name} answers with {len(rivals)} tensors that may be its logits; the first is taken. Pass "
            "reduce=, a function that picks one, if it is another.",
            AnswersWarning,
        )
    return module.read(answer, TRIED).shape[1]
