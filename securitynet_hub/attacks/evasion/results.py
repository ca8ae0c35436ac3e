"""Results of adversarial robustness, parsed: which figures there are, and what they must keep."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field, model_validator

from securitynet_hub.attacks.checks import Figures, parse_result, require_equal, whole
from securitynet_hub.attacks.evasion.measures import rate_of, rate_of_stages
from securitynet_hub.records.record import Record
from securitynet_hub.records.schema import (
    Count,
    Ends,
    Flag,
    Interval,
    Level,
    Number,
    Part,
    Positive,
    Rate,
    Text,
)
from securitynet_hub.statistics.sequences import Trials

EXACT, SEQUENCE = "exact", "confidence sequence"

MOST_COUNTED = 10_000_000
"""Images up to which an interval is computed again."""

MOST_STAGES = 16
"""Stages of an audit at most: the time of computing their interval again grows with the square."""

ROUNDED = 1e-4
"""Largest distance of an interval of a confidence sequence from the one that is computed again."""


class Stage(Part):
    """Attacks that were run on images that all earlier stages had left, and how many withstood."""

    attacks: list[Text]
    n: Count
    n_robust: Count
    concentration: Annotated[Number, Field(gt=0, le=1e6)]

    @model_validator(mode="after")
    def _agree(self) -> Stage:
        if self.n_robust > self.n:
            raise ValueError(f"n_robust should be {self.n:,} at most; got {self.n_robust:,}")
        return self


class Tried(Part):
    """What one attack did."""

    attack: Text
    n: Count
    n_broken: Count
    forwarded: Count
    gradients: Count

    @model_validator(mode="after")
    def _agree(self) -> Tried:
        if self.n_broken > self.n:
            raise ValueError(f"n_broken should be {self.n:,} at most; got {self.n_broken:,}")
        return self


class Check(Part):
    """A sign of gradient masking that was looked for."""

    name: Text
    passed: Flag
    found: Text
    n: Count


class Published(Part):
    """Figures of RobustBench."""

    source: Text
    accuracy: Rate
    robust_accuracy: Rate
    norm: Text
    eps: Text
    same_threat: Flag


class Robust(Figures):
    """Robust accuracy: the share of images that withstand every attack, which is no larger than accuracy.

    Its interval follows from the counts: exactly, or as that of a confidence sequence of the stages.
    """

    accuracy: Rate
    accuracy_ci: Ends
    robust_accuracy: Rate
    robust_accuracy_ci: Ends
    interval: Text
    stopped: Text
    n: Positive
    n_right: Count
    stages: Annotated[list[Stage], Field(min_length=1, max_length=MOST_STAGES)]
    attacks: Annotated[list[Tried], Field(max_length=100)]
    checks: Annotated[list[Check], Field(max_length=100)]
    published: Published | None = None
    confidence_level: Level

    @model_validator(mode="after")
    def _agree(self) -> Robust:
        first, level = self.stages[0], self.confidence_level
        require_equal(first.n, self.n, "the images of the first stage")
        require_equal(whole(self.accuracy, self.n, "accuracy"), self.n_right, "n_right")
        if first.n_robust > self.n_right:
            raise ValueError(f"n_robust should be {self.n_right:,} at most; got {first.n_robust:,}")
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            if after.n > before.n_robust:
                raise ValueError(f"a stage should have {before.n_robust:,} images at most; got {after.n:,}")
        if self.interval not in (EXACT, SEQUENCE):
            raise ValueError(f"interval should be {EXACT!r} or {SEQUENCE!r}; got {self.interval[:60]!r}")
        if self.interval == EXACT and len(self.stages) > 1:
            raise ValueError("an exact interval should be of one stage; got several")
        if self.n > MOST_COUNTED:
            return self
        trials = [Trials(stage.n_robust, stage.n, stage.concentration) for stage in self.stages]
        if self.interval == EXACT:
            accuracy = rate_of(self.n_right, self.n, confidence_level=level)
            robust = rate_of(first.n_robust, self.n, confidence_level=level)
        else:
            own = Trials(self.n_right, self.n, first.concentration)
            accuracy = rate_of_stages([own], confidence_level=level)
            robust = rate_of_stages(trials, confidence_level=level)
        _same(self.accuracy, self.accuracy_ci, accuracy, "accuracy")
        _same(self.robust_accuracy, self.robust_accuracy_ci, robust, "robust_accuracy")
        return self


class Corruption(Figures):
    """Accuracy under one corruption, over its severities."""

    name: Text
    accuracy: Rate
    accuracy_ci: Ends
    per_severity: Annotated[list[Rate], Field(min_length=1, max_length=100)]


class Corrupted(Figures):
    """Mean accuracy over corruptions and severities, beside that on the images themselves."""

    accuracy: Rate
    accuracy_ci: Ends
    corruption_accuracy: Rate
    corruption_accuracy_ci: Ends
    corruptions: Annotated[list[Corruption], Field(min_length=1, max_length=1000)]
    n: Positive
    confidence_level: Level

    @model_validator(mode="after")
    def _agree(self) -> Corrupted:
        whole(self.accuracy, self.n, "accuracy")
        rates = [rate for each in self.corruptions for rate in each.per_severity]
        for rate in rates:
            whole(rate, self.n, "per_severity")
        for each in self.corruptions:
            _close(each.accuracy, each.per_severity, each.name)
        _close(self.corruption_accuracy, [each.accuracy for each in self.corruptions], "corruption_accuracy")
        return self


def parse(record: Record) -> Any:
    """Return the record's result: `Robust`, or `Corrupted` of one about corruptions.

    Raises:
        ValueError: a figure lacks, is of another type or contradicts another one.
    """
    corrupted = "corruption_accuracy" in record.result
    return parse_result(Corrupted, record) if corrupted else parse_result(Robust, record)


def _same(stated: float, ends: Interval, expected: tuple[float, tuple[float, float]], name: str) -> None:
    """Refuse a figure or an interval that does not follow from the counts."""
    value, interval = expected
    apart = [abs(stated - value), *(abs(a - b) for a, b in zip(ends, interval, strict=True))]
    if apart[0] > 1e-9 or max(apart) > ROUNDED:
        raise ValueError(
            f"{name} should be {value:.6g}, {interval[0]:.6g}..{interval[1]:.6g}, by its counts; got "
            f"{stated:.6g}, {ends[0]:.6g}..{ends[1]:.6g}"
        )


def _close(stated: float, parts: list[float], name: str) -> None:
    mean = math.fsum(parts) / len(parts)
    if abs(stated - mean) > 1e-9:
        raise ValueError(
            f"the accuracy of {name} should be the mean {mean:.6g} of its parts; got {stated:.6g}"
        )
