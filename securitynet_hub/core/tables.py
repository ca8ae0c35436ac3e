"""Tables for a terminal, all of one look."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

LINE, WIDE = 26, 100
"""Letters of a name in one line of a table, and columns of a terminal that has room for more of them."""


class PlainTable(Table):
    """A table whose title and caption take the whole width of the terminal, however narrow it is itself."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the title, the table and the caption."""
        bare = copy.copy(self)
        bare.title = bare.caption = None
        if self.title:
            yield from _words(self.title, "table.title", console, options)
        yield from Table.__rich_console__(bare, console, options)
        if self.caption:
            yield from _words(self.caption, "table.caption", console, options)


def _words(text: object, style: str, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
    words = console.render_str(text, style=style, highlight=False) if isinstance(text, str) else text
    yield from console.render(words, options=options.update(justify="default"))  # type: ignore[arg-type]


def plain_table(title: str, caption: str) -> Table:
    """Return an empty table with a title above and a caption below."""
    return PlainTable(title=title, caption=caption, box=SIMPLE_HEAD, padding=0, show_edge=False)


class Name:
    """A long name in a table: it goes on in another line after a slash.

    In a terminal a line that is still too long is cut in its middle, so that one name does not widen a table;
    in a file or a pipe it is whole.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def lines(self, most: int | None) -> list[str]:
        """Return the lines, none of them longer than `most` letters.

        >>> Name("file/f0ff8bb673c1/resnet18-augmented").lines(26)
        ['file/f0ff8bb673c1/', 'resnet18-augmented']
        >>> Name("module/f734a20563ba/resnet18-of-a-long-experiment-with-a-long-name").lines(26)
        ['module/f734a20563ba/', 'resnet18-of-a…-a-long-name']
        """
        lines = [""]
        for part in self.text.replace("/", "/\0").split("\0"):
            if lines[-1] and len(lines[-1]) + len(part) > LINE:
                lines.append("")
            lines[-1] += part
        return [cut_middle(line, most) if most else line for line in lines]

    def _text(self, console: Console, options: ConsoleOptions) -> Text:
        most = (LINE if console.width < WIDE else WIDE // 2) if console.is_terminal else None
        return Text("\n".join(self.lines(most)))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._text(console, options))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._text(console, options)


def cut_middle(text: str, most: int) -> str:
    """Return a text of no more than so many letters: its middle is left out for the beginning and the end.

    >>> cut_middle("abcdefghij", 7), cut_middle("abcdefg", 7)
    ('abc…hij', 'abcdefg')
    """
    if len(text) <= most:
        return text
    begin, end = most // 2, (most - 1) // 2
    return f"{text[:begin]}…{text[len(text) - end :]}"
