"""One sign of a suspect and a reference, with its p-value against independent models."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from securitynet_hub.attacks.provenance.attack import Attack
from securitynet_hub.attacks.provenance.models import Models
from securitynet_hub.attacks.provenance.null import models_needed, rank_among_models, rank_among_pairs

OUTCOMES = ("derived", "not told apart", "too few models")
"""What a test can say. It never says that models are independent: a weak copy looks like that."""

ORDERS = "orders"
"""The null of a sign that needs no independent models: the suspect's hidden units in random order."""


class Measured(NamedTuple):
    """What one sign says; see `measure`."""

    p_value: float
    smallest_p_value: float
    outcome: str
    null: str
    similarity: float
    independent: list[float]
    pairs: list[list[float | None]] | None
    n: int
    n_independent: int
    n_needed: int
    significance: float
    figures: dict[str, Any]


def measure(
    attack: Attack,
    models: Models,
    null: str,
    significance: float,
    confidence_level: float,
    **settings: Any,
) -> Measured:
    """Return how similar a suspect is to a reference, and how often independent models are as similar.

    Args:
        attack: the sign.
        models: reference, suspect and the independent models, in this order.
        null: one of `null.NULLS`; a sign with an exact p-value needs no independent models, and has null
            ``orders``.
        significance: largest p-value that is called derived.
        confidence_level: of intervals of figures beside it.
        settings: the sign's.

    Returns:
        The p-value; the smallest one that so many models can give; the outcome, one of `OUTCOMES`: ``too few
        models`` where even a copy without a difference could not be called derived; the similarity of suspect
        and reference; those of each independent model to the reference, and of pairs all of them, row i to
        model i; how many models there are, and how many it takes.
    """
    own = attack.run(models, 0, **settings)
    pairs: list[list[float | None]] | None = None
    needed = models_needed(significance, null)
    if attack.exact is not None:
        p_value, smallest = attack.exact(models)
        null, needed = ORDERS, 0
    elif null == "pairs":
        rows = [own, *(attack.run(models, k, **settings) for k in range(1, len(models)))]
        p_value, smallest = rank_among_pairs(np.stack(rows))
        pairs = [
            [None if i == j else float(value) for j, value in enumerate(row)] for i, row in enumerate(rows)
        ]
    else:
        p_value, smallest = rank_among_models(float(own[1]), own[2:])
    outcome = "derived" if p_value <= significance else "not told apart"
    if outcome != "derived" and (len(models) - 2 < needed or smallest > significance):
        outcome = "too few models"
    return Measured(
        p_value=p_value,
        smallest_p_value=smallest,
        outcome=outcome,
        null=null,
        similarity=float(own[1]),
        independent=[float(value) for value in own[2:]],
        pairs=pairs,
        n=len(models.labels),
        n_independent=len(models) - 2,
        n_needed=needed,
        significance=significance,
        figures={} if attack.figures is None else attack.figures(models, confidence_level),
    )
