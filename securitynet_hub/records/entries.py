"""Records together with the files that they were read from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from securitynet_hub.core.errors import RecordError
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

    Raises:
        RecordError: nothing is there, there is no record in it, or one is damaged.
    """
    found: dict[str, Entry] = {}
    for place in map(Path, places):
        if not place.exists():
            raise RecordError(f"there is no file or folder {place} to read records from.")
        paths = sorted(place.rglob("*.json")) if place.is_dir() else [place]
        if not paths:
            raise RecordError(f"there is no record (*.json) below {place}.")
        for path in paths:
            record = read_record(path)
            found.setdefault(record.id, Entry(record, path))
    return list(found.values())
