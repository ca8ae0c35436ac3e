"""The processes that Accelerate's launcher started: they share the work, or each works independently."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from accelerate.utils import (
    InitProcessGroupKwargs,
    broadcast_object_list,
    gather_object,
    get_cpu_distributed_information,
)

from securitynet_hub.core.errors import ProcessError
from securitynet_hub.core.shares import Part, Result

LAUNCH = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS",
    "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE",
)  # fmt: skip
"""Environment variables in which the launchers of torch and MPI state a process's rank, for Accelerate."""


CONNECT_SECONDS, EXCHANGE_SECONDS = 300.0, 1800.0
"""Seconds in which all processes of a launch must connect, and in which each takes part in an exchange.

Between the starts of two machines lie at most minutes, and a process that died before it connected never
comes; but the work between two exchanges, such as a download, may take one process long.
"""


_CONNECTING = threading.Lock()

_DECIDING = (
    *LAUNCH,
    "ACCELERATE_USE_CPU", "ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_BACKEND", "ACCELERATE_DYNAMO_MODE",
)  # fmt: skip
"""Environment variables that decide what `init_processes` returns."""


class _Known(NamedTuple):
    """What was returned last, for what, and the precision that Accelerate's state had."""

    accelerator: Accelerator
    asked: tuple[object, ...]
    precision: str

    def holds(self, asked: tuple[object, ...]) -> bool:
        """Return whether it is what is asked for, and nobody has replaced Accelerate's state meanwhile."""
        state = self.accelerator.state
        return self.asked == asked and state.initialized and state.mixed_precision == self.precision


_known: _Known | None = None


class Place(NamedTuple):
    """The rank of this process and the number of processes; the main process has rank 0."""

    number: int
    of: int

    @property
    def is_main(self) -> bool:
        """Whether this is the process that prints and writes for all."""
        return self.number == 0


def find_place() -> Place:
    """Return this process's place as its launcher states it, without connecting to the other processes.

    >>> find_place()
    Place(number=0, of=1)
    """
    known = get_cpu_distributed_information()
    return Place(known.rank, known.world_size)


def is_left_alone() -> bool:
    """Return whether Accelerate's launcher was asked for several processes, but started only one.

    ``accelerate launch --cpu --num_processes 2`` does this without MPI, and gives no warning. The only trace
    of the request is the rendezvous address in the environment.

    >>> is_left_alone()
    False
    """
    asked = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
    return asked and not any(name in os.environ for name in LAUNCH)


def find_precision() -> str:
    """Return the launch's mixed precision (no, bf16 or fp16), followed by its compiler if there is one.

    >>> find_precision()
    'no'
    """
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    compiler = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    return precision if compiler == "no" else f"{precision}, {compiler}"


def init_processes() -> Accelerator:
    """Connect the processes of this launch and return Accelerate's view: device, work share, precision.

    It is the same object until the environment or Accelerate's state changes; `connect` makes a new one.

    Raises:
        ProcessError: as `connect`.
    """
    global _known  # noqa: PLW0603
    asked = (os.getpid(), *map(os.environ.get, _DECIDING))
    # Accelerate takes half a millisecond to find out what it knows already, a third of a small prediction.
    with _CONNECTING:  # or its state might be half made
        known = _known if _known is not None and _known.holds(asked) else None
    if known is None:
        accelerator = connect()
        known = _known = _Known(accelerator, asked, accelerator.state.mixed_precision)
    return known.accelerator


def connect(mixed_precision: str | None = None) -> Accelerator:
    """Connect the processes of this launch and return a new view: training keeps things in it.

    On a machine without an accelerator, the processes connect on the CPU. Accelerate needs ``cpu=True`` for
    that; without it, each process would behave as if it were the only one.

    Raises:
        ProcessError: the processes of the launch cannot connect, or not within `CONNECT_SECONDS`.
    """
    launched = "LOCAL_RANK" in os.environ
    alone = f"did not all connect within {CONNECT_SECONDS:.0f} s: one did not start, ended or is out of reach"
    with _connected(alone), _CONNECTING:  # Accelerate's state is half made while another thread makes it
        met = torch.distributed.is_available() and torch.distributed.is_initialized()
        accelerator = Accelerator(
            cpu=launched and not torch.accelerator.is_available(),
            mixed_precision=mixed_precision,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(seconds=CONNECT_SECONDS))],
        )
        if accelerator.num_processes > 1 and not met:
            _give_exchanges_time()
    if launched and accelerator.num_processes != find_place().of:
        raise ProcessError(
            f"the launch has {find_place().of} processes, but this one found {accelerator.num_processes}: "
            "other code used Accelerate before they were connected. Set ACCELERATE_USE_CPU=true if they run "
            "on the CPU."
        )
    if accelerator.num_processes > 1:
        _disconnect_at_exit()
    return accelerator


