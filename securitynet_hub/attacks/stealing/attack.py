"""A way of stealing models: what its file ends in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from securitynet_hub.attacks import kind


@dataclass(frozen=True, kw_only=True)
class Attack(kind.Attack):
    """One way of stealing: ``run(target, data, **settings)`` returns records, one for each surrogate."""

    kind: ClassVar[str] = "model-stealing"
    supplied: ClassVar[frozenset[str]] = frozenset(
        {"keep", "confidence_level", "batch_size", "on_batch", "on_record"}
    )
