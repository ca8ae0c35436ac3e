"""What commands print on: standard output for results, standard error for everything else."""

from __future__ import annotations

import os
import sys

from rich.console import Console


def output() -> Console:
    """Return standard output as wide as the terminal; for a pipe or a log wide enough for a table."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
    return Console(width=width, emoji=False)


def errors() -> Console:
    """Return standard error, for notes, progress and errors."""
    return Console(stderr=True, highlight=False, emoji=False)
