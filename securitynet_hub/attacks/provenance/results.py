"""Results of provenance, parsed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from securitynet_hub.attacks.checks import Figures, parse_result, require_equal, same
from securitynet_hub.attacks.provenance.null import LEAST_SIGNIFICANCE, models_needed
from securitynet_hub.records.record import Record
from securitynet_hub.records.schema import Count, Ends, Number, Part, Positive, Rate, Text

PValue = Annotated[Rate, Field(gt=0)]


class Copy(Part):
    """What the same test says of a copy of the reference that was made on purpose."""

    made: Text
    similarity: Number
    p_value: PValue


class Result(Figures):
    """How similar a suspect is to a reference, and how often independent models are as similar."""

    p_value: PValue
    smallest_p_value: PValue
    outcome: Literal["derived", "not told apart", "too few models"]
    null: Literal["reference", "pairs", "orders"]
    similarity: Number
    independent: list[Number]
    independent_models: list[Text]
    pairs: list[list[Number | None]] | None = None
    n: Positive
    n_independent: Count
    n_needed: Count
    significance: Annotated[Rate, Field(ge=LEAST_SIGNIFICANCE)]
    reference_accuracy: Rate
    accuracy: Rate
    copies: tuple[Copy, ...] = ()
    power: Rate | None = None
    agreement_on_errors: Rate | None = None
    agreement_on_errors_ci: Ends | None = None

    @model_validator(mode="after")
    def _identities(self) -> Result:
        require_equal(self.n_independent, len(self.independent), "n_independent")
        require_equal(len(self.independent_models), len(self.independent), "the number of independent_models")
        if self.p_value < self.smallest_p_value * (1 - 1e-9):
            raise ValueError(
                f"p_value should be {self.smallest_p_value:.6g}, the smallest that there can be, or more; "
                "got "
                f"{self.p_value:.6g}"
            )
        self._require_ranks()
        expected = "derived" if self.p_value <= self.significance else None
        if (self.outcome == "derived") != (expected == "derived"):
            raise ValueError(
                f"outcome should follow from p_value {self.p_value:.6g} at significance "
                f"{self.significance:.6g}; "
                f"got {self.outcome!r}"
            )
        found = sum(copy.p_value <= self.significance for copy in self.copies)
        same(self.power, found / len(self.copies) if self.copies else None, "power", "of these copies")
        return self

    def _require_ranks(self) -> None:
        """Refuse a p-value that the similarities do not give."""
        if self.null == "orders":
            return
        require_equal(self.n_needed, models_needed(self.significance, self.null), "n_needed")
        if self.null == "reference":
            above = sum(value >= self.similarity for value in self.independent)
            same(self.p_value, (1 + above) / (1 + self.n_independent), "p_value", "of these similarities")
            return
        size, rows = self.n_independent + 2, self.pairs or []
        if [len(row) for row in rows] != [size] * size:
            raise ValueError(f"pairs should have {size} rows of {size} similarities")
        values = [v for i, row in enumerate(rows) for j, v in enumerate(row) if i != j and v is not None]
        require_equal(len(values), size * (size - 1), "the number of pairs")
        above = sum(value >= self.similarity for value in values)
        same(self.p_value, above / len(values), "p_value", "of these pairs")
        stated: list[Any] = [rows[0][1], *rows[0][2:]]
        if stated != [self.similarity, *self.independent]:
            raise ValueError("pairs should hold similarity and independent in their first row")


def parse(record: Record) -> Result:
    """Return the record's result.

    Raises:
        ValueError: a figure is missing, of another type, or contradicts another one.
    """
    return parse_result(Result, record)
