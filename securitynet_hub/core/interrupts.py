"""Ctrl-C and SIGTERM end the work; they never become a verdict on a file, a model or an attack.

Python turns a signal into `KeyboardInterrupt` wherever the main thread happens to be. Code in other languages
that calls back into Python may catch that, and report an error of its own instead.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

_arrived = False


def heed_interrupts() -> None:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt, and be remembered; an ignored SIGINT stays ignored."""
    global _arrived  # noqa: PLW0603 (the process has one handler of a signal)
    _arrived = False
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)


def raise_if_interrupted(error: BaseException) -> None:
    """Raise KeyboardInterrupt in the place of an error that hides one; call this before an error is recorded.

    >>> raise_if_interrupted(ValueError("no interrupt"))
    """
    if _arrived or _hides_interrupt(error):
        raise KeyboardInterrupt from error


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    global _arrived  # noqa: PLW0603 (the process has one handler of a signal)
    _arrived = True
    raise KeyboardInterrupt


def _hides_interrupt(error: BaseException | None) -> bool:
    """Return whether an error was caused by an interrupt, or came up while one was dealt with."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
