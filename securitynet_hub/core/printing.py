"""The one place where output leaves: what is printed cannot steer a terminal, whoever wrote the text.

Names of models, files and classes, reasons of servers and errors of libraries are strangers' texts. Whatever
prints them here, an escape sequence, a C1 control character or a change of the direction of writing becomes
visible text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from securitynet_hub.core.text import escaped

_MOVES = re.compile(r"\n*(\x1b\[A)*")
"""How a progress bar of tqdm moves between its lines: a write of its own."""


class PlainConsole(Console):
    """A console of rich whose colours and cursor are its own: controls in the text itself become visible."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of what is to be printed, their text escaped, without links."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            if control:
                yield segment
            else:
                linked = style is not None and style.link is not None
                yield Segment(escaped(text), style.update_link(None) if style and linked else style)

    @property
    def file(self) -> IO[str]:
        """The stream, unfiltered: what is written there is filtered already."""
        stream = super().file
        unfiltered: IO[str] = getattr(stream, "unfiltered", stream)
        return unfiltered

    @file.setter
    def file(self, stream: IO[str]) -> None:
        self._file = stream


class PlainStream:
    """A text stream that makes controls visible in what is written to it.

    With `bars`, a write may return to the start of the line, and a write of its own move up, in a terminal.
    """

    def __init__(self, unfiltered: Any, *, bars: bool = False) -> None:
        self.unfiltered, self._bars = unfiltered, bars

    def write(self, text: str) -> int:
        """Write text, and return its length."""
        start = 0
        if self._bars and text[:1] in ("\r", "\n", "\x1b") and self.unfiltered.isatty():
            start = len(text) if _MOVES.fullmatch(text) else int(text[0] == "\r")
        self.unfiltered.write(text[:start] + escaped(text[start:]))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unfiltered, name)


@contextmanager
def plain_streams() -> Iterator[None]:
    """Filter both standard streams within the block, whoever writes to them."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = PlainStream(before[0]), PlainStream(before[1], bars=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
