"""Progress where a notebook's cell is running; elsewhere a caller's own functions say what is shown."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import Any

from securitynet_hub.core.text import printable

EVERY = 0.2
"""Seconds between two updates of what is shown."""


class Progress:
    """A line that says which attack runs, and on how many images the model was asked; it vanishes at the end.

    Args:
        total: number of attacks.
    """

    def __init__(self, total: int) -> None:
        self._total, self._begun, self._images, self._shown = total, 0, 0, 0.0
        self._name = ""
        self._handle: Any = None
        self._display: Any = sys.modules.get("IPython.display") if in_notebook() else None

    def on_attack(self, name: str) -> None:
        """Begin an attack."""
        self._begun, self._name = self._begun + 1, name
        self._show(now=True)

    def on_batch(self, size: int) -> None:
        """Count images that the model was asked about."""
        self._images += size
        self._show()

    def close(self) -> None:
        """Show nothing any more."""
        if self._handle is not None:
            self._handle.update(self._display.HTML(""))

    def _show(self, *, now: bool = False) -> None:
        if self._display is None or (not now and time.monotonic() - self._shown < EVERY):
            return
        self._shown = time.monotonic()
        name = escape(printable(self._name or "images"))
        bar = f'<progress value="{max(0, self._begun - 1)}" max="{max(self._total, self._begun)}"></progress>'
        line = self._display.HTML(f"{bar} {name}, {self._images:,} images asked about")
        if self._handle is None:
            self._handle = self._display.display(line, display_id=True)
        else:
            self._handle.update(line)


def in_notebook() -> bool:
    """Return whether the code runs in the kernel of a notebook.

    >>> in_notebook()
    False
    """
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
