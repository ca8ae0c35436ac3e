"""What the results of every kind of attack must keep: intervals hold their figures, rates are counts.

The messages are sentences without their full stop, as `records.schema` words them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import model_validator

from securitynet_hub.records.record import Record
from securitynet_hub.records.schema import Interval, Part, parse_part, shown
from securitynet_hub.statistics.rates import wilson_interval

TOLERANCE = 1e-9
"""Of figures that follow from others exactly, but for rounding."""


class Figures(Part):
    """Figures of which each ``x`` lies in its interval ``x_ci``, those of newer versions too."""

    @model_validator(mode="after")
    def _intervals_hold(self) -> Figures:
        require_intervals(vars(self) | (self.model_extra or {}))
        return self


FiguresT = TypeVar("FiguresT", bound=Figures)


def parse_result(form: type[FiguresT], record: Record) -> FiguresT:
    """Return a record's result as a kind's own form.

    Raises:
        ValueError: a figure lacks, is of another type or contradicts another one.
    """
    return parse_part(form, record.result, "the result")


def require_intervals(result: Mapping[str, Any]) -> None:
    """Refuse a figure outside its own interval; what is no number with an interval is passed over.

    >>> require_intervals({"auc": 0.5, "auc_ci": [0.6, 0.7]})
    Traceback (most recent call last):
    ...
    ValueError: auc_ci should hold its figure 0.5; got 0.6..0.7
    """
    for name, ends in result.items():
        if not name.endswith("_ci") or not isinstance(ends, list | tuple) or len(ends) != 2:
            continue
        value = result.get(name.removesuffix("_ci"))
        if not all(map(_is_plain, (value, *ends))):
            continue
        low, high = ends
        if not low - TOLERANCE <= value <= high + TOLERANCE:
            raise ValueError(f"{name} should hold its figure {value:.6g}; got {low:.6g}..{high:.6g}")


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(rate: float, n: int, name: str, samples: str = "samples") -> int:
    """Return how many of n samples a rate is; refuse one that is no whole number of them.

    >>> whole(0.25, 8, "tpr")
    2
    """
    count = rate * n
    if abs(count - round(count)) > 1e-6 + 1e-14 * n:
        raise ValueError(f"{name} should be a whole number of {n:,} {samples}; got {count:.6f}")
    return round(count)


def wilson(rate: float, n: int, ends: Interval | None, name: str, level: float) -> int:
    """Return how many of n samples a rate is; refuse one whose interval is not Wilson's of that count.

    >>> wilson(0.0, 100, Interval(0.0, 0.0369935), "tpr", 0.95)
    0
    """
    count = whole(rate, n, name)
    expected = wilson_interval(count, n, confidence_level=level)
    if ends is None or max(abs(a - b) for a, b in zip(ends, expected, strict=True)) > 1e-6:
        raise ValueError(
            f"the interval of {name} should be Wilson's of {count} in {n}, "
            f"{expected.low:.6g}..{expected.high:.6g}; got {None if ends is None else list(ends)}"
        )
    return count


def same(stated: Any, expected: float | None, name: str, reason: str) -> None:
    """Refuse a figure that does not follow from the others.

    >>> same(2.0, 2.0, "score", "of this p_value")
    """
    alike = stated is None if expected is None else stated is not None and (
        abs(stated - expected) <= 1e-6 * max(1, abs(expected))
    )  # fmt: skip
    if not alike:
        raise ValueError(f"{name} should be {expected} {reason}; got {shown(stated)}")


def require_equal(stated: int, expected: int, name: str) -> None:
    """Refuse a count that is another than the one counted.

    >>> require_equal(3, 3, "n_flagged")
    """
    if stated != expected:
        raise ValueError(f"{name} should be {expected:,}; got {stated:,}")
