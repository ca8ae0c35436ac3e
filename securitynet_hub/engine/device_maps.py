"""A model larger than a device: its layers over several devices, the CPU's memory and the disk."""

from __future__ import annotations

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
    """Spread a target's layers over devices, in place; it predicts as before.

    Accelerate fills the accelerators in their order, then the CPU's memory, then the disk; a layer that lies
    elsewhere is brought to a device for its part of each forward pass, and put back. Blocks are not torn, as
    what they add up must lie on one device. Logits are those of one device; attacks that ask for them work,
    those that train or invert the target need it whole.

    Args:
        target: the classifier.
        max_memory: what the weights may take of each device, in bytes or like ``"10GB"``: the number of an
            accelerator or ``"cpu"``. What is free, unless given.
        folder: where the layers on disk are kept, until the target is no longer used; a temporary one
            unless given.

    Returns:
        The device of each part, by its name.

    Raises:
        ValueError: a size or a device that there is not.

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
        # Of this model alone: Accelerate takes whatever weights it finds there for the model's own. It writes
        # them itself, too, but none where the whole model, whose name is empty, goes to the disk.
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
    """Return where a module lies, for a record: ``cpu``, ``cuda:0``, or all its devices."""
    devices: Mapping[str, Device] | None = getattr(module, "hf_device_map", None)
    if devices is None:
        return str(next(module.parameters()).device)
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
                "max_memory must give sizes like '10GB' for 'cpu' and the accelerators' numbers, of which "
                f"there are {torch.accelerator.device_count()}; got {device!r}: {size!r}."
            )
    return sizes


def _blocks(module: torch.nn.Module) -> set[str]:
    """Return the classes that must lie on one device: all but containers, and what holds most weights."""
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
    """Keep a logger silent that would warn of what is meant."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
