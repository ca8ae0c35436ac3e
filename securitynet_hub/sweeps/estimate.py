"""What the rest of a sweep may cost: bytes to download, seconds to compute."""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from securitynet_hub.attacks.kind import find_attack
from securitynet_hub.engine.processes import init_processes
from securitynet_hub.records.record import read_record
from securitynet_hub.sweeps.ledger import Ledger
from securitynet_hub.sweeps.plan import Job
from securitynet_hub.weights.fetch import is_cached

BYTES_PER_PARAMETER = 4
OPERATIONS = Path(__file__).parents[1] / "resources" / "operations.json"


class Cost(NamedTuple):
    """What is left of a job costs; None is unknown."""

    download: int | None
    seconds: float | None


class Size(NamedTuple):
    """Parameters of a network, and operations of its forward pass of one image, a multiply-add being two."""

    parameters: int
    operations: int


@lru_cache(maxsize=1)
def known_sizes() -> dict[str, Size]:
    """Return the size of every annotated network that was counted, by the model's id.

    ``benchmarks/measure_costs.py`` counts them, without memory for their tensors.

    >>> known_sizes()["pytorchcv/cifar10/resnet20"]
    Size(parameters=272474, operations=81626368)
    """
    counted: dict[str, list[int]] = json.loads(OPERATIONS.read_text(encoding="utf-8"))
    return {id: Size(*size) for id, size in counted.items()}


def estimate(
    jobs: Sequence[Job], ledger: Ledger, *, retry: bool = False, speed: Callable[[], float] | None = None
) -> list[Cost]:
    """Estimate what is left of each job, in one process.

    The download is four bytes for each parameter, as float32 weights take, nothing where they are in the
    cache or ship with the package. The forward pass takes as long as it took for this model's records here,
    else as its operations need at the speed of the other records, else at that of a convolution, measured
    now. Attacks take as long as they took here, on average; before that, nothing for those that only compare
    the model's answers. How long another attack takes is unknown before its first record.

    Args:
        jobs: the plan.
        ledger: what is done of it.
        retry: count failed units, too.
        speed: operations in a second, where no record tells.
    """
    own: dict[str, float] = defaultdict(float)
    attacks: dict[str, list[float]] = defaultdict(list)
    speeds: list[float] = []
    for job in jobs:
        for unit in job.units:
            if not ledger.record_of(unit).exists():
                continue
            record = read_record(ledger.record_of(unit))
            forward = record.timings.get("inference", 0.0)
            attacks[unit.attack].append(sum(record.timings.values()) - forward)
            own[job.id] = max(own[job.id], forward)
        if own[job.id] and job.annotation.id in known_sizes():
            speeds.append(known_sizes()[job.annotation.id].operations * job.num_images / own[job.id])
    usual = {name: statistics.fmean(seconds) for name, seconds in attacks.items()}
    found = [statistics.median(speeds)] if speeds else []

    def forward_pass(job: Job) -> float | None:
        size = known_sizes().get(job.annotation.id)
        if own[job.id]:
            return own[job.id]
        if size is None:
            return None
        if not found:
            found.append((speed or measure_speed)())
        return size.operations * job.num_images / found[0]

    return [_cost(job, ledger, retry, usual, forward_pass) for job in jobs]


def _cost(
    job: Job,
    ledger: Ledger,
    retry: bool,
    usual: dict[str, float],
    forward_pass: Callable[[Job], float | None],
) -> Cost:
    pending = ledger.pending(job, failed_before=float("inf") if retry else 0.0)
    if not pending:
        return Cost(0, 0.0)
    size = known_sizes().get(job.annotation.id)
    parameters = job.annotation.num_parameters or (size and size.parameters)
    download = 0 if is_cached(job.annotation) else parameters and BYTES_PER_PARAMETER * parameters
    names = [unit.attack for unit in pending]
    parts: list[float | None] = [
        usual.get(name, 0.0 if find_attack(name).shares_pass else None) for name in names
    ]
    if any(find_attack(name).shares_pass for name in names):
        parts.append(forward_pass(job))
    return Cost(download, _sum(parts))


def _sum(parts: Iterable[float | None]) -> float | None:
    known = list(parts)
    return None if None in known else sum(part for part in known if part is not None)


def measure_speed(seconds: float = 0.5) -> float:
    """Return the operations in a second that this process does in a convolution of middling size."""
    accelerator = init_processes()
    layer = torch.nn.Conv2d(64, 64, 3, padding=1, bias=False).to(accelerator.device)
    inputs = torch.zeros((16 if accelerator.device.type == "cpu" else 256, 64, 28, 28)).to(accelerator.device)
    operations = 2 * 9 * 64 * inputs.numel()
    done = 0
    with torch.inference_mode(), accelerator.autocast():
        layer(inputs).sum().item()
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            layer(inputs)[0, 0, 0, 0].item()  # which waits for the device
            done += operations
    return done / (time.perf_counter() - began)
