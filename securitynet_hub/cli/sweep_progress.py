"""The progress of a sweep: two bars in a terminal, a line a minute in a log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Console

from securitynet_hub.cli.progress import progress_bars
from securitynet_hub.cli.sweep_tables import duration
from securitynet_hub.core.text import printable_markup

if TYPE_CHECKING:
    from securitynet_hub.sweeps.launch import Prepared
    from securitynet_hub.sweeps.plan import Job, Unit

REFRESH, LINES = 2.0, 60.0
"""Seconds between two looks at what the other processes have done, and between two lines of a log."""

HALF_HOUR = 1800.0
"""Seconds of the past by which the rest is estimated: models may take minutes each."""


class SweepProgress:
    """Show the units of the sweep and the images of the model at hand; a block of ``with``."""

    def __init__(self, prepared: Prepared, console: Console) -> None:
        self._prepared, self._console = prepared, console
        self._bars = progress_bars(console, disable=not prepared.is_main, speed_estimate_period=HALF_HOUR)
        self._before = prepared.count_settled()
        self._whole = self._bars.add_task("units", total=len(prepared.units), completed=self._before)
        self._current = self._bars.add_task("", total=None)
        self._began = self._seen = self._printed = time.monotonic()

    def __enter__(self) -> SweepProgress:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Take the bars away; of what was interrupted, say how far it came."""
        self._bars.stop()
        if kind is KeyboardInterrupt and self._prepared.is_main:
            units, settled = len(self._prepared.units), self._prepared.count_settled()
            self._console.print(f"{settled:,} of {units:,} units are done.", highlight=False)

    def on_job(self, job: Job) -> None:
        """Show the model that this process takes."""
        self._bars.reset(self._current, description=printable_markup(job.annotation.id), total=job.num_images)

    def on_batch(self, size: int) -> None:
        """Count images of the model at hand."""
        self._bars.advance(self._current, size)

    def on_unit(self, unit: Unit, done: bool) -> None:
        """Look at what all processes have done, at most every `REFRESH` seconds."""
        now = time.monotonic()
        if now - self._seen < REFRESH:
            return
        self._seen, settled = now, self._prepared.count_settled()
        self._bars.update(self._whole, completed=settled)
        if self._prepared.is_main and not self._console.is_terminal and now - self._printed > LINES:
            self._printed = now
            units = len(self._prepared.units)
            rest = (units - settled) * (now - self._began) / max(1, settled - self._before)
            self._console.print(f"{settled} of {units} units, about {duration(rest)} left")
