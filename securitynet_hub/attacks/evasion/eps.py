"""The largest change of an image, read as the command line has it; importable without torch."""

from __future__ import annotations

import math

from securitynet_hub.core.arrays import shortened
from securitynet_hub.models.norms import require_norm


def read_eps(norm: str, eps: str | float) -> float:
    """Return the largest change in a norm as a number, black to white being 1.

    Raises:
        UnknownNameError: no such norm.
        ValueError: eps is neither a number above 0 nor a fraction such as 8/255, or is so large that any
            image may become any other.

    >>> read_eps("Linf", "51/255")
    0.2
    """
    try:
        above, _, below = eps.partition("/") if isinstance(eps, str) else (eps, "", "")
        value = float(above) / float(below or 1)  # Fraction would write out 1e999999999
    except (ValueError, ZeroDivisionError, OverflowError, TypeError) as error:
        raise ValueError(
            f"eps must be a number or a fraction such as 8/255; got {shortened(eps)}."
        ) from error
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"eps must be above 0, such as 8/255; got {shortened(eps)}.")
    if require_norm(norm) == "Linf" and value > 1:
        raise ValueError(
            f"eps must be 1 at most in the norm Linf, where it is 1 from black to white; got "
            f"{shortened(eps)}. Of grey levels, write it as a fraction, such as 8/255."
        )
    return value
