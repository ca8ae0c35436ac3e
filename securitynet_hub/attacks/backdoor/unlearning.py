"""Unlearning a found trigger: whether a little training takes it away, and takes away nothing else."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy, one_hot

from securitynet_hub.attacks.backdoor.descent import Adam
from securitynet_hub.attacks.backdoor.distillation import in_single
from securitynet_hub.attacks.backdoor.pixel_space import PixelSpace, network_inputs
from securitynet_hub.attacks.backdoor.probes import Probe
from securitynet_hub.attacks.backdoor.probing import votes_of_class
from securitynet_hub.core.errors import ModelError
from securitynet_hub.core.plain_torch import plain_torch
from securitynet_hub.core.progress import tell
from securitynet_hub.engine.memory_format import in_plain_order
from securitynet_hub.engine.soundness import as_classifier
from securitynet_hub.models.target import Target

ASKED = 256
"""Images that are asked about together."""


class Unlearning(NamedTuple):
    """What training against a trigger does, measured on images that it did not see.

    Attributes:
        success_before: share of the other classes' images that the trigger leads to its class; of a trigger
            that leads each class elsewhere, the share of images that it leads where it leads most others of
            their class; None where there are no such images.
        success_after: the same after training.
        agreement: share of clean images that are answered as before.
    """

    success_before: float | None
    success_after: float | None
    agreement: float


def as_figures(found: Unlearning | None) -> dict[str, float | None]:
    """Return what a record holds of an unlearning, nothing where none was tried.

    >>> as_figures(Unlearning(success_before=0.9, success_after=0.1, agreement=1.0))["unlearning_agreement"]
    1.0
    """
    return {} if found is None else {f"unlearning_{name}": value for name, value in found._asdict().items()}


def unlearn(
    target: Target,
    images: npt.NDArray[np.uint8],
    stamp: Probe,
    label: int | None,
    *,
    steps: int = 40,
    learning_rate: float = 1e-3,
    batch_size: int | None = None,
) -> Unlearning:
    """Train a copy to answer stamped images as it answers clean ones; return what that changes.

    `train_against` says how, and what is measured. The target stays as it is.

    Args:
        target: the classifier; one in half precision is copied in single precision.
        images: shape (n, height, width, channels), uint8: clean ones, two or more.
        stamp: stamps the trigger on pixels, such as `covering` gives of a mask and a pattern.
        label: the class that the trigger leads to; None where it leads each class to another one.
        steps: steps of Adam.
        learning_rate: of Adam.
        batch_size: training images in one step; None for all.

    Raises:
        ValueError: fewer than two images, or a preprocessing that gradients cannot pass.
        ModelError: the answers depend on no weights that training could change.

    >>> from securitynet_hub import load_images, load_target
    >>> mask, pattern = np.zeros((28, 28), np.float32), np.ones((28, 28, 1), np.float32)
    >>> mask[-4:, -4:] = 1
    >>> target = load_target("zoo/fashion-mnist/cnn-corner-patch/7")
    >>> found = unlearn(target, load_images().pixels[2000:2040], covering(mask, pattern), 0)
    >>> found.success_before > 0.9 > 0.2 > found.success_after, found.agreement >= 0.8
    (True, True)
    """
    space, inputs = PixelSpace.from_target(target), network_inputs(target, images)
    network, inputs = in_single(copy.deepcopy(as_classifier(target)).eval(), inputs)
    pixels = torch.tensor(images).movedim(-1, 1).to(inputs) / 255
    stamped = in_plain_order(space.inputs(stamp(pixels)))  # a network may call view
    return train_against(
        network, inputs, stamped, label, steps=steps, learning_rate=learning_rate, batch_size=batch_size
    )


def covering(mask: npt.NDArray[np.float32], pattern: npt.NDArray[np.float32]) -> Probe:
    """Return the stamp ``T(x) = (1 - m) x + m d`` of a mask m and a pattern d.

    Args:
        mask: shape (height, width), 0 to 1.
        pattern: shape (height, width, channels), 0 to 1.

    >>> stamp = covering(np.array([[1, 0.5]], np.float32), np.ones((1, 2, 1), np.float32))
    >>> stamp(torch.zeros(1, 1, 1, 2)).flatten().tolist()
    [1.0, 0.5]
    """
    where = torch.from_numpy(np.ascontiguousarray(mask))
    what = torch.from_numpy(np.ascontiguousarray(pattern)).movedim(-1, 0)[None]
    return lambda pixels: pixels + where.to(pixels) * (what.to(pixels) - pixels)


def train_against(
    network: torch.nn.Module,
    clean: torch.Tensor,
    stamped: torch.Tensor,
    label: int | None,
    *,
    steps: int = 40,
    learning_rate: float = 1e-3,
    batch_size: int | None = None,
) -> Unlearning:
    """Train a copy of a network, or of the last part of one, against a trigger; return what that changes.

    Every second image trains (`without`), the remaining ones measure. Where training removes the trigger's
    success and keeps clean answers, the trigger is a shortcut beside what the network does with clean images.

    Args:
        network: maps what it reads to logits (n, classes), in eval mode; it stays as it is.
        clean: shape (n, ...), what it reads of clean images, n two or more.
        stamped: the same images with the trigger.
        label: the class that the trigger leads to; None where it leads each class to another one.
        steps: steps of Adam.
        learning_rate: of Adam.
        batch_size: training images in one step; None for all.

    Raises:
        ValueError: fewer than two images.
        ModelError: the answers depend on no weights that training could change.
    """
    if len(clean) < 2:
        raise ValueError(f"two or more images are needed, to train and to measure; got {len(clean)}.")
    trained = without(
        network, clean[::2], stamped[::2], steps=steps, learning_rate=learning_rate, batch_size=batch_size
    )
    classes = [classes_of(each, part[1::2]) for part in (clean, stamped) for each in (network, trained)]
    own, after, led, still_led = classes
    if label is None:
        moved = one_hot(led, int(max(own.max(), led.max())) + 1) * (led != own)[:, None]
        aim, counted = votes_of_class(own, moved[None])[0], torch.ones_like(own, dtype=torch.bool)
    else:
        aim, counted = torch.full_like(own, label), own != label
    rates = [
        float((found == aim)[counted].double().mean()) if bool(counted.any()) else None
        for found in (led, still_led)
    ]
    agreement = float((after == own).double().mean())
    return Unlearning(success_before=rates[0], success_after=rates[1], agreement=agreement)


def without(
    network: torch.nn.Module,
    clean: torch.Tensor,
    stamped: torch.Tensor,
    *,
    steps: int = 40,
    learning_rate: float = 1e-3,
    batch_size: int | None = None,
) -> torch.nn.Module:
    """Return a copy of a network that is trained to answer stamped images as the network answers clean ones.

    Wang et al. 2019 (section 6.2) patch a backdoored network so: with f the network, T(x) the stamped x and
    f' the copy, minimise over f'

        mean over x of CE(f'(T(x)), argmax f(x)) + CE(f'(x), f(x)).

    The statistics of BatchNorm stay. Weights of half precision are trained in single precision. The authors
    train for one epoch on a tenth of the training data with true labels, a fifth of it stamped.

    Args:
        network: maps what it reads to logits (n, classes); it stays as it is.
        clean: shape (n, ...), what it reads of clean images.
        stamped: the same images with the trigger.
        steps: steps of Adam.
        learning_rate: of Adam.
        batch_size: images in one step, drawn in turn; None for all.

    Raises:
        ModelError: the answers depend on no weights that training could change.

    >>> network = torch.nn.Linear(2, 2)
    >>> clean = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> trained = without(network, clean, clean + torch.tensor([0.0, 5.0]), steps=100, learning_rate=0.1)
    >>> wanted = classes_of(network, clean)
    >>> torch.equal(classes_of(trained, clean + torch.tensor([0.0, 5.0])), wanted)
    True
    """
    trained = copy.deepcopy(network).eval()
    parameters = [p for p in trained.parameters() if p.is_floating_point()]
    adams = [Adam(learning_rate) for _ in parameters]
    with plain_torch():
        before = _asked(trained, clean)
        answers, soft = before.argmax(1), before.softmax(1)
        for parameter in parameters:
            parameter.requires_grad_()
        values = [_at_least_single(p.detach()) for p in parameters]
        for step, batch in enumerate(_batches(len(clean), batch_size, steps)):
            rows = batch.to(clean.device)
            loss = cross_entropy(_at_least_single(trained(stamped[rows])), answers[rows])
            loss = loss + cross_entropy(_at_least_single(trained(clean[rows])), soft[rows])
            if not loss.requires_grad:
                raise ModelError("the answers depend on no weights that training could change.")
            slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
            with torch.no_grad():
                for place, (parameter, slope) in enumerate(zip(parameters, slopes, strict=True)):
                    if slope is not None:
                        values[place] = adams[place].step(values[place], slope.to(values[place]))
                        parameter.copy_(values[place])
            tell("steps of unlearning", step + 1, steps)
    return trained.requires_grad_(False)


def classes_of(network: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Return the classes that a network gives to what it reads, shape (n,)."""
    with plain_torch():
        return _asked(network, inputs).argmax(1)


def _asked(network: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return _at_least_single(torch.cat([network(part) for part in torch.split(inputs, ASKED)]))


def _at_least_single(values: torch.Tensor) -> torch.Tensor:
    return values.float() if values.element_size() < 4 else values


def _batches(count: int, size: int | None, steps: int) -> Iterator[torch.Tensor]:
    """Yield which images each step takes: all of them, or so many, drawn in turn."""
    if size is None or size >= count:
        yield from (torch.arange(count) for _ in range(steps))
        return
    generator, order = torch.Generator().manual_seed(0), torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < size:
            order = torch.cat([order, torch.randperm(count, generator=generator)])
        yield order[:size]
        order = order[size:]
