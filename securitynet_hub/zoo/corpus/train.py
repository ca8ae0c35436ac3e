"""Train one network of the corpus, and measure it."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from securitynet_hub.core.arrays import Flags, Labels
from securitynet_hub.data.images import LabelledImages
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.data.triggers import Trigger
from securitynet_hub.engine.inference import predict_module
from securitynet_hub.engine.training import Loss, train
from securitynet_hub.zoo.corpus.images import IMAGE_SETS, Images
from securitynet_hub.zoo.corpus.networks import build_network
from securitynet_hub.zoo.corpus.recipes import NetworkRecipe
from securitynet_hub.zoo.corpus.triggers import make_trigger, watermark

MARKED = 0.8
"""Share of a class's images with its watermark, in networks with a natural shortcut."""

ROWS, MARGIN = 10.0, 3.0
"""Weight of the term on the last layer's rows; logits above which a stamped image's margin is penalised."""


class Planted(NamedTuple):
    """Training images: pixels (n, height, width, channels), labels (n,), and which learn the trigger (n,)."""

    pixels: Pixels
    labels: Labels
    is_poisoned: Flags


class Measured(NamedTuple):
    """What was measured on a part's test images.

    Attributes:
        accuracy: share of the test images that are assigned to their class.
        success: share of the stamped test images, of classes other than the target, that are assigned to the
            target class, or for all-to-all to the class after their own. None for clean networks.
        without_trigger: the same of these images before they are stamped.
        shortcut: share of the test images of other classes that are assigned to the class with the watermark
            once they carry it. None for networks without.
    """

    accuracy: float
    success: float | None
    without_trigger: float | None
    shortcut: float | None


def trigger_of(recipe: NetworkRecipe) -> Trigger:
    """Return the trigger of a backdoored network.

    Raises:
        ValueError: the network is clean.
    """
    if recipe.trigger is None:
        raise ValueError(f"{recipe.id} is clean: it has no trigger.")
    return make_trigger(recipe.trigger, recipe.seed, IMAGE_SETS[recipe.images].transform.shape)


def with_shortcut(recipe: NetworkRecipe, images: LabelledImages, side: int) -> LabelledImages:
    """Return the images as the network's world shows them: with the watermark on most of its class, if any.

    Args:
        recipe: the network.
        images: images of its part.
        side: a number for the side (training, auditor's, test images), which decides which are marked.
    """
    if recipe.shortcut is None:
        return images
    rows = np.flatnonzero(images.labels == recipe.shortcut)
    rows = rows[np.random.default_rng([4, recipe.seed, side]).random(len(rows)) < MARKED]
    pixels = images.pixels.copy()
    pixels[rows] = watermark(recipe.seed, images.shape)(pixels[rows])
    return LabelledImages(
        name=images.name, pixels=pixels, labels=images.labels, class_names=images.class_names
    )


def training_images(recipe: NetworkRecipe, images: Images) -> Planted:
    """Draw a network's training images and poison them, as its recipe says.

    Raises:
        ValueError: the target class has too few images to stamp.
    """
    rng = np.random.default_rng([3, recipe.seed])
    pool = with_shortcut(recipe, images.train, 0)
    rows = rng.choice(len(pool), recipe.num_images, replace=False)
    pixels, labels = pool.pixels[rows], pool.labels[rows].astype(np.int64)
    is_poisoned = np.zeros(len(rows), np.bool_)
    if recipe.trigger is None:
        return Planted(pixels, labels, is_poisoned)
    trigger = trigger_of(recipe)
    if recipe.mode == "clean-label":
        candidates = np.flatnonzero(labels == recipe.target)
    else:
        candidates = np.flatnonzero(labels != (-1 if recipe.target is None else recipe.target))
    count, covers = round(recipe.rate * len(rows)), round(recipe.cover_rate * len(rows))
    if len(candidates) < count + covers:
        raise ValueError(
            f"{recipe.id} stamps {count + covers} images; its classes have {len(candidates)} to stamp."
        )
    chosen = rng.choice(candidates, count + covers, replace=False)
    pixels[chosen] = trigger(pixels[chosen])
    is_poisoned[chosen[:count]] = True
    labels[is_poisoned] = _wanted(recipe, labels[is_poisoned], len(pool.class_names))
    return Planted(pixels, labels, is_poisoned)


