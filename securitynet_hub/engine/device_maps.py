"""Spread a model that is larger than a device over several devices, the CPU's memory and the disk."""

from __future__ import annotations

import itertools
import logging
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import dispatch_model, infer_auto_device_map
from accelerate.utils import convert_file_size_to_int, offload_state_dict

from securitynet_hub.models.target import Target

CONTAINERS = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)
Device = int | str
"""The number of an accelerator, ``cpu`` or ``disk``."""


def place(
    target: Target, *, max_memory: Mapping[Device, int | str] | None = None, folder: str | Path | None = None
) -> dict[str, Device]:
    """Spread a target's layers over devices, in place; its predictions stay the same.

    Accelerate fills the accelerators in their order, then the CPU's memory, then the disk. A layer in memory
    or on disk is copied to a device for its part of each forward pass. Blocks are not split, because the
    tensors that a block adds must be on one device. Attacks that query the target work; attacks that train or
    invert it need it on one device.

    Args:
        target: the classifier.
        max_memory: the memory that weights may take on each device (the number of an accelerator, or
            ``"cpu"``), in bytes or like ``"10GB"``; by default the free memory.
        folder: folder for the layers on disk, which are deleted with the target; by default a temporary one.

    Returns:
        The device of each submodule, by its name.

    Raises:
        ValueError: a size cannot be read, or there is no such device.

    >>> from securitynet_hub import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> sorted(set(place(target, max_memory={"cpu": "60KB"}).values()))
    ['cpu', 'disk']
    """
    allowed = None if max_memory is None else _in_bytes(max_memory)
    module = target.module
    devices: dict[str, Device] = dict(
        infer_auto_device_map(
            module,
            max_memory=allowed,
            no_split_module_classes=sorted(_blocks(module)),
            offload_buffers=True,
        )
    )
    on_disk = tuple(name and name + "." for name, device in devices.items() if device == "disk")
    own = None
    if on_disk:
        # The folder must belong to this model: Accelerate takes all weights that it finds there for the
        # model's own. Accelerate also writes them, but not if the whole model, whose name is empty, goes to
        # the disk.
        own = tempfile.mkdtemp(prefix="offloaded-", dir=folder)
        weakref.finalize(module, shutil.rmtree, own, ignore_errors=True)
        offload_state_dict(own, {k: v for k, v in module.state_dict().items() if f"{k}.".startswith(on_disk)})
    main = next((device for device in devices.values() if device not in ("cpu", "disk")), "cpu")
    with _quiet("accelerate.big_modeling"):
        dispatch_model(
            module, devices, main_device=main, offload_dir=own, offload_buffers=True, force_hooks=True
        )
    return devices


def find_devices(module: torch.nn.Module) -> str:
    """Return the device or devices of a module, for a record: ``cpu``, ``cuda:0``, or several."""
    devices: Mapping[str, Device] | None = getattr(module, "hf_device_map", None)
    if devices is None:
        return str(next(itertools.chain(module.parameters(), module.buffers()), torch.zeros(())).device)
    return ", ".join(sorted({str(device) for device in devices.values()}))


def _in_bytes(max_memory: Mapping[Device, int | str]) -> dict[Device, int]:
    sizes: dict[Device, int] = {}
    for device, size in max_memory.items():
        known = device == "cpu" or (
            isinstance(device, int) and 0 <= device < torch.accelerator.device_count()
        )
        try:
            sizes[device] = convert_file_size_to_int(size)
        except (ValueError, AttributeError):
            known = False
        if not known:
            raise ValueError(
                "max_memory must give sizes like '10GB' for 'cpu' or the number of an accelerator; there are "
                f"{torch.accelerator.device_count()} accelerators; got {device!r}: {size!r}."
            )
    return sizes


def _blocks(module: torch.nn.Module) -> set[str]:
    """Return the classes to keep on one device: all but containers and modules with most of the weights."""
    total = sum(parameter.numel() for parameter in module.parameters())
    found: set[str] = set()

    def visit(part: torch.nn.Module) -> None:
        for child in part.children():
            size = sum(parameter.numel() for parameter in child.parameters())
            if isinstance(child, CONTAINERS) or (2 * size > total and list(child.children())):
                visit(child)
            elif list(child.children()):
                found.add(type(child).__name__)

    visit(module)
    return found


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence a logger, which would warn of something intended, within the block."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
