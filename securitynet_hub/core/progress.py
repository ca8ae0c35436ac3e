"""Progress of long work: whoever works tells it, whoever shows it listens; by default a notebook or a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from typing import Any

from securitynet_hub.core.text import duration, printable

OnStep = Callable[[str, int, int | None], object]
"""Called with what is being done, how much of it is done, and how much there is (None where not known)."""

SHOWN_EVERY, LOGGED_EVERY = 0.2, 60.0
"""Seconds between two updates of a notebook, and between two lines of a log."""

_listener: ContextVar[OnStep | None] = ContextVar("listener", default=None)


def tell(doing: str, done: int, total: int | None = None) -> None:
    """Say how far a long step is, to whoever listens: `heard_by`.

    >>> with heard_by(print):
    ...     tell("epochs", 3, 20)
    epochs 3 20
    """
    listener = _listener.get()
    if listener is not None:
        listener(doing, done, total)


@contextmanager
def heard_by(listener: OnStep) -> Iterator[None]:
    """Let a function hear what the block tells of its steps."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class Steps:
    """The steps that a work is at, the outermost first, and the time that the rest of the first may take.

    >>> steps = Steps()
    >>> steps("reference models", 1, 8)
    >>> steps("epochs", 12, 20)
    >>> steps.line()
    'reference models: 1 of 8, epochs: 12 of 20'
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at: dict[str, tuple[int, int | None]] = {}
        self._began: dict[str, tuple[float, int]] = {}

    def __call__(self, doing: str, done: int, total: int | None = None) -> None:
        """Note how far a step is; one that begins again is timed anew."""
        names = list(self._at)
        inner = names[names.index(doing) + 1 :] if doing in names else self._finished()
        for name in inner:
            del self._at[name], self._began[name]
        before = self._at.get(doing)
        if before is None or done < before[0]:
            self._began[doing] = self._clock(), done
        self._at[doing] = done, total

    def _finished(self) -> list[str]:
        """Return the outermost finished step and those within it: what begins now comes after them."""
        names = list(self._at)
        ends = [k for k, (done, total) in enumerate(self._at.values()) if total is not None and done >= total]
        return names[ends[0] :] if ends else []

    def outer(self) -> str:
        """Say how far the steps around the innermost one are.

        >>> steps = Steps()
        >>> steps("reference models", 1, 8)
        >>> steps("epochs", 12, 20)
        >>> steps.outer()
        'reference models: 1 of 8'
        """
        return ", ".join(self._parts()[:-1])

    def clear(self) -> None:
        """Forget all steps."""
        self._at.clear()
        self._began.clear()

    def line(self) -> str:
        """Say in a line what is being done, and about how long the rest takes where that is known."""
        rest = self._rest()
        return ", ".join([*self._parts(), *([] if rest is None else [f"about {duration(rest)} left"])])

    def _parts(self) -> list[str]:
        return [
            f"{doing}: {done:,}" + ("" if total is None else f" of {total:,}")
            for doing, (done, total) in self._at.items()
        ]

    def _rest(self) -> float | None:
        """Return the seconds that the outermost step whose pace is known takes to its end."""
        for doing, (done, total) in self._at.items():
            began, first = self._began[doing]
            spent = self._clock() - began
            if total is not None and done > first and spent >= 1:
                return (total - done) * spent / (done - first)
        return None


class Progress:
    """Show an audit's attacks and steps in a notebook's cell, where one runs; else log a line a minute.

    Lines of the log are of level INFO, of the logger ``securitynet_hub``.

    Args:
        total: number of attacks; 0 if the work is no audit.
    """

    def __init__(self, total: int = 0) -> None:
        self._total, self._begun, self._images = total, 0, 0
        self._said = time.monotonic()
        self._name = self._estimate = ""
        self._steps = Steps()
        self._handle: Any = None
        self._display: Any = sys.modules.get("IPython.display") if in_notebook() else None

    def on_attack(self, name: str) -> None:
        """Begin an attack."""
        self._begun, self._name, self._estimate = self._begun + 1, name, ""
        self._steps.clear()
        self._show(now=True)

    def on_batch(self, size: int) -> None:
        """Count images that the model was asked about."""
        self._images += size
        self._show()

    def on_step(self, doing: str, done: int, total: int | None) -> None:
        """Note how far a step is."""
        self._steps(doing, done, total)
        self._show()

    def on_estimate(self, told: str) -> None:
        """Say what an attack may take."""
        if self._display is None:
            logging.getLogger("securitynet_hub").info("%s", printable(told, limit=400))
        else:
            self._estimate = told
            self._show(now=True)

    def close(self) -> None:
        """Show nothing any more."""
        if self._handle is not None:
            self._handle.update(self._display.HTML(""))

    def _show(self, *, now: bool = False) -> None:
        pause = LOGGED_EVERY if self._display is None else SHOWN_EVERY
        if time.monotonic() - self._said < pause and not (now and self._display is not None):
            return
        self._said = time.monotonic()
        parts = [self._name, self._steps.line()]
        if self._images:
            parts.append(f"{self._images:,} images asked about")
        line = ", ".join(filter(None, parts))
        if self._display is None:
            logging.getLogger("securitynet_hub").info("%s", printable(line, limit=400))
            return
        bar = f'<progress value="{max(0, self._begun - 1)}" max="{max(self._total, self._begun)}"></progress>'
        lines = [escape(printable(text, limit=400)) for text in (line, self._estimate) if text]
        shown = self._display.HTML(f"{bar if self._total else ''} {'<br>'.join(lines)}")
        if self._handle is None:
            self._handle = self._display.display(shown, display_id=True)
        else:
            self._handle.update(shown)


def in_notebook() -> bool:
    """Return whether the code runs in the kernel of a notebook.

    >>> in_notebook()
    False
    """
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
