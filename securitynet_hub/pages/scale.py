"""A common scale for figures with their intervals, which a page draws as bars, one below the other."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple


class Scale(NamedTuple):
    """From where to where a scale goes, and the value that guessing reaches, if there is one."""

    low: float
    high: float
    guessing: float | None = None

    def at(self, value: float) -> str:
        """Return where a value lies, as a percentage of the width.

        >>> Scale(0.4, 0.9).at(0.65)
        '50.0%'
        """
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * min(1.0, max(0.0, share)):.1f}%"

    @property
    def ticks(self) -> list[tuple[str, str]]:
        """Where to write which number: round ones, the ends among them where these are such.

        >>> Scale(0.4, 0.9).ticks
        [('0.0%', '0.4'), ('40.0%', '0.6'), ('80.0%', '0.8')]
        """
        step = _step(self.high - self.low)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(self.at(i * step), f"{i * step:g}") for i in range(first, last + 1)]


def common_scale(values: Iterable[float], guessing: float | None = None) -> Scale | None:
    """Return the scale that holds all values, its ends rounded; None where they are too far apart for one.

    >>> common_scale([0.457, 0.85], guessing=0.5)
    Scale(low=0.4, high=0.9, guessing=0.5)
    """
    found = [*values, *([] if guessing is None else [guessing])]
    low, high = min(found), max(found)
    span = high - low or abs(high) or 1.0
    if not 1e-12 * max(abs(low), abs(high)) < span < 1e300:
        return None
    step = _step(span)
    low, high = (round(end * step, 12) for end in (math.floor(low / step), math.ceil(high / step)))
    return Scale(low, high if high > low else low + step, guessing)


def _step(span: float) -> float:
    """Return the smallest of 1, 2, 2.5 and 5 times a power of ten of which at most four make the span."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next(power * times for times in (1, 2, 2.5, 5, 10) if power * times * 4 >= span * (1 - 1e-9))
