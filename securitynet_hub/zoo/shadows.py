"""Shadow models of the embedded zoo: the same recipes, trained on other members of the packaged images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from securitynet_hub.attacks.kind import Trainer
from securitynet_hub.attacks.membership.candidates import without_copies
from securitynet_hub.attacks.membership.shadows import Shadows, balanced_masks, train_shadows
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.augmentations import VIEWS, View, identity
from securitynet_hub.data.images import load_images
from securitynet_hub.data.sources import Chained, ImageSource
from securitynet_hub.models.target import Target
from securitynet_hub.models.zoo_networks import NETWORKS, TRANSFORM
from securitynet_hub.zoo.recipes import ZooModel, zoo_models
from securitynet_hub.zoo.train import IMAGES, SHIPPED_TEST, SHIPPED_TRAIN


def require_shadowed(id: str, num_models: int, num_images: int = len(SHIPPED_TRAIN)) -> tuple[ZooModel, int]:
    """Return the recipe of a zoo model, and into how many parts its shadow models divide so many images.

    Raises:
        UnknownNameError: there is no such model.
        ValueError: the model was trained on images that are not packaged, or some image would be in no
            shadow model.
    """
    models = {model.id: model for model in zoo_models()}
    if id not in models:
        raise UnknownNameError("zoo model", id, models)
    model = models[id]
    if model.full:
        raise ValueError(
            f"{id} was trained on 59,000 images that do not ship with the package; shadow models are for "
            "models of 250 to 1,000 members, whose names end in that number."
        )
    parts = round(num_images / model.num_members)
    if num_models < parts:
        raise ValueError(
            f"{id} has {model.num_members} of {num_images:,} images as members: it takes {parts} "
            f"shadow models or more for every image to be in one; got {num_models}."
        )
    return model, parts


def shadow_counts(id: str, num_models: int) -> tuple[int, int]:
    """Return the least number of `num_models` shadow models trained with an image, and without one.

    Raises:
        UnknownNameError: there is no such model.
        ValueError: as `require_shadowed`.

    >>> shadow_counts("zoo/fashion-mnist/cnn-overfitted-500/1", 9)
    (2, 6)
    """
    _, parts = require_shadowed(id, num_models)
    return num_models // parts, num_models - -(-num_models // parts)


def train_zoo_shadows(
    id: str,
    num_models: int,
    folder: Path,
    *,
    views: Sequence[View] = (identity,),
    seed: int = 1000,
    candidates: ImageSource | None = None,
    on_model: Callable[[int], None] = lambda number: None,
) -> Shadows:
    """Train shadow models for a zoo model: same network, recipe and number of members, other members.

    Their outputs cover the 2,000 images from which members and non-members are drawn, and the 2,000 test
    images, on which none of them was trained: the population.

    Args:
        id: id of a zoo model that was trained only on packaged images.
        num_models: number of shadow models.
        folder: folder in which the shadow models are stored and found again.
        views: augmentations of an image, one query each.
        seed: seed of the draw; model k is trained with ``seed + k`` (the zoo's models with 1 and 2).
        candidates: further images to draw from, with labels of the zoo's classes; packaged images that are
            among them leave the pool.
        on_model: called with its number after each model.

    Raises:
        UnknownNameError: there is no such model.
        ValueError: as `require_shadowed`.
    """
    packaged = load_images(IMAGES)
    images: ImageSource = packaged
    drawn, others = np.array(SHIPPED_TRAIN), np.array(SHIPPED_TEST)
    if candidates is not None:
        images = Chained(packaged, candidates)
        drawn, others = (without_copies(packaged, rows, candidates) for rows in (drawn, others))
        drawn = np.append(drawn, np.arange(len(packaged), len(images)))
    model, parts = require_shadowed(id, num_models, len(drawn))
    masks = np.zeros((num_models, len(drawn) + len(others)), np.bool_)
    masks[:, : len(drawn)] = balanced_masks(num_models, len(drawn), parts=parts, seed=seed)
    recipe = type(model.recipe)(**{**model.recipe.as_dict(), "seed": seed})
    return train_shadows(
        lambda: NETWORKS[model.architecture](len(images.class_names)),
        images,
        np.concatenate([drawn, others]),
        masks,
        recipe,
        TRANSFORM,
        folder=folder,
        views=views,
        on_model=on_model,
    )


def trainer(folder: Path, *, on_model: Callable[[int], None] = lambda number: None) -> Trainer:
    """Return a function that trains shadow models of zoo models for `audit`, once for each model.

    Args:
        folder: folder in which the shadow models are stored, below the model's id.
        on_model: called with its number after each model.
    """
    trained: dict[tuple[str, int, tuple[str, ...], str], Shadows] = {}

    def train(
        target: Target, count: int, *, views: Sequence[str], candidates: ImageSource | None = None
    ) -> Shadows:
        key = (target.id, count, tuple(views), "" if candidates is None else candidates.sha256)
        if key not in trained:
            trained[key] = train_zoo_shadows(
                target.id,
                count,
                folder / target.id,
                views=[VIEWS[name] for name in views],
                candidates=candidates,
                on_model=on_model,
            )
        return trained[key]

    return train
