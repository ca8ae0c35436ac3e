"""PNG files as parts of a page: data URIs with a text alternative."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

LARGEST = 256 * 1024
"""Largest size in bytes of a picture that is put into a page."""


class Picture(NamedTuple):
    """An image as a data URI, its text alternative and the caption below it."""

    uri: str
    alt: str
    caption: str


def read_picture(path: Path, alt: str, caption: str) -> Picture | None:
    """Read a PNG file into a data URI; None where there is no file, it is no PNG, or it is too large."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        return None
    content = path.read_bytes()
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    return Picture(f"data:image/png;base64,{base64.b64encode(content).decode()}", alt, caption)


def pictures_beside(path: Path, about: Callable[[str], tuple[str, str]]) -> list[Picture]:
    """Read the PNG files that lie beside a file and begin with its name, or lie in a folder of that name.

    Args:
        path: the file, such as a record.
        about: takes what a picture's name has beyond the file's; returns text alternative and caption.
    """
    stem, folder = path.stem, path.parent
    paths = [found for found in sorted(folder.glob("*.png")) if found.name.startswith(stem)]
    paths += sorted((folder / stem).glob("*.png"))
    pictures = (read_picture(found, *about(found.stem.removeprefix(stem).strip("-_"))) for found in paths)
    return [picture for picture in pictures if picture]
