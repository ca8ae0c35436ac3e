"""Records as rows of the data set's config `results`: columns to query by, the whole record beside them.

The columns never change, so that shards of every age load together; what a later record knows more stands in
`record` alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, Any, NamedTuple

from securitynet_hub.records.figures import RATE, number

CONFIG = "results"
FOLDER = f"data/{CONFIG}"

FIRST = ("auc", "agreement", "score", "robust_accuracy", "corruption_accuracy", "p_value")
"""Figures that sum a result up, where it has one of them."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One published measurement."""

    id: Annotated[str, "Hash of the whole record"]
    unit: Annotated[str, "Hash of what decides the result: model, data, attack and code"]
    schema_version: Annotated[int, "Of the record"]
    kind: Annotated[str, "Kind of attack"]
    attack: Annotated[str, "Name of the attack or of the detector"]
    target: Annotated[str, "Model that was attacked; an `id` of the other configs where it is annotated"]
    weights_hash: Annotated[str | None, "Hash of its weights", "hexadecimal"] = None
    data: Annotated[str, "Images it was attacked on"]
    data_sha256: Annotated[str | None, "Hash of them", "hexadecimal"] = None
    split_sha256: Annotated[str | None, "Hash of which of them were members", "hexadecimal"] = None
    figure: Annotated[str | None, "Name of the figure in the next three columns"] = None
    value: Annotated[float | None, "That figure"] = None
    low: Annotated[float | None, "Lower end of its confidence interval"] = None
    high: Annotated[float | None, "Upper end of it"] = None
    created: Annotated[str, "When it was measured", "UTC, ISO 8601"]
    author: Annotated[str | None, "Who measured, in their own words; not verified"] = None
    record: Annotated[str, "The whole record: settings, all figures, counts, code, versions", "JSON"]


class Figure(NamedTuple):
    """A figure of a record and its confidence interval, where it has one."""

    value: float
    low: float | None
    high: float | None

    def shown(self) -> str:
        """Return the figure and its interval as text.

        >>> Figure(0.75, 0.5, 0.9).shown(), Figure(2.5, None, None).shown()
        ('0.750 (0.500 to 0.900)', '2.500')
        """
        ends = "" if self.low is None else f" ({self.low:.3f} to {self.high:.3f})"
        return f"{self.value:.3f}{ends}"


SAME = 1e-6
"""Largest difference of two figures that count as one, where nobody gives an interval."""


def agrees(one: Figure, other: Figure, *, pairs: int = 1) -> bool | None:
    """Return whether two measurements of one figure agree; None where they differ and one has no interval.

    They disagree if their difference is beyond the root of the squares of the halves of their intervals that
    face each other (Zou & Donner 2008), which one in twenty pairs of honest, independent measurements is with
    intervals of 95 %. That the second lay within the first's interval would fail one time in six.
    Measurements of the same images share errors, and agree more often.

    Args:
        one: a figure.
        other: the other; the order does not matter.
        pairs: how many pairs are judged together, at one chance in twenty for all of them (Bonferroni).

    >>> low, high = Figure(0.6, 0.55, 0.65), Figure(0.66, 0.61, 0.71)
    >>> agrees(low, high), agrees(low, Figure(0.7, 0.65, 0.75)), agrees(low, Figure(0.61, None, None))
    (True, False, None)
    """
    apart = abs(one.value - other.value)
    below, above = sorted((one, other), key=lambda figure: figure.value)
    if apart <= SAME:
        return True
    if above.low is None or below.high is None:
        return None
    wider = NormalDist().inv_cdf(1 - 0.025 / pairs) / NormalDist().inv_cdf(0.975)
    return apart <= wider * math.hypot(above.value - above.low, below.high - below.value) + SAME


def find_figure(result: Mapping[str, Any], name: str) -> Figure | None:
    """Return a figure of a record's result by its name, None where it has none.

    ``tpr@RATE`` is the true-positive rate where that share of all non-members is accused. Records of older
    versions, without `tpr_at_threshold`, do not have it: their rate is that of one sample's threshold.

    >>> find_figure({"auc": 0.75, "auc_ci": [0.5, 0.9]}, "auc")
    Figure(value=0.75, low=0.5, high=0.9)
    >>> rates = [{"target_fpr": 0.01, "tpr": 0.25, "ci": [0.125, 0.5], "tpr_at_threshold": 0.26}]
    >>> find_figure({"tpr_at_fpr": rates}, "tpr@0.01")
    Figure(value=0.25, low=0.125, high=0.5)
    """
    value, interval = result.get(name), result.get(f"{name}_ci")
    if rate := RATE.fullmatch(name):
        entries = result.get("tpr_at_fpr")
        for entry in entries if isinstance(entries, list) else ():
            known = isinstance(entry, dict) and "tpr_at_threshold" in entry
            if known and entry.get("target_fpr") == float(rate[1]):
                value, interval = entry.get("tpr"), entry.get("ci")
    ends = interval if isinstance(interval, list | tuple) and len(interval) == 2 else (None, None)
    figure, low, high = map(number, (value, *ends))
    if figure is None:
        return None
    return Figure(figure, None, None) if low is None or high is None else Figure(figure, low, high)


def headline(result: Mapping[str, Any]) -> tuple[str, Figure | None]:
    """Return the name of the figure that sums a result up, and the figure: of `FIRST`, or with an interval.

    A p-value that could not be below 1 sums nothing up.

    >>> headline({"n": 9, "auc": 0.75, "auc_ci": [0.5, 0.9]})
    ('auc', Figure(value=0.75, low=0.5, high=0.9))
    >>> headline({"n": 9})
    ('', None)
    """
    for name in (*FIRST, *(name.removesuffix("_ci") for name in result if name.endswith("_ci"))):
        if name == "p_value" and result.get("smallest_p_value") == 1:
            continue
        figure = find_figure(result, name)
        if figure is not None:
            return name, figure
    return "", None
