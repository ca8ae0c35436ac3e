"""Shadow models for a network of one's own: the same network, trained on other samples of the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from securitynet_hub.attacks.kind import Trainer
from securitynet_hub.attacks.membership.shadows import Shadows, balanced_masks, train_shadows
from securitynet_hub.attacks.subject import AuditData
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.augmentations import VIEWS
from securitynet_hub.engine.training import Recipe
from securitynet_hub.models.target import Target


def as_recipe(stated: Mapping[str, Any]) -> Recipe:
    """Return how a network is trained, from named settings.

    Raises:
        UnknownNameError: there is no such setting; the closest names are given.
        ValueError: the number of epochs is missing.

    >>> as_recipe({"epochs": 3, "augment": "shift"}).augment
    'shift'
    """
    known = [part.name for part in fields(Recipe)]
    for name in stated:
        if name not in known:
            raise UnknownNameError("setting of a recipe", name, known)
    if "epochs" not in stated:
        raise ValueError(f"a recipe needs epochs; it may have {', '.join(known)}.")
    return Recipe(**stated)


def own_trainer(
    data: AuditData, recipe: Recipe, folder: Path, *, on_model: Callable[[int], None] = lambda number: None
) -> Trainer:
    """Return a function that trains shadow models of a caller's network for `audit`.

    Each is trained on as large a share of the split's images as the target's members are, drawn anew, so that
    every image is a member of some models and none of others.

    Args:
        data: the images of the audit; members and non-members together are the pool.
        recipe: how the target was trained.
        folder: folder in which the models are stored and found again.
        on_model: called with its number after each model.
    """

    def train(target: Target, count: int, *, views: Sequence[str]) -> Shadows:
        if target.build is None:
            raise ValueError(
                f"how the network of {target.id} is made is not known here: name its factory with "
                "module= (--module package.module:factory), or pass build= to load_target."
            )
        pool = np.sort(data.split.indices)
        parts = max(2, round(len(pool) / len(data.split.members)))
        if count < parts:
            raise ValueError(
                f"{len(data.split.members):,} of {len(pool):,} images are members: it takes {parts} shadow "
                f"models or more for every image to be in one; got {count}."
            )
        return train_shadows(
            target.build,
            data.images,
            pool,
            balanced_masks(count, len(pool), parts=parts, seed=recipe.seed),
            recipe,
            target.transform,
            folder=folder,
            views=[VIEWS[name] for name in views],
            on_model=on_model,
        )

    return train
