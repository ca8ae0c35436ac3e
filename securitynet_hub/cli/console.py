"""What commands print on: standard output for results, standard error for everything else."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from securitynet_hub.cli.parsing import in_flags
from securitynet_hub.core.printing import PlainConsole
from securitynet_hub.core.text import printable_markup


class Told:
    """How much is told beside results: set once, from ``-q`` and ``-v``."""

    quiet = False
    verbose = False


def set_told(*, quiet: bool, verbose: bool) -> None:
    """Choose how much is told beside results and errors."""
    Told.quiet, Told.verbose = quiet, verbose


def step(text: str) -> None:
    """Print what was done on standard error, with ``-v``."""
    if Told.verbose:
        errors().print(f"[dim]{printable_markup(text)}[/dim]")


def output() -> PlainConsole:
    """Return standard output as wide as the terminal; for a pipe or a log wide enough for a table."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
    return PlainConsole(width=width, emoji=False)


def errors() -> PlainConsole:
    """Return standard error, for notes and progress; with ``-q`` it prints nothing."""
    return PlainConsole(stderr=True, highlight=False, emoji=False, quiet=Told.quiet)


@contextmanager
def notes_for_warnings(flags: Collection[str]) -> Iterator[None]:
    """Print warnings of this package as notes, without the line of code that they come from."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def note(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if category.__module__.startswith("securitynet_hub."):
                text = printable_markup(in_flags(str(message), flags), lines=True)
                errors().print(f"[yellow]note:[/yellow] {text}")
            elif not Told.quiet:
                show(message, category, *place, **more)

        warnings.showwarning = note
        yield
