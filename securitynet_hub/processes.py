"""The processes that Accelerate's launcher started: working together, or each for itself."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list


class Place(NamedTuple):
    """Which of how many processes this one is; the main one is 0."""

    number: int
    of: int

    @property
    def is_main(self) -> bool:
        """Whether this is the process that speaks for all."""
        return self.number == 0


def find_place() -> Place:
    """Return this process's place as the launcher says it, without meeting the other processes.

    >>> find_place()
    Place(number=0, of=1)
    """
    return Place(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def find_precision() -> str:
    """Return the mixed precision of this launch: no, bf16, fp16.

    >>> find_precision()
    'no'
    """
    return os.environ.get("ACCELERATE_MIXED_PRECISION", "no")


def part() -> None:
    """Let this process work without the others of its launch, on the device that is its share.

    What it computes afterwards through Accelerate is its own: nothing is split, nothing is waited for, so
    that a process that dies or dawdles holds nobody up. Call it before anything else asks Accelerate.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.accelerator.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() not in (
        "1",
        "true",
    ):
        torch.accelerator.set_device_index(local % torch.accelerator.device_count())
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)


def agree(value: Any) -> Any:
    """Return the main process's value on every process; each must ask.

    >>> agree("alone")
    'alone'
    """
    PartialState()
    return broadcast_object_list([value])[0]
