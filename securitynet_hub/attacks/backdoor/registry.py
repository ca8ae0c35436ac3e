"""Every backdoor detector by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from securitynet_hub.attacks.backdoor.attack import Attack
from securitynet_hub.attacks.backdoor.kind import KIND
from securitynet_hub.core.errors import UnknownNameError


def detectors() -> Mapping[str, Attack]:
    """Return every detector by its public name.

    >>> "strip" in detectors()
    True
    """
    return cast("Mapping[str, Attack]", KIND.attacks)


def find(name: str) -> Attack:
    """Return one detector.

    Raises:
        UnknownNameError: no such detector; the closest names are given.
    """
    if name not in detectors():
        raise UnknownNameError("backdoor detector", name, detectors())
    return detectors()[name]
