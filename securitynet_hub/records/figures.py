"""Read figures from a record's result, whatever stands there: a record may be old, odd or hostile."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

RATE = re.compile(r"tpr@(\d*\.?\d+(?:e-\d+)?)")
"""Name of a true-positive rate, with the false-positive rate that it is at."""

LARGEST = 1e100
"""Largest magnitude that is read as a figure. No attack measures more, and a plot's axis would overflow."""


def number(value: Any) -> float | None:
    """Return a number as a float, and None for anything else that a record may hold there.

    >>> number(1), number("1"), number(True), number(None), number(float("nan")), number(10**400)
    (1.0, None, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if -LARGEST <= value <= LARGEST else None


def interval(value: Any) -> tuple[float, float] | None:
    """Return a pair of finite numbers in ascending order, and None for anything else.

    >>> interval([0.1, 0.2]), interval([0.2, 0.1]), interval("ab")
    ((0.1, 0.2), None, None)
    """
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    low, high = map(number, value)
    return (low, high) if low is not None and high is not None and low <= high else None


def figure_words(name: str) -> str:
    """Write the name of a figure for readers.

    >>> [figure_words(name) for name in ("tpr@0.01", "auc", "robust_accuracy", "p_value")]
    ['TPR at 1 % FPR', 'AUC', 'robust accuracy', 'p-value']
    """
    if rate := RATE.fullmatch(name):
        return f"TPR at {100 * float(rate[1]):g} % FPR"
    return {"auc": "AUC", "p_value": "p-value"}.get(name, name.replace("_", " "))


def integers(value: Any) -> list[int]:
    """Return the whole numbers of a list, and none where it is no list.

    >>> integers([3, True, "4", 5]), integers("all")
    ([3, 5], [])
    """
    return [item for item in value if type(item) is int] if isinstance(value, list) else []


def mappings(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list, and none where it is no list.

    >>> mappings([{"tpr": 1}, 3]), mappings({})
    ([{'tpr': 1}], [])
    """
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def figures_of(result: Mapping[str, Any]) -> list[tuple[str, float, tuple[float, float] | None]]:
    """List every number of a result with its interval (``x`` with ``x_ci``), whatever the attack.

    >>> figures_of({"auc": 0.5, "auc_ci": [0.4, 0.6], "n": 3, "note": "text"})
    [('auc', 0.5, (0.4, 0.6)), ('n', 3.0, None)]
    """
    found = []
    for name, value in result.items():
        known = number(value)
        if known is not None:
            found.append((str(name), known, interval(result.get(f"{name}_ci"))))
    return found
