"""A figure with its interval, and how numbers are written for readers."""

from __future__ import annotations

from typing import NamedTuple


class Measured(NamedTuple):
    """A figure of one model, with its interval where there is one."""

    label: str
    value: float
    ci: tuple[float, float] | None


def percent(share: float, digits: int = 1) -> str:
    """Write a share in percent, with a space before the sign that no line break separates.

    >>> percent(0.125).split(), percent(0.5, 0).split()
    (['12.5', '%'], ['50', '%'])
    """
    return f"{100 * share:.{digits}f}\u00a0%"


def percent_with_interval(measured: Measured) -> str:
    """Write a share in percent, followed by its interval where there is one.

    >>> percent_with_interval(Measured("m", 0.5, (0.25, 0.75))).split()
    ['50.0', '%', '(interval', '25.0', '%', 'to', '75.0', '%)']
    """
    extent = f" (interval {percent(measured.ci[0])} to {percent(measured.ci[1])})" if measured.ci else ""
    return percent(measured.value) + extent


def share_with_interval(value: float, ci: tuple[float, float] | None) -> str:
    """Write a share in percent with its interval in short.

    >>> share_with_interval(0.061, (0.048, 0.078)).replace(chr(160), " ")
    '6.1 % (4.8-7.8 %)'
    """
    return percent(value) + (f" ({100 * ci[0]:.1f}-{percent(ci[1])})" if ci else "")


def text_of(value: float) -> str:
    """Write a figure: whole numbers as they are, fractions with three decimals, tiny ones with two digits.

    >>> text_of(5.0), text_of(0.25), text_of(0.00021660), text_of(12345.678)
    ('5', '0.250', '0.00022', '12,345.678')
    """
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.3f}" if abs(value) >= 0.001 else f"{value:.2g}"
