"""The form of a record: which parts it has and of which types; and types for figures that come from outside.

Whatever is wrong becomes one sentence: where it stands, what was expected, what came.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import core_schema

from securitynet_hub.core.text import printable

MAX_DEPTH = 20
"""Levels of lists and maps within one another, the record itself included."""

MAX_COUNT = 10**12
"""The largest count of a record, of images or of anything else."""

DIGITS_TO_0 = bytes.maketrans(b"123456789", b"000000000")
"""Turns every digit into 0, so that a long number is found as a run of zeros."""

TOO_MANY_DIGITS = b"0" * 308
"""The run of zeros that a whole number too large for a float becomes."""


def expecting(phrase: str, holds: Callable[[Any], bool]) -> BeforeValidator:
    """Return the check of a value that must hold before its type is looked at.

    Args:
        phrase: goes on the sentence "NAME should ...".
        holds: whether a value is as it should be.
    """

    def check(value: Any) -> Any:
        if not holds(value):
            raise ValueError(f"should {phrase}")
        return value

    return BeforeValidator(check)


def _fits_float(value: int) -> bool:
    return value.bit_length() <= 1023  # whole numbers have no largest one, floats do


@dataclass(frozen=True, eq=False)
class _Form:
    """What pydantic checks by itself, which takes a tenth of the time of a function of Python."""

    schema: core_schema.CoreSchema

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return self.schema


def _said(schema: core_schema.CoreSchema, phrase: str) -> core_schema.CoreSchema:
    """Return a check whose failure is the sentence "NAME should ..."."""
    return core_schema.custom_error_schema(schema, "form", custom_error_message=f"should {phrase}")


def _whole(least: int) -> core_schema.CoreSchema:
    return core_schema.int_schema(strict=True, ge=least, le=MAX_COUNT)


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def _in_order(ends: tuple[float, float]) -> Interval:
    low, high = ends
    if low > high:
        raise ValueError
    return Interval(low, high)


_FLOAT = core_schema.float_schema(strict=True, allow_inf_nan=False)
_NUMBER = _said(_FLOAT, "be a number")
_RATE = core_schema.chain_schema([_NUMBER, _said(core_schema.float_schema(ge=0, le=1), "lie in 0..1")])
_LEVEL = core_schema.chain_schema([_FLOAT, core_schema.float_schema(gt=1e-9, lt=1 - 1e-9)])
_ENDS = core_schema.no_info_after_validator_function(_in_order, core_schema.tuple_schema([_FLOAT, _FLOAT]))

Number = Annotated[float, _Form(_NUMBER)]
Rate = Annotated[float, _Form(_RATE)]
Level = Annotated[float, _Form(_said(_LEVEL, "be a confidence level between 0 and 1"))]
Count = Annotated[int, _Form(_said(_whole(0), f"be a whole number in 0..{MAX_COUNT:,}"))]
Positive = Annotated[int, _Form(_said(_whole(1), f"be a whole number above 0, up to {MAX_COUNT:,}"))]
Flag = Annotated[bool, _Form(_said(core_schema.bool_schema(strict=True), "be true or false"))]
Text = Annotated[str, _Form(_said(core_schema.str_schema(strict=True), "be text"))]
Ends = Annotated[Interval, _Form(_said(_ENDS, "be an interval of two numbers, the lower one first"))]


class Part(BaseModel):
    """A frozen part of a record; what a newer version wrote beside the known names stays."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Target(Part):
    """The model that was attacked."""

    id: Text
    weights_hash: Text | None = None
    weights_hash_kind: Text | None = None
    tensors_sha256: Text | None = None
    num_classes: Count | None = None
    precision: Text | None = None


class Check(Part):
    """Whether the images, their labels and the preprocessing are the model's."""

    accuracy: Rate | None = None
    accuracy_ci: Ends | None = None
    n: Count | None = None
    expected: Rate | None = None
    members_accuracy: Rate | None = None
    n_members: Count | None = None
    status: Text
    likely_reason: Text | None = None


class Data(Part):
    """The images that it was attacked on."""

    name: Text | None = None
    sha256: Text | None = None
    split_sha256: Text | None = None
    check: Check | None = None


class Attack(Part):
    """The attack and its settings."""

    name: Text
    kind: Text | None = None


