"""A plot: drawn by Matplotlib, shown as SVG in the colours of its page, kept as PNG and as data."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from securitynet_hub.core.errors import RecordError
from securitynet_hub.core.text import LONGEST_CELL, csv_cell, printable

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"
"""A placeholder: in an SVG, the page's text colour replaces it."""

BLUE, ORANGE, GREEN, PURPLE = "#2b7bba", "#d55e00", "#138a6b", "#a861a8"
"""Contrast of at least 3 to 1 on white and on near-black; colour-blind readers can tell them apart."""

CYCLE = (BLUE, ORANGE, GREEN, PURPLE)
"""Colours in their order; in a page these are its properties --c1 to --c4, which its dark form brightens."""

HALF_LINE = 24
"""Characters of a legend in half the width of a figure of 4.6 inches."""

STYLE: dict[str, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "securitynet-hub",
    "axes.facecolor": "none",
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "hatch.color", "xtick.color", "ytick.color"), INK
    ),
}


PNG_DPI = 144
"""Dots an inch of a PNG: at an SVG's 72, letters snapped to whole dots are wider, and cut at the edge."""


@dataclass(frozen=True)
class Plot:
    """A figure with its name, a text alternative that says what it shows, and the data behind it.

    Attributes:
        name: for files: lower-case words and hyphens.
        alt: for readers who do not see it.
        figure: Matplotlib's.
        data: columns of equal length.
        caption: how to read it, for those who do; the alternative, unless given.
    """

    name: str
    alt: str
    figure: Figure
    data: dict[str, list[Any]]
    caption: str = ""

    @cached_property
    def svg(self) -> str:
        """Inline SVG, in the text colour of its page."""
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        file = io.StringIO()
        with _style():
            self.figure.set_facecolor("none")
            # Figure.savefig would draw it twice, to lay it out.
            unsaid = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            FigureCanvasSVG(self.figure).print_svg(file, metadata=unsaid)  # type: ignore[no-untyped-call]
        text = file.getvalue()
        text = re.sub(r" id=\"[A-Za-z.]+(2d)?_\d+\"", "", text[text.index("<svg") :])
        # A hundredth of a point is enough.
        text = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda part: _rounded(part[0]), text)
        text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        alt = printable(self.alt.replace("\u00a0", " "), limit=LONGEST_CELL)
        label = f'role="img" aria-label="{escape(alt)}"'
        text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', lambda _: label, text, count=1)
        return text.replace(INK, "currentColor").strip()

    @property
    def inline(self) -> str:
        """The SVG in the colours of a page."""
        text = self.svg
        for number, colour in enumerate(CYCLE, 1):
            text = text.replace(colour, f"var(--c{number},{colour})")
        return text

    def png(self) -> bytes:
        """Return the figure on white."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        file = io.BytesIO()
        with _style():
            self.figure.set_facecolor("white")
            self.figure.dpi = PNG_DPI
            canvas = FigureCanvasAgg(self.figure)
            canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
        with_few_colours(pixels).save(file, format="png", optimize=True)
        return file.getvalue()

    def csv(self) -> str:
        """Return the data, one line for each point."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.data)
        for row in zip(*self.data.values(), strict=True):
            writer.writerow(map(csv_cell, row))
        return text.getvalue()

    def write(self, folder: Path, prefix: str = "") -> None:
        """Write the figure as ``.svg`` and ``.png`` and its data as ``.csv``.

        Raises:
            RecordError: the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            alone = self.svg.replace("<svg ", '<svg color="black" ', 1)
            (folder / f"{prefix}{self.name}.svg").write_text(alone + "\n", encoding="utf-8")
            (folder / f"{prefix}{self.name}.png").write_bytes(self.png())
            (folder / f"{prefix}{self.name}.csv").write_text(self.csv(), encoding="utf-8")
        except OSError as error:
            raise RecordError(f"cannot write {folder}: {error.strerror or error}.") from error


def with_few_colours(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """Return a picture in its 256 most common colours: half the bytes, and surfaces and lines keep their own.

    Only the shades at the edges of letters and lines go to the nearest of these colours.

    Args:
        pixels: shape (height, width, 3).

    >>> drawn = np.arange(300 * 3, dtype=np.uint8).reshape(1, 300, 3)
    >>> with_few_colours(drawn).size, with_few_colours(drawn[:, :9]).convert("RGB").getpixel((8, 0))
    ((300, 1), (24, 25, 26))
    """
    from scipy.spatial import KDTree

    codes = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    found, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
    colours = np.stack([found >> 16, found >> 8 & 255, found & 255], 1)
    kept = colours[np.argsort(-counts, kind="stable")[:256]]
    nearest = KDTree(kept).query(colours)[1].astype(np.uint8)
    picture = Image.fromarray(nearest[places.reshape(codes.shape)])
    picture.putpalette(kept.astype(np.uint8).tobytes())
    return picture


@contextmanager
def drawing(
    width: float, height: float, rows: int = 1, columns: int = 1
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Give a figure of that size in inches and its axes, in this package's style whatever the caller's."""
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(width, height), layout="constrained")
        # A page may draw its labels with a wider font than the one that they were laid out with.
        figure.get_layout_engine().set(w_pad=0.1)  # type: ignore[union-attr, call-arg]
        yield figure, list(np.ravel(np.asarray(figure.subplots(rows, columns))))
        figure.draw_without_rendering()  # lays it out, once for all formats
        figure.set_layout_engine("none")


def _rounded(text: str) -> str:
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text)


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        yield


def legend_below(figure: Figure, axes: Axes) -> None:
    """Name the lines below the axes, where no curve runs behind them; long names are broken, never cut."""
    handles, names = axes.get_legend_handles_labels()
    columns = 2 if max(map(len, names)) <= HALF_LINE else 1
    names = [fill(name, 2 * HALF_LINE + 4) for name in names]
    figure.legend(handles, names, loc="outside lower left", ncols=columns, fontsize=8)


def words_of(name: str) -> str:
    """Write a name as words, for readers.

    >>> words_of("modified_entropy")
    'modified entropy'
    """
    return name.replace("_", " ")


def label(name: str) -> str:
    """Write a name for a figure: short, visible, and no mathematics, as which Matplotlib reads $...$."""
    return printable(words_of(name), limit=80).replace("$", r"\$")


def file_name(name: str) -> str:
    """Write a name with only letters, digits and hyphens."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)
