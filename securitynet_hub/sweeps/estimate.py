"""What the rest of a sweep may cost: bytes to download, seconds to compute."""

from __future__ import annotations

from typing import NamedTuple

from securitynet_hub.records import read_record
from securitynet_hub.sweeps.ledger import Ledger
from securitynet_hub.sweeps.plan import Job
from securitynet_hub.weights import is_cached

BYTES_PER_PARAMETER = 4


class Cost(NamedTuple):
    """What is left of a job costs; None is unknown."""

    download: int | None
    seconds: float | None


def estimate(job: Job, ledger: Ledger) -> Cost:
    """Estimate what is left of a job.

    The download is four bytes for each parameter, as float32 weights take, nothing where they are in the
    cache or ship with the package. Time is what the same attacks took on this model so far.
    """
    pending = {unit.id for unit in ledger.pending(job, failed_before=float("inf"))}
    if not pending:
        return Cost(0, 0.0)
    parameters = job.annotation.num_parameters
    download = 0 if is_cached(job.annotation) else parameters and BYTES_PER_PARAMETER * parameters
    timings = [
        read_record(ledger.record_of(unit)).timings for unit in job.units if ledger.record_of(unit).exists()
    ]
    if not timings:
        return Cost(download, None)
    forward = max(timing.get("inference", 0.0) for timing in timings)
    attack = sum(timing["attack"] for timing in timings) / len(timings)
    return Cost(download, forward + attack * len(pending))
