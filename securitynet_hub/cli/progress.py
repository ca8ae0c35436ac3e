"""The progress bars of long commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from securitynet_hub.cli.console import errors
from securitynet_hub.core.text import printable_markup


def progress_bars(console: Console | None = None, **options: Any) -> Progress:
    """Return progress bars on standard error, which disappear at the end; options as for `Progress`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console or errors(),
        transient=True,
        redirect_stdout=False,  # rich would obey the colours and links in what others print meanwhile
        redirect_stderr=False,
        **options,
    )


@contextmanager
def reading_bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """Yield a function that shows how much is done of what, a bar for each; the `OnProgress` of reading."""
    with progress_bars() as progress:
        tasks: dict[str, TaskID] = {}

        def show(doing: str, done: int, total: int | None) -> None:
            if doing not in tasks:
                tasks[doing] = progress.add_task(printable_markup(doing), total=total)
            progress.update(tasks[doing], completed=done, total=total)

        yield show