def _give_exchanges_time() -> None:
    from torch.distributed import distributed_c10d  # not in every build of torch

    distributed_c10d._set_pg_timeout(timedelta(seconds=EXCHANGE_SECONDS))


@lru_cache(maxsize=1)
def _disconnect_at_exit() -> None:
    atexit.register(_disconnect)


def _disconnect() -> None:
    """Close the connections: gloo may abort a process that ends while its threads are running."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def shutdown() -> None:
    """Take this process out of its launch: it works alone from now on, on the device of its local rank.

    Accelerate then splits no work and waits for no other process, so a crashed or slow process does not block
    the others. Call this before any other use of Accelerate.
    """
    local = get_cpu_distributed_information().local_rank
    if torch.accelerator.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() not in (
        "1",
        "true",
    ):
        torch.accelerator.set_device_index(local % torch.accelerator.device_count())
    for name in LAUNCH:
        os.environ.pop(name, None)


def broadcast(value: Any) -> Any:
    """Return the main process's value on every process. Every process must call this.

    Raises:
        ProcessError: another process has ended.

    >>> broadcast("alone")
    'alone'
    """
    if init_processes().num_processes == 1:
        return value
    with _connected():
        return broadcast_object_list([value])[0]


def gather(accelerator: Accelerator, tensor: torch.Tensor, *, pad: float = 0) -> torch.Tensor:
    """Return the rows of all processes in rank order. Every process must call this.

    Shorter tensors are padded to the length of the longest one.

    Raises:
        ProcessError: another process has ended.
    """
    with _connected():
        gathered: torch.Tensor = accelerator.gather(accelerator.pad_across_processes(tensor, pad_index=pad))
    return gathered


def raise_together(error: Exception | None) -> Exception | None:
    """Return an error on every process if any process had one, for each to raise; None if none had.

    A process gets its own error back, or else a `PeerProcessError` that quotes the first process that failed.
    So a failure on one process alone, such as a download, does not leave the others waiting for it. Every
    process must call this.

    Raises:
        ProcessError: another process has ended.

    >>> raise_together(None), raise_together(ValueError("mine"))
    (None, ValueError('mine'))
    """
    if init_processes().num_processes == 1:
        return error
    mine = None if error is None else f"{type(error).__name__}: {error}"
    with _connected():
        messages = gather_object([mine])
    if error is not None:
        return error
    failed = [(number, message) for number, message in enumerate(messages) if message is not None]
    return PeerProcessError(f"process {failed[0][0]} failed: {failed[0][1]}") if failed else None


def share_out(work: Callable[[Part], Result], parts: Sequence[Part], /) -> list[Result]:
    """Return ``[work(part) for part in parts]``, each part done by one process; a `core.shares.Share`.

    Every process must call this with the same parts. Consecutive parts are done by one process; the results,
    which are pickled, are joined in order.

    Raises:
        Exception: what `work` raised; on a process that did not fail, a `PeerProcessError` instead.
        ProcessError: another process has ended.

    >>> share_out(abs, [-1, 2])
    [1, 2]
    """
    accelerator = init_processes()
    if accelerator.num_processes == 1:
        return [work(part) for part in parts]
    own = np.array_split(np.arange(len(parts)), accelerator.num_processes)[accelerator.process_index]
    results: list[Result] = []
    failure: Exception | None = None
    try:
        results = [work(parts[place]) for place in own]
    except Exception as error:
        failure = error
    if failure := raise_together(failure):
        raise failure
    with _connected():
        return list(gather_object(results))


def multiply(
    left: npt.NDArray[np.float64], right: npt.NDArray[np.float64], *, device: torch.device | None = None
) -> npt.NDArray[np.float64]:
    """Return ``left @ right``, computed on the launch's accelerator if it has one that knows float64.

    Args:
        left: shape (n, k).
        right: shape (k, m).
        device: where to compute instead.

    >>> multiply(np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[1., 2.],
           [3., 4.]])
    """
    if device is None:
        device = init_processes().device
        if device.type in ("cpu", "mps"):
            return left @ right
    on_device = [torch.from_numpy(np.ascontiguousarray(matrix)).to(device) for matrix in (left, right)]
    product: npt.NDArray[np.float64] = torch.matmul(*on_device).cpu().numpy()
    return product


class PeerProcessError(Exception):
    """Another process failed at the work that this process shares with it."""


@contextmanager
def _connected(
    failed: str = "lost their connection: one of them ended or cannot be reached",
) -> Iterator[None]:
    """Turn a failed exchange between processes into a `ProcessError` that says what to do."""
    try:
        yield
    except RuntimeError as error:
        if find_place().of == 1:
            raise
        raise ProcessError(
            f"the {find_place().of} processes of this launch {failed} "
            f"({str(error).strip().splitlines()[0]}). Start the command again; finished work is kept."
        ) from error
