"""Tables for a terminal, all of one look."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table


def plain_table(title: str, caption: str) -> Table:
    """Return an empty table with a title above and a caption below."""
    left = {"title_justify": "left", "caption_justify": "left"}
    shape = {"box": SIMPLE_HEAD, "padding": 0, "show_edge": False}
    return Table(title=title, caption=caption, **shape, **left)  # type: ignore[arg-type]
