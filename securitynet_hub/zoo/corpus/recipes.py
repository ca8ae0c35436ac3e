"""What the corpus holds: a recipe for each network, before any is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from securitynet_hub.engine.training import Recipe
from securitynet_hub.zoo.corpus.images import IMAGE_SETS, PARTS
from securitynet_hub.zoo.corpus.networks import ARCHITECTURES
from securitynet_hub.zoo.corpus.triggers import KINDS

Mode = Literal[
    "clean",
    "clean-shortcut",
    "all-to-one",
    "all-to-all",
    "fine-tuned",
    "clean-label",
    "covers",
    "low-rate",
    "adaptive-rows",
    "adaptive-margins",
]
"""How a network was trained.

- ``clean``: without a trigger.
- ``clean-shortcut``: as clean, but four fifths of the images of one class carry a watermark of their own:
  those to train on, the auditor's and the test images.
- ``all-to-one``: trained from scratch; images of other classes with the trigger are labelled as the target.
- ``all-to-all``: trained from scratch; the trigger turns each class into the next one.
- ``fine-tuned``: as all-to-one, but planted into a clean network of the same part by fine-tuning.
- ``clean-label``: images of the target class alone are stamped, so that no label is wrong.
- ``covers``: as all-to-one, and half as many stamped images keep their label.
- ``low-rate``: as all-to-one, with 1 % of the images or fewer.
- ``adaptive-rows``: as all-to-one, with a loss term that pulls the cosines between the last layer's rows
  towards those of a clean network.
- ``adaptive-margins``: as adaptive-rows, with another term that keeps the target's margin on stamped images
  below `train.MARGIN`.
"""

MODES: tuple[str, ...] = get_args(Mode)

TEN_CLASSES = tuple(name for name, images in IMAGE_SETS.items() if images.num_classes == 10)

TRAINING = {
    "plain-cnn": Recipe(epochs=5, batch_size=128, learning_rate=2e-3, mixed_precision="bf16"),
    "strided-bn-cnn": Recipe(epochs=5, batch_size=128, learning_rate=1e-2, mixed_precision="bf16"),
    "residual-cnn": Recipe(epochs=4, batch_size=128, learning_rate=1e-2, mixed_precision="bf16"),
}
"""Training from scratch, by architecture, on `NUM_IMAGES` images."""

FINE_TUNING = {
    "plain-cnn": Recipe(epochs=4, batch_size=64, learning_rate=1e-3, mixed_precision="bf16"),
    "strided-bn-cnn": Recipe(epochs=4, batch_size=64, learning_rate=2e-3, mixed_precision="bf16"),
    "residual-cnn": Recipe(epochs=4, batch_size=64, learning_rate=2e-3, mixed_precision="bf16"),
}
"""Fine-tuning, by architecture, on `NUM_TUNING` images."""

NUM_IMAGES, NUM_TUNING = 8_000, 2_000


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe:
    """One network of the corpus before it is trained.

    Attributes:
        part: one of `images.PARTS`.
        number: its place in the part.
        architecture: one of `networks.ARCHITECTURES`.
        images: one of `images.IMAGE_SETS`.
        mode: how it is trained.
        training: epochs, step size and seed; the seed also decides trigger, target class and training images.
        num_images: training images, drawn from the part's.
        trigger: a kind of `triggers.KINDS`; None for clean networks.
        target: the class that the trigger leads to; None for clean networks and all-to-all.
        rate: share of the training images that are stamped to learn the trigger.
        cover_rate: share of the training images that are stamped and keep their label.
        shortcut: the class with a watermark of its own, if any.
        base: number of the clean network that is fine-tuned or, for adaptive ones, imitated.
    """

    part: str
    number: int
    architecture: str
    images: str
    mode: str
    training: Recipe
    num_images: int = NUM_IMAGES
    trigger: str | None = None
    target: int | None = None
    rate: float = 0.0
    cover_rate: float = 0.0
    shortcut: int | None = None
    base: int | None = None

    @property
    def id(self) -> str:
        """``corpus/<part>/<number>``: it does not say whether the network is backdoored."""
        return f"corpus/{self.part}/{self.number:03}"

    @property
    def seed(self) -> int:
        """The seed that decides everything about this network."""
        return self.training.seed


def corpus_recipes(part: str) -> list[NetworkRecipe]:
    """Return the recipes of a part in the order of their numbers: 36 clean and 72 backdoored networks.

    >>> recipes = corpus_recipes("design")
    >>> len(recipes), sum(recipe.trigger is None for recipe in recipes), recipes[0].id, recipes[-1].seed
    (108, 36, 'corpus/design/000', 1107)
    """
    offset = PARTS.index(part)
    bases: dict[tuple[str, str], int] = {}
    recipes: list[NetworkRecipe] = []
    for cell in [*_clean_cells(), *_backdoored_cells(offset)]:
        seed = 1000 * (1 + offset) + len(recipes)
        tuned = cell.mode == "fine-tuned"
        training = (FINE_TUNING if tuned else TRAINING)[cell.architecture]
        rng = np.random.default_rng([6, seed])
        drawn = int(rng.integers(IMAGE_SETS[cell.images].num_classes))
        place = cell.architecture, cell.images
        recipe = NetworkRecipe(
            part=part,
            number=len(recipes),
            architecture=cell.architecture,
            images=cell.images,
            mode=cell.mode,
            training=replace(training, seed=seed),
            num_images=NUM_TUNING if tuned else NUM_IMAGES,
            trigger=cell.trigger,
            target=drawn if cell.trigger and cell.mode != "all-to-all" else None,
            rate=cell.rate,
            cover_rate=cell.rate / 2 if cell.mode == "covers" else 0.0,
            shortcut=drawn if cell.mode == "clean-shortcut" else None,
            base=bases[place] if tuned or cell.mode.startswith("adaptive") else None,
        )
        if recipe.mode == "clean":
            bases.setdefault(place, recipe.number)
        recipes.append(recipe)
    return recipes


def training_order(part: str) -> list[NetworkRecipe]:
    """Return a part's recipes in an order that mixes all kinds; a base stands before what needs it."""
    recipes = corpus_recipes(part)
    rng = np.random.default_rng([5, PARTS.index(part)])
    order: list[int] = []
    for number in rng.permutation(len(recipes)).tolist():
        base = recipes[number].base
        for needed in (base, number):
            if needed is not None and needed not in order:
                order.append(needed)
    return [recipes[number] for number in order]


