"""What lies beside records: every sample's scores, the most exposed members, recovered triggers."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from securitynet_hub.core.errors import RecordError
from securitynet_hub.plots.plot import words_of
from securitynet_hub.report.reading import Entry

if TYPE_CHECKING:
    import pandas as pd

LARGEST_PICTURE = 256 * 1024
"""Bytes of a picture that is put into a report."""


class Picture(NamedTuple):
    """An image as a data URI, with its text alternative and what is written below it."""

    uri: str
    alt: str
    caption: str


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


def exposed_picture(
    samples: Path | None, model: str, attack: str, classes: Sequence[str] = ()
) -> Picture | None:
    """Return the picture of the members that an attack is surest of, where an audit wrote it."""
    folder = _folder(samples, model)
    if folder is None or Path(attack).name != attack:
        return None
    caption = f"The members that {words_of(attack)} is surest of, the surest first, row by row."
    told = f" Their classes: {', '.join(classes)}." if classes else ""
    return picture(folder / f"exposed-{attack}.png", caption + told, caption)


def pictures_beside(entry: Entry) -> list[Picture]:
    """Return the PNG files that lie beside a record and begin with its file's name, or in such a folder."""
    stem, folder = entry.path.stem, entry.path.parent
    paths = [path for path in sorted(folder.glob("*.png")) if path.name.startswith(stem)]
    paths += sorted((folder / stem).glob("*.png"))
    found = (picture(path, *_about(entry, path.stem.removeprefix(stem).strip("-_"))) for path in paths)
    return [one for one in found if one]


def _about(entry: Entry, name: str) -> tuple[str, str]:
    """Return alternative and caption of a picture beside a record: of a recovered trigger in words."""
    trigger = re.fullmatch(r"class-(\d+)-(mask|pattern|trigger)", name)
    if trigger is None:
        words = f"{words_of(entry.attack)}: {name or 'picture'}"
        return words, words
    label, part = trigger.groups()
    meaning = {
        "mask": "where the trigger covers the image: white fully, black not at all",
        "pattern": "what it covers it with",
        "trigger": "both together, the trigger itself",
    }[part]
    caption = f"Class {label}, {part}: {meaning}."
    return f"Recovered by {words_of(entry.attack)}. {caption}", caption


def picture(path: Path, alt: str, caption: str) -> Picture | None:
    """Read a PNG file into a data URI; None where there is none, it is no PNG, or it is too large."""
    if not path.is_file() or path.stat().st_size > LARGEST_PICTURE:
        return None
    content = path.read_bytes()
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    return Picture(f"data:image/png;base64,{base64.b64encode(content).decode()}", alt, caption)


def _folder(samples: Path | None, model: str) -> Path | None:
    """Return a model's folder below another, and None where its name leads out of it."""
    if samples is None:
        return None
    folder = (samples / model).resolve()
    return folder if folder.is_relative_to(samples.resolve()) else None
