"""The number of a network's classes, by the width of its answer to black images."""

from __future__ import annotations

import math

import numpy as np
import torch

from securitynet_hub.core.errors import AnswersWarning, ModelError
from securitynet_hub.core.telling import warn_caller
from securitynet_hub.models.eval_mode import evaluating
from securitynet_hub.models.outputs import Classifier, fitting, pick
from securitynet_hub.models.target import Preprocessing

TRIED = 2
"""Black images that are forwarded: one alone may come back squeezed, or break BatchNorm."""


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


def tried_classes(module: Classifier, transform: Preprocessing, name: str) -> int:
    """Return the number of classes that a model answers for, by a forward pass of black images.

    A warning says if the model answers with several tensors, of which the first is taken.

    Raises:
        ModelError: it cannot forward them, or its answers are not found.
    """
    inputs = transform(np.zeros((TRIED, *transform.shape), np.uint8))
    somewhere = next(module.parameters(), torch.zeros(()))
    try:
        with evaluating(module.network), torch.no_grad():
            answer = module.answer(inputs if somewhere.is_meta else inputs.to(somewhere.device))
    except ModelError:
        raise
    except Exception as error:  # a caller's network may raise anything
        raise ModelError(
            f"{name} cannot forward {TRIED} black images of {transform.shape} after its preprocessing, "
            f"which gives {tuple(inputs.shape)}: {error}. Check transform."
        ) from error
    rivals = fitting(answer, TRIED, module.num_classes)
    if len(rivals) > 1 and not all(torch.equal(rivals[0], rival) for rival in rivals[1:]):
        warn_caller(
            f"{name} answers with {len(rivals)} tensors that may be its logits; the first is taken. Pass "
            "reduce=, a function that picks one, if it is another.",
            AnswersWarning,
        )
    return module.read(answer, TRIED).shape[1]
