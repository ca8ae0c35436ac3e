"""Records, and what lies beside them, as a report needs them: by model, with whatever can be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from securitynet_hub.core.errors import RecordError
from securitynet_hub.plots.plot import words_of
from securitynet_hub.records.record import Record, read_record
from securitynet_hub.report.figures import PerClass

MEMBERSHIP, STEALING, BACKDOOR = "membership-inference", "model-stealing", "backdoor-detection"
OUTCOMES = ("surrogate_sha256",)
"""What records keep beside an attack's settings, though the attack made it."""


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


def by_model(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Gather entries by model; of one attack's with the same settings and data the last created stays.

    A correction is a new record, so the last is the one that counts.
    """
    latest: dict[tuple[str, ...], Entry] = {}
    for entry in sorted(entries, key=lambda entry: (entry.record.created, entry.record.id)):
        record = entry.record
        data = {name: record.data.get(name) for name in ("sha256", "split_sha256")}
        settings = sorted(item for item in record.attack.items() if item[0] not in OUTCOMES)
        latest[entry.model, entry.kind, repr(settings), repr(data)] = entry
    models: dict[str, list[Entry]] = {}
    for key in sorted(latest):
        models.setdefault(key[0], []).append(latest[key])
    return models


def number(value: Any) -> float | None:
    """Return a finite number as a float, and None for anything else that a record may hold there.

    >>> number(1), number("1"), number(True), number(None)
    (1.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        return None
    return float(value)


def interval(value: Any) -> tuple[float, float] | None:
    """Return a pair of finite numbers in order, and None for anything else.

    >>> interval([0.1, 0.2]), interval([0.2, 0.1]), interval("ab")
    ((0.1, 0.2), None, None)
    """
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    low, high = map(number, value)
    return (low, high) if low is not None and high is not None and low <= high else None


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


def per_class(result: Mapping[str, Any], name: str) -> list[PerClass]:
    """Read what a detector found for each class: a list of numbers, or one such list for each restart.

    >>> per_class({"norms": [[3, 1], [4, None]]}, "norms")
    [PerClass(number=0, values=[3.0, 4.0]), PerClass(number=1, values=[1.0])]
    >>> per_class({"classes": [7, 9], "norms": [3, 1]}, "norms")[1], per_class({"norms": [1, "a"]}, "norms")
    (PerClass(number=9, values=[1.0]), [])
    """
    listed = result.get(name)
    rows = listed if isinstance(listed, list) and listed and isinstance(listed[0], list) else [listed]
    restarts = [row for row in rows if isinstance(row, list) and row]
    if len(restarts) < len(rows) or len({len(row) for row in restarts}) != 1:
        return []
    if any(value is not None and number(value) is None for row in restarts for value in row):
        return []
    labels = result.get("classes")
    if (
        not isinstance(labels, list)
        or len(labels) != len(restarts[0])
        or any(type(c) is not int for c in labels)
    ):
        labels = list(range(len(restarts[0])))
    columns = zip(*restarts, strict=True)
    return [
        PerClass(label, [float(value) for value in column if value is not None])
        for label, column in zip(labels, columns, strict=True)
    ]


DERIVED = {"budget", "surrogate_parameters", "surrogate_transform"}
"""Settings that copies are not told apart by: the axis of their figure, and what their network decides."""


def varying(entries: Sequence[Entry]) -> list[str]:
    """Name each entry by its settings that not all of them share, but for the budget.

    Hashes, lists and what follows from other settings are left out. Where all settings are shared, the names
    are empty.
    """
    settings = [
        {
            name: _in_a_word(value)
            for name, value in entry.record.attack.items()
            if name not in DERIVED and not name.endswith("_sha256") and not isinstance(value, list)
        }
        for entry in entries
    ]
    names = [name for name in dict.fromkeys(n for one in settings for n in one)
             if len({one.get(name) for one in settings}) > 1]  # fmt: skip
    return [", ".join(f"{words_of(name)} {one.get(name, '-')}" for name in names) for one in settings]


def _in_a_word(value: Any) -> str:
    """Shorten a setting to what a legend has room for; the seed in a recipe is told by itself."""
    if isinstance(value, dict):
        value = value.get("kind") or {name: own for name, own in value.items() if name != "seed"}
    return str(value)[:40]
