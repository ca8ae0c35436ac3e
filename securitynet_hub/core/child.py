"""Try something in a short-lived child process, with limits of its own, before it is done in this one."""

from __future__ import annotations

import faulthandler
import json
import math
import os
import re
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIGNALS = (signal.SIGINT, signal.SIGTERM)

LONGEST = 4000
"""Characters of an error that a child tells."""


def tried_in_child(action: Callable[[], object], *, seconds: float, memory: int) -> str | None:
    """Return why an action fails in a forked child with limits, None if it succeeds.

    The child has everything in memory that this process has, so it imports nothing again, and only one
    thread. It prints nothing, and nothing that it changes is seen here. It is ended after so many seconds of
    processor time, or four times as many on the clock, and where it needs more memory than given. A child
    that waits for a lock of a thread that it lacks, as forking may bring about, uses no processor time: then,
    and on systems other than Linux, where libraries do not survive a fork, the action is tried here, without
    those limits.

    Args:
        action: what to try; its result is dropped.
        seconds: processor time that it may take.
        memory: bytes by which its address space may grow.

    >>> tried_in_child(lambda: 1 / 0, seconds=5, memory=1 << 30)
    'division by zero'
    >>> tried_in_child(lambda: bytearray(1 << 33), seconds=5, memory=1 << 28)
    'it needs more than 268,435,456 bytes of memory'
    """
    if sys.platform != "linux":
        return _tried(action)
    reader, writer = _pipe()
    child, status, used, late, told = 0, 0, 0.0, False, b""
    try:
        try:
            with _interrupts_wait(), warnings.catch_warnings():  # until the child has its own handlers
                warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: see above
                child = os.fork()
                if child == 0:
                    _be_child(action, writer, seconds, memory)
        finally:
            os.close(writer)
        told, late = _heard(reader, 4 * seconds)
    finally:  # also where somebody interrupts
        os.close(reader)
        if child:
            status, used = _end(child)
    if told:
        outcome: str | None = json.loads(told)
        return f"it needs more than {memory:,} bytes of memory" if outcome == "" else outcome
    if late and used < min(1.0, seconds / 4):  # it waits; one that a busy machine starves uses more
        return _tried(action)
    if late or used >= seconds / 4:
        return f"it takes more than {seconds:.0f} s"
    return f"it ends the process that tries it (status {status})"


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Let interrupts come when this ends.

    A mask is a thread's, and another thread may take the signal: Python then interrupts the main thread all
    the same. So there the handlers wait, too.
    """
    came: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    main = threading.current_thread() is threading.main_thread()
    known = {number: signal.getsignal(number) for number in SIGNALS} if main else {}
    before = {number: handler for number, handler in known.items() if callable(handler)}
    try:
        for number in before:
            signal.signal(number, lambda arrived, _: came.append(arrived))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for arrived in came:
            signal.raise_signal(arrived)


def _pipe() -> tuple[int, int]:
    """Return both ends of a pipe; the writing one is no standard stream, even where those are closed."""
    import fcntl

    reader, low = os.pipe()
    writer = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(low)
    return reader, writer


def _heard(reader: int, seconds: float) -> tuple[bytes, bool]:
    """Return what a child told until it ended, and whether it was still there after so many seconds."""
    told, end = b"", time.monotonic() + seconds
    poll = select.poll()  # unlike select.select, of any number of open files
    poll.register(reader, select.POLLIN)
    while (left := end - time.monotonic()) > 0:
        if poll.poll(1000 * left):
            piece = os.read(reader, 1 << 16)
            if not piece:
                return told, False
            told += piece
    return told, True


def _end(child: int) -> tuple[int, float]:
    """End a child; return its status and the processor time that it took, 0 and NaN where nobody knows."""
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    try:
        _, status, usage = os.wait4(child, 0)
    except ChildProcessError:  # SIGCHLD is ignored, or another part of the program waits for all children
        return 0, math.nan
    return status, usage.ru_utime + usage.ru_stime


def _tried(action: Callable[[], object]) -> str | None:
    """Return an error's text, "" for want of memory, None where there is none."""
    try:
        action()
    except MemoryError:
        return ""
    except Exception as error:
        lacking = isinstance(error, RuntimeError) and re.search("t allocate memory|bad_alloc", str(error))
        return "" if lacking else (str(error) or type(error).__name__)[:LONGEST]
    return None


def _be_child(action: Callable[[], object], writer: int, seconds: float, memory: int) -> None:
    """Try an action within limits, tell how it went, and end."""
    try:
        import resource

        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)  # the parent tells, this process only ends
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        sys.stdout = sys.stderr = os.fdopen(nowhere, "w")
        faulthandler.disable()
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _limit(resource.RLIMIT_AS, held + memory)
        _limit(resource.RLIMIT_CPU, int(seconds) + 1)
        _limit(resource.RLIMIT_CORE, 0)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)  # the others' threads do not exist here
        told = json.dumps(_tried(action)).encode()
        while told:
            told = told[os.write(writer, told) :]
    finally:
        os._exit(0)  # no handler of the parent's runs here


def _limit(kind: int, value: int) -> None:
    import resource

    _, hard = resource.getrlimit(kind)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (most, most))
