"""The membership attacks that ask about images of their own making: by name, with settings and costs.

They see predicted labels alone. What one sample costs at most is known before the first query.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy.typing as npt

from securitynet_hub.attacks.membership.boundary import boundary_scores
from securitynet_hub.attacks.membership.label_only import LabelOnlyResult, augmentation_scores, count_queries
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.pixels import Pixels
from securitynet_hub.engine.inference import BATCH_SIZE
from securitynet_hub.models.target import Target


class QueryAttack(NamedTuple):
    """How an attack asks.

    Attributes:
        score: (target, pixels, labels, settings) -> scores and queries.
        settings: what may be set, and what it is by default.
        cost: (an image, settings) -> the most images forwarded for one sample.
        starts: whether it takes other images to start from.
    """

    score: Callable[..., LabelOnlyResult]
    settings: Mapping[str, Any]
    cost: Callable[..., int]
    starts: bool = False


def _boundary_cost(image: Pixels, *, budget: int, gradient_queries: int) -> int:
    if not all(isinstance(count, int) and count >= 1 for count in (budget, gradient_queries)):
        raise ValueError(
            "budget and gradient_queries must be whole numbers of at least 1; got "
            f"{budget!r} and {gradient_queries!r}."
        )
    return budget


def _augmentation(kind: str, **settings: Any) -> QueryAttack:
    return QueryAttack(partial(augmentation_scores, kind=kind), settings, partial(count_queries, kind=kind))


QUERY_ATTACKS: dict[str, QueryAttack] = {
    "translation": _augmentation("translation", strengths=1),
    "rotation": _augmentation("rotation", strengths=4),
    "noise": _augmentation("noise", strengths=0.05, copies=10),
    "boundary": QueryAttack(
        boundary_scores, {"budget": 500, "gradient_queries": 50}, _boundary_cost, starts=True
    ),
}
"""Every attack by its public name, the cheapest first."""


def query_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return an attack's settings, those that are not given by default.

    Raises:
        UnknownNameError: no such attack or setting; the closest names are given.

    >>> query_settings("noise", {"copies": 3})
    {'strengths': 0.05, 'copies': 3}
    """
    if name not in QUERY_ATTACKS:
        raise UnknownNameError("query attack", name, QUERY_ATTACKS)
    known = QUERY_ATTACKS[name].settings
    for setting in settings:
        if setting not in known:
            raise UnknownNameError(f"setting of {name}", setting, known)
    return {**known, **settings}


def most_queries(name: str, pixels: Pixels, settings: Mapping[str, Any]) -> int:
    """Return how many images an attack forwards at most for all these samples.

    Raises:
        ValueError: a setting makes no sense for such images.

    >>> import numpy as np
    >>> most_queries("translation", np.zeros((100, 28, 28, 1), np.uint8), {})
    500
    """
    return len(pixels) * QUERY_ATTACKS[name].cost(pixels[0], **query_settings(name, settings))


def ask_about(
    name: str,
    target: Target,
    pixels: Pixels,
    labels: npt.ArrayLike,
    *,
    starts: Pixels | None = None,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    **settings: Any,
) -> LabelOnlyResult:
    """Run an attack; arguments as for `augmentation_scores` and `boundary_scores`.

    >>> import numpy as np
    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> black = np.zeros((1, 28, 28, 1), np.uint8)  # class 5 is the model's answer, however shifted
    >>> ask_about("translation", target, black, [5]).scores
    array([1.])
    """
    chosen = query_settings(name, settings)
    attack = QUERY_ATTACKS[name]
    if attack.starts:
        chosen["starts"] = starts
    return attack.score(target, pixels, labels, seed=seed, batch_size=batch_size, **chosen)
