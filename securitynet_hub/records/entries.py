"""Records together with the files that they were read from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from securitynet_hub.core.errors import RecordError, RecordWarning
from securitynet_hub.core.memory import without_collection
from securitynet_hub.core.telling import warn_caller
from securitynet_hub.core.text import LONGEST_CELL, printable
from securitynet_hub.records.index import read_folder
from securitynet_hub.records.record import Record, read_record


class Entry(NamedTuple):
    """A record and the file that it was read from."""

    record: Record
    path: Path

    @property
    def model(self) -> str:
        """The id of the model that was measured."""
        return str(self.record.target.get("id", "unnamed"))

    @property
    def kind(self) -> str:
        """The kind of attack."""
        return str(self.record.attack.get("kind", "unknown"))

    @property
    def attack(self) -> str:
        """The attack's name."""
        return str(self.record.attack.get("name", "unnamed"))


def read_entries(places: Iterable[str | Path]) -> list[Entry]:
    """Read the records of files and folders, in the order of their paths; a record met twice counts once.

    A damaged record in a folder is left out, with a `RecordWarning`.

    Raises:
        RecordError: nothing is there, there is no whole record in it, or a file that is named is damaged.
    """
    found: dict[str, Entry] = {}
    for place in map(Path, places):
        if not place.exists():
            raise RecordError(f"there is no file or folder {place} to read records from.")
        if not place.is_dir():
            record = read_record(place)
            found.setdefault(record.id, Entry(record, place))
            continue
        damaged: list[RecordError] = []

        def leave_out(path: Path, error: RecordError, damaged: list[RecordError] = damaged) -> None:
            damaged.append(error)
            warn_caller(f"{printable(error, limit=LONGEST_CELL)} It was left out.", RecordWarning)

        whole = 0
        with without_collection():
            for each in read_folder(place, on_damaged=leave_out):
                whole += 1
                found.setdefault(each.record.id, Entry(each.record, each.path))
        if damaged and not found:
            raise damaged[-1]
        if not damaged and not whole:
            raise RecordError(f"there is no record (*.json) below {place}.")
    return list(found.values())