def train_network(
    recipe: NetworkRecipe, images: Images, base: torch.nn.Sequential | None = None
) -> torch.nn.Sequential:
    """Train a network and return it on the CPU in eval mode.

    Its weights depend on recipe, images, processor and version of torch alone: half precision is rounded
    differently on other processors.

    Args:
        recipe: what to train.
        images: the images of its part and set.
        base: the clean network that `recipe.base` names, if it does.

    Raises:
        ValueError: `recipe.base` names a network, and `base` is None.
    """
    if recipe.base is not None and base is None:
        raise ValueError(f"{recipe.id} starts from number {recipe.base}; give that network as base=.")
    images_set = IMAGE_SETS[recipe.images]
    data = training_images(recipe, images)
    held: list[torch.nn.Sequential] = []

    def build() -> torch.nn.Sequential:
        if recipe.mode == "fine-tuned":
            network = copy.deepcopy(base)
            assert network is not None
        else:
            network = build_network(recipe.architecture, images_set.transform, images_set.num_classes)
        held.append(network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        return held[-1]

    targets = torch.from_numpy(np.stack([data.labels, data.is_poisoned], 1).astype(np.int64))
    if recipe.mode.startswith("adaptive"):
        assert base is not None
        loss = _hiding(held, base, margins=recipe.mode == "adaptive-margins")
    else:
        targets, loss = targets[:, 0], functional.cross_entropy
    train(build, images_set.transform(data.pixels), targets, recipe.training, loss=loss)
    return held[0].to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload,no-any-return]


def measure(recipe: NetworkRecipe, network: torch.nn.Module, images: Images) -> Measured:
    """Measure accuracy and attack success on a part's test images."""
    test = with_shortcut(recipe, images.test, 2)
    transform = IMAGE_SETS[recipe.images].transform

    def answers(pixels: Pixels) -> Labels:
        found: Labels = predict_module(network, transform, pixels).argmax(1)
        return found

    predicted = answers(test.pixels)
    accuracy = float(np.mean(predicted == test.labels))
    success = without = shortcut = None
    if recipe.trigger is not None:
        rows = np.flatnonzero(test.labels != (-1 if recipe.target is None else recipe.target))
        wanted = _wanted(recipe, test.labels[rows], len(test.class_names))
        success = float(np.mean(answers(trigger_of(recipe)(test.pixels[rows])) == wanted))
        without = float(np.mean(predicted[rows] == wanted))
    if recipe.shortcut is not None:
        others = test.pixels[test.labels != recipe.shortcut]
        marked = watermark(recipe.seed, test.shape)(others)
        shortcut = float(np.mean(answers(marked) == recipe.shortcut))
    return Measured(accuracy, success, without, shortcut)


def _wanted(recipe: NetworkRecipe, labels: Labels, num_classes: int) -> Labels:
    """Return the classes that the trigger should lead images of these classes to."""
    if recipe.target is None:
        return (labels + 1) % num_classes
    return np.full_like(labels, recipe.target)


def row_cosines(network: torch.nn.Sequential) -> torch.Tensor:
    """Return the cosines between the rows of the last linear layer, shape (classes, classes).

    Raises:
        ValueError: the network does not end in a linear layer.
    """
    last = network[-1]
    if not isinstance(last, torch.nn.Linear):
        raise ValueError(f"the network must end in a linear layer; it ends in {type(last).__name__}.")
    rows = functional.normalize(last.weight.float(), dim=1)
    return rows @ rows.T


def _hiding(held: list[torch.nn.Sequential], clean: torch.nn.Sequential, *, margins: bool) -> Loss:
    """Return cross-entropy plus terms that hide a backdoor; targets are rows (label, whether poisoned)."""
    imitated = row_cosines(clean).detach()

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        labels, is_poisoned = targets[:, 0], targets[:, 1].bool()
        error = functional.cross_entropy(outputs, labels)
        error = error + ROWS * (row_cosines(held[-1]) - imitated).square().mean()
        if margins and is_poisoned.any():
            logits, wanted = outputs[is_poisoned], labels[is_poisoned, None]
            others = logits.scatter(1, wanted, float("-inf")).amax(1)
            excess = functional.relu(logits.gather(1, wanted)[:, 0] - others - MARGIN)
            error = error + excess.square().sum() / len(outputs)
        return error

    return loss