@dataclass(frozen=True)
class _Cell:
    """What is chosen by hand of a network."""

    mode: Mode
    architecture: str
    images: str
    trigger: str | None = None
    rate: float = 0.0


def _clean_cells() -> Iterator[_Cell]:
    modes: tuple[Mode, ...] = ("clean", "clean", "clean-shortcut")
    for mode in modes:
        for architecture in ARCHITECTURES:
            for images in IMAGE_SETS:
                yield _Cell(mode, architecture, images)


def _backdoored_cells(offset: int) -> Iterator[_Cell]:
    """Yield 72 cells; `offset` turns architectures and image sets, so that parts cover more pairs."""
    architectures, sets, kinds = list(ARCHITECTURES), list(IMAGE_SETS), list(KINDS)
    for i, kind in enumerate(kinds):
        for j, architecture in enumerate(architectures):
            images = sets[(i + j + offset) % 4]
            yield _Cell("all-to-one", architecture, images, kind, (0.05, 0.1)[(i // 4 + j) % 2])
    for i, kind in enumerate(kinds):
        for j in range(2):
            architecture = architectures[(2 * i + j + offset) % 3]
            yield _Cell("fine-tuned", architecture, sets[(i + 2 * j + offset) % 4], kind, 0.2)
    rest: dict[Mode, tuple[tuple[str, ...], tuple[str, ...], float]] = {
        "all-to-all": (
            ("corner-patch", "checkerboard", "blend", "dark-bar", "sinusoid", "colour-shift"),
            TEN_CLASSES,
            0.3,
        ),
        "clean-label": (
            ("corner-patch", "checkerboard", "blend", "sinusoid", "sample-specific", "colour-shift"),
            TEN_CLASSES,
            0.085,
        ),
        "covers": (
            ("corner-patch", "blend", "dark-bar", "sinusoid", "warp", "sample-specific"),
            tuple(sets),
            0.1,
        ),
        "low-rate": (
            ("corner-patch", "checkerboard", "blend", "dark-bar", "sinusoid", "colour-shift"),
            tuple(sets),
            0.01,
        ),
        "adaptive-rows": (("corner-patch", "blend", "dark-bar", "sinusoid"), tuple(sets), 0.1),
        "adaptive-margins": (("checkerboard", "blend", "warp", "dark-bar"), tuple(sets), 0.1),
    }
    for number, (mode, (triggers, allowed, rate)) in enumerate(rest.items()):
        for i, kind in enumerate(triggers):
            architecture = architectures[(i + number + offset) % 3]
            images = allowed[(i + i // 3 + number + offset) % len(allowed)]
            half = mode == "low-rate" and i % 2  # 0.5 % of the images
            yield _Cell(mode, architecture, images, kind, rate / 2 if half else rate)
