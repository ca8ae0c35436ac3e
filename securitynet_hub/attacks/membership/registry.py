"""Every membership attack by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from securitynet_hub.attacks.membership.attack import Attack
from securitynet_hub.attacks.membership.kind import KIND
from securitynet_hub.core.errors import UnknownNameError


def attacks() -> Mapping[str, Attack]:
    """Return every membership attack by its public name, those that need least first, queries last.

    >>> list(attacks())[0], "rmia" in attacks()
    ('correctness', True)
    """
    return cast("Mapping[str, Attack]", KIND.attacks)


def find(name: str) -> Attack:
    """Return one membership attack.

    Raises:
        UnknownNameError: no such attack; the closest names are given.
    """
    if name not in attacks():
        raise UnknownNameError("membership attack", name, attacks())
    return attacks()[name]