class Content(BaseModel):
    """What a record holds beside its hashes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: Target
    data: Data
    attack: Attack
    result: dict[str, Any]
    counts: dict[str, Count]
    timings: dict[str, Number]
    code: dict[str, Any]
    environment: dict[str, Any]
    created: Text
    author: Text | None
    schema_version: Positive


PartT = TypeVar("PartT", bound=BaseModel)


def require_form(content: Mapping[str, Any]) -> None:
    """Refuse content that has not the form of a record.

    Args:
        content: the fields of a record, without its hashes.

    Raises:
        ValueError: something lacks, is unknown or of another type, is nested too deep, or cannot be written;
            the message is one sentence without its full stop.

    >>> require_form({"target": 3})
    Traceback (most recent call last):
    ...
    ValueError: target should be a map of names to values
    """
    for place, reason in () if _is_writable(content) else _unwritable(content):
        raise ValueError(f"{printable(place)} {reason}" if place else f"it {reason}")
    parse_part(Content, content, "it")


def parse_part(form: type[PartT], value: Any, whole: str) -> PartT:
    """Return a value as a typed part of a record.

    Args:
        form: the model of the part.
        value: as JSON has it.
        whole: what a sentence calls the value itself.

    Raises:
        ValueError: a name lacks or its value is of another type or contradicts another one; the message is
            one sentence without its full stop.
    """
    try:
        return form.model_validate(value)
    except ValidationError as error:
        raise ValueError(_sentence(error, value, whole)) from error


def shown(value: Any) -> str:
    """Return a value as it may be printed: escaped and short.

    >>> shown("x" * 100) == "'" + "x" * 59 + "..."
    True
    """
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


EXPECTED = {
    "list_type": "should be a list",
    "model_type": "should be a map of names to values",
    "dict_type": "should be a map of names to values",
    "extra_forbidden": "is no part of a record",
}
"""What is wrong, for pydantic's own types of error."""


def _sentence(error: ValidationError, value: Any, whole: str) -> str:
    """Say in a sentence what is wrong first with a value."""
    first = error.errors(include_url=False)[0]
    place = printable(".".join(str(step) for step in first["loc"]))
    if first["type"] == "missing":
        return f"{place.rpartition('.')[0] or whole} lacks {shown(first['loc'][-1])}"
    if first["type"] in EXPECTED:
        return f"{place or whole} {EXPECTED[first['type']]}"
    reason = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
    if reason.startswith("should "):
        return f"{place or whole} {reason}; got {shown(_at(value, first))}"
    return f"{place}: {reason}" if place else reason  # of the whole: a sentence already


def _at(value: Any, error: Mapping[str, Any]) -> Any:
    """Return what came where an error is, before a number was made a float."""
    with contextlib.suppress(LookupError, TypeError):
        for step in error["loc"]:
            value = value[step]
        return value
    return error["input"]


def is_plainly_writable(value: Any, text: str) -> bool:
    """Return whether a field can be written, nested no deeper than allowed; most values at a glance.

    Args:
        value: of one field, as JSON has it.
        text: the value as `core.digest.canonical`.

    >>> is_plainly_writable({"a": [1]}, '{"a":[1]}'), is_plainly_writable(10**400, str(10**400))
    (True, False)
    """
    shallow = text.count("[") + text.count("{") < MAX_DEPTH  # in text of a value they count, too
    if shallow and "\\ud" not in text and TOO_MANY_DIGITS not in text.encode().translate(DIGITS_TO_0):
        return True
    return _is_writable(value, 1)


def _is_writable(value: Any, above: int = 0) -> bool:
    """Return whether `_unwritable` finds nothing, in a third of its time."""
    kind = type(value)
    if kind is str:
        return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    if kind is float or kind is bool or value is None:
        return True
    if kind is int:
        return _fits_float(value)
    if above >= MAX_DEPTH:
        return False
    if kind is list:
        return all(_is_writable(part, above + 1) for part in value)
    if kind is dict:
        return all(type(name) is str and _is_writable(name) for name in value) and all(
            _is_writable(part, above + 1) for part in value.values()
        )
    return False


def _unwritable(value: Any, place: str = "", above: int = 0) -> Iterator[tuple[str, str]]:
    """Yield where a value is nested too deep, or holds a number or text that nothing else could hold."""
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            yield place, "holds half a character, which no file can"
    elif type(value) is int and not _fits_float(value):
        yield place, "is a whole number larger than any other number can be"
    elif isinstance(value, dict | list | tuple):
        if above >= MAX_DEPTH:
            yield "", f"is nested more than {MAX_DEPTH} deep"
            return
        named = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in named:
            inner = f"{place}.{name}" if place else str(name)
            yield from _unwritable(name, inner, above + 1) if isinstance(name, str) else ()
            yield from _unwritable(part, inner, above + 1)
