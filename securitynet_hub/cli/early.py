"""Refuse a wrong request before torch is imported, which takes seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from securitynet_hub.attacks.kind import split_options
from securitynet_hub.attacks.listing import require_known, require_settings
from securitynet_hub.core.arrays import require_seed, require_share
from securitynet_hub.data.references import parse_reference, require_place
from securitynet_hub.models.sources import require_named


def refuse_early(
    *,
    model: str | None = None,
    attacks: Sequence[str] | None = None,
    data: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    options: Mapping[str, Any] = MappingProxyType({}),
    expected_accuracy: float | None = None,
    seed: int = 0,
) -> None:
    """Refuse a model, attacks or images that are not there, and values that nothing could make possible.

    What is None is not looked at. Settings are those of attacks by their names, options those of the kinds.

    Raises:
        UnknownNameError: there is no such model, attack or setting; the closest names are given.
        ValueError: there is no such folder or table, or a setting is of another type or out of range.
        WeightsError: there is no such file of weights.
    """
    if attacks is not None:
        require_known(attacks)
    require_settings(settings)
    split_options(options)
    if expected_accuracy is not None:
        require_share(expected_accuracy, "expected_accuracy")
    require_seed(seed)
    if model is not None:
        require_named(model)
    if data is not None:
        require_place(parse_reference(data)[0])
