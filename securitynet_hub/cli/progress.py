"""The progress bars of long commands."""

from __future__ import annotations

import time
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
from securitynet_hub.core.progress import LOGGED_EVERY, Steps
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


class StepLines:
    """What a long step is at: a bar in a terminal, and where there is none a line a minute.

    Args:
        bars: where a bar of its own is added.
        about: says what is worked on, for the lines.
    """

    def __init__(self, bars: Progress, about: Callable[[], str]) -> None:
        self._bars, self._about = bars, about
        self._steps = Steps()
        self._bar = bars.add_task("", total=None, visible=False)
        self._said = time.monotonic()
        self._shown, self._done = "", 0

    def __call__(self, doing: str, done: int, total: int | None) -> None:
        """Show how far a step is."""
        self._steps(doing, done, total)
        words = printable_markup(", ".join(filter(None, (self._steps.outer(), doing))))
        if doing != self._shown or done < self._done:  # another step, or the same again: timed anew
            self._bars.reset(self._bar, visible=True, description=words, completed=done, total=total)
        else:
            self._bars.update(self._bar, description=words, completed=done, total=total)
        self._shown, self._done = doing, done
        self.say()

    def restart(self) -> None:
        """Forget the steps of what came before."""
        self._steps.clear()
        self._bars.update(self._bar, visible=False)

    def say(self) -> None:
        """Print a line, if there is no terminal and a minute has passed."""
        console = self._bars.console
        if console.is_terminal or self._bars.disable or time.monotonic() - self._said < LOGGED_EVERY:
            return
        self._said = time.monotonic()
        line = ", ".join(filter(None, (self._about(), self._steps.line())))
        console.print(f"{time.strftime('%H:%M')} {printable_markup(line)}", soft_wrap=True)


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
