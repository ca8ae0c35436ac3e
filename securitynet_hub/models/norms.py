"""The norms in which a change of an image is small; importable without torch."""

from __future__ import annotations

from typing import Literal, get_args

from securitynet_hub.core.errors import UnknownNameError

Norm = Literal["Linf", "L2"]
"""The norm in which a change is small: the largest change of a value, or the root of the sum of squares."""


def require_norm(norm: str) -> Norm:
    """Return a norm that is known.

    Raises:
        UnknownNameError: it is not; the known ones are given.
    """
    for known in get_args(Norm):
        if norm == known:
            return known  # type: ignore[no-any-return]
    raise UnknownNameError("norm of a change", norm, get_args(Norm))
