"""Records, and what lies beside them, as a report needs them: by model, with whatever can be trusted."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from securitynet_hub.errors import RecordError
from securitynet_hub.records import Record, read_record

if TYPE_CHECKING:
    import pandas as pd

MEMBERSHIP, STEALING, BACKDOOR = "membership-inference", "model-stealing", "backdoor-detection"
LARGEST_PICTURE = 256 * 1024
"""Bytes of a picture that is put into a report."""


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


class Picture(NamedTuple):
    """An image as a data URI, with its text alternative."""

    uri: str
    alt: str


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
        latest[entry.model, entry.kind, repr(sorted(record.attack.items())), repr(data)] = entry
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


def scores_table(samples: Path | None, model: str) -> pd.DataFrame | None:
    """Read the scores of single samples that an audit wrote, or None where there are none.

    Raises:
        RecordError: the file is damaged, or is no such table.
    """
    folder = _folder(samples, model)
    path = folder / "scores.parquet" if folder else None
    if path is None or not path.is_file():
        return None
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} is not a table of scores: {error}") from error
    if "is_member" not in table or table["is_member"].dtype != bool:
        raise RecordError(f"{path} is not a table of scores: it has no column is_member of booleans.")
    return table


def exposed_picture(samples: Path | None, model: str, attack: str) -> Picture | None:
    """Return the picture of the members that an attack is surest of, where an audit wrote it."""
    folder = _folder(samples, model)
    if folder is None or Path(attack).name != attack:
        return None
    words = attack.replace("_", " ")
    alt = f"The members that {words} is surest of, the surest first, row by row"
    return picture(folder / f"exposed-{attack}.png", alt)


def pictures_beside(entry: Entry) -> list[Picture]:
    """Return the PNG files that lie beside a record and begin with its file's name, or in such a folder."""
    stem, folder = entry.path.stem, entry.path.parent
    paths = [path for path in sorted(folder.glob("*.png")) if path.name.startswith(stem)]
    paths += sorted((folder / stem).glob("*.png"))
    found = (
        picture(path, f"{entry.attack}: {path.stem.removeprefix(stem).strip('-_') or 'picture'}")
        for path in paths
    )
    return [one for one in found if one]


def picture(path: Path, alt: str) -> Picture | None:
    """Read a PNG file into a data URI; None where there is none, it is no PNG, or it is too large."""
    if not path.is_file() or path.stat().st_size > LARGEST_PICTURE:
        return None
    content = path.read_bytes()
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    return Picture(f"data:image/png;base64,{base64.b64encode(content).decode()}", alt)


def _folder(samples: Path | None, model: str) -> Path | None:
    """Return a model's folder below another, and None where its name leads out of it."""
    if samples is None:
        return None
    folder = (samples / model).resolve()
    return folder if folder.is_relative_to(samples.resolve()) else None
