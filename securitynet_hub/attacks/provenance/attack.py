"""A sign of derivation: the literal that ends its file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from securitynet_hub.attacks import kind
from securitynet_hub.attacks.provenance.models import Models
from securitynet_hub.models.target import Target

Reason = Callable[[Target, Target], str | None]
"""From reference and suspect to why a sign cannot be looked for, or None."""


@dataclass(frozen=True, kw_only=True)
class Attack(kind.Attack):
    """One sign: ``run(models, reference, **settings)`` returns each model's similarity to one of them.

    The similarity, shape (models,), is higher for a model that is more likely derived; that of the reference
    to itself is not looked at. Exchanging two other models exchanges their similarities and changes nothing
    else.

    Attributes:
        fewest: least number of independent models: with fewer, its similarity is the same for all models.
        why_not: why it cannot be looked for with a reference and a suspect, or None.
        exact: returns the p-value of reference and suspect without independent models, and the smallest that
            it can be: ``exact(models, **settings)``.
        figures: returns what else a record has of reference and suspect: ``figures(models,
            confidence_level)``.
    """

    kind: ClassVar[str] = "provenance"
    supplied: ClassVar[frozenset[str]] = frozenset()

    fewest: int = 0
    why_not: Reason = field(default=lambda reference, suspect: None, repr=False)
    exact: Callable[..., Any] | None = field(default=None, repr=False)
    figures: Callable[[Models, float], dict[str, Any]] | None = field(default=None, repr=False)
