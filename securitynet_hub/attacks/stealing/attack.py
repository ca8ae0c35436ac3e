"""A model-stealing attack: the literal that ends its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from securitynet_hub.attacks import kind


@dataclass(frozen=True, kw_only=True)
class Attack(kind.Attack):
    """One model-stealing attack: ``run(target, data, **settings)`` returns a record for each surrogate."""

    kind: ClassVar[str] = "model-stealing"
    supplied: ClassVar[frozenset[str]] = frozenset(
        {"keep", "confidence_level", "batch_size", "on_batch", "on_record"}
    )
