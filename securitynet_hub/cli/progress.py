"""The progress bars of long commands."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from securitynet_hub.cli.console import errors


def progress_bars(console: Console | None = None, **options: Any) -> Progress:
    """Return progress bars on standard error, which disappear at the end; options as for `Progress`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console or errors(),
        transient=True,
        **options,
    )
