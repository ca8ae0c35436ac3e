"""Parts of records as text: parsed, checked and hashed once for all records that hold the same text.

A record's file, as `record.write_record` writes it, begins each field on a line of its own, indented by one
blank; so its text splits into fields without being parsed. Most fields of most records, such as the model,
the attack's settings, the code and the environment, stand word for word in many files.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, NamedTuple, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from securitynet_hub.core.digest import canonical_of_read, digest_of_parts
from securitynet_hub.records.record import (
    DECIDED_BY,
    FIELDS,
    SCHEMA_VERSION,
    Record,
    decides,
)
from securitynet_hub.records.schema import Content, is_plainly_writable

START, BETWEEN = '{\n "', ',\n "'
ENDS = ("\n}\n", "\n}")

COMMON = ("code", "environment", "author", "schema_version")
"""Fields that are alike in whole folders: kept as one text."""

OWN = ("result", "counts", "timings")
"""Fields that no other record has; the rest, but for `created`, are shared by many."""

MOST_KNOWN = 20_000
"""Texts that are remembered before all are forgotten, which bounds the memory of a reading."""


class Field(NamedTuple):
    """A field of a record, checked.

    Attributes:
        name: of the field.
        value: as JSON has it.
        canonical: the value as `core.digest.canonical`.
        deciding: what of it decides the record's unit, likewise.
        text: as it stands in the file: the quoted name, a colon and the value.
    """

    name: str
    value: Any
    canonical: str
    deciding: str
    text: str


class Parsed(NamedTuple):
    """A record and the texts of its parts: of what it shares, part by part, and of `OWN`.

    Its time of creation is in none of them.
    """

    record: Record
    shared: tuple[str, ...]
    own: str

    @classmethod
    def of_record(cls, record: Record) -> Parsed:
        """Return a record whose file may be written in any way, and its texts."""
        return cls(
            record, *_texts({name: f'"{name}":{json.dumps(getattr(record, name))}' for name in FIELDS})
        )


class Parts:
    """Fields that were read, by their text."""

    def __init__(self) -> None:
        self._known: dict[str, Field] = {}

    def parse(self, text: str) -> Parsed | None:
        """Return the record in a text, of which everything holds that `record.parse_record` asks.

        Values that records have in common are the same objects in all of them.

        Returns:
            None where the text is laid out in another way, or is no sound record: `parse_record` reads the
            one, and says what is wrong with the other.
        """
        ending = next((end for end in ENDS if text.endswith(end)), None)
        if ending is None or not text.startswith(START):
            return None
        # If each piece is the one member of an object, the whole is the object of all members, in any layout.
        *stated, rest = text[len(START) : -len(ending)].split(BETWEEN, 2)
        pieces = rest.split(BETWEEN)
        if len(pieces) != len(FIELDS):
            return None
        try:
            fields = {field.name: field for field in map(self._field, pieces)}
            values = {name: fields[name].value for name in FIELDS}
        except (ValueError, TypeError, LookupError, RecursionError):
            return None
        id = digest_of_parts({name: fields[name].canonical for name in FIELDS})
        unit = digest_of_parts({name: fields[name].deciding for name in DECIDED_BY})
        if stated != [f'id": "{id}"', f'unit": "{unit}"']:
            return None
        texts = _texts({name: fields[name].text for name in FIELDS})
        return Parsed(Record.of_json(values, id, unit), *texts)

    def _field(self, piece: str) -> Field:
        known = self._known.get(piece)
        if known is not None:
            return known
        text = f'"{piece}'
        ((name, value),) = from_json(f"{{{text}}}", allow_inf_nan=False).items()
        plain = canonical_of_read(value)
        if not is_plainly_writable(value, plain):
            raise ValueError(name)
        try:
            _forms()[name].validate_python(value)
        except ValidationError as error:
            raise ValueError(name) from error
        if name == "schema_version" and value > SCHEMA_VERSION:
            raise ValueError(name)
        deciding = decides(name, value)
        field = Field(name, value, plain, plain if deciding is value else canonical_of_read(deciding), text)
        if (name not in OWN and name != "created") or name == "counts":
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[piece] = field
        return field


def read_part(text: str | bytes) -> dict[str, Any]:
    """Return the fields in a text of `Parsed`, by their names.

    >>> read_part('"created": "2026", "counts": {}')
    {'created': '2026', 'counts': {}}
    """
    whole = b"{%b}" % text if isinstance(text, bytes) else f"{{{text}}}"
    part: dict[str, Any] = from_json(whole, allow_inf_nan=False)
    return part


def _texts(texts: dict[str, str]) -> tuple[tuple[str, ...], str]:
    own = ",".join([texts[name] for name in OWN])
    return (texts["target"], texts["data"], texts["attack"], ",".join([texts[name] for name in COMMON])), own


@lru_cache(maxsize=1)
def _forms() -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(Content, include_extras=True)
    return {name: TypeAdapter(hints[name]) for name in FIELDS}
