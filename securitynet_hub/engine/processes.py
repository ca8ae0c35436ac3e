"""The processes that Accelerate's launcher started: working together, or each for itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object, get_cpu_distributed_information

from securitynet_hub.core.errors import ProcessError

LAUNCH = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS",
    "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE",
)  # fmt: skip
"""Where torch's launcher and those of MPI write a process's place, and Accelerate reads it."""


class Place(NamedTuple):
    """Which of how many processes this one is; the main one is 0."""

    number: int
    of: int

    @property
    def is_main(self) -> bool:
        """Whether this is the process that speaks for all."""
        return self.number == 0


def find_place() -> Place:
    """Return this process's place as its launcher says it, without meeting the other processes.

    >>> find_place()
    Place(number=0, of=1)
    """
    known = get_cpu_distributed_information()
    return Place(known.rank, known.world_size)


def is_left_alone() -> bool:
    """Tell whether Accelerate's launcher was asked for several processes, but started one.

    ``accelerate launch --cpu --num_processes 2`` does so, without MPI, and says nothing. What it leaves of
    the request is the address at which the processes should have met.

    >>> is_left_alone()
    False
    """
    asked = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
    return asked and not any(name in os.environ for name in LAUNCH)


def find_precision() -> str:
    """Return what this launch says of precision: no, bf16, fp16; and of compilation, if there is any.

    >>> find_precision()
    'no'
    """
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    compiler = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    return precision if compiler == "no" else f"{precision}, {compiler}"


def meet(mixed_precision: str | None = None) -> Accelerator:
    """Return Accelerate's view of this launch: device, share of the work, precision.

    On a machine without an accelerator the processes of a launch meet on the CPU, which Accelerate must be
    told: left to itself, each would hold itself for the only one.

    Raises:
        ProcessError: the processes of the launch do not find one another.
    """
    launched = "LOCAL_RANK" in os.environ
    with _in_touch():
        accelerator = Accelerator(
            cpu=launched and not torch.accelerator.is_available(), mixed_precision=mixed_precision
        )
    if launched and accelerator.num_processes != find_place().of:
        raise ProcessError(
            f"the launch has {find_place().of} processes, but this one found {accelerator.num_processes}: "
            "something asked Accelerate before they met. Set ACCELERATE_USE_CPU=true if they run on the CPU."
        )
    return accelerator


def part() -> None:
    """Let this process work without the others of its launch, on the device that is its share.

    What it computes afterwards through Accelerate is its own: nothing is split, nothing is waited for, so
    that a process that dies or dawdles holds nobody up. Call it before anything else asks Accelerate.
    """
    local = get_cpu_distributed_information().local_rank
    if torch.accelerator.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() not in (
        "1",
        "true",
    ):
        torch.accelerator.set_device_index(local % torch.accelerator.device_count())
    for name in LAUNCH:
        os.environ.pop(name, None)


def agree(value: Any) -> Any:
    """Return the main process's value on every process; each must ask.

    Raises:
        ProcessError: another process ended.

    >>> agree("alone")
    'alone'
    """
    if meet().num_processes == 1:
        return value
    with _in_touch():
        return broadcast_object_list([value])[0]


def gather(accelerator: Accelerator, tensor: torch.Tensor, *, pad: float = 0) -> torch.Tensor:
    """Return the rows of all processes, in their order, the fewer of some filled up; each must ask.

    Raises:
        ProcessError: another process ended.
    """
    with _in_touch():
        gathered: torch.Tensor = accelerator.gather(accelerator.pad_across_processes(tensor, pad_index=pad))
    return gathered


def share_fate(error: Exception | None) -> Exception | None:
    """Return an error on every process if there was one on any: its own, or what the first other says.

    What fails on one process alone, such as a download, must not leave the others waiting for it.

    Raises:
        ProcessError: another process ended.

    >>> share_fate(None), share_fate(ValueError("mine"))
    (None, ValueError('mine'))
    """
    if meet().num_processes == 1:
        return error
    mine = None if error is None else f"{type(error).__name__}: {error}"
    with _in_touch():
        fates = gather_object([mine])
    if error is not None:
        return error
    told = [(number, fate) for number, fate in enumerate(fates) if fate is not None]
    return FellowError(f"process {told[0][0]} failed: {told[0][1]}") if told else None


class FellowError(Exception):
    """What this process was doing failed on another one."""


@contextmanager
def _in_touch() -> Iterator[None]:
    """Tell what it means when processes cannot exchange anything."""
    try:
        yield
    except RuntimeError as error:
        if find_place().of == 1:
            raise
        raise ProcessError(
            f"the {find_place().of} processes of this launch lost touch: one of them ended, or cannot be "
            f"reached ({str(error).strip().splitlines()[0]}). Start the command again; what is done is kept."
        ) from error
