"""Refuse a wrong request before torch is imported, which takes seconds."""

from __future__ import annotations

from collections.abc import Sequence

from securitynet_hub.attacks.listing import require_known
from securitynet_hub.data.references import parse_reference, require_place
from securitynet_hub.models.sources import require_named


def refuse_early(
    *, model: str | None = None, attacks: Sequence[str] | None = None, data: str | None = None
) -> None:
    """Refuse a model, attacks or images that are not there; what is None is not looked at.

    Raises:
        UnknownNameError: there is no such model, attack or setting of data; the closest names are given.
        ValueError: there is no such folder or table.
        WeightsError: there is no such file of weights.
    """
    if attacks is not None:
        require_known(attacks)
    if model is not None:
        require_named(model)
    if data is not None:
        require_place(parse_reference(data)[0])
