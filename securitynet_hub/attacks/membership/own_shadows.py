"""Shadow models for a network of one's own: the same network, trained on other samples of the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from securitynet_hub.attacks.kind import Trainer
from securitynet_hub.attacks.membership.shadows import Shadows, balanced_masks
from securitynet_hub.attacks.membership.shadows import train_shadows as train_rows
from securitynet_hub.attacks.subject import AuditData, find_data
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.progress import OnStep, Progress, heard_by
from securitynet_hub.data.augmentations import VIEWS
from securitynet_hub.data.sources import Chained, ImageSource
from securitynet_hub.engine.training import Recipe
from securitynet_hub.models.loading import load_target
from securitynet_hub.models.target import Target
from securitynet_hub.weights.fetch import cache_folder


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
    every image is a member of some models and none of others. So are candidates, where they are given.

    Args:
        data: the images of the audit; members and non-members together are the pool.
        recipe: how the target was trained.
        folder: folder in which the models are stored and found again.
        on_model: called with its number after each model.
    """

    def train(
        target: Target, count: int, *, views: Sequence[str], candidates: ImageSource | None = None
    ) -> Shadows:
        if target.build is None:
            raise ValueError(
                f"how the network of {target.id} is made is not known here: name its factory with "
                "module= (--module package.module:factory), or pass build= in Python."
            )
        images, pool = data.images, np.sort(data.split.indices)
        if candidates is not None:
            images = Chained(images, candidates)
            pool = np.append(pool, np.arange(len(data.images), len(images)))
        parts = max(2, round(len(pool) / len(data.split.members)))
        if count < parts:
            raise ValueError(
                f"{len(data.split.members):,} of {len(pool):,} images are members: it takes {parts} shadow "
                f"models or more for every image to be in one; got {count}."
            )
        return train_rows(
            target.build,
            images,
            pool,
            balanced_masks(count, len(pool), parts=parts, seed=recipe.seed),
            recipe,
            target.transform,
            folder=folder,
            views=[VIEWS[name] for name in views],
            on_model=on_model,
        )

    return train


def train_shadows(
    target: Any,
    count: int,
    recipe: Recipe,
    *,
    data: AuditData | str | Path,
    views: Sequence[str] = ("identity",),
    folder: str | Path | None = None,
    on_model: Callable[[int], None] = lambda number: None,
    on_step: OnStep | None = None,
    **loading: Any,
) -> Shadows:
    """Train reference models like one's own, for ``audit(..., shadows=...)``: LiRA, RMIA and the like.

    Each is trained on as large a share of the images as the target's members are, drawn anew. A model is kept
    as soon as it is trained, and found again by the next call.

    Args:
        target: a network in memory, or a loaded `Target` that knows how its network is made.
        count: number of models.
        recipe: how the target was trained.
        data: the images of the audit, as `audit` takes them.
        views: names of augmentations that the models are asked about.
        folder: where the models are kept; in the cache, unless given.
        on_model: called with its number after each model.
        on_step: called while they are trained with what is being done, how much is done, and how much there
            is. By default a notebook shows it; elsewhere the logger ``securitynet_hub`` gets a line a minute,
            of level INFO.
        loading: arguments of `load_target` for a network in memory: ``transform``, ``build``, ...

    Raises:
        ValueError: how the network is made is not known, or there are too few models.

    >>> import torch
    >>> from securitynet_hub import Recipe, Transform, load_images, Split
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    >>> data = AuditData(images=load_images(), split=Split(members=range(50), nonmembers=range(50, 100)))
    >>> grey = Transform(height=28, width=28, channels=1)
    >>> shadows = train_shadows(net, 2, Recipe(epochs=1), data=data, transform=grey)
    >>> shadows.logits.shape  # of each model for each of the 100 images
    (2, 100, 1, 10)
    """
    if not isinstance(target, Target):
        target = load_target(target, **loading)
    elif loading:
        raise ValueError(f"{', '.join(loading)} belong to a network in memory; got a target, which has them.")
    data = (find_data(str(data)) if isinstance(data, (str, Path)) else data).matched_to(target)
    place = cache_folder() / "shadows" / target.id if folder is None else Path(folder)
    progress = Progress()
    with closing(progress), heard_by(on_step or progress.on_step):
        shadows: Shadows = own_trainer(data, recipe, place, on_model=on_model)(target, count, views=views)
    return shadows
