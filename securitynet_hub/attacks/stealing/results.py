"""Results of model stealing, parsed: which figures there are, and what they must keep."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from securitynet_hub.attacks.checks import TOLERANCE, Figures, parse_result, require_equal, whole, wilson
from securitynet_hub.attacks.stealing.measures import require_agreement_bound
from securitynet_hub.records.record import Record
from securitynet_hub.records.schema import Count, Ends, Level, Number, Part, Positive, Rate


class ClassAgreement(Part):
    """Agreement on the images of one class."""

    label: Count
    n: Count
    agreement: Rate | None
    ci: Ends | None


class Transfer(Figures):
    """How many adversarial examples that were crafted on the surrogate fool the target too."""

    transfer_rate: Rate | None
    transfer_rate_ci: Ends | None
    target_error: Rate | None
    target_error_ci: Ends | None
    noise_error: Rate | None
    noise_error_ci: Ends | None
    n: Count
    n_fooling: Count
    confidence_level: Level

    @model_validator(mode="after")
    def _agree(self) -> Transfer:
        for name, n in (("transfer_rate", self.n_fooling), ("target_error", self.n), ("noise_error", self.n)):
            rate = getattr(self, name)
            if (rate is None) != (n == 0):
                raise ValueError(f"transfer.{name} of {n:,} images should be {'none' if not n else 'a rate'}")
            if rate is not None:
                wilson(rate, n, getattr(self, f"{name}_ci"), f"transfer.{name}", self.confidence_level)
        return self


class Independent(Part):
    """How often each of some networks that were trained without the target agrees with it where it errs."""

    models: Annotated[list[str], Field(min_length=1, max_length=1000)]
    agreement_on_target_errors: list[Rate]


class Result(Figures):
    """How a surrogate compares with its target.

    Accuracies s and a and the agreement g are whole numbers of the n images with Wilson's intervals, and
    ``a + s - 1 <= g <= 1 - |a - s|``.
    """

    accuracy: Rate
    accuracy_ci: Ends
    target_accuracy: Rate
    target_accuracy_ci: Ends
    relative_accuracy: Number | None
    agreement: Rate
    agreement_ci: Ends
    agreement_on_target_errors: Rate | None
    agreement_on_target_errors_ci: Ends | None
    kl: Number | None = None
    kl_ci: Ends | None = None
    total_variation: Rate | None = None
    total_variation_ci: Ends | None = None
    n: Positive
    n_target_errors: Count
    confidence_level: Level
    per_class: Annotated[list[ClassAgreement], Field(max_length=100_000)] | None = None
    calibration: dict[str, Any] | None = None
    transfer: Transfer | None = None
    independent: Independent | None = None

    @model_validator(mode="after")
    def _agree(self) -> Result:
        n, level = self.n, self.confidence_level
        wilson(self.accuracy, n, self.accuracy_ci, "accuracy", level)
        right = wilson(self.target_accuracy, n, self.target_accuracy_ci, "target_accuracy", level)
        wilson(self.agreement, n, self.agreement_ci, "agreement", level)
        require_agreement_bound(self.accuracy, self.target_accuracy, self.agreement)
        require_equal(self.n_target_errors, n - right, "n_target_errors")
        if self.agreement_on_target_errors is not None:
            if right == n:
                raise ValueError("agreement_on_target_errors should be none of a target without errors")
            interval = self.agreement_on_target_errors_ci
            rate = self.agreement_on_target_errors
            wilson(rate, n - right, interval, "agreement_on_target_errors", level)
        if self.independent is not None:
            shares = self.independent.agreement_on_target_errors
            require_equal(len(shares), len(self.independent.models), "the shares of independent models")
            for share in shares:
                whole(share, n - right, "independent.agreement_on_target_errors")
        relative = self.relative_accuracy
        if relative is not None and abs(relative * self.target_accuracy - self.accuracy) > TOLERANCE:
            raise ValueError(f"relative_accuracy is not accuracy / target_accuracy: {relative:.6g}")
        if self.per_class is not None:
            require_equal(sum(each.n for each in self.per_class), n, "the images of all classes")
        return self


def parse(record: Record) -> Result:
    """Return the record's result.

    Raises:
        ValueError: a figure lacks, is of another type or contradicts another one.
    """
    return parse_result(Result, record)
